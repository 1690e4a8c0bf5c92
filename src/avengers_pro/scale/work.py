"""The three passes of a fit over the parts of a dataset: survey, gather, sum up."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding import Embedder, EmbeddingOptions, Vectors, load_embedder
from avengers_pro.embedding.format import with_format
from avengers_pro.records.fingerprint import rows_digest
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.clusters import Labels
from avengers_pro.routing.evidence import Sums
from avengers_pro.routing.levels import Levels
from avengers_pro.routing.representation import FormatScaler
from avengers_pro.routing.sampling import Keys, keys_of
from avengers_pro.scale.parts import Part
from avengers_pro.scale.reading import Block, ReadingChoice, Seen, blocks_of


@cache
def embedder_of(spec: str, options: EmbeddingOptions) -> Embedder:
    """Load an embedder once for each process."""
    return load_embedder(spec, options)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What the first pass says of a part.

    Attributes:
        seen: Lines, models, datasets, bad lines.
        keys: (n,) of the texts of the usable rows.
        dataset_names: Those of the rows.
        datasets: (n,) positions in them.
    """

    seen: Seen
    keys: Keys
    dataset_names: tuple[str, ...]
    datasets: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Survey:
    """Read a part without its vectors and say what is in it."""

    choice: ReadingChoice

    def __call__(self, part: Part) -> Surveyed:
        """Read a part."""
        seen = Seen()
        numbers: dict[str, int] = {}
        keys, datasets = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int32)]
        for block in blocks_of(part, self.choice, seen):
            keys.append(keys_of(block.records.queries))
            names = block.records.datasets
            datasets.append(np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int32))
        return Surveyed(seen, np.concatenate(keys), tuple(numbers), np.concatenate(datasets))


@dataclass(frozen=True, slots=True)
class Place:
    """A part and what earlier passes found out about it.

    Attributes:
        part: Which.
        first_line: Lines of its file before it.
        rows: Usable rows of the part that are wanted, ascending; None = all.
    """

    part: Part
    first_line: int
    rows: Labels | None


@dataclass(frozen=True, slots=True)
class Rows:
    """Reads chosen rows of a part, with vectors.

    Attributes:
        choice: How files are read.
        models: The pool, in its order.
        embedder: Spec of the embedder. options: How to reach it.
        dimension: Of its vectors.
        features: ``format`` appends the 22 format features.
    """

    choice: ReadingChoice
    models: tuple[str, ...]
    embedder: str
    options: EmbeddingOptions
    dimension: int
    features: str

    def each(self, place: Place) -> Iterator[tuple[Records, Vectors]]:
        """Yield (records over the whole pool, (n, d) rows) block by block."""
        blocks = blocks_of(place.part, self.choice, Seen(), first_line=place.first_line, dimension=self.dimension)
        for block in blocks:
            wanted = _wanted(block, place.rows)
            if wanted is not None and not len(wanted):
                continue
            records = block.records if wanted is None else block.records.take(wanted)
            vectors = block.vectors if block.vectors is None or wanted is None else block.vectors[wanted]
            if vectors is None:
                vectors = embedder_of(self.embedder, self.options).embed(records.queries)
            if self.features == "format":
                vectors = with_format(vectors, records.queries)
            yield spread(records, self.models), vectors


def _wanted(block: Block, rows: Labels | None) -> Labels | None:
    if rows is None:
        return None
    start, end = np.searchsorted(rows, [block.first, block.first + len(block.records)])
    wanted: Labels = rows[start:end] - block.first
    return None if len(wanted) == len(block.records) else wanted


@dataclass(frozen=True, slots=True)
class Gather:
    """Fetch the rows of the sample."""

    rows: Rows

    def __call__(self, place: Place) -> list[tuple[Records, Vectors]]:
        """Fetch those of one part."""
        return list(self.rows.each(place)) if place.rows is None or len(place.rows) else []


@dataclass(frozen=True, slots=True)
class Summed:
    """What is added up over all rows of a dataset.

    Attributes:
        sums: By cluster; None = no rows.
        digest: As ``rows_digest``.
        scores: (2, m) how many scores each model has, and their sum.
        costs: (2, m) likewise in US dollars.
    """

    sums: Sums | None
    digest: int
    scores: Floats
    costs: Floats

    def __add__(self, other: "Summed") -> "Summed":
        """Combine disjoint rows."""
        mine, theirs = self.sums, other.sums
        sums = mine + theirs if mine is not None and theirs is not None else mine or theirs
        return Summed(sums, self.digest + other.digest, self.scores + other.scores, self.costs + other.costs)


@dataclass(frozen=True, slots=True)
class SumUp:
    """Assign rows to the clusters and add up.

    Attributes:
        rows: How they are read.
        scaler: Of the format features.
        levels: The clusters.
        dataset_weights: Weight of a row by its dataset; None = all the same.
    """

    rows: Rows
    scaler: FormatScaler | None
    levels: Levels
    dataset_weights: dict[str, float] | None

    def __call__(self, place: Place) -> Summed:
        """Add up one part."""
        none = np.zeros((2, len(self.rows.models)))
        total = Summed(None, 0, none, none)
        for records, vectors in self.rows.each(place):
            rows = vectors if self.scaler is None else self.scaler.apply(vectors)
            weights = weights_of(records, self.dataset_weights)
            total += Summed(
                Sums.of(records, rows, self.levels, weights),
                rows_digest(records),
                _counts(records.scores),
                _counts(records.costs),
            )
        return total


def weights_of(records: Records, by_dataset: dict[str, float] | None) -> Floats:
    """Return (n,) weights of rows."""
    if by_dataset is None:
        return np.ones(len(records))
    return np.array([by_dataset[name] for name in records.datasets])


def _counts(values: Floats) -> Floats:
    return np.stack([np.isfinite(values).sum(axis=0), np.nansum(values, axis=0)])


def spread(records: Records, models: tuple[str, ...]) -> Records:
    """Give the table the columns of a pool; of models that it lacks nothing is known."""
    if records.models == models:
        return records
    places = [models.index(name) for name in records.models]
    arrays: dict[str, Any] = {}
    for field in fields(records):
        values = getattr(records, field.name)
        if isinstance(values, np.ndarray):
            wide = np.full((len(records), len(models)), False if values.dtype == bool else np.nan)
            wide[:, places] = values
            arrays[field.name] = wide
    return replace(records, models=models, **arrays)


def stacked(tables: list[Records]) -> Records:
    """Put tables over the same models below each other."""
    first = tables[0]
    texts: dict[str, Any] = {
        name: tuple(text for table in tables for text in getattr(table, name))
        for name in ("queries", "datasets", "ids")
    }
    arrays: dict[str, Any] = {}
    for name in ("scores", "costs", "listed", "prompt_tokens", "completion_tokens", "latency_ms"):
        parts = [getattr(table, name) for table in tables]
        if all(part is None for part in parts):
            arrays[name] = None
            continue
        unknown = [np.full(table.scores.shape, np.nan) for table in tables]
        arrays[name] = np.concatenate(
            [other if part is None else part for part, other in zip(parts, unknown, strict=True)]
        )
    return replace(first, **texts, **arrays)
