"""Fit on a dataset in parts: a survey, a sample by hash, sums over all rows. The result is that of one table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding import EmbeddingOptions, Vectors
from avengers_pro.embedding.format import WithFormat
from avengers_pro.errors import MethodError, RecordsError
from avengers_pro.records.assemble import LISTED_PROBLEMS, Problem
from avengers_pro.records.fingerprint import fingerprint_of
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing import artifact
from avengers_pro.routing.clusters import Labels
from avengers_pro.routing.evidence import SAMPLE_ROWS, Evidence, Sample
from avengers_pro.routing.method import Method
from avengers_pro.routing.multiresolution import MultiResolution, dataset_weights
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution
from avengers_pro.routing.router import Router
from avengers_pro.routing.sampling import LEARNING_ROWS, keys_of, order_of, stratified
from avengers_pro.routing.training import cluster_examples
from avengers_pro.scale.engine import Engine, LocalEngine, Progress
from avengers_pro.scale.parts import Part, parts_of
from avengers_pro.scale.reading import ReadingChoice
from avengers_pro.scale.repeats import FirstInOrder, Repeats, Sizes, split_rows
from avengers_pro.scale.work import (
    Gather,
    Place,
    Rows,
    Summed,
    SumUp,
    Survey,
    Surveyed,
    embedder_of,
    stacked,
    weights_of,
)

_PLAIN = EmbeddingOptions()


@dataclass(frozen=True, slots=True)
class DatasetFit:
    """A router and what was met on the way.

    Attributes:
        router: Fitted.
        rows: Usable rows of the dataset.
        repeats: Rows among them that repeat an earlier text and do not count.
        skipped: Bad lines left out.
        problems: The first ten of them.
    """

    router: Router
    rows: int
    repeats: int
    skipped: int
    problems: tuple[Problem, ...]


def fit_dataset(
    paths: Sequence[str],
    method: Method,
    engine: Engine | None = None,
    *,
    embedder: str = "static",
    options: EmbeddingOptions = _PLAIN,
    seed: int = 42,
    keep_examples: bool = True,
    reading: ReadingChoice | None = None,
    parts: Sequence[Part] | None = None,
    progress: Progress | None = None,
) -> DatasetFit:
    """Fit a router on a dataset of any size.

    The dataset is read three times: for what is in it, for a sample by hash of the texts, and for the sums of all
    rows by cluster. Nothing but the sample and one block a worker is in memory.

    Args:
        paths: Files, folders, globs or URLs of JSON lines or Parquet; one table, in this order.
        method: ``avengers-pro``, whose evidence adds up.
        engine: Where the parts are read; None = in this process.
        embedder: Spec of the embedder, also of a column ``vector``.
        options: How to reach it.
        seed: Of everything random.
        keep_examples: Keep a few queries of each cluster.
        reading: How files are read, and what is left out.
        parts: The dataset cut otherwise than ``parts_of(paths)`` does.
        progress: Told what is done.

    Raises:
        MethodError: If the method keeps rows, so that it cannot be added up.
        RecordsError: If a file or a row of it cannot be used.
        EngineError: If the engine fails.
    """
    if not isinstance(method, MultiResolution):
        raise MethodError(
            f"{method.name} is fitted on one table in memory; a dataset in parts is fitted with avengers-pro, "
            "whose evidence adds up. Leave out --method, or fit on one file without --engine"
        )
    reading = reading or ReadingChoice()
    engine = engine or LocalEngine()
    parts = parts_of(paths) if parts is None else parts
    found = _survey(engine, parts, reading, method.learning_rows, seed, progress)
    loaded = embedder_of(embedder, options)
    rows = Rows(reading, found.models, embedder, options, loaded.dimension, method.features)
    learning = _gathered(engine, rows, found.places_of(found.sample), progress)
    scaler, levels = method.partition(learning.vectors, seed)
    weights = None if method.objective == "micro" else found.weights()
    summed = _summed(engine, SumUp(rows, scaler, levels, weights), found, progress)
    assert summed.sums is not None  # noqa: S101  (the survey found rows)
    kept = learning.take(_calibration(learning.records, found, seed))
    space = kept.vectors if scaler is None else scaler.apply(kept.vectors)
    evidence = Evidence.gathered(summed.sums, Sample.of(kept.records, space, weights_of(kept.records, weights)))
    fitted = FittedMultiResolution.derive(method, scaler, levels, evidence)
    fingerprint = fingerprint_of(found.models, found.distinct, summed.digest)
    router = Router(
        method,
        fitted,
        WithFormat(loaded) if method.features == "format" else loaded,
        embedding=artifact.EmbedderEntry(
            embedder,
            WithFormat(loaded).id if method.features == "format" else loaded.id,
            learning.vectors.shape[1],
            options.dimensions,
            options.max_tokens,
        ),
        facts=_facts(found.models, summed),
        examples=cluster_examples(fitted, learning.records.queries, learning.vectors, seed) if keep_examples else (),
        fingerprint=fingerprint,
        seed=seed,
        lineage=[artifact.Step("fit", {"records": fingerprint, "queries": found.distinct})],
    )
    return DatasetFit(router, found.rows, found.rows - found.distinct, found.skipped, found.problems)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the survey found.

    Attributes:
        parts: The dataset.
        counts: Usable rows of each part.
        first_lines: Lines of its file before each part.
        models: The pool, in the order of first mention.
        first: (rows,) whether a row is the first of its text.
        sample: Rows that clusters are learnt from.
        dataset_names: Sorted. sizes: Distinct rows of each.
        skipped: Bad lines. problems: The first of them.
    """

    parts: Sequence[Part]
    counts: list[int]
    first_lines: list[int]
    models: tuple[str, ...]
    first: NDArray[np.bool_]
    sample: Labels
    dataset_names: tuple[str, ...]
    sizes: Sizes
    skipped: int
    problems: tuple[Problem, ...]

    @property
    def rows(self) -> int:
        """Usable rows."""
        return len(self.first)

    @property
    def distinct(self) -> int:
        """Rows that count."""
        return int(self.sizes.sum())

    def places_of(self, rows: Labels) -> list[Place]:
        """Say which of these rows are in which part; parts without any are left out."""
        split = split_rows(rows, self.counts)
        return [
            Place(part, line, mine)
            for part, line, mine in zip(self.parts, self.first_lines, split, strict=True)
            if len(mine)
        ]

    def places(self) -> list[Place]:
        """Say which rows of each part count."""
        ends = list(accumulate(self.counts, initial=0))
        found = []
        for number, part in enumerate(self.parts):
            mine = self.first[ends[number] : ends[number + 1]]
            if mine.any():
                found.append(Place(part, self.first_lines[number], None if mine.all() else np.flatnonzero(mine)))
        return found

    def weights(self) -> dict[str, float]:
        """Return the weight of a row of each dataset, for the objective ``macro``."""
        return dict(zip(self.dataset_names, dataset_weights(self.sizes).tolist(), strict=True))


