"""Parquet with a row a query: the fields of the JSON lines as columns, and a column of vectors if there is one."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import RecordsError
from avengers_pro.records.assemble import RawTable
from avengers_pro.records.messages import query_of
from avengers_pro.records.table import DEFAULT_DATASET, Floats
from avengers_pro.scale.files import opened_file
from avengers_pro.scale.parts import Part, arrow

VECTOR = "vector"
_USAGE = {
    "costs": "cost",
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "completion_tokens",
    "latency_ms": "latency_ms",
}


def batches(part: Part, columns: Sequence[str], rows: int) -> Iterator[tuple[int, Any]]:
    """Yield (row of the file, record batch of at most ``rows``) with those of the columns that are there.

    Raises:
        RecordsError: If the file cannot be read.
    """
    pa = arrow()
    from pyarrow import parquet

    with opened_file(part.path) as stream:
        try:
            file = parquet.ParquetFile(stream, buffer_size=1 << 20)
            known = [name for name in columns if name in file.schema_arrow.names]
            groups = range(part.start, part.end)
            first = part.first_row
            for batch in file.iter_batches(batch_size=rows, row_groups=groups, columns=known, use_threads=False):
                yield first, batch
                first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise RecordsError(f"{part.path}: cannot be read as Parquet: {error}") from error


def table_of_batch(path: str, first: int, batch: Any, score_scale: float) -> RawTable:
    """Read a batch with the columns query or messages, records, usages, dataset and index.

    ``records`` is a struct or a map of model to score, ``usages`` likewise of model to a struct.

    Raises:
        RecordsError: If a column is missing or of a type that cannot be read so.
    """
    if "records" not in batch.schema.names:
        raise RecordsError(f"{path}: column 'records' is missing; found {', '.join(batch.schema.names)}")
    n = batch.num_rows
    scores, given = _cells(batch.column("records"), path, "records")
    models = list(scores)
    arrays = {"scores": np.full((n, len(models)), np.nan)}
    listed = np.zeros((n, len(models)), dtype=bool)
    for column, model in enumerate(models):
        arrays["scores"][:, column] = _numbers(scores[model], path, f"records[{model}]", score_scale)
        listed[:, column] = given[model]
    usages = _cells(batch.column("usages"), path, "usages")[0] if "usages" in batch.schema.names else {}
    for name, field in _USAGE.items():
        arrays[name] = np.full((n, len(models)), np.nan)
        for column, model in enumerate(models):
            if model in usages and (values := _field(usages[model], field)) is not None:
                arrays[name][:, column] = _numbers(values, path, f"usages[{model}].{field}", None)
    lines = range(first + 1, first + n + 1)
    datasets = [name or DEFAULT_DATASET for name in _texts(batch, "dataset", n)]
    ids = [str(row) if name is None else str(name) for row, name in enumerate(_texts(batch, "index", n), first)]
    return RawTable(path, lines, queries_of(path, first, batch), datasets, ids, models, arrays, listed)


def queries_of(path: str, first: int, batch: Any) -> list[str]:
    """Return the texts of a batch.

    Raises:
        RecordsError: If a row has none; the message names it.
    """
    n = batch.num_rows
    texts = _texts(batch, "query", n)
    if None in texts:
        chats = _texts(batch, "messages", n)
        for row, text in enumerate(texts):
            if text is None:
                try:
                    texts[row] = query_of(chats[row])
                except RecordsError as error:
                    raise RecordsError(f"{path}: row {first + row + 1}: {error}") from error
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text or text.isspace():
            raise RecordsError(f"{path}: row {first + row + 1}: query: the query is empty or no text")
    return texts


def indexes_of(first: int, batch: Any) -> list[int | str]:
    """Return what the rows are called; the row of the file, from 0, where they have no name."""
    names = _texts(batch, "index", batch.num_rows)
    return [row if name is None else name for row, name in enumerate(names, first)]


def vectors_of(path: str, first: int, batch: Any, dimension: int) -> Vectors | None:
    """Return the (n, d) vectors of a batch; None without such a column.

    Raises:
        RecordsError: If a vector is missing, of another length or not finite; the message names the row.
    """
    if VECTOR not in batch.schema.names:
        return None
    pa, column = arrow(), batch.column(VECTOR)
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
            or pa.types.is_fixed_size_list(column.type)):  # fmt: skip
        raise RecordsError(f"{path}: column {VECTOR!r} must hold lists of numbers, not {column.type}")
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if column.null_count or len(flat) != batch.num_rows * dimension or not _all_of(column, dimension):
        lengths = [-1 if row is None else len(row) for row in column.to_pylist()]
        bad = next(row for row, length in enumerate(lengths) if length != dimension)
        raise RecordsError(
            f"{path}: row {first + bad + 1}: {VECTOR}: must hold {dimension} numbers, as the embedder gives, "
            f"got {'nothing' if lengths[bad] < 0 else lengths[bad]}"
        )
    rows: Vectors = flat.reshape(-1, dimension)
    lengths = np.einsum("nd,nd->n", rows, rows)
    wrong = ~(np.abs(lengths - 1) < 0.01)  # noqa: PLR2004  (float16 vectors are that close)
    if wrong.any():
        row = int(wrong.argmax())
        raise RecordsError(
            f"{path}: row {first + row + 1}: {VECTOR}: must have length 1, got {lengths[row] ** 0.5:.4g}"
        )
    return rows


def _all_of(column: Any, dimension: int) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.equal(pc.list_value_length(column), dimension)).as_py())


def _texts(batch: Any, name: str, n: int) -> list[Any]:
    return batch.column(name).to_pylist() if name in batch.schema.names else [None] * n


def _cells(column: Any, path: str, name: str) -> tuple[dict[str, Any], dict[str, NDArray[np.bool_]]]:
    """Return, by model, a column of its cells, and which rows name it."""
    pa = arrow()
    kind = column.type
    if pa.types.is_struct(kind):
        parts = column.flatten()
        names = [kind.field(place).name for place in range(kind.num_fields)]
        return dict(zip(names, parts, strict=True)), {n: np.ones(len(column), dtype=bool) for n in names}
    if not pa.types.is_map(kind):
        raise RecordsError(f"{path}: column {name!r} must be a struct or a map of model to value, not {kind}")
    rows = [dict(row or ()) for row in column.to_pylist()]
    models = list(dict.fromkeys(model for row in rows for model in row))
    cells = {model: pa.array([row.get(model) for row in rows], kind.item_type) for model in models}
    return cells, {model: np.array([model in row for row in rows], dtype=bool) for model in models}


def _field(column: Any, name: str) -> Any:
    pa = arrow()
    if not pa.types.is_struct(column.type):
        return None
    place = column.type.get_field_index(name)
    return None if place < 0 else column.flatten()[place]


def _numbers(column: Any, path: str, field: str, truth: float | None) -> Floats:
    """Return (n,) numbers, NaN for null; true is a perfect score."""
    pa = arrow()
    types, kind = pa.types, column.type
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_boolean(kind) and truth is not None:
        exact: Floats = column.cast(pa.int8()).cast(pa.float64()).to_numpy(zero_copy_only=False) * truth
        return exact
    if not (types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind)):
        raise RecordsError(f"{path}: {field} must hold numbers, not {kind}")
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
