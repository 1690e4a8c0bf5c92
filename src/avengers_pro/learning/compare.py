"""Two routers on the same held-out records: paired differences, who gains and loses, and a verdict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from avengers_pro.embedding import Vectors
from avengers_pro.errors import EvaluationError
from avengers_pro.learning.overlap import Overlap, overlap_of, unseen_rows
from avengers_pro.learning.pairs import Pairs
from avengers_pro.learning.switch import COST, COST_MARGIN, MARGIN, SCORE, Change
from avengers_pro.records.table import Floats, Records, Rows
from avengers_pro.routing import Policy, Router

_FLIPS = 5


class Side(msgspec.Struct, kw_only=True):
    """One router in a comparison.

    Attributes:
        name: What it is called here.
        method: How it decides.
        fingerprint: Of the records that it was fitted on.
        models: Its pool.
        shares: Share of the queries that it sends to each model; models never chosen are left out.
        refused: Queries for which no model met the policy; they score 0 and cost 0, as in ``evaluate``.
        unobserved: Queries sent to a model whose score is not in the records, by model.
    """

    name: str
    method: str
    fingerprint: str
    models: list[str]
    shares: dict[str, float]
    refused: int
    unobserved: dict[str, int]


class DatasetChange(msgspec.Struct, kw_only=True):
    """One dataset: how many queries, on how many the two choose differently, and B against A."""

    dataset: str
    queries: int
    flipped: int
    score: Change
    cost: Change


class Expected(msgspec.Struct, kw_only=True):
    """A model on one query, as a router expects it or as the records have it; None = unknown. Cost in US dollars."""

    score: float | None
    cost: float | None


class Flip(msgspec.Struct, kw_only=True):
    """A query that the two routers send to different models.

    Attributes:
        query: Its text.
        dataset: Where it is from.
        models: What A chooses, and what B chooses; None = no model met the policy.
        expected_by_a: What A expects of both; None = it does not know the model.
        expected_by_b: Likewise.
        observed: What the records say of both.
    """

    query: str
    dataset: str
    models: list[str | None]
    expected_by_a: list[Expected | None]
    expected_by_b: list[Expected | None]
    observed: list[Expected]


class Comparison(msgspec.Struct, kw_only=True):
    """What two routers would have done on the same queries.

    Attributes:
        a: The router in use. b: The one that may take its place.
        policy: What both were asked for.
        queries: How many.
        flipped: On how many of them the two choose differently.
        unknown: On how many the difference in score is unknown, because one of two different choices was not observed.
        score: B against A.
        cost: B against A.
        datasets: The same by dataset, B's largest gain in score first; intervals are not corrected for their number.
        flips: A random sample of the queries on which they differ.
        overlap: What is known of queries that a router was fitted on.
    """

    a: Side
    b: Side
    policy: str
    queries: int
    flipped: int
    unknown: int
    score: Change
    cost: Change
    datasets: list[DatasetChange]
    flips: list[Flip]
    overlap: Overlap


@dataclass(frozen=True)
class _Choices:
    """What one router does on n queries.

    Attributes:
        models: Name of each choice; None = refused.
        scores: (n,) in [0, 1]; 0 = refused; NaN = not observed.
        costs: (n,) US dollars, likewise.
    """

    models: list[str | None]
    scores: Floats
    costs: Floats


def compare_on_records(
    a: Router,
    b: Router,
    records: Records,
    policy: Policy | None = None,
    *,
    names: tuple[str, str] = ("A", "B"),
    margin: float = MARGIN,
    cost_margin: float = COST_MARGIN,
    trained_on: Records | None = None,
    seed: int = 42,
    flips: int = _FLIPS,
) -> Comparison:
    """Let both routers decide every query under one policy, and pair what the records say of their choices.

    Where both choose the same model the difference is 0, observed or not. Where they choose different models, of which
    one was not observed, the difference is unknown: the query is left out and counted, and above
    ``MOST_UNOBSERVED`` of ``pairs`` the verdict is that it cannot be told.

    Args:
        a: The router in use.
        b: The one that may take its place; its pool may be another one.
        records: Queries that neither was fitted on; repeated texts count once.
        policy: What both are asked for; the default one if None.
        names: What the routers are called.
        margin: Points of score, of 1, by which B may be lower.
        cost_margin: Share by which B may be dearer.
        trained_on: Records that a router was fitted on: their queries are left out.
        seed: Of the bootstrap and of the sample of flips.
        flips: How many queries to show.

    Raises:
        EvaluationError: If a router knows no model of the records, or no query is left.
        PolicyError: If the policy means nothing to one of the routers.
    """
    policy = policy or Policy()
    for router, name in zip((a, b), names, strict=True):
        if not set(router.models) & set(records.models):
            raise EvaluationError(
                f"{name}: none of its models is in the records; it knows {', '.join(router.models)}, they "
                f"{', '.join(records.models)}"
            )
    table = records.deduplicated()
    overlap = overlap_of((a, b), names, table, trained_on)
    table = table.take(unseen_rows(table, trained_on))
    if not len(table):
        raise EvaluationError("every held-out query is among those trained on; bring others")
    vectors_a = a.embed(table.queries)
    vectors_b = vectors_a if b.embedding.id == a.embedding.id else b.embed(table.queries)
    deciding = (_Deciding(a, vectors_a, policy), _Deciding(b, vectors_b, policy))
    found = (deciding[0].choices(table), deciding[1].choices(table))
    flipped = np.array([one != other for one, other in zip(found[0].models, found[1].models, strict=True)])
    measured = {SCORE: (found[0].scores, found[1].scores), COST: (found[0].costs, found[1].costs)}
    pairs = Pairs(table, flipped, measured, {SCORE: margin, COST: cost_margin}, seed)
    score = pairs.change(SCORE)
    return Comparison(
        a=_side(names[0], a, found[0]),
        b=_side(names[1], b, found[1]),
        policy=policy.objective,
        queries=len(table),
        flipped=int(flipped.sum()),
        unknown=len(table) - score.queries,
        score=score,
        cost=pairs.change(COST),
        datasets=_datasets(table, pairs),
        flips=_flips(table, np.random.default_rng(seed).permutation(np.flatnonzero(flipped))[:flips], deciding, found),
        overlap=overlap,
    )


@dataclass(frozen=True)
class _Deciding:
    """A router with n queries as it embeds them, and the policy."""

    router: Router
    vectors: Vectors
    policy: Policy

    def choices(self, table: Records) -> _Choices:
        """Decide for all, and look up what came of it."""
        router = self.router
        chosen = router.route_vectors(self.vectors, self.policy)
        places = {name: column for column, name in enumerate(table.models)}
        columns = np.array([*(places.get(name, -1) for name in router.models), -1], dtype=np.intp)[chosen]
        rows, refused = np.arange(len(table)), chosen < 0

        def observed(values: Floats) -> Floats:
            return np.where(refused, 0.0, np.where(columns < 0, np.nan, values[rows, columns]))

        models = [None if column < 0 else router.models[column] for column in chosen.tolist()]
        return _Choices(models, observed(table.scores), observed(table.costs))

    def expected(self, row: int, models: Sequence[str | None]) -> "list[Expected | None]":
        """Say what the router expects of models on one query."""
        decision = self.router.route_vector(self.vectors[row], self.policy)
        return [
            None if model is None or model not in self.router.models else _expected(*decision.expectation(model))
            for model in models
        ]


def _expected(score: float, cost: float) -> Expected:
    return Expected(score=_known(score), cost=_known(cost))


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _side(name: str, router: Router, found: _Choices) -> Side:
    chosen = Counter(model for model in found.models if model is not None)
    unobserved = Counter(
        str(model) for model, known in zip(found.models, np.isfinite(found.scores), strict=True) if not known
    )
    return Side(
        name=name,
        method=router.method.name,
        fingerprint=router.fingerprint,
        models=list(router.models),
        shares={model: count / len(found.models) for model, count in chosen.most_common()},
        refused=found.models.count(None),
        unobserved=dict(unobserved.most_common()),
    )


def _datasets(table: Records, pairs: Pairs) -> list[DatasetChange]:
    """Return every dataset, B's largest gain in score first; those of unknown gain last."""
    found = []
    for code, dataset in enumerate(table.dataset_names):
        rows = np.flatnonzero(table.dataset_codes == code)
        found.append(
            DatasetChange(
                dataset=dataset,
                queries=len(rows),
                flipped=int(pairs.flipped[rows].sum()),
                score=pairs.change(SCORE, rows),
                cost=pairs.change(COST, rows),
            )
        )
    return sorted(found, key=lambda one: np.inf if one.score.difference is None else -one.score.difference)


def _flips(
    table: Records, rows: Rows, deciding: tuple[_Deciding, _Deciding], found: tuple[_Choices, _Choices]
) -> list[Flip]:
    flips = []
    for row in sorted(rows.tolist()):
        models = [choices.models[row] for choices in found]
        flips.append(
            Flip(
                query=table.queries[row],
                dataset=table.datasets[row],
                models=models,
                expected_by_a=deciding[0].expected(row, models),
                expected_by_b=deciding[1].expected(row, models),
                observed=[_expected(choices.scores[row], choices.costs[row]) for choices in found],
            )
        )
    return flips