@dataclass(slots=True)
class _Tally:
    """What the survey's results are added up in, part by part."""

    counts: list[int] = field(default_factory=list)
    first_lines: list[int] = field(default_factory=list)
    models: dict[str, None] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)
    skipped: int = 0
    problems: list[Problem] = field(default_factory=list)
    lines: int = 0

    def add(self, part: Part, surveyed: Surveyed) -> NDArray[np.int32]:
        """Take what is said of the next part; return the dataset of each of its rows, numbered as they are met."""
        seen, numbers = surveyed.seen, self.numbers
        self.lines = 0 if part.start == 0 else self.lines
        self.first_lines.append(self.lines)
        self.lines += seen.lines
        self.counts.append(len(surveyed.keys))
        self.models.update(seen.models)
        self.met |= seen.datasets
        self.skipped += seen.skipped
        self.problems += seen.problems[: LISTED_PROBLEMS - len(self.problems)]
        local = np.array([numbers.setdefault(name, len(numbers)) for name in surveyed.dataset_names], dtype=np.int32)
        return local[surveyed.datasets]


def _survey(
    engine: Engine,
    parts: Sequence[Part],
    reading: ReadingChoice,
    learning_rows: int,
    seed: int,
    progress: Progress | None,
) -> _Found:
    sample, tally = FirstInOrder(learning_rows, seed), _Tally()
    with Repeats() as repeats:
        for part, surveyed in zip(parts, engine.run(Survey(reading), parts), strict=True):
            repeats.add(surveyed.keys, tally.add(part, surveyed))
            sample.add(surveyed.keys)
            if progress is not None:
                progress("reading what is there", len(tally.counts), len(parts))
        _check_known(reading.excluded_models, tally.models, "model")
        _check_known(reading.excluded_datasets, tally.met, "dataset")
        if not repeats.rows:
            raise RecordsError("no usable row; a row needs 'query', and 'records' that name a model")
        first, sizes = repeats.found(len(tally.numbers))
    names = sorted(tally.numbers)
    return _Found(
        parts,
        tally.counts,
        tally.first_lines,
        tuple(name for name in tally.models if name not in reading.excluded_models),
        first,
        sample.rows(),
        tuple(names),
        sizes[[tally.numbers[name] for name in names]],
        tally.skipped,
        tuple(tally.problems),
    )


