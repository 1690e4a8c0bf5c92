"""Changing a router without refitting it: models come and go, prices change, evidence is added.

Every change keeps clusters and representation, and gives a new router whose lineage tells the steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.artifact import ModelEntry, Step
from avengers_pro.routing.evidence import Evidence
from avengers_pro.routing.lessons import Lessons
from avengers_pro.routing.levels import fit_levels
from avengers_pro.routing.multiresolution import LEAST_ROWS, row_weights
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution
from avengers_pro.routing.pool import ModelCard
from avengers_pro.routing.prior import assumed, mean_tokens
from avengers_pro.routing.representation import FormatScaler
from avengers_pro.routing.training import cluster_examples

if TYPE_CHECKING:
    from avengers_pro.routing.router import Router


def add_model(router: "Router", name: str, records: Records) -> "Router":
    """Add a model from its scores in records; other models in them are left out.

    Raises:
        MethodError: If the router has the model, or the records hold no score of it.
    """
    fitted = _changeable(router)
    if name in router.models:
        raise MethodError(f"the router has {name!r} already; update it with new records, or remove it first")
    records = _observed(records.select_models([name]), name)
    evidence = fitted.evidence.joined(_evidence_of(router, fitted, records))
    return _changed(router, fitted, evidence, Step("add_model", {"model": name, **_source(records)}))


def enter_model(router: "Router", card: ModelCard, *, score: float, cost: float) -> "Router":
    """Add a model of which no score is known, on an assumption that a few dozen scores outweigh.

    Args:
        router: To change.
        card: Of the model; its prices make costs where the router's models tell how many tokens answers take.
        score: Assumed mean, in [0, 1].
        cost: Assumed mean in US dollars; NaN = not known.

    Raises:
        MethodError: If the router has the model.
    """
    fitted = _changeable(router)
    if card.name in router.models:
        raise MethodError(f"the router has {card.name!r} already")
    evidence = fitted.evidence.joined(assumed(fitted.evidence, fitted.levels, card.name, score, cost))
    step = Step("enter_model", {"model": card.name, "score": round(score, 6)})
    return with_pool(_changed(router, fitted, evidence, step), [card])


def tokens_of(router: "Router") -> tuple[float, float] | None:
    """Return the mean tokens of prompt and answer over all models and queries; None = they are not known."""
    fitted = _changeable(router)
    return mean_tokens(fitted.evidence, fitted.levels)


def remove_model(router: "Router", name: str) -> "Router":
    """Forget a model.

    Raises:
        MethodError: If the router does not have it, or has no other.
    """
    fitted = _changeable(router)
    return _changed(router, fitted, fitted.evidence.without(name), Step("remove_model", {"model": name}))


def reprice(
    router: "Router",
    name: str,
    *,
    input_price: float | None = None,
    output_price: float | None = None,
    factor: float | None = None,
) -> "Router":
    """Change what a model costs: by prices where its tokens are known, or by a factor.

    Args:
        router: To change.
        name: The model.
        input_price: US dollars per million prompt tokens.
        output_price: US dollars per million completion tokens.
        factor: New costs over old costs.

    Raises:
        MethodError: If the model is unknown, its tokens are, or neither both prices nor a factor are given.
    """
    fitted = _changeable(router)
    if factor is not None and input_price is None and output_price is None:
        if not 0 <= factor < np.inf:
            raise MethodError(f"factor must be at least 0 and finite, got {factor}")
        return _changed(
            router,
            fitted,
            fitted.evidence.scaled_cost(name, factor),
            Step("reprice", {"model": name, "factor": factor}),
        )
    if factor is not None or input_price is None or output_price is None:
        raise MethodError("give an input price and an output price, or a factor alone")
    if not (0 <= input_price < np.inf and 0 <= output_price < np.inf):
        raise MethodError(f"prices must be at least 0 and finite, got {input_price} and {output_price}")
    return _changed(
        router,
        fitted,
        fitted.evidence.repriced(name, input_price, output_price),
        Step("reprice", {"model": name, "input_price": input_price, "output_price": output_price}),
        {name: {"input_price": input_price, "output_price": output_price}},
    )


def with_pool(router: "Router", cards: Sequence[ModelCard]) -> "Router":
    """Take prices and capabilities from a pool table, for the models that both know.

    Costs are worked out again where a card states both prices and the router knows the model's tokens; other
    costs stay as the records had them.
    """
    known = {card.name: card for card in cards if card.name in router.models}
    said: dict[str, dict[str, object]] = {
        name: {
            field: getattr(card, field)
            for field in ("capabilities", "input_price", "output_price", "cached_input_price")
        }
        for name, card in known.items()
    }
    fitted = router.fitted
    if not isinstance(fitted, FittedMultiResolution):
        return router.changed(fitted, _described(router.facts, said), Step("pool", {"models": len(known)}))
    evidence, usage = fitted.evidence, fitted.evidence.usage
    for name, card in known.items():
        tokens_known = usage.counts[:2, :, router.models.index(name)].any()
        if tokens_known and card.input_price is not None and card.output_price is not None:
            evidence = evidence.repriced(name, card.input_price, card.output_price)
    return _changed(router, fitted, evidence, Step("pool", {"models": len(known)}), said)


def update(router: "Router", records: Records, half_life: float | None = None) -> "Router":
    """Add the evidence of new records to what is known; models that were not known are added.

    Args:
        router: To change.
        records: New evidence; a query may be observed for a single model.
        half_life: Number of new queries after which what was known before counts half; None = it always counts
            as much as the new.

    Raises:
        MethodError: If the half-life is not more than 0, or the records hold no score.
    """
    fitted = _changeable(router)
    if half_life is not None and not half_life > 0:
        raise MethodError(f"half_life must be more than 0 queries, got {half_life}")
    records = _observed(records.deduplicated(), None)
    keep = 1.0 if half_life is None else 0.5 ** (len(records) / half_life)
    evidence = fitted.evidence.weighing(keep).joined(_evidence_of(router, fitted, records))
    return _changed(router, fitted, evidence, Step("update", {**_source(records), "old_counts": round(keep, 6)}))


def relearn(router: "Router", records: Records) -> "Router":
    """Keep clusters and representation, and learn from these records alone; such routers can be merged."""
    fitted = _changeable(router)
    records = _observed(records.deduplicated(), None)
    evidence = _evidence_of(router, fitted, records)
    changed = _changed(router, fitted, evidence, Step("learn", _source(records)))
    changed.lineage = (Step("clusters", {"records": router.fingerprint}), changed.lineage[-1])
    return changed


def recluster(router: "Router", records: Records, asked: Vectors, told: Vectors) -> "Router":
    """Fit the clusters anew on records and on what was asked since, and learn from the records alone.

    Args:
        router: Whose method, parameters and embedder are kept.
        records: In which every model of the router answered.
        asked: (n, d) other queries that the clusters are to fit, as ``Router.embed`` gives them.
        told: (r, d) queries that count as known, because there is feedback on queries like them.
    """
    fitted = _changeable(router)
    method, own = fitted.method, router.embed(records.queries)
    vectors = np.vstack([own, asked])
    scaler = None if fitted.scaler is None else FormatScaler.fit(vectors)

    def scaled(rows: Vectors) -> Vectors:
        return rows if scaler is None else scaler.apply(rows)

    levels = fit_levels(scaled(vectors), method.levels if len(records) >= LEAST_ROWS else (1,), router.seed)
    evidence = Evidence.of(records, scaled(own), levels, row_weights(records, method.objective), router.seed)
    evidence = replace(evidence, sample=evidence.sample.with_unscored(scaled(told)))
    renewed = FittedMultiResolution.derive(method, scaler, levels, evidence)
    step = Step("fit", {"records": records.fingerprint, "queries": len(records), "asked": len(asked)})
    changed = _described_by(router, renewed, step)
    changed.lineage, changed.fingerprint = (step,), records.fingerprint
    changed.examples = cluster_examples(renewed, records.queries, own, router.seed) if router.examples else ()
    return changed


def merge(router: "Router", other: "Router") -> "Router":
    """Join the evidence of two routers that share their clusters.

    Raises:
        MethodError: If clusters or embedder differ, or both hold the evidence of the same records.
    """
    mine, theirs = _changeable(router), _changeable(other)
    if router.embedding.id != other.embedding.id or not np.array_equal(mine.levels.centroids, theirs.levels.centroids):
        raise MethodError(
            "the two routers have different clusters, so their sums cannot be added; fit one on both record sets, "
            "or let one relearn(records) the other's records"
        )
    twice = _learnt_from(router) & _learnt_from(other)
    if twice:
        raise MethodError(f"both routers have learnt from records {min(twice)[:12]}; they would count twice")
    step = Step("merge", {"records": ",".join(sorted(_learnt_from(other)))})
    return _changed(router, mine, mine.evidence.joined(_against(mine, theirs)), step)


def _against(mine: FittedMultiResolution, theirs: FittedMultiResolution) -> Evidence:
    """Return their evidence with lessons held against what mine lets expect."""
    evidence = theirs.evidence
    if evidence.lessons is None:
        return evidence
    return replace(evidence, lessons=evidence.lessons.shifted(-theirs.rise_over(mine)))


def learn(
    router: "Router",
    vectors: Vectors,
    models: Sequence[str],
    scores: Floats,
    *,
    weights: Floats | None = None,
    keep: float = 1.0,
    detail: Mapping[str, str | int | float],
) -> "Router":
    """Add scores of single answers, such as a gateway's feedback; clusters and what the records said are kept.

    Args:
        router: To change.
        vectors: (n, d) the queries, as ``Router.embed`` gives them.
        models: n names of the models that answered.
        scores: (n,) in [0, 1].
        weights: (n,) how much each counts beside a score of the records; None = as much.
        keep: Share of their weight that the scores known so far keep, in (0, 1].
        detail: Of the step in the lineage.

    Raises:
        MethodError: If a model is unknown to the router, or the method cannot learn without its records.
    """
    fitted = _changeable(router)
    for name in models:
        if name not in router.models:
            raise MethodError(f"the router has no model {name!r}; it has {', '.join(router.models)}")
    columns = np.array([router.models.index(name) for name in models], dtype=np.intp)
    new = fitted.lessons_of(vectors, columns, scores, np.ones(len(scores)) if weights is None else weights)
    old = fitted.evidence.lessons
    nothing = Lessons(np.zeros_like(new.counts), np.zeros_like(new.sums))
    changed = fitted.taught_by((nothing if old is None else old).aged(keep) + new)
    return _described_by(router, changed, Step("traffic", dict(detail)))


def _learnt_from(router: "Router") -> set[str]:
    return {
        fingerprint
        for step in router.lineage
        if step.action != "clusters"
        for fingerprint in str(step.detail.get("records", "")).split(",")
        if fingerprint
    }


def _source(records: Records) -> dict[str, str | int | float]:
    return {"records": records.fingerprint, "queries": len(records)}


def _changeable(router: "Router") -> FittedMultiResolution:
    if not isinstance(router.fitted, FittedMultiResolution):
        raise MethodError(f"a router of {router.method.name} cannot be changed without its records; fit it again")
    return router.fitted


def _observed(records: Records, name: str | None) -> Records:
    """Keep the rows on which something was observed."""
    rows = np.flatnonzero(np.isfinite(records.scores).any(axis=1))
    if not rows.size:
        raise MethodError(f"the records hold no score{f' of {name!r}' if name else ''}; there is nothing to learn")
    return records.take(rows).deduplicated()


def _evidence_of(router: "Router", fitted: FittedMultiResolution, records: Records) -> Evidence:
    vectors = router.embed(records.queries)
    rows = fitted.scaler.apply(vectors) if fitted.scaler is not None else vectors
    weights = row_weights(records, fitted.method.objective)
    return Evidence.of(records, rows, fitted.levels, weights, router.seed)


def _changed(
    router: "Router",
    fitted: FittedMultiResolution,
    evidence: Evidence,
    step: Step,
    said: Mapping[str, Mapping[str, object]] | None = None,
) -> "Router":
    """Work everything out again from other evidence."""
    return _described_by(router, fitted.knowing(evidence), step, said)


def _described_by(
    router: "Router",
    fitted: FittedMultiResolution,
    step: Step,
    said: Mapping[str, Mapping[str, object]] | None = None,
) -> "Router":
    """Return the router with what it knows now, and the models' facts read off that."""
    evidence = fitted.evidence
    start, end = fitted.levels.bounds[0]
    counts, scores, cost_counts, costs = (
        values[start:end].sum(axis=0) for values in evidence.profile.arrays().values()
    )
    told = counts if evidence.lessons is None else counts + evidence.lessons.counts[start:end].sum(axis=0)
    moved = np.zeros(len(counts)) if fitted.taught is None else fitted.taught.base
    old = {fact.name: fact for fact in router.facts}
    facts = [
        msgspec.structs.replace(
            old.get(name, ModelEntry(name, 0, None, None)),
            observations=round(float(told[column])),
            mean_score=float(np.clip(scores[column] / counts[column] + moved[column], 0, 1))
            if counts[column]
            else None,
            mean_cost=float(costs[column] / cost_counts[column]) if cost_counts[column] else None,
        )
        for column, name in enumerate(evidence.models)
    ]
    return router.changed(fitted, _described(facts, said or {}), step)


def _described(facts: Sequence[ModelEntry], said: Mapping[str, Mapping[str, object]]) -> tuple[ModelEntry, ...]:
    return tuple(msgspec.structs.replace(fact, **said.get(fact.name, {})) for fact in facts)
