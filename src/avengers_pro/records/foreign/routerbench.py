"""Wide tables of RouterBench, as CSV or Parquet: one row a query, columns for each model.

Mapping:

- dataset: ``eval_name``; id: ``sample_id``; query: ``prompt``. A prompt that is a list of turns, or the text of such a
  Python list as in the published files, becomes its turns with a line break between.
- models: every column ``<model>`` with a twin ``<model>|total_cost`` or ``<model>|model_response``.
- score: ``<model>``, in [0, 1]; empty = not observed. Cost: ``<model>|total_cost``, US dollars.
- ``oracle_model_to_route_to``, the responses and any other column are left out.

The table is read by column, without the responses.
"""

import ast
from pathlib import Path
from typing import Any

import numpy as np

from avengers_pro.errors import MissingExtraError, RecordsError
from avengers_pro.records.foreign.join import Join
from avengers_pro.records.foreign.options import Options
from avengers_pro.records.foreign.tally import Tally
from avengers_pro.records.jsonl import Progress
from avengers_pro.records.table import Floats

COST, RESPONSE = "|total_cost", "|model_response"
_REQUIRED = ("sample_id", "prompt")
_TEXTS = ("sample_id", "prompt", "eval_name")
_BLOCK_BYTES = 1 << 24


def models_of(columns: list[str]) -> list[str]:
    """Return the models that a table's columns are about."""
    names = dict.fromkeys(
        column.removesuffix(suffix) for column in columns for suffix in (COST, RESPONSE) if column.endswith(suffix)
    )
    return [name for name in columns if name in names]


def read_routerbench(path: Path, join: Join, options: Options, tally: Tally, progress: Progress | None) -> None:
    """Add the rows of one table.

    Raises:
        RecordsError: If a column is missing or mistyped, or a row is bad and bad ones are not skipped.
        MissingExtraError: If pyarrow is not installed.
    """
    table, columns = _load(path)
    missing = [name for name in _REQUIRED if name not in table.column_names]
    models = models_of(columns)
    if missing or not models:
        what = f"column {missing[0]!r}" if missing else "a column for any model"
        raise RecordsError(f"{path}: {what} is missing; found {', '.join(columns[:20])}")
    left_out = [name for name in columns if name not in table.column_names]
    if left_out:
        tally.count("columns hold neither score nor cost; left out", *left_out[:3], amount=len(left_out))
    names = ["" if name is None else str(name) for name in _values(table, "sample_id", path)]
    datasets = _values(table, "eval_name", path) or [""] * len(names)
    rows = np.full(len(names), -1, dtype=np.int64)
    for row, (name, dataset, prompt) in enumerate(zip(names, datasets, _values(table, "prompt", path), strict=True)):
        query = _query(prompt)
        if not name or not query or query.isspace():
            field = "prompt" if name else "sample_id"
            tally.report(f"{path.name}: row {row + 1}", field, f"the {field} is empty")
            continue
        rows[row] = join.row(str(dataset or ""), name, query)
    places = [f"{path.name}: row {row + 1} ({name})" for row, name in enumerate(names)]
    for number, model in enumerate(models):
        values = np.full((len(names), 5), np.nan)
        usable = rows >= 0
        for position, (column, truth) in enumerate(((model, options.score_scale), (model + COST, None))):
            if column in table.column_names:
                values[:, position], unread = _numbers(table, column, truth, path)
                for row, text in unread.items():
                    tally.report(places[row], column, "must be a number", repr(text))
                    usable[row] = False
        good = np.flatnonzero(usable)
        join.extend(model, rows[good], values[good], [places[row] for row in good])
        if progress is not None:
            progress(number + 1, len(models))


def _values(table: Any, name: str, path: Path) -> list[Any]:
    """Return a column's values; none if it is absent."""
    try:
        return list(table.column(name).to_pylist()) if name in table.column_names else []
    except UnicodeDecodeError as error:
        raise RecordsError(f"{path}: column {name!r} is not valid UTF-8: {error}") from error


def _query(prompt: Any) -> str:
    """Return the text of a prompt, whose turns may stand in a list."""
    if isinstance(prompt, str) and prompt[:1] == "[" and prompt[1:2] in {"'", '"'}:
        try:
            turns = ast.literal_eval(prompt)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return prompt
        if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
            return prompt
        prompt = turns
    if isinstance(prompt, list):
        return "\n".join(turn for turn in prompt if isinstance(turn, str))
    return prompt if isinstance(prompt, str) else ""


def _load(path: Path) -> tuple[Any, list[str]]:
    """Read the columns that count, and name all there are."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        raise MissingExtraError("pyarrow", "parquet", "reading Parquet and CSV") from error
    try:
        return _load_parquet(path) if _is_parquet(path) else _load_csv(path)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise RecordsError(f"{path}: cannot be read: {error}") from error


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _wanted(columns: list[str], path: Path) -> list[str]:
    twice = [name for position, name in enumerate(columns) if name in columns[:position]]
    if twice:
        raise RecordsError(f"{path}: column {twice[0]!r} is given twice; keep one of them")
    models = models_of(columns)
    used = {*_TEXTS, *models, *(model + COST for model in models)}
    return [name for name in columns if name in used]


def _load_parquet(path: Path) -> tuple[Any, list[str]]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        columns = list(file.schema_arrow.names)
        return file.read(columns=_wanted(columns, path)), columns


def _load_csv(path: Path) -> tuple[Any, list[str]]:
    from pyarrow import csv, string

    reading = csv.ReadOptions(block_size=_BLOCK_BYTES)
    parsing = csv.ParseOptions(newlines_in_values=True)
    types = dict.fromkeys(_TEXTS, string())
    with csv.open_csv(path, reading, parsing) as file:
        columns = list(file.schema.names)
    converting = csv.ConvertOptions(
        column_types=types, include_columns=_wanted(columns, path), strings_can_be_null=False
    )
    return csv.read_csv(path, reading, parsing, converting), columns


def _numbers(table: Any, name: str, truth: float | None, path: Path) -> tuple[Floats, dict[int, str]]:
    """Return a column's numbers, NaN where there is none, and what is no number, by row.

    Args:
        table: The file's rows.
        name: The column.
        truth: What "true" stands for; None = it is no number.
        path: For messages.
    """
    import pyarrow as pa

    column = table.column(name)
    types, kind = pa.types, column.type
    if types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind):
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64), {}
    words = {} if truth is None else {"true": truth, "false": 0.0}
    values = np.full(len(column), np.nan)
    unread: dict[int, str] = {}
    for row, value in enumerate(_values(table, name, path)):
        text = "" if value is None else str(value).strip()
        try:
            if text:
                values[row] = words[text.lower()] if text.lower() in words else float(text)
        except ValueError:
            unread[row] = text
    return values, unread
