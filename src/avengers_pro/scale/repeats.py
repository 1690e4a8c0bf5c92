"""Repeated texts across a whole dataset, found by their keys in bounded memory: the first row counts."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
from numpy.typing import NDArray

from avengers_pro.routing.clusters import Labels
from avengers_pro.routing.sampling import Keys, Order, order_of

BUCKET_ROWS = 4_000_000
"""Rows compared at once; more are sorted into files by their keys first."""
_ROW = np.dtype([("key", "<i8"), ("row", "<i8"), ("dataset", "<i4")])
_FILES = 256

Sizes = NDArray[np.int64]


class Repeats:
    """Takes the keys of all rows, part by part, and says which rows repeat an earlier one."""

    def __init__(self) -> None:
        """Start without rows."""
        self.rows = 0
        self._held: list[NDArray[np.void]] = []
        self._holding = 0
        self._folder: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        """Use as a context: its files go with it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the files."""
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, keys: Keys, datasets: NDArray[np.int32]) -> None:
        """Take the next rows.

        Args:
            keys: (n,) of their texts.
            datasets: (n,) numbers of their datasets.
        """
        more = np.empty(len(keys), dtype=_ROW)
        more["key"], more["dataset"] = keys, datasets
        more["row"] = np.arange(self.rows, self.rows + len(keys))
        self._held.append(more)
        self.rows += len(keys)
        self._holding += len(keys)
        if self._holding > BUCKET_ROWS:
            self._spill()

    def _spill(self) -> None:
        """Sort what is held into files by the last bits of the keys."""
        self._folder = self._folder or TemporaryDirectory(prefix="avengers-pro-repeats-")
        held = np.concatenate([np.empty(0, dtype=_ROW), *self._held])
        place = held["key"] & (_FILES - 1)
        order = np.argsort(place, kind="stable")
        ends = np.searchsorted(place[order], np.arange(_FILES + 1))
        for number in range(_FILES):
            with (Path(self._folder.name) / str(number)).open("ab") as file:
                held[order[ends[number] : ends[number + 1]]].tofile(file)
        self._held, self._holding = [], 0

    def _buckets(self) -> Iterator[NDArray[np.void]]:
        if self._folder is None:
            yield np.concatenate([np.empty(0, dtype=_ROW), *self._held])
            return
        self._spill()
        for number in range(_FILES):
            yield np.fromfile(Path(self._folder.name) / str(number), dtype=_ROW)

    def found(self, datasets: int) -> tuple[NDArray[np.bool_], Sizes]:
        """Return (rows,) whether a row is the first of its text, and how many such rows each dataset has.

        Args:
            datasets: How many there are.
        """
        first = np.zeros(self.rows, dtype=bool)
        sizes = np.zeros(datasets, dtype=np.int64)
        for bucket in self._buckets():
            _, places = np.unique(bucket["key"], return_index=True)  # of equals the first
            first[bucket["row"][places]] = True
            sizes += np.bincount(bucket["dataset"][places], minlength=datasets)
        return first, sizes


class FirstInOrder:
    """Keeps the rows that come first in the sampling order, each text once, as parts come by."""

    def __init__(self, most: int, seed: int) -> None:
        """Keep at most ``most`` rows."""
        self._most, self._seed, self._seen = most, seed, 0
        self._order: Order = np.empty(0, dtype=np.uint64)
        self._rows: Labels = np.empty(0, dtype=np.intp)

    def add(self, keys: Keys) -> None:
        """Take the keys of the next rows."""
        order = order_of(keys, self._seed)
        rows = np.arange(self._seen, self._seen + len(keys))
        self._seen += len(keys)
        if len(self._order) == self._most:
            near = order < self._order.max()
            order, rows = order[near], rows[near]
        together = np.concatenate([self._order, order])
        distinct, first = np.unique(together, return_index=True)
        self._order = distinct[: self._most]
        self._rows = np.concatenate([self._rows, rows])[first[: self._most]]

    def rows(self) -> Labels:
        """Return the rows kept, ascending."""
        return np.sort(self._rows)


def split_rows(rows: Labels, counts: Sequence[int]) -> list[Labels]:
    """Split ascending row numbers of a dataset into those of each part, counted from its own first row."""
    starts = np.concatenate([[0], np.cumsum(counts)])
    ends = np.searchsorted(rows, starts)
    return [rows[ends[part] : ends[part + 1]] - starts[part] for part in range(len(counts))]
