"""Tables to test with: hypothesis strategies, whole comparisons and a slow reference."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from avengers_pro.errors import RecordsError
from avengers_pro.records import Reading, Records, read_records, write_records

ARRAYS = ("scores", "costs", "prompt_tokens", "completion_tokens", "latency_ms")
USAGES = {"cost": "costs", **{name: name for name in ARRAYS[2:]}}

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For examples that write files, on machines with other things to do."""

AWKWARD = [
    "a\nb",
    "\r",
    'say "hi", twice',
    "🙂👩‍👩‍👧",
    "NA",
    "null",
    "0",
    "007",
    "-1",
    "٣",
    "\x00",
    "\ufeff",
    "a,b",
    "'",
    "\t x ",
    "\x85",
]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), st.sampled_from(AWKWARD)
).filter(lambda text: not text.isspace())
amounts = st.one_of(st.floats(0, 1e300, allow_subnormal=True), st.sampled_from([0.0, 1.0, 12.0, 2.0**53, 1e300]))
scores = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1))


def _array(draw: Any, shape: tuple[int, int], cells: Any, seen: np.ndarray | None = None) -> np.ndarray:
    size = shape[0] * shape[1]
    drawn = draw(st.lists(st.one_of(st.just(np.nan), cells), min_size=size, max_size=size))
    values = np.array(drawn, dtype=np.float64).reshape(shape)
    return values if seen is None else np.where(seen, values, np.nan)


@st.composite
def tables(draw: Any) -> Records:
    """Any table whose first row names every model, so that a file keeps the models' order."""
    queries = draw(st.lists(texts, min_size=1, max_size=5))
    models = draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    shape = (len(queries), len(models))
    datasets = draw(st.lists(st.sampled_from(["math", "default", "c\nd", "ü"]), min_size=shape[0], max_size=shape[0]))
    ids = draw(
        st.lists(st.one_of(texts, st.integers(-5, 10**25).map(str)), min_size=shape[0], max_size=shape[0], unique=True)
    )
    listed = np.array(draw(st.lists(st.booleans(), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])))
    listed = listed.reshape(shape)
    listed[0] = True
    optional = {}
    for name in ARRAYS[2:]:
        values = _array(draw, shape, amounts)
        optional[name] = values if np.isfinite(values).any() else None
    return Records(
        queries=tuple(queries),
        models=tuple(models),
        scores=_array(draw, shape, scores, listed),
        costs=_array(draw, shape, amounts),
        datasets=tuple(datasets),
        ids=tuple(ids),
        listed=listed,
        **optional,
    )


def assert_same(found: Records, expected: Records) -> None:
    """Compare every field, NaN equal to NaN, and the fingerprints."""
    for name in ("queries", "models", "datasets", "ids"):
        assert getattr(found, name) == getattr(expected, name), name
    for name in (*ARRAYS, "listed"):
        left, right = getattr(found, name), getattr(expected, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_array_equal(left, right, err_msg=name)
    assert found.fingerprint == expected.fingerprint


def in_long_form(records: Records) -> Records:
    """Return what Parquet and CSV can hold: known cells are listed, and each row lists a model."""
    known = [np.isfinite(values) for name in ARRAYS if (values := getattr(records, name)) is not None]
    listed = records.listed | np.logical_or.reduce(known)
    listed[~listed.any(axis=1), 0] = True
    return replace(records, listed=listed)


def round_trip(records: Records, suffix: str) -> Records:
    """Write and read a file of this kind."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"records{suffix}"
        write_records(records, path)
        return read_records(path).records


def write_lines(path: Path, *rows: Any, end: str = "\n") -> Path:
    """Write one line a row: text and bytes as they are, anything else as JSON."""
    with path.open("wb") as stream:
        for row in rows:
            line = row if isinstance(row, str | bytes) else json.dumps(row)
            stream.write((line.encode() if isinstance(line, str) else line) + end.encode())
    return path


def read_lines(folder: Path, *rows: Any, **options: Any) -> Reading:
    """Read these rows as a file named rows.jsonl."""
    return read_records(write_lines(folder / "rows.jsonl", *rows), **options)


def message_of(path: Path, **options: Any) -> str:
    """Return the message of the error that reading this file must raise."""
    with pytest.raises(RecordsError) as raised:
        read_records(path, **options)
    return str(raised.value)


def complaint(folder: Path, *rows: Any, name: str = "rows.jsonl", **options: Any) -> str:
    """Return the message of the error that these rows must raise."""
    return message_of(write_lines(folder / name, *rows), **options)


def by_name(records: Records) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Return (dataset, id) → array → model → value as plain dicts: the slow reference's form."""
    result: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row, key in enumerate(zip(records.datasets, records.ids, strict=True)):
        result[key] = {
            name: {
                model: float(values[row, column])
                for column, model in enumerate(records.models)
                if not np.isnan(values[row, column])
            }
            for name in ARRAYS
            if (values := getattr(records, name)) is not None
        }
        result[key]["listed"] = {
            model: 1.0 for column, model in enumerate(records.models) if records.listed[row, column]
        }
    return result


def reference(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Do what the JSONL reader must, with one dict after another."""
    models = {model for row in rows for model in row["records"]}
    result: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for number, row in enumerate(rows):
        key = (row.get("dataset") or "default", str(row.get("index", number)))
        cells: dict[str, dict[str, float]] = {name: {} for name in ARRAYS}
        cells["scores"] = {model: float(score) for model, score in row["records"].items() if score is not None}
        for model, usage in (row.get("usages") or {}).items():
            for field, name in USAGES.items():
                if model in models and usage is not None and usage.get(field) is not None:
                    cells[name][model] = float(usage[field])
        result[key] = cells | {"listed": dict.fromkeys(row["records"], 1.0)}
    for name in ARRAYS[2:]:
        if not any(cells[name] for cells in result.values()):
            for cells in result.values():
                del cells[name]
    return result
