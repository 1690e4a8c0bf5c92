"""Records in long form, one row a (query, model) pair: Parquet and CSV, by pyarrow."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avengers_pro.errors import MissingExtraError, RecordsError
from avengers_pro.records.assemble import Problem, Problems, RawTable, out_of_range, range_rule, shown
from avengers_pro.records.table import DEFAULT_DATASET, Floats, Records

_VALUES = {
    "scores": "score",
    "costs": "cost",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "latency_ms": "latency_ms",
}
_REQUIRED = ("query", "model", "score")
_TEXTS = ("query_id", "query", "dataset", "model")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TRUTH = {"true": 1.0, "false": 0.0}
_BLOCK_BYTES = 1 << 24
"""How much of a CSV file is parsed at once; a single row must fit."""

_Fault = tuple[str, str, str]
"""Field, value and message of what is wrong with a row."""


def read_columnar(path: Path, problems: Problems, score_scale: float = 1.0) -> RawTable:
    """Read long-form rows; ``query``, ``model`` and ``score`` are required columns.

    Rows belong together by ``query_id`` (with ``dataset``), or by the query's text if there is no such column.
    A bad row is left out by itself; the query's other rows stay. True is a perfect score on any scale.

    Raises:
        RecordsError: If a column is missing or mistyped, a value is out of range, or a pair is given twice.
    """
    table = _load(path)
    missing = [name for name in _REQUIRED if name not in table.column_names]
    if missing:
        raise RecordsError(
            f"{path}: column {missing[0]!r} is missing; found {', '.join(table.column_names)}. "
            "The long form has query_id, query, dataset, model, score, cost, ..."
        )
    for name in (*_TEXTS, *_VALUES.values()):
        if table.column_names.count(name) > 1:
            raise RecordsError(f"{path}: column {name!r} is given twice; keep one of them")
    texts = {name: _texts(table.column(name), name, path) for name in _TEXTS if name in table.column_names}
    values: dict[str, Floats] = {}
    faults: dict[int, _Fault] = {}
    for key, name in _VALUES.items():
        truth = score_scale if key == "scores" else None
        values[key], unread = _floats(table, name, truth, path)
        for row, text in unread.items():
            faults.setdefault(row, (name, repr(text), "must be a number"))
        for row in np.flatnonzero(out_of_range(key, values[key], score_scale)).tolist():
            faults.setdefault(row, (name, shown(values[key][row]), range_rule(key, score_scale)))
    lines = range(1, table.num_rows + 1) if path.suffix == ".parquet" else _csv_lines(path, table.num_rows)
    return _pivot(path, lines, texts, values, faults, problems)


def _pivot(
    path: Path,
    lines: Sequence[int],
    texts: dict[str, list[str | None]],
    values: dict[str, Floats],
    faults: dict[int, _Fault],
    problems: Problems,
) -> RawTable:
    """Turn one row a pair into one row a query; rows with a fault are reported and left out."""
    datasets = texts.get("dataset") or [None] * len(texts["query"])
    row_ids = texts.get("query_id") or texts["query"]
    columns: dict[str, int] = {}
    rows: dict[tuple[str, str], int] = {}
    pairs: dict[tuple[int, int], int] = {}
    firsts: list[int] = []
    queries: list[str] = []
    for source, (query, model, dataset, row_id) in enumerate(
        zip(texts["query"], texts["model"], datasets, row_ids, strict=True)
    ):
        fault = _empty("query", query) or _empty("model", model) or faults.get(source)
        key = (dataset or DEFAULT_DATASET, row_id or query or "")
        row = rows.get(key, len(rows))
        if fault is None and row < len(rows) and queries[row] != query:
            message = f"this id stands for another query, on line {firsts[row]}"
            fault = ("query_id", key[1], message)
        if fault is None and (row, columns.get(str(model), -1)) in pairs:
            fault = ("query_id, model", f"{key[1]}, {model}", "given twice")
        if fault is not None:
            problems.report(Problem(path.name, lines[source], *fault))
            continue
        if row == len(rows):
            rows[key] = row
            queries.append(str(query))
            firsts.append(lines[source])
        pairs[row, columns.setdefault(str(model), len(columns))] = source
    where = np.array(list(pairs), dtype=np.intp).reshape(-1, 2)
    sources = np.fromiter(pairs.values(), dtype=np.intp, count=len(pairs))
    arrays = {}
    for name, column in values.items():
        arrays[name] = np.full((len(queries), len(columns)), np.nan)
        arrays[name][where[:, 0], where[:, 1]] = column[sources]
    listed = np.zeros((len(queries), len(columns)), dtype=bool)
    listed[where[:, 0], where[:, 1]] = True
    by_id = "query_id" in texts
    ids = [key[1] if by_id else str(position) for position, key in enumerate(rows)]
    return RawTable(path.name, firsts, queries, [key[0] for key in rows], ids, list(columns), arrays, listed)


def _empty(name: str, text: str | None) -> _Fault | None:
    return None if text and not text.isspace() else (name, repr(text), f"the {name} is empty")


def write_columnar(records: Records, path: Path) -> None:
    """Write the long form, one row for each pair that the records list or know anything about.

    A query that names no model gets a row of the first model without a score, so that it is not lost.
    """
    pa = _pyarrow()
    given = records.listed.copy()
    for key in _VALUES:
        if (values := getattr(records, key)) is not None:
            given |= np.isfinite(values)
    given[~given.any(axis=1), :1] = True
    rows, columns = np.nonzero(given)
    table: dict[str, Any] = {
        "query_id": [records.ids[row] for row in rows],
        "query": [records.queries[row] for row in rows],
        "dataset": [records.datasets[row] for row in rows],
        "model": [records.models[column] for column in columns],
    }
    for key, name in _VALUES.items():
        values = getattr(records, key)
        if values is not None:
            cells = values[rows, columns]
            table[name] = pa.array(cells, mask=np.isnan(cells))
    arrow = pa.table(table)
    if path.suffix == ".parquet":
        from pyarrow import parquet

        parquet.write_table(arrow, path)
    else:
        from pyarrow import csv as arrow_csv

        with pa.CompressedOutputStream(path, "gzip") if path.suffix == ".gz" else path.open("wb") as stream:
            arrow_csv.write_csv(arrow, stream)


def _load(path: Path) -> Any:
    pa = _pyarrow()
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            table = parquet.read_table(path, partitioning=None)
        else:
            table = _load_csv(path)
        table.column_names  # noqa: B018  (decoded here, where bad UTF-8 in a name can be reported)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error
    return table


def _load_csv(path: Path) -> Any:
    from pyarrow import csv as arrow_csv
    from pyarrow import string

    return arrow_csv.read_csv(
        path,
        read_options=arrow_csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(_TEXTS, string()), strings_can_be_null=False
        ),
    )


def _csv_lines(path: Path, rows: int) -> Sequence[int]:
    """Say on which line of the file each row starts: blank lines are skipped, a quoted text may hold several.

    Raises:
        RecordsError: If the last row opens a quote that is never closed: the file was cut off there.
    """
    starts: list[int] = []
    tail: list[bytes] = []
    quoted = False
    with io.BufferedReader(_pyarrow().input_stream(str(path))) as stream:
        for number, line in enumerate(stream, start=1):
            if not quoted:
                if not line.strip(b"\r\n"):
                    continue
                starts.append(number)
                tail = []
            tail.append(line)
            quoted ^= line.count(b'"') % 2 == 1
    if quoted and _ends_inside_quotes(b"".join(tail).decode(errors="replace")):
        raise RecordsError(f"{path}:{starts[-1]}: a quote is opened and never closed; the file seems cut off")
    if len(starts) != rows + 1:  # unusual quoting or line ends: number the rows instead
        return range(2, rows + 2)
    return starts[1:]


def _ends_inside_quotes(text: str) -> bool:
    try:
        list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        return str(error) == "unexpected end of data"
    return False


def _texts(column: Any, name: str, path: Path) -> list[str | None]:
    pa = _pyarrow()
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if name == "query_id" and pa.types.is_integer(kind):
        column = column.cast(pa.string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise RecordsError(f"{path}: column {name!r} must hold text, not {kind}")
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError as error:
        raise RecordsError(f"{path}: column {name!r} is not valid UTF-8: {error}") from error


def _floats(table: Any, name: str, truth: float | None, path: Path) -> tuple[Floats, dict[int, str]]:
    """Return the numbers of a column, NaN where there is none, and what is no number, by row.

    Args:
        table: The file's rows.
        name: The column, which may be absent.
        truth: What "true" stands for; None = it is no number.
        path: For messages.
    """
    nothing: Floats = np.full(table.num_rows, np.nan)
    if name not in table.column_names:
        return nothing, {}
    pa = _pyarrow()
    types, column = pa.types, table.column(name)
    try:
        if types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if types.is_null(column.type):
            return nothing, {}
        if types.is_boolean(column.type) and truth is not None:
            return column.cast(pa.int8()).cast(pa.float64()).to_numpy() * truth, {}
        if types.is_floating(column.type) or types.is_integer(column.type) or types.is_decimal(column.type):
            return column.cast(pa.float64(), safe=False).to_numpy(), {}
        texts = column.cast(pa.string()).to_pylist()
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise RecordsError(f"{path}: column {name!r} must hold numbers: {error}") from error
    return _parsed(texts, truth)


def _parsed(texts: Iterable[str | None], truth: float | None) -> tuple[Floats, dict[int, str]]:
    """Read numbers one by one, because at least one of them is none."""
    from pyarrow import csv as arrow_csv

    nulls = set(arrow_csv.ConvertOptions().null_values or ())
    values: list[float] = []
    unread: dict[int, str] = {}
    for row, text in enumerate(texts):
        value = np.nan
        if text is not None and text not in nulls:
            word = text.strip()
            if truth is not None and word.lower() in _TRUTH:
                value = _TRUTH[word.lower()] * truth
            elif _NUMBER.fullmatch(word):
                value = float(word)
            else:
                unread[row] = text
        values.append(value)
    return np.array(values, dtype=np.float64), unread


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading and writing Parquet and CSV") from error
    return pa
