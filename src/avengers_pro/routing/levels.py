"""Several k-means partitions of the same space, coarse to fine, with soft membership."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.records.table import Floats
from avengers_pro.routing.clusters import Labels, kmeans

SIZES = (8, 16, 32, 64, 128)
NEAREST = 4
SHARPNESS = 0.12
"""Temperature of a level, as a share of the mean squared distance of training rows to their nearest centroid."""
ROWS_PER_CLUSTER = 5
_ITERATIONS = 20


@dataclass(frozen=True)
class Levels:
    """All levels' centroids, one below the other.

    Attributes:
        centroids: (K, d), K the sum of the sizes.
        sizes: Clusters of each of the L levels.
        temperatures: (L,) of the softmax over squared distances.
    """

    centroids: Vectors
    sizes: tuple[int, ...]
    temperatures: Floats

    def __len__(self) -> int:
        """Number of levels."""
        return len(self.sizes)

    @cached_property
    def bounds(self) -> tuple[tuple[int, int], ...]:
        """First row and end of each level in ``centroids``."""
        ends = np.cumsum(self.sizes).tolist()
        return tuple(zip([0, *ends[:-1]], ends, strict=True))

    @cached_property
    def _half_squares(self) -> NDArray[np.floating]:
        squares: NDArray[np.floating] = 0.5 * (self.centroids * self.centroids).sum(axis=1)
        return squares

    @cached_property
    def _sharpness(self) -> NDArray[np.floating]:
        """(L, 1) what half a squared distance is multiplied by in the exponent."""
        return (-2.0 / self.temperatures[:, None]).astype(self.centroids.dtype)

    @cached_property
    def exact(self) -> "Levels":
        """The same in double precision."""
        return Levels(self.centroids.astype(np.float64), self.sizes, self.temperatures)

    @cached_property
    def per_level(self) -> int:
        """Nearest clusters that a row belongs to in each level."""
        return min(NEAREST, *self.sizes)

    def members(self, vectors: Vectors) -> tuple[Labels, Floats]:
        """Return the soft membership of n rows: the same at fit and when routing.

        In each level the nearest clusters get weights exp(-(d2 - least d2) / temperature), which sum to 1.

        Returns:
            (n, L * p) rows of ``centroids``, level by level, and their (n, L, p) weights.
        """
        flat, weights, _ = self.locate(vectors)
        return flat, weights

    def locate(self, vectors: Vectors) -> tuple[Labels, Floats, Floats]:
        """Return what ``members`` does, and (n,) squared distances to the nearest centroid of the finest level."""
        half = self._half_squares - vectors @ self.centroids.T
        n, p = len(vectors), self.per_level
        flat = np.concatenate(
            [half[:, start:end].argpartition(p - 1, axis=1)[:, :p] for start, end in self.bounds], axis=1
        )
        flat += self._offsets
        distance = half[np.arange(n)[:, None], flat].reshape(n, len(self.sizes), p)
        nearest = np.minimum.reduce(distance, axis=2, keepdims=True)
        square = 2 * nearest[:, -1, 0] + np.einsum("nd,nd->n", vectors, vectors)
        distance -= nearest
        distance *= self._sharpness
        weights = np.exp(distance)
        weights /= np.add.reduce(weights, axis=2, keepdims=True)
        return flat, weights, square

    @cached_property
    def _offsets(self) -> Labels:
        """(L * p,) first row of each place's level."""
        return np.repeat([start for start, _ in self.bounds], self.per_level)

    def nearest_square(self, vectors: Vectors) -> Floats:
        """Return (n, L) squared distances to the nearest centroid of each level."""
        half = self._half_squares - vectors @ self.centroids.T
        nearest = np.stack([half[:, start:end].min(axis=1) for start, end in self.bounds], axis=1)
        squares: Floats = np.maximum(2 * nearest + (vectors * vectors).sum(axis=1)[:, None], 0.0)
        return squares


def fit_levels(vectors: Vectors, sizes: Sequence[int], seed: int) -> Levels:
    """Fit k-means for each size, capped so that a cluster has about five rows.

    Args:
        vectors: (n, d).
        sizes: Clusters of each level; doubles after the cap are dropped.
        seed: Of all levels.
    """
    most = max(1, len(vectors) // ROWS_PER_CLUSTER)
    kept = tuple(dict.fromkeys(min(size, most) for size in sizes))
    parts = [kmeans(vectors, size, seed, iterations=_ITERATIONS, restarts=1) for size in kept]
    return with_temperatures(np.vstack(parts), tuple(len(part) for part in parts), vectors)


def with_temperatures(centroids: Vectors, sizes: tuple[int, ...], vectors: Vectors) -> Levels:
    """Set each level's temperature from how far training rows lie from their nearest centroid."""
    bare = Levels(centroids, sizes, np.ones(len(sizes)))
    return Levels(centroids, sizes, SHARPNESS * bare.nearest_square(vectors).mean(axis=0) + 1e-12)
