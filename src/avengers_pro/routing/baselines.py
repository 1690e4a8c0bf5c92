"""What a router has to beat: single models, chance, and plain neighbours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.estimates import FixedEstimate, TableEstimate, everywhere, totals
from avengers_pro.routing.method import Arrays, check_shapes, restored_profile
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries


@dataclass(frozen=True, slots=True)
class SingleModel:
    """Always the same model: a named one, or the one with the best mean score in the records it is fitted on."""

    model: str | None = None
    uses_alpha: bool = False
    features: str = "none"

    @property
    def name(self) -> str:
        """``single:<model>`` or ``best-single``."""
        return "best-single" if self.model is None else f"single:{self.model}"

    def params(self) -> Mapping[str, Any]:
        """Return the model's name."""
        return {"model": self.model}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedTable":  # noqa: ARG002
        """Find the model; of equally good ones, the cheapest."""
        if self.model is None:
            return FittedTable(records.models, totals(records), best_single(records, records.complete_models()))
        if self.model not in records.models:
            raise MethodError(f"no model is named {self.model!r}; known: {', '.join(records.models)}")
        return FittedTable(records.models, totals(records), records.models.index(self.model))

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedTable":
        """Rebuild from ``FittedTable.arrays``."""
        return FittedTable(models, restored_profile(arrays, (1, len(models))), _whole(arrays, "always", len(models)))


def best_single(records: Records, eligible: Sequence[str], weights: Floats | None = None) -> int:
    """Return the column of the best mean score, the cheapest of equals.

    Args:
        records: n rows.
        eligible: Only these models; all if empty.
        weights: (n,) of the rows; all the same if None.
    """
    means = totals(records, weights)
    among = np.array([not eligible or name in eligible for name in records.models])
    score = np.where(among, np.nan_to_num(means.mean_score[0], nan=-np.inf), -np.inf)
    cost = np.nan_to_num(means.mean_cost[0], nan=np.inf)
    return int(np.lexsort((cost, -score))[0])


@dataclass(frozen=True, slots=True)
class FittedTable:
    """One row of means for all queries, and the model that is always chosen."""

    models: tuple[str, ...]
    means: Profile
    always: int
    cluster_profile: Profile | None = None

    def arrays(self) -> Arrays:
        """Return the means and the chosen column."""
        return {"always": np.array([self.always]), **self.means.arrays()}

    def estimate(self, queries: Queries) -> "FixedEstimate":
        """Expect the overall means everywhere."""
        n = len(queries)
        preference = np.zeros((n, len(self.models)))
        preference[:, self.always] = 1.0
        return FixedEstimate(everywhere(self.means, n), preference)


@dataclass(frozen=True, slots=True)
class RandomModel:
    """Any model with equal chance, drawn once for each query."""

    name: str = "random"
    uses_alpha: bool = False
    features: str = "none"

    def params(self) -> Mapping[str, Any]:
        """No parameters."""
        return {}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedRandom":  # noqa: ARG002
        """Remember the seed."""
        return FittedRandom(records.models, totals(records), seed)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedRandom":
        """Rebuild from ``FittedRandom.arrays``."""
        return FittedRandom(models, restored_profile(arrays, (1, len(models))), _whole(arrays, "seed", 2**63))


@dataclass(frozen=True, slots=True)
class FittedRandom:
    """The means and a seed."""

    models: tuple[str, ...]
    means: Profile
    seed: int
    cluster_profile: Profile | None = None

    def arrays(self) -> Arrays:
        """Return the means and the seed."""
        return {"seed": np.array([self.seed]), **self.means.arrays()}

    def estimate(self, queries: Queries) -> FixedEstimate:
        """Draw a preference for each query from its vector: the same query always gets the same draw."""
        n, m = len(queries), len(self.models)
        bits = np.ascontiguousarray(queries.vectors[:, :4]).view(np.uint32).astype(np.uint64)
        keys = bits.sum(axis=1) + np.uint64(self.seed)
        preference = np.array([np.random.default_rng(int(key)).random(m) for key in keys]).reshape(n, m)
        return FixedEstimate(everywhere(self.means, n), preference)


@dataclass(frozen=True, slots=True)
class NearestNeighbours:
    """kNN: the mean score and cost of each model on the nearest training rows, as far as they observed it.

    "When Simple kNN Beats Complex Learned Routers", arXiv 2505.12601.
    """

    neighbours: int = 100
    name: str = "knn"
    uses_alpha: bool = True
    features: str = "none"

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if self.neighbours != int(self.neighbours) or self.neighbours < 1:
            raise MethodError(f"knn needs at least 1 neighbour, a whole number, got {self.neighbours!r}")

    def params(self) -> Mapping[str, Any]:
        """Return the number of neighbours."""
        return {"neighbours": self.neighbours}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedNeighbours":  # noqa: ARG002
        """Keep the rows."""
        return FittedNeighbours(records.models, self.neighbours, vectors, records.scores, records.costs)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedNeighbours":
        """Rebuild from ``FittedNeighbours.arrays``."""
        n, d = (*arrays.get("vectors", np.empty((0, 0))).shape, 0)[:2]
        shape = (n, len(models))
        check_shapes(arrays, {"vectors": (n, d), "scores": shape, "costs": shape})
        return FittedNeighbours(models, self.neighbours, arrays["vectors"], arrays["scores"], arrays["costs"])


@dataclass(frozen=True)
class FittedNeighbours:
    """All training rows."""

    models: tuple[str, ...]
    neighbours: int
    vectors: Vectors
    scores: Floats
    costs: Floats
    cluster_profile: Profile | None = None

    def arrays(self) -> Arrays:
        """Return the rows."""
        return {"vectors": self.vectors, "scores": self.scores, "costs": self.costs}

    @cached_property
    def _means(self) -> Profile:
        return Profile.of(self.scores, self.costs, np.zeros(len(self.vectors), dtype=np.intp), 1)

    def estimate(self, queries: Queries) -> TableEstimate:
        """Average the nearest rows of each query."""
        import faiss

        count = min(self.neighbours, len(self.vectors))
        _, near = faiss.knn(queries.vectors, self.vectors, count, metric=faiss.METRIC_INNER_PRODUCT)
        score, observed = _neighbour_means(self.scores, near)
        cost, _ = _neighbour_means(self.costs, near)
        return TableEstimate(score, cost, observed, self._means)


def _neighbour_means(values: Floats, near: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return (n, m) means over each query's (n, k) rows, NaN where none is known, and how many are."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    sums, counts = np.zeros((2, len(near), values.shape[1]))
    for column in near.T:
        sums += filled[column]
        counts += known[column]
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0), counts


def _whole(arrays: Arrays, name: str, end: int) -> int:
    """Read back one whole number in [0, end)."""
    value = arrays.get(name, np.empty(0))
    if value.shape != (1,) or value.dtype.kind != "i" or not 0 <= value[0] < end:
        raise DamagedArtifactError(f"array {name!r} must hold one whole number from 0 to {end - 1}")
    return int(value[0])
