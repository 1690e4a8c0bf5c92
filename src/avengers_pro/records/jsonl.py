"""Records as JSON lines: the published format, kept."""

import gzip
import re
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
_BOM = b"\xef\xbb\xbf"
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises on bad JSON, bad UTF-8 and a thousand open brackets."""


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

    def __init__(self, depth: int) -> None:
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

    def table(self, columns: dict[str, int]) -> tuple[Floats, NDArray[np.bool_]]:
        """Return (n, m, depth) values, NaN where nothing was given, and (n, m) what was listed.

        Keys that are no column are left out; the columns may be known only after the last row.
        """
        self._close_run()
        table = np.full((self.rows, len(columns), self._depth), np.nan)
        listed = np.zeros(table.shape[:2], dtype=bool)
        for start, keys, block in self._runs:
            known = [position for position, key in enumerate(keys) if key in columns]
            places = [columns[keys[position]] for position in known]
            table[start : start + len(block), places] = block[:, known]
            listed[start : start + len(block), places] = True
        return table, listed


def read_jsonl(path: Path, problems: Problems, score_scale: float = 1.0, progress: Progress | None = None) -> RawTable:
    """Read one object a line, gzip by suffix.

    A usage counts if any row names its model in ``records``; true is a perfect score on any scale.

    Raises:
        RecordsError: On the first bad line, unless ``problems`` skips them; on an unreadable file.
    """
    return table_of_lines(lines_of(path, progress), path.name, problems, score_scale)


def table_of_lines(
    numbered: Iterable[tuple[int, bytes]], file: str, problems: Problems, score_scale: float = 1.0
) -> RawTable:
    """Read (line number, line) pairs of a file, as ``read_jsonl`` does those of a whole one.

    Raises:
        RecordsError: On the first bad line, unless ``problems`` skips them.
    """
    columns: dict[str, int] = {}
    scores, usages = _Cells(1), _Cells(len(_USAGE_ARRAYS))
    lines, queries, datasets, ids = [], [], [], []
    decode = msgspec.json.Decoder(_Row).decode
    for number, line in numbered:
        try:
            if not line.isascii():
                line.decode()  # msgspec does not look at the text of fields that it skips
            row = decode(line)
            query = row.query if row.query is not None else query_of(row.messages)
        except (*UNREADABLE, RecordsError) as error:
            problems.report(_explain(file, number, line, error))
            continue
        if not query or query.isspace():
            problems.report(Problem(file, number, "query", repr(query), "the query is empty"))
            continue
        if not row.records.keys() <= columns.keys():
            if any(not model or model.isspace() for model in row.records):
                problems.report(Problem(file, number, "records", repr(row.records), "a model's name is empty"))
                continue
            for model in row.records:
                columns.setdefault(model, len(columns))
        scores.add(tuple(row.records), _on_scale(row.records.values(), score_scale))
        used = _used(row.usages or {})
        usages.add(tuple(used), _flat_usages(used))
        lines.append(number)
        queries.append(query)
        datasets.append(row.dataset or DEFAULT_DATASET)
        ids.append(str(number - 1 if row.index is None else row.index))
    table, listed = scores.table(columns)
    arrays = {"scores": table[:, :, 0]}
    cells, _ = usages.table(columns)
    arrays |= {name: cells[:, :, position] for position, name in enumerate(_USAGE_ARRAYS)}
    return RawTable(file, lines, queries, datasets, ids, list(columns), arrays, listed)


_USAGE_ARRAYS = ("costs", "prompt_tokens", "completion_tokens", "latency_ms")


def _on_scale(scores: Iterable[float | bool | None], score_scale: float) -> Iterable[float | bool | None]:
    if score_scale == 1:
        return scores
    return [score_scale if score is True else score for score in scores]


def _used(usages: dict[str, _Usage | None]) -> dict[str, _Usage | None]:
    """Leave out usages that are null."""
    if None not in usages.values():
        return usages
    return {model: usage for model, usage in usages.items() if usage is not None}


def _flat_usages(usages: dict[str, _Usage | None]) -> list[float | None]:
    return [
        value
        for usage in usages.values()
        if usage is not None
        for value in (usage.cost, usage.prompt_tokens, usage.completion_tokens, usage.latency_ms)
    ]


def lines_of(path: Path, progress: Progress | None) -> Iterator[tuple[int, bytes]]:
    """Yield (line number from 1, line) of the non-blank lines."""
    try:
        with path.open("rb") as raw, _decompressed(raw, path) as stream:
            total = path.stat().st_size
            for number, line in enumerate(stream, start=1):
                if progress is not None and number % _PROGRESS_EVERY == 0:
                    progress(raw.tell(), total)
                if number == 1:
                    line = line.removeprefix(_BOM)  # noqa: PLW2901
                if line and not line.isspace():
                    yield number, line
            if progress is not None:
                progress(total, total)
    except (OSError, EOFError, zlib.error) as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error


def _decompressed(raw: BinaryIO, path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.GzipFile(fileobj=raw, mode="rb")) if path.suffix == ".gz" or _is_gzip(path) else raw


def _is_gzip(path: Path) -> bool:
    """Whether a file is compressed, whatever its name says."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _explain(file: str, number: int, line: bytes, error: Exception) -> Problem:
    """Find which field of a bad line is wrong and what it holds."""
    text = line.decode(errors="replace").strip()
    try:
        return Problem(file, number, *_fault(line, text, error))
    except UNREADABLE as cause:
        hint = "; one JSON object a line is expected, not one array" if text.startswith("[") else ""
        return Problem(file, number, "line", text, f"not valid JSON: {cause}{hint}")


