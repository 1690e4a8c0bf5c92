"""Records as JSON lines: the published format, kept."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import RecordsError
from avengers_pro.records.assemble import Problem, Problems, RawTable
from avengers_pro.records.messages import query_of
from avengers_pro.records.table import DEFAULT_DATASET, Floats, Records

Progress = Callable[[int, int], None]
"""Called with (bytes read, bytes in all)."""

_PROGRESS_EVERY = 2048
_RUN_CELLS = 65_536


class _Usage(msgspec.Struct, gc=False):
    cost: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    latency_ms: float | None = None


class _Row(msgspec.Struct, gc=False):
    records: dict[str, float | bool | None]
    query: str | None = None
    messages: list[Any] | None = None
    usages: dict[str, _Usage | None] | None = None
    dataset: str | None = None
    index: int | str | None = None


class _Cells:
    """Gathers an (n, m, depth) array from rows that mostly name the same models in the same order.

    Consecutive rows with equal keys form a run, turned into one array at once; the table is filled from runs.
    """

    def __init__(self, columns: dict[str, int], depth: int) -> None:
        self._columns = columns
        self._depth = depth
        self._runs: list[tuple[int, tuple[str, ...], Floats]] = []
        self._keys: tuple[str, ...] = ()
        self._flat: list[float | bool | None] = []
        self._start = 0
        self.rows = 0

    def add(self, keys: tuple[str, ...], values: Iterable[float | bool | None]) -> None:
        if keys != self._keys or len(self._flat) >= _RUN_CELLS:
            self._close_run()
            self._keys = keys
        self._flat += values
        self.rows += 1

    def _close_run(self) -> None:
        if self._flat:
            block = np.array(self._flat, dtype=np.float64).reshape(-1, len(self._keys), self._depth)
            self._runs.append((self._start, self._keys, block))
        self._flat = []
        self._start = self.rows

    def table(self) -> tuple[Floats, NDArray[np.bool_]]:
        """Return (n, m, depth) values, NaN where nothing was given, and (n, m) what was listed."""
        self._close_run()
        table = np.full((self.rows, len(self._columns), self._depth), np.nan)
        listed = np.zeros(table.shape[:2], dtype=bool)
        for start, keys, block in self._runs:
            columns = [self._columns[key] for key in keys]
            table[start : start + len(block), columns] = block
            listed[start : start + len(block), columns] = True
        return table, listed


def read_jsonl(path: Path, problems: Problems, progress: Progress | None = None) -> RawTable:
    """Read one object a line, gzip by suffix.

    Raises:
        RecordsError: On the first bad line, unless ``problems`` skips them; on an unreadable file.
    """
    columns: dict[str, int] = {}
    scores, usages = _Cells(columns, 1), _Cells(columns, 4)
    lines, queries, datasets, ids = [], [], [], []
    decode = msgspec.json.Decoder(_Row).decode
    for number, line in _lines(path, progress):
        try:
            row = decode(line)
            query = row.query if row.query is not None else query_of(row.messages)
        except (msgspec.DecodeError, UnicodeDecodeError, RecordsError) as error:
            problems.report(_explain(path, number, line, error))
            continue
        if not query or query.isspace():
            problems.report(Problem(path.name, number, "query", repr(query), "the query is empty"))
            continue
        if not row.records.keys() <= columns.keys():
            for model in row.records:
                columns.setdefault(model, len(columns))
        scores.add(tuple(row.records), row.records.values())
        used = _used(row.usages or {}, columns)
        usages.add(tuple(used), _flat_usages(used))
        lines.append(number)
        queries.append(query)
        datasets.append(row.dataset or DEFAULT_DATASET)
        ids.append(str(number - 1 if row.index is None else row.index))
    table, listed = scores.table()
    arrays = {"scores": table[:, :, 0]}
    cells, _ = usages.table()
    arrays |= {name: cells[:, :, position] for position, name in enumerate(_USAGE_ARRAYS)}
    return RawTable(path.name, lines, queries, datasets, ids, list(columns), arrays, listed)


_USAGE_ARRAYS = ("costs", "prompt_tokens", "completion_tokens", "latency_ms")


def _used(usages: dict[str, _Usage | None], columns: dict[str, int]) -> dict[str, _Usage | None]:
    """Leave out usages that are null or of a model the row has no score for."""
    if None not in usages.values() and usages.keys() <= columns.keys():
        return usages
    return {model: usage for model, usage in usages.items() if usage is not None and model in columns}


def _flat_usages(usages: dict[str, _Usage | None]) -> list[float | None]:
    return [
        value
        for usage in usages.values()
        if usage is not None
        for value in (usage.cost, usage.prompt_tokens, usage.completion_tokens, usage.latency_ms)
    ]


def _lines(path: Path, progress: Progress | None) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line) of the non-blank lines."""
    try:
        with path.open("rb") as raw, _decompressed(raw, path) as stream:
            total = path.stat().st_size
            for number, line in enumerate(stream, start=1):
                if progress is not None and number % _PROGRESS_EVERY == 0:
                    progress(raw.tell(), total)
                if not line.isspace():
                    yield number, line
            if progress is not None:
                progress(total, total)
    except (OSError, EOFError, zlib.error) as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error


