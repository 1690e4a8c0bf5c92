"""The k-means partition of query space."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors, unit_rows
from avengers_pro.errors import MethodError

ITERATIONS = 25
RESTARTS = 5
"""The best of so many k-means runs is kept; the released code takes ten, which changes nothing measurable."""
POINTS_PER_CENTROID = 256
"""More rows than this for each centroid are sampled: the standard of faiss."""

_WORTH_THREADS = 2e9
"""Multiply-adds of one iteration from which threads pay: below, waiting for each other costs them more."""

Labels = NDArray[np.intp]

_ROW = np.arange(1)[:, None]


@dataclass(frozen=True, slots=True)
class Clusters:
    """Centroids and the one definition of "nearest": the largest inner product.

    Attributes:
        centroids: (k, d) float32. Of unit length, the inner product orders as Euclidean distance does;
            raw means, as the released code keeps them, favour tight clusters.
    """

    centroids: Vectors

    def __len__(self) -> int:
        """Number of clusters."""
        return len(self.centroids)

    def nearest(self, vectors: Vectors, count: int) -> tuple[Labels, NDArray[np.float32]]:
        """Find the nearest clusters of each vector.

        Args:
            vectors: (n, d) unit rows.
            count: How many, at most k.

        Returns:
            (n, count) clusters and (n, count) similarities, nearest first.
        """
        similarity = vectors @ self.centroids.T
        row = _ROW[: len(vectors)] if len(vectors) <= len(_ROW) else np.arange(len(vectors))[:, None]
        if count < len(self.centroids):
            near = similarity.argpartition(-count, axis=1)[:, -count:]
        else:
            near = np.broadcast_to(np.arange(len(self.centroids)), similarity.shape)
        order = (-similarity[row, near]).argsort(axis=1)
        near = near[row, order]
        return near, similarity[row, near]

    def assign(self, vectors: Vectors) -> Labels:
        """Return the (n,) nearest cluster of each vector, the first of equals."""
        return np.asarray((vectors @ self.centroids.T).argmax(axis=1))


def fit_unit_clusters(vectors: Vectors, k: int, seed: int) -> tuple[Clusters, Labels]:
    """Fit k-means and scale the centroids to unit length; rows are then assigned as queries will be.

    Returns:
        At most k clusters, fewer if there are fewer distinct rows, and the (n,) cluster of each row.

    Raises:
        MethodError: If k is not positive or there are no rows.
    """
    clusters = Clusters(unit_rows(kmeans(vectors, k, seed)))
    return _without_empty(clusters, clusters.assign(vectors))


def fit_raw_clusters(vectors: Vectors, k: int, seed: int) -> tuple[Clusters, Labels]:
    """Fit k-means and keep its means; rows are assigned by Euclidean distance, as the released code does.

    Returns and raises as ``fit_unit_clusters``.
    """
    centroids = kmeans(vectors, k, seed)
    half_square = 0.5 * (centroids * centroids).sum(axis=1)
    return _without_empty(Clusters(centroids), np.asarray((vectors @ centroids.T - half_square).argmax(axis=1)))


def _without_empty(clusters: Clusters, labels: Labels) -> tuple[Clusters, Labels]:
    """Drop clusters that no row belongs to: they would say nothing and take the place of one that does."""
    present, renumbered = np.unique(labels, return_inverse=True)
    return Clusters(clusters.centroids[present]), renumbered.reshape(-1)


def kmeans(vectors: Vectors, k: int, seed: int, *, iterations: int = ITERATIONS, restarts: int = RESTARTS) -> Vectors:
    """Return the means of at most k clusters, fewer if there are fewer distinct rows.

    Raises:
        MethodError: If k is not positive or there are no rows.
    """
    if k < 1:
        raise MethodError(f"the number of clusters must be at least 1, got {k}")
    if not len(vectors):
        raise MethodError("there is no row to cluster")
    k = min(k, len(np.unique(vectors, axis=0))) if len(vectors) < POINTS_PER_CENTROID * k else k
    import faiss

    clustering = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=iterations,
        nredo=restarts,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_CENTROID,
    )
    threads = faiss.omp_get_max_threads()
    if min(len(vectors), POINTS_PER_CENTROID * k) * k * vectors.shape[1] < _WORTH_THREADS:
        faiss.omp_set_num_threads(1)
    try:
        clustering.train(np.ascontiguousarray(vectors, dtype=np.float32))
    finally:
        faiss.omp_set_num_threads(threads)
    return np.asarray(clustering.centroids, dtype=np.float32)
