"""The published cluster methods: Avengers-Pro as in the paper and as in the code, and Avengers.

arXiv 2508.12631 (Avengers-Pro) and 2505.19797 (Avengers). All three embed a query, look up its nearest k-means
clusters and add up what each cluster says of each model; they differ in how a cluster speaks.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.clusters import Clusters, Labels, fit_raw_clusters, fit_unit_clusters
from avengers_pro.routing.method import Arrays, restored_profile
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries

_CHOICES = {"cost_norm": ("minmax", "max", None), "missing": ("exclude", "zero"), "centroids": ("unit", "raw")}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterParams:
    """How clusters are made and how they speak.

    Attributes:
        clusters: k of k-means.
        top_clusters: How many nearest clusters decide.
        beta: Sharpness of the softmax over their distances; None = they count the same.
        rank_offset: A cluster gives a model 1 / (rank + offset), rank from 0; None = its balance score itself.
        cost_norm: Cost within a cluster from 0 to 1: by the models' ``minmax`` or by their ``max``; None = cost
            plays no part. Mean and total cost of a cluster then say the same.
        missing: A score or cost that was not observed is left out, or taken for ``zero`` as the released code does.
        centroids: Scaled to ``unit`` length or left ``raw``.
    """

    clusters: int = 60
    top_clusters: int = 4
    beta: float | None = None
    rank_offset: float | None = None
    cost_norm: Literal["minmax", "max"] | None = "minmax"
    missing: Literal["exclude", "zero"] = "exclude"
    centroids: Literal["unit", "raw"] = "unit"

    def __post_init__(self) -> None:
        """Refuse values that have no meaning."""
        for name in ("clusters", "top_clusters"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise MethodError(f"{name} must be a whole number, at least 1, got {value!r}")
            object.__setattr__(self, name, int(value))
        for name, least in (("beta", 0.0), ("rank_offset", 1e-9)):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and least <= value < np.inf):
                raise MethodError(f"{name} must be a finite number, at least {least:g}, got {value!r}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise MethodError(f"{name} must be one of {known}, got {getattr(self, name)!r}")


ROUNDING = 1e-12
"""A range that is a smaller share of the largest value is rounding: the values are equal."""

PAPER = ClusterParams()
CODE = ClusterParams(
    clusters=25, top_clusters=3, beta=9.0, rank_offset=1.0, cost_norm="max", missing="zero", centroids="raw"
)
AVENGERS = ClusterParams(
    clusters=64, top_clusters=2, beta=6.0, rank_offset=0.1, cost_norm=None, missing="exclude", centroids="raw"
)


@dataclass(frozen=True, slots=True)
class ClusterMethod:
    """One of the published cluster methods, or a mixture of their parts."""

    name: str
    settings: ClusterParams = field(default_factory=ClusterParams)
    features: str = "none"

    @property
    def uses_alpha(self) -> bool:
        """False for Avengers, which ranks by score alone."""
        return self.settings.cost_norm is not None

    def params(self) -> Mapping[str, Any]:
        """Return the settings as plain values."""
        return asdict(self.settings)

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedClusterMethod":
        """Cluster the rows and sum up each model in each cluster.

        Raises:
            MethodError: If no row is left to learn from.
        """
        rows, columns = _usable(records, self.settings.missing)
        kmeans = fit_unit_clusters if self.settings.centroids == "unit" else fit_raw_clusters
        clusters, labels = kmeans(vectors[rows], self.settings.clusters, seed)
        return self.from_clusters(records, clusters, labels, rows=rows, columns=columns)

    def from_clusters(
        self,
        records: Records,
        clusters: Clusters,
        labels: Labels,
        *,
        rows: NDArray[np.intp] | None = None,
        columns: NDArray[np.intp] | None = None,
    ) -> "FittedClusterMethod":
        """Sum up rows whose clusters are known.

        Args:
            records: The table.
            clusters: k clusters.
            labels: Cluster of each used row.
            rows: The rows used; all if None.
            columns: The models used; all if None.
        """
        where = np.ix_(
            np.arange(len(records)) if rows is None else rows,
            np.arange(len(records.models)) if columns is None else columns,
        )
        scores, costs = records.scores[where], records.costs[where]
        if self.settings.missing == "zero":
            scores, costs = np.nan_to_num(scores), np.nan_to_num(costs)
        profile = Profile.of(scores, costs, labels, len(clusters))
        return FittedClusterMethod(
            tuple(records.models[column] for column in where[1].ravel()), self.settings, clusters, profile
        )

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedClusterMethod":
        """Rebuild from ``FittedClusterMethod.arrays``.

        Raises:
            DamagedArtifactError: If an array is missing or has the wrong shape.
        """
        centroids = arrays.get("centroids", np.empty(0))
        if centroids.ndim != 2 or not len(centroids) or not np.isfinite(centroids).all():  # noqa: PLR2004
            raise DamagedArtifactError("the router has no usable centroids")
        profile = restored_profile(arrays, (len(centroids), len(models)))
        return FittedClusterMethod(models, self.settings, Clusters(centroids), profile)


def _usable(records: Records, missing: Literal["exclude", "zero"]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and models to learn from.

    The released code takes the models of the first row and drops every row that does not name them all.
    """
    if missing == "exclude":
        return np.arange(len(records)), np.arange(len(records.models))
    columns = np.flatnonzero(records.listed[0]) if len(records) else np.array([], dtype=np.intp)
    rows = np.flatnonzero(records.listed[:, columns].all(axis=1))
    if not len(columns) or not len(rows):
        raise MethodError("no row names every model of the first row; avengers-pro-code cannot be fitted")
    return rows, columns


