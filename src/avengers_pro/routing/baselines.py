"""What a router has to beat: single models, chance, plain neighbours, and two references that see the answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.clusters import Clusters
from avengers_pro.routing.method import Arrays
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries


@dataclass(frozen=True)
class TableEstimate:
    """Expectations already worked out, (n, m) each; the utility weighs score against cost.

    ``alpha * score / score_range - (1 - alpha) * cost / cost_range``, the ranges being those of the models'
    means: one price of a dollar for all queries.
    """

    expected_score: Floats
    expected_cost: Floats
    observations: Floats
    means: Profile
    clusters: NDArray[np.intp] | None = None

    def utility(self, alpha: float) -> Floats:
        """Return (n, m); -inf for a model of which nothing is known; an unpriced model is as dear as the dearest."""
        cost = self.means.mean_cost[0]
        dearest = np.nanmax(cost) if np.isfinite(cost).any() else 0.0
        price = (1 - alpha) / (_range(cost) or 1.0)
        utility = (alpha / (_range(self.means.mean_score[0]) or 1.0)) * self.expected_score
        utility = utility - price * np.where(np.isnan(self.expected_cost), dearest, self.expected_cost)
        return np.where(np.isnan(utility), -np.inf, utility)


def _range(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.ptp(known)) if known.size else 0.0


@dataclass(frozen=True, slots=True)
class SingleModel:
    """Always the same model: a named one, or the one with the best mean score in the records it is fitted on."""

    model: str | None = None
    uses_alpha: bool = False

    @property
    def name(self) -> str:
        """``single:<model>`` or ``best-single``."""
        return "best-single" if self.model is None else f"single:{self.model}"

    def params(self) -> Mapping[str, Any]:
        """Return the model's name."""
        return {"model": self.model}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedTable":  # noqa: ARG002
        """Find the model; of equally good ones, the cheapest."""
        means = _totals(records)
        if self.model is None:
            return FittedTable(records.models, means, best_column(means, records.complete_models(), records.models))
        if self.model not in records.models:
            raise MethodError(f"no model is named {self.model!r}; known: {', '.join(records.models)}")
        return FittedTable(records.models, means, records.models.index(self.model))

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedTable":
        """Rebuild from ``FittedTable.arrays``."""
        return FittedTable(models, _restored_totals(arrays, len(models)), int(arrays["always"][0]))


def best_column(means: Profile, complete: tuple[str, ...], models: tuple[str, ...]) -> int:
    """Return the column of the best mean score, the cheapest of equals, among models observed on every row if any."""
    eligible = np.array([not complete or name in complete for name in models])
    score = np.where(eligible, np.nan_to_num(means.mean_score[0], nan=-np.inf), -np.inf)
    cost = np.nan_to_num(means.mean_cost[0], nan=np.inf)
    return int(np.lexsort((cost, -score))[0])


@dataclass(frozen=True, slots=True)
class FittedTable:
    """One row of means for all queries, and the model that is always chosen."""

    models: tuple[str, ...]
    means: Profile
    always: int
    centers: Clusters | None = None

    def arrays(self) -> Arrays:
        """Return the means and the chosen column."""
        return {"always": np.array([self.always]), **self.means.arrays()}

    def estimate(self, queries: Queries) -> "FixedEstimate":
        """Expect the overall means everywhere."""
        n = len(queries)
        preference = np.zeros((n, len(self.models)))
        preference[:, self.always] = 1.0
        return FixedEstimate(_everywhere(self.means, n), preference)


@dataclass(frozen=True)
class FixedEstimate:
    """Expectations, and a choice that does not depend on alpha."""

    table: TableEstimate
    preference: Floats
    clusters: NDArray[np.intp] | None = None

    @property
    def expected_score(self) -> Floats:
        """(n, m) mean scores."""
        return self.table.expected_score

    @property
    def expected_cost(self) -> Floats:
        """(n, m) mean costs."""
        return self.table.expected_cost

    @property
    def observations(self) -> Floats:
        """(n, m) scores behind them."""
        return self.table.observations

    def utility(self, alpha: float) -> Floats:  # noqa: ARG002
        """Return the (n, m) preference, whatever alpha is."""
        return self.preference


@dataclass(frozen=True, slots=True)
class RandomModel:
    """Any model with equal chance, drawn once for each query."""

    name: str = "random"
    uses_alpha: bool = False

    def params(self) -> Mapping[str, Any]:
        """No parameters."""
        return {}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedRandom":  # noqa: ARG002
        """Remember the seed."""
        return FittedRandom(records.models, _totals(records), seed)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedRandom":
        """Rebuild from ``FittedRandom.arrays``."""
        return FittedRandom(models, _restored_totals(arrays, len(models)), int(arrays["seed"][0]))


@dataclass(frozen=True, slots=True)
class FittedRandom:
    """The means and a seed."""

    models: tuple[str, ...]
    means: Profile
    seed: int
    centers: Clusters | None = None

    def arrays(self) -> Arrays:
        """Return the means and the seed."""
        return {"seed": np.array([self.seed]), **self.means.arrays()}

    def estimate(self, queries: Queries) -> FixedEstimate:
        """Draw a preference for each query from its vector: the same query always gets the same draw."""
        n, m = len(queries), len(self.models)
        bits = np.ascontiguousarray(queries.vectors[:, :4]).view(np.uint32).astype(np.uint64)
        keys = bits.sum(axis=1) + np.uint64(self.seed)
        preference = np.array([np.random.default_rng(int(key)).random(m) for key in keys]).reshape(n, m)
        return FixedEstimate(_everywhere(self.means, n), preference)


