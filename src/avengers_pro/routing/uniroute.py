"""UniRoute (arXiv 2502.08773): a model is the vector of its errors in each cluster, a query a softmax over clusters."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.clusters import Clusters, Labels, fit_unit_clusters
from avengers_pro.routing.estimates import TableEstimate
from avengers_pro.routing.method import Arrays, check_shapes, restored_profile
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries

SHARPNESS = np.logspace(0, 2.5, 26)
"""1 / temperature: from nearly all clusters alike to nearly the nearest alone."""
SHOWN_CLUSTERS = 4


@dataclass(frozen=True, slots=True)
class UniRoute:
    """Expected error ``gamma_m(x) = sum_j phi_j(x) err_jm``, expected cost likewise; a new model needs one pass.

    ``err_jm`` is the mean of 1 - score of model m in k-means cluster j; where m was not observed, its overall mean.
    The published learned map is a softmax of a linear function of the vector. Here the directions are the
    centroids and only the temperature is learned, ``phi(x) = softmax(sharpness * similarity to the centroids)``: one
    number, fitted to the least squared error of the predicted scores on training rows, each predicted as if it
    were not in its own cluster's mean. It needs no optimiser, and no new fit when a model joins.

    Attributes:
        clusters: k of k-means.
    """

    clusters: int = 30
    name: str = "uniroute"
    uses_alpha: bool = True
    features: str = "none"

    def __post_init__(self) -> None:
        """Refuse numbers without meaning."""
        if self.clusters < 1:
            raise MethodError(f"clusters must be at least 1, got {self.clusters}")

    def params(self) -> Mapping[str, Any]:
        """Return the number of clusters."""
        return {"clusters": self.clusters}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedUniRoute":
        """Cluster the rows, sum up each model in each cluster, and fit the temperature.

        Raises:
            MethodError: If there are no rows.
        """
        clusters, labels = fit_unit_clusters(vectors, self.clusters, seed)
        profile = Profile.of(records.scores, records.costs, labels, len(clusters))
        errors = [
            left_out_error(records.scores, labels, profile, memberships(clusters, vectors, sharpness))
            for sharpness in SHARPNESS
        ]
        return FittedUniRoute(records.models, clusters, float(SHARPNESS[np.argmin(errors)]), profile)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedUniRoute":
        """Rebuild from ``FittedUniRoute.arrays``.

        Raises:
            DamagedArtifactError: If an array is missing, has the wrong shape, or holds impossible numbers.
        """
        centroids = arrays.get("centroids", np.empty(0))
        if centroids.ndim != 2 or not len(centroids) or not np.isfinite(centroids).all():  # noqa: PLR2004
            raise DamagedArtifactError("the router has no usable centroids")
        check_shapes(arrays, {"sharpness": (1,)})
        sharpness = float(arrays["sharpness"][0])
        if not 0 <= sharpness < np.inf:
            raise DamagedArtifactError(f"the sharpness must not be negative, got {sharpness:g}")
        return FittedUniRoute(
            models, Clusters(centroids), sharpness, restored_profile(arrays, (len(centroids), len(models)))
        )


def memberships(clusters: Clusters, vectors: Vectors, sharpness: float) -> Floats:
    """Return (n, k) shares of each cluster in each row, which sum to 1."""
    similarity = (vectors @ clusters.centroids.T).astype(np.float64)
    shares: Floats = np.exp(sharpness * (similarity - similarity.max(axis=1, keepdims=True)))
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def filled(means: Floats, overall: Floats) -> Floats:
    """Return (k, m) means with each model's overall mean, (1, m), where nothing was observed."""
    return np.where(np.isnan(means), overall, means)


def left_out_error(scores: Floats, labels: Labels, profile: Profile, shares: Floats) -> float:
    """Return the summed squared error of predicted scores, each row left out of its own cluster's mean.

    Args:
        scores: (n, m); NaN = not observed.
        labels: (n,) cluster of each row, as summed up in the profile.
        profile: k clusters, m models.
        shares: (n, k) memberships of the rows.
    """
    known = ~np.isnan(scores)
    overall = profile.totals().mean_score
    means = filled(profile.mean_score, overall)
    others = profile.score_counts[labels] - known
    sums = profile.score_sums[labels] - np.where(known, scores, 0.0)
    without = np.divide(sums, others, out=np.broadcast_to(overall, scores.shape).copy(), where=others > 0)
    own = shares[np.arange(len(labels)), labels][:, None]
    predicted = shares @ means + own * (without - means[labels])
    return float((np.where(known, scores - predicted, 0.0) ** 2).sum())


@dataclass(frozen=True)
class FittedUniRoute:
    """Clusters, the temperature of the map onto them, and what is known of each model in each."""

    models: tuple[str, ...]
    centers: Clusters
    sharpness: float
    cluster_profile: Profile

    def arrays(self) -> Arrays:
        """Return centroids, sharpness and profile."""
        sharpness = np.array([self.sharpness])
        return {"centroids": self.centers.centroids, "sharpness": sharpness, **self.cluster_profile.arrays()}

    @cached_property
    def _means(self) -> Profile:
        return self.cluster_profile.totals()

    @cached_property
    def _errors(self) -> Floats:
        """(k, m) error vectors; NaN for a model never observed."""
        errors: Floats = 1 - filled(self.cluster_profile.mean_score, self._means.mean_score)
        return errors

    @cached_property
    def _costs(self) -> Floats:
        return filled(self.cluster_profile.mean_cost, self._means.mean_cost)

    def estimate(self, queries: Queries) -> TableEstimate:
        """Mix the clusters' errors, costs and numbers of scores by each query's memberships."""
        shares = memberships(self.centers, queries.vectors, self.sharpness)
        score = np.clip(1 - shares @ self._errors, 0.0, 1.0)
        nearest = np.argsort(-shares, axis=1, kind="stable")[:, :SHOWN_CLUSTERS]
        closeness = np.take_along_axis(shares, nearest, axis=1)
        observed = shares @ self.cluster_profile.score_counts
        return TableEstimate(score, shares @ self._costs, observed, self._means, nearest, closeness)