@dataclass(frozen=True)
class FittedClusterMethod:
    """Clusters and what is known of each model in each."""

    models: tuple[str, ...]
    settings: ClusterParams
    centers: Clusters
    profile: Profile
    _tables: dict[float, Floats] = field(default_factory=dict, repr=False, compare=False)

    @property
    def cluster_profile(self) -> Profile:
        """What is known of each model in each cluster."""
        return self.profile

    def arrays(self) -> Arrays:
        """Return centroids and profile."""
        return {"centroids": self.centers.centroids, **self.profile.arrays()}

    def estimate(self, queries: Queries) -> "ClusterEstimate":
        """Find the nearest clusters of each query."""
        count = min(self.settings.top_clusters, len(self.centers))
        nearest, similarity = self.centers.nearest(queries.vectors, count)
        if self.settings.beta is None:
            return ClusterEstimate(self, nearest, similarity, None)
        weights = np.exp(self.settings.beta * (similarity - similarity[:, :1]).astype(np.float64))
        return ClusterEstimate(self, nearest, similarity, weights / weights.sum(axis=1, keepdims=True))

    @cached_property
    def _quality(self) -> Floats:
        """(k, m) scores scaled by the models' range within each cluster; 1 if they are all equal."""
        score = self.profile.mean_score
        low, high = _low_high(score)
        return _divide(score - low, _range(low, high), otherwise=1.0)

    @cached_property
    def _efficiency(self) -> Floats:
        """(k, m) 1 = cheapest; a model without a known cost counts as the dearest, 0."""
        cost = self.profile.mean_cost
        low, high = _low_high(cost)
        if self.settings.cost_norm == "max":
            low = np.zeros_like(low)
        return np.nan_to_num(1 - _divide(cost - low, _range(low, high), otherwise=0.0), nan=0.0)

    def balance(self, alpha: float) -> Floats:
        """Return (k, m) balance scores alpha * quality + (1 - alpha) * efficiency; NaN = not observed."""
        if self.settings.cost_norm is None:
            return self._quality
        return alpha * self._quality + (1 - alpha) * np.where(np.isnan(self._quality), np.nan, self._efficiency)

    def table(self, alpha: float) -> Floats:
        """Return (k, m) what each cluster gives each model; 0 where the model was not observed."""
        table = self._tables.get(alpha)
        if table is None:
            balance = self.balance(alpha)
            if self.settings.rank_offset is not None:
                balance = _reciprocal_ranks(balance, self.settings.rank_offset)
            table = np.nan_to_num(balance, nan=0.0)
            if len(self._tables) >= _MOST_TABLES:
                self._tables.clear()
            self._tables[alpha] = table
        return table

    @cached_property
    def observed(self) -> Floats | None:
        """(k, m) 1 where a model has a score, else 0; None if every cell has one."""
        seen = self.profile.score_counts > 0
        return None if seen.all() else seen.astype(np.float64)


