"""Whether queries fall into the router's clusters as its training rows did: the population stability index."""

import numpy as np
from numpy.typing import NDArray

from avengers_pro.records.table import Floats
from avengers_pro.routing.method import FittedMethod
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution

PSEUDO_COUNT = 0.5
"""Added to every cluster's count, so that an empty one has a logarithm."""


def training_clusters(fitted: FittedMethod) -> NDArray[np.intp] | None:
    """Count the training rows kept with a router by their nearest cluster of the finest level.

    Returns:
        (k,) counts; None for methods that keep no rows.
    """
    if not isinstance(fitted, FittedMultiResolution):
        return None
    start, end = fitted.levels.bounds[-1]
    clusters, shares, _ = fitted.levels.locate(fitted.evidence.sample.vectors)
    nearest = clusters[:, -fitted.levels.per_level :][np.arange(len(clusters)), shares[:, -1].argmax(axis=1)]
    return np.bincount(nearest - start, minlength=end - start)


def population_stability(before: NDArray[np.intp], after: NDArray[np.intp]) -> Floats:
    """Return the population stability index: sum over clusters of (p - q) log(p / q).

    By custom, 0.1 is a moderate shift and 0.25 a large one. Without any shift its expectation is about
    (k - 1) (1 / n + 1 / N), see ``stability_without_shift``.

    Args:
        before: (k,) counts.
        after: (..., k) counts; several lines give several values.

    Returns:
        (...) values, at least 0.
    """
    first, second = (counts + PSEUDO_COUNT for counts in (before, after))
    p, q = (counts / counts.sum(axis=-1, keepdims=True) for counts in (first, second))
    index: Floats = ((p - q) * (np.log(p) - np.log(q))).sum(axis=-1)
    return index


def stability_without_shift(clusters: int, before: int, after: int) -> float:
    """Return about what the index is when nothing has shifted, only because rows are few.

    Args:
        clusters: k.
        before: Rows of the one side.
        after: Rows of the other.

    Returns:
        At least 0; infinite when a side has no row.
    """
    return (clusters - 1) * (1 / before + 1 / after) if before and after else float("inf")
