"""What is in a router, as sentences and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding import Vectors
from avengers_pro.evaluation.charts.theme import shortened
from avengers_pro.evaluation.report.numbers import MISSING, change, dollars, knob, percent, points
from avengers_pro.evaluation.report.tables import COST, Table
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.artifact import ModelEntry
from avengers_pro.routing.calibration import GUARD_Z, GUARD_Z_DEARER, Calibration
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution
from avengers_pro.routing.published import FittedClusterMethod
from avengers_pro.routing.queries import Queries

ALPHAS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
CHOSEN_AT = (1.0, 0.5, 0.0)
"""The alphas at which a kind of query says what it gets."""
_EXAMPLE_CHARS = 90


def headline(router: Router) -> str:
    """Return what the router is, in a few words."""
    return f"A router over {len(router.models)} models, fitted by {router.method.name}"


def summary(router: Router) -> str:
    """Say what it was fitted on and what it expects."""
    queries = fitted_on(router)
    said = [f"It was fitted on {queries} queries." if queries else "How many queries it was fitted on is not recorded."]
    said.append(f"Best single model on them: {router.best_single}.")
    return " ".join(said)


def fitted_on(router: Router) -> str:
    """Return how many queries the first step of the lineage names; empty if it names none."""
    queries = router.lineage[0].detail.get("queries") if router.lineage else None
    return f"{queries:,}" if isinstance(queries, int) else ""


def key_figures(router: Router) -> list[tuple[str, str, str]]:
    """Return (name, number, meaning) of what it expects beside the best single model; none without a calibration."""
    found = calibration(router)
    if found is None or not _priced(found):
        return []
    free = at_alpha(found, 1.0)
    half = at_alpha(found, 0.5)
    return [
        (
            "Best single model",
            f"{percent(found.reference_score)} %",
            f"score; {dollars(1000 * found.reference_cost)} for 1,000 queries",
        ),
        ("Routed at alpha 1", *_against(found, *free)),
        ("Routed at alpha 0.5", *_against(found, *half)),
    ]


def _against(found: Calibration, cost_usd: float, score: float) -> tuple[str, str]:
    relative = cost_usd / found.reference_cost - 1
    more = f"score, {points(score - found.reference_score)} points"
    return f"{percent(score)} %", f"{more}; {dollars(1000 * cost_usd)} for 1,000 queries, {change(relative)}"


def calibration(router: Router) -> Calibration | None:
    """Return what prices of a dollar did on the training rows; None for methods that know nothing of that."""
    return router.fitted.calibration if isinstance(router.fitted, FittedMultiResolution) else None


def at_alpha(found: Calibration, alpha: float) -> tuple[float, float]:
    """Return (US dollars a query, score) at an alpha, on training rows, each expected without itself."""
    price = found.price_at(alpha)
    if price is None:
        return found.reference_cost, found.reference_score
    return float(np.interp(price, found.prices, found.costs)), float(np.interp(price, found.prices, found.scores))


def facts(router: Router) -> list[tuple[str, str]]:
    """Return what the router is made of, as names and values."""
    settings = ", ".join(f"{name} = {value}" for name, value in router.method.params().items())
    return [
        ("Method", router.method.name),
        ("Parameters", settings or MISSING),
        ("Queries", fitted_on(router) or "not recorded"),
        ("Embedder", f"{router.embedding.id}, {router.embedding.dimension} dimensions"),
        ("Seed", str(router.seed)),
        ("Fingerprint of the records", router.fingerprint),
    ]


def models(router: Router) -> Table:
    """Return each model's record and prices, best first."""
    rows = [
        (
            fact.name,
            f"{fact.observations:,}",
            percent(fact.mean_score),
            dollars(None if fact.mean_cost is None else 1000 * fact.mean_cost),
            dollars(fact.input_price),
            dollars(fact.cached_input_price),
            dollars(fact.output_price),
            _abilities(fact),
        )
        for fact in sorted(router.facts, key=lambda fact: -(fact.mean_score or 0.0))
    ]
    return Table(
        "Models, best first; prices in US dollars per million tokens, a dash where none is stated",
        ("Model", "Scores", "Mean score, %", COST, "Input", "Cached input", "Output", "Can do"),
        rows,
        words=frozenset({0, 7}),
    )


def _abilities(fact: ModelEntry) -> str:
    return "not stated" if fact.capabilities is None else ", ".join(fact.capabilities) or "text"


def frontier(found: Calibration) -> Table:
    """Return what each alpha is expected to score and cost."""
    rows = []
    for alpha in ALPHAS:
        cost, score = at_alpha(found, alpha)
        relative = cost / found.reference_cost - 1 if _priced(found) else None
        gain = score - found.reference_score
        rows.append((knob(alpha), percent(score), points(gain), dollars(1000 * cost), change(relative)))
    return Table(
        f"What each alpha is expected to do, on {found.rows:,} training queries; changes are against the best single "
        "model",
        ("alpha", "Score, %", "Score change, points", COST, "Cost change"),
        rows,
    )


