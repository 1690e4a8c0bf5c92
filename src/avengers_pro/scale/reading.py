"""A part of a dataset as blocks of checked records."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import RecordsError
from avengers_pro.records.assemble import Problem, Problems, RawTable, assemble
from avengers_pro.records.columnar import read_columnar
from avengers_pro.records.jsonl import table_of_lines
from avengers_pro.records.table import Records
from avengers_pro.scale.files import is_url, opened_file
from avengers_pro.scale.lines import lines_before, lines_of_part
from avengers_pro.scale.parts import Part
from avengers_pro.scale.wide import VECTOR, batches, table_of_batch, vectors_of

BLOCK_ROWS = 16_384
"""Rows in memory at once, beside the results."""
_COLUMNS = ("query", "messages", "records", "usages", "dataset", "index")


@dataclass(frozen=True, slots=True)
class ReadingChoice:
    """How files are read, and what is left out.

    Attributes:
        score_scale: What a perfect score is in the files.
        skip_bad_lines: Leave bad lines out and count them, instead of stopping.
        excluded_models: Models left out of the pool.
        excluded_datasets: Datasets whose rows are left out.
    """

    score_scale: float = 1.0
    skip_bad_lines: bool = False
    excluded_models: tuple[str, ...] = ()
    excluded_datasets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a part.

    Attributes:
        first: Usable rows of the part before this block.
        records: The rows, over the models that the block names.
        vectors: (n, d) unit rows; None = the texts have to be embedded.
    """

    first: int
    records: Records
    vectors: Vectors | None


@dataclass(slots=True)
class Seen:
    """What reading a part came across.

    Attributes:
        lines: Lines of the part, blank and bad ones included; 0 for Parquet.
        models: Names in the order in which rows first name them, excluded ones included.
        datasets: Names met, excluded ones included.
        skipped: Bad lines left out.
        problems: The first ten of them.
    """

    lines: int = 0
    models: dict[str, None] = field(default_factory=dict)
    datasets: set[str] = field(default_factory=set)
    skipped: int = 0
    problems: tuple[Problem, ...] = ()


def blocks_of(
    part: Part, choice: ReadingChoice, seen: Seen, *, first_line: int | None = None, dimension: int | None = None
) -> Iterator[Block]:
    """Yield the usable rows of a part.

    Args:
        part: Which.
        choice: How.
        seen: Filled while reading.
        first_line: Lines of the file before the part; None = not known yet, found out if a message needs it.
        dimension: Length of the vectors to read with the rows; None = leave vectors alone.

    Raises:
        RecordsError: On a bad row, unless those are skipped; the message names file and line.
    """
    problems = _Noting(choice.skip_bad_lines)
    rows = 0
    try:
        for raw, vectors in _tables(part, problems, choice, seen, first_line or 0, dimension):
            if not len(raw.queries):
                continue
            kept = _kept(raw, problems, choice, seen)
            if kept is None:
                continue
            records, places = kept
            yield Block(rows, records, None if vectors is None else vectors[places])
            rows += len(records)
    except RecordsError:
        if part.start and part.kind == "lines" and first_line is None:
            seen.models, seen.datasets = {}, set()
            for _ in blocks_of(part, choice, seen, first_line=lines_before(part)):  # for the right line numbers
                pass
        raise
    before = lines_before(part) if problems.count and part.kind == "lines" and first_line is None else 0
    seen.skipped = problems.count
    seen.problems = tuple(replace(problem, line=problem.line + before) for problem in problems.first)


@dataclass(slots=True)
class _Noting(Problems):
    """Problems that are counted and of which every line is known."""

    lines: set[int] = field(default_factory=set)

    def report(self, problem: Problem) -> None:
        super(_Noting, self).report(problem)
        self.lines.add(problem.line)


def _kept(
    raw: RawTable, problems: _Noting, choice: ReadingChoice, seen: Seen
) -> tuple[Records, np.ndarray[tuple[int], np.dtype[np.intp]]] | None:
    """Check a table and drop what is excluded; also say which of its rows are left, None = none."""
    bad = problems.count
    try:
        records = assemble(raw, problems, choice.score_scale)
    except RecordsError:
        if choice.skip_bad_lines and problems.count > bad:
            return None  # every row of the block was bad
        raise
    places = np.flatnonzero([line not in problems.lines for line in raw.lines])
    seen.models.update(dict.fromkeys(records.models))
    seen.datasets.update(records.datasets)
    if choice.excluded_datasets:
        rows = np.flatnonzero([name not in choice.excluded_datasets for name in records.datasets])
        records, places = records.take(rows), places[rows]
    models = [name for name in records.models if name not in choice.excluded_models]
    if not len(records) or not models:
        return None
    return (records if len(models) == len(records.models) else records.select_models(models)), places


def _tables(
    part: Part, problems: Problems, choice: ReadingChoice, seen: Seen, first_line: int, dimension: int | None
) -> Iterator[tuple[RawTable, Vectors | None]]:
    if part.kind == "lines":
        lines = _counted(part, first_line, seen)
        while chunk := list(islice(lines, BLOCK_ROWS)):
            yield table_of_lines(chunk, part.path, problems, choice.score_scale), None
    elif part.kind == "long":
        with _local_copy(part.path) as path:
            yield replace(read_columnar(path, problems, choice.score_scale), file=part.path), None
    else:
        columns = _COLUMNS if dimension is None else (*_COLUMNS, VECTOR)
        for first, batch in batches(part, columns, BLOCK_ROWS):
            vectors = None if dimension is None else vectors_of(part.path, first, batch, dimension)
            yield table_of_batch(part.path, first, batch, choice.score_scale), vectors


def _counted(part: Part, first_line: int, seen: Seen) -> Iterator[tuple[int, bytes]]:
    for number, line in lines_of_part(part, first_line):
        seen.lines = number - first_line
        yield number, line


@contextmanager
def _local_copy(path: str) -> Iterator[Path]:
    """Give a file of this machine; a URL is copied for as long as it is read."""
    if not is_url(path):
        yield Path(path)
        return
    with TemporaryDirectory() as folder, opened_file(path) as stream:
        copy = Path(folder) / path.rpartition("/")[2]
        with copy.open("wb") as target:
            while chunk := stream.read(1 << 20):
                target.write(chunk)
        yield copy
