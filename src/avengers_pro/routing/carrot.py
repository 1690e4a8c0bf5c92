"""CARROT (arXiv 2502.03261): predict every model's score and cost by nearest neighbours, then trade them off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.estimates import TableEstimate
from avengers_pro.routing.method import Arrays, check_shapes
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries

CHOICES = (2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Those of the released code, somerstep/CARROT@3e6acff ``train_and_infer.py``."""
TUNING_ROWS = 4000
"""Rows that are left out, one at a time, to choose the numbers of neighbours; of larger tables, a sample."""

Near = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Carrot:
    """Two regressors, P for the score and C for the cost, and ``argmax (1 - mu) P - mu C`` with mu = 1 - alpha.

    Each regressor is the plain mean over the k most similar training rows, by cosine; its k has the largest mean r2
    over models, as in the released code, but each row left out by itself instead of five folds. Neighbours
    on which a model was not observed are skipped; if there is no other, its overall mean is expected.

    The published rule weighs a score against dollars (times a constant in one script); the same alpha would mean
    another thing after a change of prices. Here P and C are divided by the ranges of the models' mean scores and mean
    costs, as ``TableEstimate`` does for every method, so the published mu of an alpha satisfies
    ``mu / (1 - mu) = (1 - alpha) / alpha * score_range / cost_range``.

    Attributes:
        choices: Numbers of neighbours to choose from.
    """

    choices: tuple[int, ...] = CHOICES
    name: str = "carrot"
    uses_alpha: bool = True
    features: str = "none"

    def __post_init__(self) -> None:
        """Refuse numbers without meaning."""
        object.__setattr__(self, "choices", tuple(sorted(set(self.choices))))
        if not self.choices or self.choices[0] < 1:
            raise MethodError(f"carrot chooses among numbers of neighbours of at least 1, got {list(self.choices)}")

    def params(self) -> Mapping[str, Any]:
        """Return the numbers of neighbours to choose from."""
        return {"choices": list(self.choices)}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedCarrot":
        """Keep the rows and choose the two numbers of neighbours.

        Raises:
            MethodError: If there are no rows.
        """
        if not len(records):
            raise MethodError("carrot needs at least one row")
        rows = np.arange(len(records))
        if len(rows) > TUNING_ROWS:
            rows = np.sort(np.random.default_rng(seed).permutation(rows)[:TUNING_ROWS])
        choices = [k for k in self.choices if k < len(records)] or [1]
        near = others(vectors, rows, min(choices[-1], len(records) - 1))
        score, cost = (choices[_best(values, rows, near, choices)] for values in (records.scores, records.costs))
        return FittedCarrot(records.models, score, cost, vectors, records.scores, records.costs)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedCarrot":
        """Rebuild from ``FittedCarrot.arrays``.

        Raises:
            DamagedArtifactError: If an array is missing, has the wrong shape, or holds impossible numbers.
        """
        n, d = (*arrays.get("vectors", np.empty(0)).shape, 0)[:2]
        rows = dict.fromkeys(("scores", "costs"), (n, len(models)))
        check_shapes(arrays, {"vectors": (n, d), "neighbours": (2,), **rows})
        score, cost = (int(count) for count in np.nan_to_num(arrays["neighbours"]))
        if not 1 <= min(score, cost) <= max(score, cost) <= n:
            raise DamagedArtifactError(
                f"numbers of neighbours must be 1 to {n}, the training rows; got {score}, {cost}"
            )
        return FittedCarrot(models, score, cost, arrays["vectors"], arrays["scores"], arrays["costs"])


def others(vectors: Vectors, rows: NDArray[np.intp], count: int) -> Near:
    """Return (q, count) rows most similar to each of the q rows, itself left out, nearest first."""
    import faiss

    _, near = faiss.knn(vectors[rows], vectors, count + 1, metric=faiss.METRIC_INNER_PRODUCT)
    keep = near != rows[:, None]
    keep[keep.all(axis=1), -1] = False  # of many identical rows, faiss may return others than the row itself
    kept: Near = near[keep].reshape(len(rows), count)
    return kept


def means_of(values: Floats, near: Near, choices: Sequence[int]) -> list[tuple[Floats, Floats]]:
    """Average over the nearest rows, for several numbers of neighbours at once.

    Args:
        values: (n, m); NaN = not observed.
        near: (q, k) rows, nearest first.
        choices: Numbers of neighbours, ascending, each at most k.

    Returns:
        For each choice, (q, m) means, NaN where no neighbour was observed, and (q, m) how many were.
    """
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    sums, counts = np.zeros((2, len(near), values.shape[1]))
    found, done = [], 0
    for k in choices:
        for column in near.T[done:k]:
            sums += filled[column]
            counts += known[column]
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        found.append((means, counts.copy()))
        done = k
    return found


def _best(values: Floats, rows: NDArray[np.intp], near: Near, choices: Sequence[int]) -> int:
    """Return the position of the number of neighbours with the largest mean r2 over models, the least of equals."""
    if near.shape[1] < choices[0]:
        return 0
    fallback = _overall(values)
    found = means_of(values, near, choices)
    quality = [explained(values[rows], np.where(np.isnan(mean), fallback, mean)) for mean, _ in found]
    return int(np.argmax(quality))


def explained(observed: Floats, predicted: Floats) -> float:
    """Return the mean r2 over models, over observed (n, m) cells; a model that does not vary is left out; else 0."""
    known = ~np.isnan(observed)
    counts = np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, observed - np.where(known, observed, 0.0).sum(axis=0) / counts, 0.0)
    total = (centred**2).sum(axis=0)
    error = (np.where(known, observed - predicted, 0.0) ** 2).sum(axis=0)
    varies = total > 0
    return float(np.mean(1 - error[varies] / total[varies])) if varies.any() else 0.0


def _overall(values: Floats) -> Floats:
    """Return (m,) means over what was observed; NaN for a model that never was."""
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)
    means: Floats = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return means


@dataclass(frozen=True)
class FittedCarrot:
    """All training rows, and how many neighbours speak for the score and for the cost."""

    models: tuple[str, ...]
    score_neighbours: int
    cost_neighbours: int
    vectors: Vectors
    scores: Floats
    costs: Floats
    cluster_profile: Profile | None = None

    def arrays(self) -> Arrays:
        """Return the rows and the two numbers."""
        neighbours = np.array([self.score_neighbours, self.cost_neighbours])
        return {"neighbours": neighbours, "vectors": self.vectors, "scores": self.scores, "costs": self.costs}

    @cached_property
    def _means(self) -> Profile:
        return Profile.of(self.scores, self.costs, np.zeros(len(self.vectors), dtype=np.intp), 1)

    def estimate(self, queries: Queries) -> TableEstimate:
        """Average the nearest rows of each query."""
        import faiss

        most = min(max(self.score_neighbours, self.cost_neighbours), len(self.vectors))
        _, near = faiss.knn(queries.vectors, self.vectors, most, metric=faiss.METRIC_INNER_PRODUCT)
        ((score, observed),) = means_of(self.scores, near, [self.score_neighbours])
        ((cost, _),) = means_of(self.costs, near, [self.cost_neighbours])
        score = np.where(np.isnan(score), self._means.mean_score, score)
        cost = np.where(np.isnan(cost), self._means.mean_cost, cost)
        return TableEstimate(score, cost, observed, self._means)