def _priced(found: Calibration) -> bool:
    return found.reference_cost > 0


def guards(router: Router) -> list[str]:
    """Say when the router does not trust itself."""
    said = []
    found = calibration(router)
    if found is None:
        said.append(f"{router.method.name} has no guard: at alpha 1 it always follows its own expectations.")
    else:
        state = (
            "At alpha 1 it follows its own expectations"
            if found.open
            else f"At alpha 1 it keeps to the best single model, {router.models[found.reference]}"
        )
        said.append(
            f"Guard: {state}. On its training queries its choices are {found.guard_z:.1f} standard errors above that "
            f"model's; it takes {GUARD_Z:g}, or {GUARD_Z_DEARER:g} where they cost more."
        )
    novelty = router.fitted.novelty if isinstance(router.fitted, FittedMultiResolution) else None
    if novelty is None:
        said.append("Novelty: it does not look at whether a query is unlike its records.")
    else:
        said.append(
            f"Novelty: a query whose mean distance to its 5 nearest of {len(novelty.reference)} kept training queries "
            f"is more than {novelty.limit:.3f} is decided by the overall means; 1 % of the training queries were."
        )
    return said


@dataclass(frozen=True, slots=True)
class Kind:
    """A cluster, and what is chosen in it.

    Attributes:
        cluster: Its number.
        size: Queries in it.
        examples: Training queries near its centre.
        best: The model with the best mean score there, and that score; None = nothing was observed.
        chosen: At each of ``CHOSEN_AT``: the model chosen most often, and its share; None = not known.
    """

    cluster: int
    size: float
    examples: tuple[str, ...]
    best: tuple[str, float] | None
    chosen: tuple[tuple[str, float] | None, ...]


def kinds(router: Router, *, quoting: bool = True) -> list[Kind]:
    """Return the clusters, largest first; none for methods without."""
    profile = router.fitted.cluster_profile
    if profile is None:
        return []
    rows = _known_rows(router)
    labels = None if rows is None else router.fitted.estimate(Queries(rows)).clusters
    chosen = [] if rows is None else [router.route_vectors(rows, Policy(alpha=alpha)) for alpha in CHOSEN_AT]
    found = []
    for cluster, size in enumerate(profile.sizes.tolist()):
        here = np.zeros(0, dtype=bool) if labels is None else labels[:, 0] == cluster
        found.append(
            Kind(
                cluster,
                size,
                tuple(router.examples[cluster]) if quoting and router.examples else (),
                _best(router.models, profile.mean_score[cluster]),
                tuple(_most(router.models, columns[here]) for columns in chosen) or (None,) * len(CHOSEN_AT),
            )
        )
    return sorted(found, key=lambda kind: (-kind.size, kind.cluster))


def _known_rows(router: Router) -> Vectors | None:
    """Return (s, d) rows whose choices stand for their clusters: kept training rows, or the centres."""
    if isinstance(router.fitted, FittedMultiResolution):
        return router.fitted.evidence.sample.vectors
    return router.fitted.centers.centroids if isinstance(router.fitted, FittedClusterMethod) else None


def _best(names: Sequence[str], scores: NDArray[np.float64]) -> tuple[str, float] | None:
    if np.isnan(scores).all():
        return None
    column = int(np.nanargmax(scores))
    return names[column], float(scores[column])


def _most(names: Sequence[str], columns: NDArray[np.intp]) -> tuple[str, float] | None:
    feasible = columns[columns >= 0]
    if not feasible.size:
        return None
    counts = np.bincount(feasible, minlength=len(names))
    return names[int(counts.argmax())], float(counts.max() / columns.size)


def kinds_table(found: Sequence[Kind], caption: str) -> Table:
    """Return kinds of query with the models chosen there."""
    rows = [
        (
            " · ".join(shortened(text, _EXAMPLE_CHARS) for text in kind.examples[:2]) or f"cluster {kind.cluster}",
            f"{kind.size:,.0f}",
            MISSING if kind.best is None else f"{kind.best[0]} ({percent(kind.best[1], 0)} %)",
            *(MISSING if choice is None else f"{choice[0]} ({percent(choice[1], 0)} %)" for choice in kind.chosen),
        )
        for kind in found
    ]
    return Table(
        caption,
        ("Like", "Queries", "Best mean score", *(f"Chosen at alpha {alpha:g}" for alpha in CHOSEN_AT)),
        rows,
        words=frozenset({0, 2, 3, 4, 5}),
        texts=frozenset({0}),
    )


def lineage(router: Router) -> Table:
    """Return how the router came to be, first step first."""
    rows = [
        (str(number), step.action, ", ".join(f"{name} = {value}" for name, value in step.detail.items()))
        for number, step in enumerate(router.lineage, 1)
    ]
    return Table("How it came to be", ("Step", "What", "With"), rows, words=frozenset({0, 1, 2}))