_MOST_TABLES = 256
"""Tables kept for alphas asked before; a caller who sweeps alpha finely does not fill memory."""


@dataclass(frozen=True)
class ClusterEstimate:
    """What the nearest clusters of n queries say."""

    fitted: FittedClusterMethod
    clusters: NDArray[np.intp]
    closeness: NDArray[np.floating[Any]]
    weights: Floats | None
    novel: NDArray[np.bool_] | None = None

    def utility(self, alpha: float) -> Floats:
        """Return (n, m): the sum over the nearest clusters.

        A cluster that never saw a model says nothing of it: the others speak for it, scaled up to the same number of
        clusters. A model observed in none of them gets -inf.
        """
        utility = self._sum(self.fitted.table(alpha))
        observed = self.fitted.observed
        if observed is None:
            return utility
        share = self._sum(observed) / self._sum(np.ones_like(observed))
        scaled: Floats = np.divide(utility, share, out=np.full(utility.shape, -np.inf), where=share > 0)
        return scaled

    @cached_property
    def expected_score(self) -> Floats:
        """(n, m) mean score over the nearest clusters' observations, weighted as the clusters are."""
        profile = self.fitted.profile
        return _divide(self._sum(profile.score_sums), self._sum(profile.score_counts), otherwise=np.nan)

    @cached_property
    def expected_cost(self) -> Floats:
        """(n, m) mean cost likewise."""
        profile = self.fitted.profile
        return _divide(self._sum(profile.cost_sums), self._sum(profile.cost_counts), otherwise=np.nan)

    @cached_property
    def observations(self) -> Floats:
        """(n, m) scores observed in the nearest clusters."""
        return np.asarray(self.fitted.profile.score_counts[self.clusters].sum(axis=1))

    def _sum(self, table: Floats) -> Floats:
        near = table[self.clusters]
        if self.weights is not None:
            near = near * self.weights[:, :, None]
        summed: Floats = np.add.reduce(near, axis=1)
        return summed


def _low_high(values: Floats) -> tuple[Floats, Floats]:
    """Return (k, 1) least and largest known value of each row; NaN if there is none."""
    return np.fmin.reduce(values, axis=1)[:, None], np.fmax.reduce(values, axis=1)[:, None]


def _range(low: Floats, high: Floats) -> Floats:
    width: Floats = np.where(high - low > ROUNDING * np.abs(high), high - low, 0.0)
    return width


def _divide(values: Floats, by: Floats, otherwise: float) -> Floats:
    """Divide, with ``otherwise`` where the divisor is 0; NaN stays NaN."""
    by = np.broadcast_to(by, values.shape)
    result = np.divide(values, by, out=np.full(values.shape, otherwise), where=by != 0)
    return np.where(np.isnan(values), np.nan, result)


def _reciprocal_ranks(balance: Floats, offset: float) -> Floats:
    """Return (k, m) 1 / (rank + offset) by descending balance, rank from 0; ties keep model order, NaN stays."""
    order = np.argsort(-balance, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(balance.shape[1])[None, :], axis=1)
    return np.where(np.isnan(balance), np.nan, 1.0 / (ranks + offset))
