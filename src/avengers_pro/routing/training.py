"""What a router remembers of the records it was fitted on, beside the fitted method."""

from collections.abc import Sequence

import numpy as np

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.records.table import Records
from avengers_pro.routing.artifact import ModelEntry
from avengers_pro.routing.method import FittedMethod
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.sampling import LEARNING_ROWS, first_rows, keys_of, order_of

EXAMPLES = 3
EXAMPLE_CHARS = 200


def model_facts(records: Records, models: Sequence[str]) -> tuple[ModelEntry, ...]:
    """Sum up each of these models."""
    return tuple(
        ModelEntry(
            name,
            int(np.isfinite(scores := records.scores[:, records.models.index(name)]).sum()),
            _mean(scores),
            _mean(records.costs[:, records.models.index(name)]),
        )
        for name in models
    )


def _mean(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else None


def means_of(facts: Sequence[ModelEntry]) -> Profile:
    """Return what is known of the models overall, as one cluster."""
    counts = np.array([[float(fact.observations) for fact in facts]])
    scores = np.array([[0.0 if fact.mean_score is None else fact.mean_score for fact in facts]])
    costs = np.array([[np.nan if fact.mean_cost is None else fact.mean_cost for fact in facts]])
    priced = np.where(np.isnan(costs), 0.0, counts)
    return Profile(counts, scores * counts, priced, np.nan_to_num(costs) * priced)


def cluster_examples(
    fitted: FittedMethod, queries: Sequence[str], vectors: Vectors, seed: int
) -> tuple[tuple[str, ...], ...]:
    """Return, for each cluster, the training queries nearest to its centre, shortened; none without clusters.

    Of a large table, the sample that clusters are learnt from is looked at.
    """
    if len(queries) > LEARNING_ROWS:
        rows = first_rows(order_of(keys_of(queries), seed), LEARNING_ROWS)
        queries, vectors = [queries[row] for row in rows], vectors[rows]
    near = fitted.estimate(Queries(vectors))
    if near.clusters is None or near.closeness is None or fitted.cluster_profile is None:
        return ()
    label, closeness = near.clusters[:, 0], near.closeness[:, 0]
    examples = []
    for cluster in range(len(fitted.cluster_profile.score_counts)):
        rows = np.flatnonzero(label == cluster)
        nearest = rows[np.argsort(-closeness[rows], kind="stable")[:EXAMPLES]]
        examples.append(tuple(_shorten(queries[row]) for row in nearest))
    return tuple(examples)


def _shorten(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= EXAMPLE_CHARS else flat[: EXAMPLE_CHARS - 3] + "..."