def _check_known(names: Sequence[str], known: "dict[str, None] | set[str]", noun: str) -> None:
    for name in names:
        if name not in known:
            raise RecordsError(f"unknown {noun} {name!r}; known: {', '.join(sorted(known)[:20])}")


@dataclass(frozen=True, slots=True)
class _Learning:
    """The rows that clusters are learnt from, in the order of the dataset."""

    records: Records
    vectors: Vectors

    def take(self, rows: Labels) -> "_Learning":
        return _Learning(self.records.take(rows), self.vectors[rows])


def _gathered(engine: Engine, rows: Rows, places: list[Place], progress: Progress | None) -> _Learning:
    tables: list[Records] = []
    vectors: list[Vectors] = []
    for done, blocks in enumerate(engine.run(Gather(rows), places, embedder=rows.embedder), start=1):
        tables += [records for records, _ in blocks]
        vectors += [vector for _, vector in blocks]
        if progress is not None:
            progress("gathering the sample", done, len(places))
    return _Learning(stacked(tables), np.concatenate(vectors))


def _summed(engine: Engine, work: SumUp, found: _Found, progress: Progress | None) -> Summed:
    total: Summed | None = None
    places = found.places()
    for done, more in enumerate(engine.run(work, places, embedder=work.rows.embedder), start=1):
        total = more if total is None else total + more
        if progress is not None:
            progress("summing up", done, len(places))
    assert total is not None  # noqa: S101  (the survey found rows)
    return total


def _calibration(learning: Records, found: _Found, seed: int) -> Labels:
    """Choose the rows to calibrate on, as ``sampling.calibration_rows`` does for a table in memory."""
    if found.distinct <= SAMPLE_ROWS:
        return np.arange(len(learning))
    order = order_of(keys_of(learning.queries), seed)
    near = np.sort(np.argsort(order, kind="stable")[:LEARNING_ROWS])
    codes = np.searchsorted(found.dataset_names, [learning.datasets[row] for row in near])
    return near[stratified(order[near], codes, found.sizes, SAMPLE_ROWS)]


def _facts(models: tuple[str, ...], summed: Summed) -> list[artifact.ModelEntry]:
    def mean(counts_and_sums: Floats, column: int) -> float | None:
        count, total = counts_and_sums[:, column].tolist()
        return total / count if count else None

    return [
        artifact.ModelEntry(
            name, int(summed.scores[0, column]), mean(summed.scores, column), mean(summed.costs, column)
        )
        for column, name in enumerate(models)
    ]