def _decompressed(raw: BinaryIO, path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.GzipFile(fileobj=raw, mode="rb")) if path.suffix == ".gz" else raw


def _explain(path: Path, number: int, line: bytes, error: Exception) -> Problem:
    """Find which field of a bad line is wrong and what it holds."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        text = line.decode(errors="replace").strip()
        hint = "; one JSON object a line is expected, not one array" if text.startswith("[") else ""
        return Problem(path.name, number, "line", text, f"not valid JSON: {cause}{hint}")
    if not isinstance(row, dict):
        return Problem(path.name, number, "line", str(row), "a line must be a JSON object")
    if isinstance(error, RecordsError):
        return Problem(path.name, number, "query", str(row.get("messages")), str(error))
    for name, value in row.items():
        found = _first_bad(name, value)
        if found is not None:
            return Problem(path.name, number, found[0], repr(found[1]), str(error).split(" - at")[0])
    return Problem(path.name, number, "records", "nothing", "a row needs 'records': {model: score}")


_FIELD_TYPES: dict[str, Any] = {name: field for name, field in _Row.__annotations__.items()}  # noqa: C416


def _first_bad(name: str, value: Any) -> tuple[str, Any] | None:
    """Name the field, and inside a per-model object the model, whose type is wrong."""
    if name not in _FIELD_TYPES or _fits(value, _FIELD_TYPES[name]):
        return None
    if isinstance(value, dict) and name in {"records", "usages"}:
        for model, cell in value.items():
            if not _fits({model: cell}, _FIELD_TYPES[name]):
                return f"{name}[{model}]", cell
    return name, value


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def write_jsonl(records: Records, path: Path) -> None:
    """Write one object a line, gzip by suffix; what is not known is left out, "no score" is null."""
    encode = msgspec.json.Encoder().encode
    lines = (encode(_row_object(records, row)) + b"\n" for row in range(len(records)))
    with path.open("wb") as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as stream:
                stream.writelines(lines)
        else:
            raw.writelines(lines)


def _row_object(records: Records, row: int) -> dict[str, Any]:
    known = {
        "cost": records.costs,
        "prompt_tokens": records.prompt_tokens,
        "completion_tokens": records.completion_tokens,
        "latency_ms": records.latency_ms,
    }
    scores: dict[str, float | None] = {}
    usages: dict[str, dict[str, float]] = {}
    for column, model in enumerate(records.models):
        if records.listed[row, column]:
            score = float(records.scores[row, column])
            scores[model] = None if np.isnan(score) else score
        usage = {
            name: int(value) if name.endswith("tokens") and float(value).is_integer() else float(value)
            for name, values in known.items()
            if values is not None and np.isfinite(value := values[row, column])
        }
        if usage:
            usages[model] = usage
    result: dict[str, Any] = {"query": records.queries[row], "records": scores}
    if usages:
        result["usages"] = usages
    index = records.ids[row]
    return result | {"dataset": records.datasets[row], "index": int(index) if index.isdecimal() else index}
