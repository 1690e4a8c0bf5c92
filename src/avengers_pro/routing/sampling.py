"""Which rows of a large table are looked at one by one: chosen by a hash of their text, not by where they stand.

The same table gives the same rows however it is cut into blocks and in whatever order those are read. Small
tables are taken whole.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from avengers_pro.routing.clusters import Labels

LEARNING_ROWS = 32_768
"""Rows that clusters of the standard sizes are learnt from: 256 for each of 128 centroids."""
BLOCK_ROWS = 32_768
"""Rows summed up in one go; bounds memory."""
_SPREAD = 4
"""Rows from which one in so many is taken for calibration, so that every dataset can give its share."""

Keys = NDArray[np.int64]
Order = NDArray[np.uint64]


def keys_of(texts: Sequence[str]) -> Keys:
    """Return (n,) hashes of texts, by which a query is known again.

    64 bits: among a billion texts, two different ones share a key with a probability of 3 %.
    """
    digests = b"".join(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def order_of(keys: Keys, seed: int) -> Order:
    """Return (n,) places in a random order that keys and seed alone decide (the finalizer of SplitMix64)."""
    mixed = keys.astype(np.uint64) + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def first_rows(order: Order, most: int) -> Labels:
    """Return the ``most`` rows that come first in an order, ascending; all if there are no more."""
    if len(order) <= most:
        return np.arange(len(order))
    return np.sort(np.argpartition(order, most)[:most])


def calibration_rows(order: Order, datasets: Labels, most: int) -> Labels:
    """Choose at most ``most`` rows, each dataset's share proportional to its size.

    Args:
        order: (n,) as ``order_of`` gives it.
        datasets: (n,) dataset of each row, as a position in the sorted names.
        most: How many.

    Returns:
        Rows, ascending; all if there are no more than ``most``.
    """
    if len(order) <= most:
        return np.arange(len(order))
    near = first_rows(order, _SPREAD * most)
    return near[stratified(order[near], datasets[near], np.bincount(datasets), most)]


def stratified(order: Order, datasets: Labels, sizes: NDArray[np.integer], most: int) -> Labels:
    """Choose among the first rows of a table as ``calibration_rows`` does.

    Args:
        order: (s,) of the rows at hand.
        datasets: (s,) their datasets.
        sizes: Rows of each dataset in the whole table.
        most: How many, at most s.

    Returns:
        Places among the s rows, ascending. A dataset with too few rows at hand gives what it has; others fill up.
    """
    share = most * sizes / sizes.sum()
    quota = np.floor(share).astype(np.intp)
    largest = np.argsort(-(share - quota), kind="stable")
    quota[largest[: most - quota.sum()]] += 1
    by_order = np.argsort(order, kind="stable")
    rank = np.empty(len(order), dtype=np.intp)  # of each row within its dataset
    grouped = by_order[np.argsort(datasets[by_order], kind="stable")]
    starts = np.searchsorted(datasets[grouped], np.arange(len(sizes)))
    rank[grouped] = np.arange(len(order)) - starts[datasets[grouped]]
    chosen = rank < quota[datasets]
    spare = by_order[~chosen[by_order]]
    chosen[spare[: most - int(chosen.sum())]] = True
    return np.flatnonzero(chosen)
