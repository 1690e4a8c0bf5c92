"""How a dataset is cut into parts that are read apart: byte ranges of JSON lines, row groups of Parquet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avengers_pro.errors import MissingExtraError, RecordsError
from avengers_pro.scale.files import expanded, is_url, opened_file, size_of

PART_BYTES = 16 << 20
"""Of JSON lines, about as many rows as a worker does in a few seconds."""
PART_ROWS = 65_536
"""Of Parquet, if its row groups are no larger."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of one file; parts are numbered through the dataset, in the order of files and rows.

    Attributes:
        number: From 0.
        path: The file.
        kind: ``lines`` (JSON lines), ``wide`` (Parquet, a row a query) or ``long`` (Parquet, a row a pair).
        start: First byte, or first row group.
        end: Byte, or row group, before which it ends; -1 = the end of the file.
        first_row: Rows of the file before this part; 0 for ``lines``, where only reading tells.
    """

    number: int
    path: str
    kind: str
    start: int
    end: int
    first_row: int = 0


def parts_of(paths: Sequence[str], *, part_bytes: int = PART_BYTES, part_rows: int = PART_ROWS) -> list[Part]:
    """Cut a dataset into parts; what is cut where changes nothing that is learnt.

    Raises:
        RecordsError: If a file is missing, of unknown kind or unreadable.
        MissingExtraError: If a file needs pyarrow or fsspec.
    """
    found: list[Part] = []
    for path in expanded(paths):
        stretches = _row_groups(path, part_rows) if path.endswith(".parquet") else _byte_ranges(path, part_bytes)
        found += [replace(part, number=len(found) + place) for place, part in enumerate(stretches)]
    return found


def is_dataset(path: str) -> bool:
    """Whether a path names more than a file of records: a folder, a glob, a URL, or Parquet with a row a query."""
    if is_url(path) or Path(path).is_dir():
        return True
    if not Path(path).is_file():
        return any(sign in path for sign in "*?[")
    return path.endswith(".parquet") and any(part.kind == "wide" for part in _row_groups(path, PART_ROWS))


def _byte_ranges(path: str, part_bytes: int) -> list[Part]:
    with opened_file(path) as stream:
        compressed = stream.read(2) == b"\x1f\x8b"
    if compressed or path.endswith(".gz"):
        return [Part(0, path, "lines", 0, -1)]
    size = size_of(path)
    return [Part(0, path, "lines", start, min(start + part_bytes, size)) for start in range(0, size, part_bytes)]


def _row_groups(path: str, part_rows: int) -> list[Part]:
    pa = arrow()
    from pyarrow import parquet

    with opened_file(path) as stream:
        try:
            file = parquet.ParquetFile(stream)
            names, metadata = file.schema_arrow.names, file.metadata
        except (pa.ArrowException, OSError) as error:
            raise RecordsError(f"{path}: cannot be read as Parquet: {error}") from error
    if "model" in names and "score" in names and "records" not in names:
        return [Part(0, path, "long", 0, metadata.num_row_groups)]
    found: list[Part] = []
    start = rows = before = 0
    for group in range(metadata.num_row_groups):
        size = metadata.row_group(group).num_rows
        if rows and rows + size > part_rows:
            found.append(Part(0, path, "wide", start, group, before))
            start, before, rows = group, before + rows, 0
        rows += size
    return [*found, Part(0, path, "wide", start, metadata.num_row_groups, before)]


def arrow() -> Any:
    """Return pyarrow.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading and writing Parquet") from error
    return pa
