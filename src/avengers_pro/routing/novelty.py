"""Queries unlike anything in the records: the tables say nothing about them, so the overall means decide."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.records.table import Floats

NEIGHBOURS = 5
QUANTILE = 0.99
CLEARED = 0.3
REFERENCE_ROWS = 512


@dataclass(frozen=True)
class Novelty:
    """Distances that are usual among training rows.

    Attributes:
        reference: (r, d) training rows, at most ``REFERENCE_ROWS``.
        limit: A query whose mean distance to its 5 nearest reference rows is larger is novel: 1 % of the training
            rows were.
        cleared: Squared distance to the nearest centroid up to which a query is not looked at again: three in
            ten of the novel training rows lay nearer. That clears four of five queries without a neighbour search;
            what it misses is measured in docs/results.md.
    """

    reference: Vectors
    limit: float
    cleared: float

    @classmethod
    def fit(cls, rows: Vectors, nearest_square: Floats) -> "Novelty | None":
        """Learn from (n, d) training rows and their (n,) squared distances to the nearest centroid.

        Returns:
            None if there are too few rows to say what is usual.
        """
        reference = reference_rows(rows)
        if len(reference) <= NEIGHBOURS:
            return None
        own = _mean_distance(reference, reference, _half_squares(reference), itself=True)
        limit = float(np.quantile(own, QUANTILE))
        novel = nearest_square[:: _step(rows)][own > limit]
        return cls(
            reference, limit, float(np.quantile(novel, CLEARED)) if novel.size else float(np.finfo(np.float32).max)
        )

    @cached_property
    def _half_squares(self) -> Floats:
        return _half_squares(self.reference)

    def flags(self, rows: Vectors, nearest_square: Floats) -> NDArray[np.bool_] | None:
        """Return (n,) True for novel rows; None if there are none."""
        doubtful = nearest_square > self.cleared
        if not doubtful.any():
            return None
        flags = np.zeros(len(rows), dtype=bool)
        found = _mean_distance(rows[doubtful], self.reference, self._half_squares, itself=False)
        flags[doubtful] = found > self.limit
        return flags if flags.any() else None


def reference_rows(rows: Vectors) -> Vectors:
    """Return at most ``REFERENCE_ROWS`` of (n, d) rows, evenly spaced."""
    return np.ascontiguousarray(rows[:: _step(rows)], dtype=np.float32)


def _step(rows: Vectors) -> int:
    return -(-len(rows) // REFERENCE_ROWS)


def _half_squares(rows: Vectors) -> Floats:
    squares: Floats = 0.5 * np.einsum("rd,rd->r", rows, rows)
    return squares


def _mean_distance(rows: Vectors, reference: Vectors, half_squares: Floats, *, itself: bool) -> Floats:
    """Return (n,) mean distances to the nearest reference rows, each row itself left out if it is one of them."""
    half = half_squares - rows @ reference.T
    half.partition(NEIGHBOURS - 1 + itself, axis=1)
    nearest = half[:, : NEIGHBOURS + itself]
    if itself:
        nearest = np.sort(nearest, axis=1)[:, 1:]
    squares = 2 * (nearest + _half_squares(rows)[:, None])
    distances: Floats = np.sqrt(np.maximum(squares, 0.0)).mean(axis=1)
    return distances
