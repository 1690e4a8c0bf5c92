"""Records in long form, one row a (query, model) pair: Parquet and CSV, by pyarrow."""

from pathlib import Path
from typing import Any

import numpy as np

from avengers_pro.errors import MissingExtraError, RecordsError
from avengers_pro.records.assemble import Problem, Problems, RawTable
from avengers_pro.records.table import DEFAULT_DATASET, Records

_VALUES = {
    "scores": "score",
    "costs": "cost",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "latency_ms": "latency_ms",
}
_REQUIRED = ("query", "model", "score")
_TEXTS = ("query_id", "query", "dataset", "model")


def read_columnar(path: Path, problems: Problems) -> RawTable:
    """Read long-form rows; ``query``, ``model`` and ``score`` are required columns.

    Rows belong together by ``query_id`` (with ``dataset``), or by the query's text if there is no such column.

    Raises:
        RecordsError: If a column is missing or mistyped, or a pair is given twice.
    """
    table = _load(path)
    missing = [name for name in _REQUIRED if name not in table.column_names]
    if missing:
        raise RecordsError(
            f"{path}: column {missing[0]!r} is missing; found {', '.join(table.column_names)}. "
            "The long form has query_id, query, dataset, model, score, cost, ..."
        )
    texts = {name: _texts(table, name, path) for name in _TEXTS if name in table.column_names}
    return _pivot(path, texts, {key: _floats(table, name, path) for key, name in _VALUES.items()}, problems)


def _pivot(path: Path, texts: dict[str, list[str | None]], values: dict[str, Any], problems: Problems) -> RawTable:
    datasets = texts.get("dataset") or [None] * len(texts["query"])
    row_ids = texts.get("query_id") or texts["query"]
    columns: dict[str, int] = {}
    rows: dict[tuple[str, str], int] = {}
    pairs: dict[tuple[int, int], int] = {}
    lines: list[int] = []
    queries: list[str] = []
    for number, (query, model, dataset, row_id) in enumerate(
        zip(texts["query"], texts["model"], datasets, row_ids, strict=True), start=2
    ):
        if not query or query.isspace() or not model:
            field, value = ("model", model) if query else ("query", query)
            problems.report(Problem(path.name, number, field, repr(value), f"the {field} is empty"))
            continue
        key = (dataset or DEFAULT_DATASET, row_id or query)
        row = rows.setdefault(key, len(rows))
        if row == len(queries):
            queries.append(query)
            lines.append(number)
        pair = (row, columns.setdefault(model, len(columns)))
        if queries[row] != query or pair in pairs:
            message = "this id stands for another query above" if queries[row] != query else "given twice"
            problems.report(Problem(path.name, number, "query_id, model", f"{key[1]}, {model}", message))
            continue
        pairs[pair] = number - 2
    where = np.array(list(pairs), dtype=np.intp).reshape(-1, 2)
    source = np.fromiter(pairs.values(), dtype=np.intp, count=len(pairs))
    arrays = {}
    for name, column in values.items():
        arrays[name] = np.full((len(queries), len(columns)), np.nan)
        arrays[name][where[:, 0], where[:, 1]] = column[source]
    listed = np.zeros((len(queries), len(columns)), dtype=bool)
    listed[where[:, 0], where[:, 1]] = True
    by_id = "query_id" in texts
    ids = [key[1] if by_id else str(position) for position, key in enumerate(rows)]
    return RawTable(path.name, lines, queries, [key[0] for key in rows], ids, list(columns), arrays, listed)


def write_columnar(records: Records, path: Path) -> None:
    """Write the long form, one row for each pair that the records list."""
    pa = _pyarrow()
    rows, columns = np.nonzero(records.listed | np.isfinite(records.costs))
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
        from pyarrow import csv

        with pa.CompressedOutputStream(path, "gzip") if path.suffix == ".gz" else path.open("wb") as stream:
            csv.write_csv(arrow, stream)


def _load(path: Path) -> Any:
    pa = _pyarrow()
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return parquet.read_table(path)
        from pyarrow import csv

        texts = csv.ConvertOptions(column_types=dict.fromkeys(_TEXTS, pa.string()), strings_can_be_null=False)
        return csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True), convert_options=texts)
    except (pa.ArrowException, OSError) as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error


def _texts(table: Any, name: str, path: Path) -> list[str | None]:
    column = table.column(name)
    pa = _pyarrow()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        if name == "query_id" and pa.types.is_integer(column.type):
            column = column.cast(pa.string())
        elif not pa.types.is_dictionary(column.type):
            raise RecordsError(f"{path}: column {name!r} must hold text, not {column.type}")
    return list(column.to_pylist())


def _floats(table: Any, name: str, path: Path) -> Any:
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = table.column(name)
    pa = _pyarrow()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_null(column.type):
        return np.full(table.num_rows, np.nan)
    try:
        return column.cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise RecordsError(f"{path}: column {name!r} must hold numbers: {error}") from error


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading and writing Parquet and CSV") from error
    return pa