def _fault(line: bytes, text: str, error: Exception) -> tuple[str, str, str]:
    """Return field, value and message; decoding raises again where the JSON itself is bad."""
    row = msgspec.json.decode(line)
    if not isinstance(row, dict):
        return "line", text, "one JSON object a line is expected"
    if isinstance(error, RecordsError):
        return "query", str(row.get("messages")), str(error)
    reason = str(error).split(" - at")[0]
    for name, value in row.items():
        found = _first_bad(name, value)
        if found is not None:
            return found[0], repr(found[1]), reason
    if "records" in row:  # a repeated key: its last value is right, an earlier one is not
        return "line", text, reason
    return "records", "nothing", "a row needs 'records': {model: score}"


_FIELD_TYPES: dict[str, Any] = {name: field for name, field in _Row.__annotations__.items()}  # noqa: C416


def _first_bad(name: str, value: Any) -> tuple[str, Any] | None:
    """Name the field, and inside a per-model object the model and its field, whose type is wrong."""
    if name not in _FIELD_TYPES or _fits(value, _FIELD_TYPES[name]):
        return None
    if isinstance(value, dict) and name in {"records", "usages"}:
        for model, cell in value.items():
            if _fits({model: cell}, _FIELD_TYPES[name]):
                continue
            for key, part in cell.items() if name == "usages" and isinstance(cell, dict) else ():
                if not _fits({key: part}, _Usage):
                    return f"{name}[{model}].{key}", part
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
    with path.open("wb") as raw:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as stream:
                stream.writelines(_lines(records))
        else:
            raw.writelines(_lines(records))


def _lines(records: Records) -> Iterator[bytes]:
    """Encode rows block by block: a table's cells as Python objects take several times its own memory."""
    encode = msgspec.json.Encoder().encode
    for start in range(0, len(records), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        listed, scores = records.listed[block].tolist(), records.scores[block].tolist()
        rows = zip(records.queries[block], records.datasets[block], records.ids[block], strict=True)
        for (query, dataset, index), given, values, cells in zip(
            rows, listed, scores, _usages(records, block), strict=True
        ):
            cases = zip(records.models, values, given, strict=True)
            line: dict[str, Any] = {
                "query": query,
                "records": {model: value for model, value, is_given in cases if is_given},  # NaN is encoded as null
            }
            known = zip(records.models, cells, strict=True)
            usages = {model: _Known(*cell) for model, cell in known if cell != _NOTHING}
            if usages:
                line["usages"] = usages
            line["dataset"] = dataset
            line["index"] = int(index) if _COUNT.fullmatch(index) else index
            yield encode(line) + b"\n"


class _Known(_Usage, omit_defaults=True, gc=False):
    """A usage to be written: what is not known is left out."""


def _usages(records: Records, block: slice) -> list[list[list[float | None]]]:
    """Return cells as ``_Usage`` takes them, None where a value is not known; whole token counts become integers."""
    shape = (*records.scores[block].shape, len(_USAGE_ARRAYS))
    cells = np.full(shape, None, dtype=object)
    for position, name in enumerate(_USAGE_ARRAYS):
        values = getattr(records, name)
        if values is None:
            continue
        values = values[block]
        known = np.isfinite(values)
        cells[known, position] = values[known]
        if name.endswith("tokens"):
            whole = known & (values == np.floor(values)) & (values < _EXACT)
            cells[whole, position] = values[whole].astype(np.int64)
    found: list[list[list[float | None]]] = cells.tolist()
    return found


_BLOCK_ROWS = 1024
_NOTHING = [None] * len(_USAGE_ARRAYS)
_EXACT = 2.0**53
"""Below it every whole number is exact."""
_COUNT = re.compile("0|[1-9][0-9]{0,17}")
"""What reads back as the same text after being written as a number."""