@dataclass(frozen=True, slots=True)
class NearestNeighbours:
    """kNN: the mean score and cost of each model on the nearest training rows that observed it.

    "When Simple kNN Beats Complex Learned Routers", arXiv 2505.12601.
    """

    neighbours: int = 100
    name: str = "knn"
    uses_alpha: bool = True

    def params(self) -> Mapping[str, Any]:
        """Return the number of neighbours."""
        return {"neighbours": self.neighbours}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedNeighbours":  # noqa: ARG002
        """Keep the rows."""
        if self.neighbours < 1:
            raise MethodError(f"knn needs at least 1 neighbour, got {self.neighbours}")
        return FittedNeighbours(records.models, self.neighbours, vectors, records.scores, records.costs)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedNeighbours":
        """Rebuild from ``FittedNeighbours.arrays``."""
        if not {"vectors", "scores", "costs"} <= arrays.keys() or arrays["scores"].shape != arrays["costs"].shape:
            raise DamagedArtifactError("the router lacks its training rows")
        return FittedNeighbours(models, self.neighbours, arrays["vectors"], arrays["scores"], arrays["costs"])


@dataclass(frozen=True)
class FittedNeighbours:
    """All training rows."""

    models: tuple[str, ...]
    neighbours: int
    vectors: Vectors
    scores: Floats
    costs: Floats
    centers: Clusters | None = None

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


@dataclass(frozen=True, slots=True)
class DatasetLabel:
    """A reference that is told which dataset each query comes from, and knows each model's means there."""

    name: str = "dataset-label"
    uses_alpha: bool = True

    def params(self) -> Mapping[str, Any]:
        """No parameters."""
        return {}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedDatasetLabel":  # noqa: ARG002
        """Sum up each dataset."""
        profile = Profile.of(records.scores, records.costs, records.dataset_codes, len(records.dataset_names))
        return FittedDatasetLabel(records.models, records.dataset_names, profile)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedDatasetLabel":
        """Refuse: queries carry no dataset outside an evaluation."""
        raise MethodError("dataset-label is a reference for evaluations; it cannot serve as a router")


@dataclass(frozen=True, slots=True)
class FittedDatasetLabel:
    """One profile row for each dataset."""

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    profile: Profile
    centers: Clusters | None = None

    def arrays(self) -> Arrays:
        """Return the profile."""
        return {**self.profile.arrays()}

    def estimate(self, queries: Queries) -> TableEstimate:
        """Expect a dataset's means on its queries; a dataset never seen gets the overall means."""
        if queries.datasets is None:
            raise MethodError("dataset-label is a reference for evaluations; queries here carry no dataset")
        position = {name: row for row, name in enumerate(self.datasets)}
        rows = [position.get(str(name), len(position)) for name in queries.datasets]
        means = self.profile.totals()
        score = np.vstack([self.profile.mean_score, means.mean_score])[rows]
        cost = np.vstack([self.profile.mean_cost, means.mean_cost])[rows]
        return TableEstimate(score, cost, np.vstack([self.profile.score_counts, means.score_counts])[rows], means)


@dataclass(frozen=True, slots=True)
class Oracle:
    """The ceiling: sees every model's true score and takes the cheapest of the best."""

    name: str = "oracle"
    uses_alpha: bool = False

    def params(self) -> Mapping[str, Any]:
        """No parameters."""
        return {}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedOracle":  # noqa: ARG002
        """Nothing to learn."""
        return FittedOracle(records.models, _totals(records))

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedOracle":
        """Refuse: nobody knows the answers outside an evaluation."""
        raise MethodError("oracle is a reference for evaluations; it cannot serve as a router")


@dataclass(frozen=True, slots=True)
class FittedOracle:
    """Knows nothing until it is shown the answers."""

    models: tuple[str, ...]
    means: Profile
    centers: Clusters | None = field(default=None)

    def arrays(self) -> Arrays:
        """Return the means."""
        return {**self.means.arrays()}

    def estimate(self, queries: Queries) -> FixedEstimate:
        """Prefer by true score, then by true cost; an unpriced model is the dearest."""
        if queries.scores is None or queries.costs is None:
            raise MethodError("oracle is a reference for evaluations; queries here carry no answers")
        score, cost = queries.scores, np.nan_to_num(queries.costs, nan=np.inf)
        cost_rank = cost.argsort(axis=1, kind="stable").argsort(axis=1)
        best = score == np.fmax.reduce(score, axis=1)[:, None]
        preference = np.where(best, 1.0 - cost_rank / score.shape[1], 0.0)
        table = TableEstimate(score, queries.costs, (~np.isnan(score)).astype(np.float64), self.means)
        return FixedEstimate(table, preference)


def _totals(records: Records) -> Profile:
    return Profile.of(records.scores, records.costs, np.zeros(len(records), dtype=np.intp), 1)


def _restored_totals(arrays: Arrays, m: int) -> Profile:
    names = ("score_counts", "score_sums", "cost_counts", "cost_sums")
    if any(name not in arrays or arrays[name].shape != (1, m) for name in names):
        raise DamagedArtifactError("the router lacks its means, or they are of another number of models")
    return Profile(*(arrays[name] for name in names))


def _everywhere(means: Profile, n: int) -> TableEstimate:
    m = means.score_counts.shape[1]
    score, cost, counts = (
        np.broadcast_to(values, (n, m)) for values in (means.mean_score, means.mean_cost, means.score_counts)
    )
    return TableEstimate(score, cost, counts, means)
