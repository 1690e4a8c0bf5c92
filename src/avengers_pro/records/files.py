"""Records to and from files, by suffix."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avengers_pro.errors import RecordsError
from avengers_pro.records.assemble import Problem, Problems, assemble
from avengers_pro.records.columnar import read_columnar, write_columnar
from avengers_pro.records.jsonl import Progress, read_jsonl, write_jsonl
from avengers_pro.records.merge import merge
from avengers_pro.records.table import Records

_JSONL = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
_COLUMNAR = (".parquet", ".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class Reading:
    """A table and what was left out while reading it.

    Attributes:
        records: The table.
        skipped: How many lines were left out.
        problems: The first ten of them.
    """

    records: Records
    skipped: int
    problems: Sequence[Problem]


def read_records(
    *paths: str | Path,
    score_scale: float = 1.0,
    skip_bad_lines: bool = False,
    progress: Progress | None = None,
) -> Reading:
    """Read one table from one or more files: JSONL (.gz), Parquet or CSV, by suffix.

    Args:
        paths: Several files are merged by query text.
        score_scale: What a perfect score is in the files.
        skip_bad_lines: Leave bad lines out, count them and list the first ten, instead of stopping.
        progress: Called with (bytes read, bytes in all) of the current file; JSONL only.

    Raises:
        RecordsError: If a file is missing, of unknown kind, or has a bad line.
    """
    if not paths:
        raise RecordsError("no records file was named")
    if not 0 < score_scale < math.inf:
        raise RecordsError(f"the score scale must be a positive number, got {score_scale:g}")
    problems = Problems(skip_bad_lines)
    tables = [_read_one(Path(path), problems, score_scale, progress) for path in paths]
    return Reading(merge(tables), problems.count, tuple(problems.first))


def _read_one(path: Path, problems: Problems, score_scale: float, progress: Progress | None) -> Records:
    if not path.is_file():
        raise RecordsError(f"{path}: no such file")
    if path.name.endswith(_JSONL):
        raw = read_jsonl(path, problems, score_scale, progress)
    elif path.name.endswith(_COLUMNAR):
        raw = read_columnar(path, problems, score_scale)
    else:
        raise RecordsError(f"{path}: unknown kind of file; use {', '.join(_JSONL[:2] + _COLUMNAR)}")
    return assemble(raw, problems, score_scale)


def write_records(records: Records, path: str | Path) -> None:
    """Write the table in the form that the suffix names.

    Raises:
        RecordsError: If the suffix is unknown or the file cannot be written.
    """
    path = Path(path)
    if not path.name.endswith(_JSONL + _COLUMNAR):
        raise RecordsError(f"{path}: unknown kind of file; use {', '.join(_JSONL[:2] + _COLUMNAR)}")
    write = write_jsonl if path.name.endswith(_JSONL) else write_columnar
    try:
        write(records, path)
    except OSError as error:
        raise RecordsError(f"{path}: cannot be written: {error}") from error
