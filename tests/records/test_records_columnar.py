import csv
import gzip
import io
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from records_tables import assert_same, by_name, in_long_form, message_of, patient, round_trip, tables, write_lines

from avengers_pro.errors import MissingExtraError, RecordsError
from avengers_pro.records import Reading, Records, read_records, write_records

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

HEADER = "query_id,query,dataset,model,score,cost,prompt_tokens,completion_tokens,latency_ms"
SUFFIXES = [".parquet", ".csv", ".csv.gz"]


def read_csv(folder: Path, *lines: str | bytes, **options: Any) -> Reading:
    return read_records(write_lines(folder / "rows.csv", *lines), **options)


def csv_complaint(folder: Path, *lines: str | bytes, **options: Any) -> str:
    return message_of(write_lines(folder / "rows.csv", *lines), **options)


def write_parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "rows.parquet"
    parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(records=tables())
@settings(patient, max_examples=60)
def test_a_table_survives_the_file(suffix: str, records: Records) -> None:
    assert_same(round_trip(records, suffix), in_long_form(records))


def test_the_long_form_is_read(tmp_path: Path) -> None:
    records = read_csv(
        tmp_path,
        HEADER,
        "1,one,d,a,0.5,0.01,10,20,1.5",
        "1,one,d,b,,,,,",
        "2,two,d,b,1,0.02,,,",
        "1,other,e,c,true,,,,",
    ).records
    assert records.queries == ("one", "two", "other")
    assert records.models == ("a", "b", "c")
    assert records.datasets == ("d", "d", "e")
    assert records.ids == ("1", "2", "1")
    nan = np.nan
    np.testing.assert_array_equal(records.scores, [[0.5, nan, nan], [nan, 1, nan], [nan, nan, 1]])
    np.testing.assert_array_equal(records.costs, [[0.01, nan, nan], [nan, 0.02, nan], [nan, nan, nan]])
    np.testing.assert_array_equal(records.prompt_tokens, [[10, nan, nan], [nan] * 3, [nan] * 3])
    np.testing.assert_array_equal(records.completion_tokens, [[20, nan, nan], [nan] * 3, [nan] * 3])
    np.testing.assert_array_equal(records.latency_ms, [[1.5, nan, nan], [nan] * 3, [nan] * 3])
    assert records.listed.tolist() == [[True, True, False], [False, True, False], [False, False, True]]


def test_three_columns_are_enough(tmp_path: Path) -> None:
    records = read_csv(tmp_path, "model,query,score", "a,one,1", "b,one,0", "a,two,0").records
    assert records.queries == ("one", "two")
    assert (records.datasets, records.ids) == (("default", "default"), ("0", "1"))
    np.testing.assert_array_equal(records.scores, [[1, 0], [0, np.nan]])
    assert not records.has_costs
    assert records.latency_ms is None


def test_csv_is_written_in_the_long_form(tmp_path: Path) -> None:
    records = Records.from_arrays(["a,b", "c"], ["m", "n"], np.array([[1, np.nan], [0.25, 0]]), ids=["007", "x"])
    write_records(records, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [tuple(row.values()) for row in rows] == [
        ("007", "a,b", "default", "m", "1", ""),
        ("x", "c", "default", "m", "0.25", ""),
        ("x", "c", "default", "n", "0", ""),
    ]
    assert list(rows[0]) == HEADER.split(",")[:6]


def test_parquet_keeps_types(tmp_path: Path) -> None:
    write_records(Records.from_arrays(["q"], ["m"], np.ones((1, 1)), ids=["007"]), tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "query_id": "string",
        "query": "string",
        "dataset": "string",
        "model": "string",
        "score": "double",
        "cost": "double",
    }
    assert table.column("cost").null_count == 1


def test_a_query_without_any_model_is_not_lost() -> None:
    """Regression: the long form has a row for each pair, so such a query vanished."""
    records = Records.from_arrays(["q", "r"], ["a", "b"], np.array([[1, 0], [np.nan, np.nan]]))
    for suffix in SUFFIXES:
        assert round_trip(records, suffix).queries == ("q", "r")


@pytest.mark.parametrize("missing", ["query", "model", "score"])
def test_a_missing_column_is_named_with_what_was_found(tmp_path: Path, missing: str) -> None:
    kept = [name for name in ("query", "model", "score") if name != missing]
    text = csv_complaint(tmp_path, ",".join(kept), "x,1")
    assert text.startswith(f"{tmp_path / 'rows.csv'}: column {missing!r} is missing; found {', '.join(kept)}.")
    assert "The long form has query_id, query, dataset, model, score, cost" in text


@pytest.mark.parametrize("name", ["query", "score", "dataset"])
def test_a_column_given_twice_is_refused(tmp_path: Path, name: str) -> None:
    """Regression: this came out as a KeyError."""
    text = csv_complaint(tmp_path, f"query,model,score,dataset,{name}", "q,a,1,d,1")
    assert f"column {name!r} is given twice" in text


def test_an_unknown_column_is_ignored_even_twice(tmp_path: Path) -> None:
    assert len(read_csv(tmp_path, "query,model,score,note,note", "q,a,1,x,y").records) == 1


BAD = {
    "score above one": ("q,d,a,85,", "score: a score lies outside [0, 1]; state the scale, for example --score", "85"),
    "negative score": ("q,d,a,-0.25,", "score: a score lies outside [0, 1]", "-0.25"),
    "infinite score": ("q,d,a,inf,", "score: a score lies outside [0, 1]", "inf"),
    "score is text": ("q,d,a,good,", "score: must be a number", "'good'"),
    "score has an underscore": ("q,d,a,1_0,", "score: must be a number", "'1_0'"),
    "negative cost": ("q,d,a,1,-2", "cost: must be a finite number >= 0; leave it out", "-2"),
    "cost is huge": ("q,d,a,1,1e999", "cost: must be a finite number >= 0", "inf"),
    "cost is text": ("q,d,a,1,$3", "cost: must be a number", "'$3'"),
    "cost is true": ("q,d,a,1,true", "cost: must be a number", "'true'"),
    "cost is a date": ("q,d,a,1,2024-01-01", "cost: must be a number", "'2024-01-01'"),
    "query is empty": (",d,a,1,", "query: the query is empty", "''"),
    "query is blank": ('" \t",d,a,1,', "query: the query is empty", r"' \t'"),
    "model is empty": ("q,d,,1,", "model: the model is empty", "''"),
    "model is blank": ("q,d, ,1,", "model: the model is empty", "' '"),
    "pair given twice": ("first,d,a,0,", "query_id, model: given twice", "first, a"),
}


@pytest.mark.parametrize(("row", "where", "value"), BAD.values(), ids=BAD)
def test_a_bad_row_names_file_line_column_and_value(tmp_path: Path, row: str, where: str, value: str) -> None:
    """Regressions: the line was that of the query's first row, and a bad number named no line at all."""
    lines = ["query,dataset,model,score,cost", "first,d,a,1,0.5", "", row, "q,d,b,0,"]
    text = csv_complaint(tmp_path, *lines)
    assert text.startswith(f"rows.csv:4: {where}")
    assert text.endswith(f" (got {value}); --skip-bad-lines leaves such lines out")


@pytest.mark.parametrize("row", [row for row, _, _ in BAD.values()], ids=BAD)
def test_a_bad_row_is_left_out_alone(tmp_path: Path, row: str) -> None:
    """Regression: one bad score took the query's other models with it."""
    lines = ["query,dataset,model,score,cost", "first,d,a,1,0.5", "q,d,c,1,", row, "q,d,b,0,"]
    reading = read_csv(tmp_path, *lines, skip_bad_lines=True)
    assert (reading.skipped, [problem.line for problem in reading.problems]) == (1, [4])
    assert reading.records.queries == ("first", "q")
    assert reading.records.models == ("a", "c", "b")
    nan = np.nan
    np.testing.assert_array_equal(reading.records.scores, [[1, nan, nan], [nan, 1, 0]])
    np.testing.assert_array_equal(reading.records.costs, [[0.5, nan, nan], [nan] * 3])


def test_skipped_rows_of_every_kind_are_counted_and_ten_listed(tmp_path: Path) -> None:
    lines = ["query,dataset,model,score,cost", "first,d,a,1,0.5", *(row for row, _, _ in BAD.values())]
    reading = read_csv(tmp_path, *lines, skip_bad_lines=True)
    assert reading.skipped == len(BAD)
    assert [problem.line for problem in reading.problems] == list(range(3, 13))
    assert len(reading.records) == 1


def test_bad_rows_only_leave_nothing(tmp_path: Path) -> None:
    assert "rows.csv: no usable row" in csv_complaint(tmp_path, "query,model,score", "q,a,7", skip_bad_lines=True)
    assert "rows.csv: no usable row" in csv_complaint(tmp_path, "query,model,score")


def test_one_id_cannot_stand_for_two_queries(tmp_path: Path) -> None:
    lines = ["query_id,query,model,score", "1,one,a,1", "1,two,b,1"]
    assert csv_complaint(tmp_path, *lines).startswith(
        "rows.csv:3: query_id: this id stands for another query, on line 2 (got 1)"
    )


def test_lines_are_those_of_the_file_even_when_texts_span_several(tmp_path: Path) -> None:
    """Regression: rows were counted, not lines."""
    lines = ["query,model,score", '"a\n\n""b"""', '"c\r\nd",m,9']
    lines[1] += ",m,1"
    assert csv_complaint(tmp_path, *lines).startswith("rows.csv:5: score: ")


def test_rows_are_numbered_where_lines_cannot_be_told(tmp_path: Path) -> None:
    """A stray quote inside an unquoted text is a plain character."""
    lines = ["query,model,score", 'a"b,m,1', "c,m,1", "d,m,9"]
    assert csv_complaint(tmp_path, *lines).startswith("rows.csv:4: score: ")
    assert read_csv(tmp_path, *lines[:-1]).records.queries == ('a"b', "c")
    assert read_csv(tmp_path, "query,model,score", 'a"b,m,1').records.queries == ('a"b',)


def test_a_file_cut_off_inside_a_quoted_text_is_refused(tmp_path: Path) -> None:
    """Regression: the rest of the file silently became the last query's text."""
    lines = ["model,score,query", "a,1,one", 'a,1,"two is cut', "a,0,three"]
    assert csv_complaint(tmp_path, *lines) == (
        f"{tmp_path / 'rows.csv'}:3: a quote is opened and never closed; the file seems cut off"
    )


def test_parquet_rows_are_counted_from_one(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, query=["q", "r"], model=["a", "a"], score=[1.0, 2.0])
    assert message_of(path).startswith("rows.parquet:2: score: a score lies outside [0, 1]")


def test_booleans_become_zero_and_one_on_any_scale(tmp_path: Path) -> None:
    lines = ["query,model,score", "q,a,true", "q,b,False", "r,a,"]
    for scale in (1, 100):
        scores = read_csv(tmp_path, *lines, score_scale=scale).records.scores
        np.testing.assert_array_equal(scores, [[1, 0], [np.nan, np.nan]])
    mixed = read_csv(tmp_path, *lines, "r,b,50", "s,a,NA", "s,b, +1e1 ", score_scale=100).records.scores
    np.testing.assert_array_equal(mixed, [[1, 0], [np.nan, 0.5], [np.nan, 0.1]])
    path = write_parquet(tmp_path, query=["q", "r"], model=["a", "a"], score=[True, None])
    np.testing.assert_array_equal(read_records(path).records.scores, [[1], [np.nan]])


def test_scores_are_divided_by_the_scale_that_is_stated(tmp_path: Path) -> None:
    lines = ["query,model,score", "q,a,85", "q,b,100"]
    np.testing.assert_array_equal(read_csv(tmp_path, *lines, score_scale=100).records.scores, [[0.85, 1]])
    assert "outside [0, 90]" in csv_complaint(tmp_path, *lines, score_scale=90)


@pytest.mark.parametrize(
    "scores",
    [
        pa.array([1, 0], pa.int8()),
        pa.array([1, 0], pa.uint64()),
        pa.array([1, 0], pa.float32()),
        pa.array([1, 0], pa.float16()),
        pa.array(["1", "0"]),
        pa.array(["1", "0"]).dictionary_encode(),
        pa.array([1.0, 0.0]).dictionary_encode(),
        pa.chunked_array([[1.0], [0.0]]),
    ],
    ids=lambda scores: str(scores.type),
)
def test_parquet_numbers_of_every_type_are_read(tmp_path: Path, scores: Any) -> None:
    path = write_parquet(tmp_path, query=["q", "q"], model=["a", "b"], score=scores)
    np.testing.assert_array_equal(read_records(path).records.scores, [[1, 0]])


def test_integers_too_large_to_be_exact_are_read(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, query=["q"], model=["a"], score=[1], prompt_tokens=[2**60 + 1])
    np.testing.assert_array_equal(read_records(path).records.prompt_tokens, [[2.0**60]])


def test_parquet_nan_and_null_are_both_not_known(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path, query=["q", "q", "r"], model=["a", "b", "a"], score=[1, None, np.nan], cost=pa.nulls(3)
    )
    records = read_records(path).records
    np.testing.assert_array_equal(records.scores, [[1, np.nan], [np.nan, np.nan]])
    assert not records.has_costs


def test_parquet_text_may_be_dictionaries_large_or_absent(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path,
        query=pa.array(["q", "r"], pa.large_string()),
        model=pa.array(["a", "a"]).dictionary_encode(),
        score=[1, 0],
        dataset=pa.nulls(2),
        query_id=pa.array([7, None], pa.int64()),
    )
    records = read_records(path).records
    assert (records.queries, records.datasets, records.ids) == (("q", "r"), ("default", "default"), ("7", "r"))


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("query", pa.array([1, 2]), "text, not int64"),
        ("model", pa.array([b"a", b"b"]), "text, not binary"),
        ("model", pa.array([1, 1]).dictionary_encode(), "text, not int64"),
        ("dataset", pa.array([1.5, 2]), "text, not double"),
        ("query_id", pa.array([1.5, 2]), "text, not double"),
        ("score", pa.array([[1], [2]]), "numbers: "),
        ("score", pa.array([{"x": 1}, None]), "numbers: "),
    ],
)
def test_a_column_of_the_wrong_type_is_named(tmp_path: Path, name: str, values: Any, kind: str) -> None:
    columns = {"query": ["q", "r"], "model": ["a", "a"], "score": [1, 0]} | {name: values}
    path = write_parquet(tmp_path, **columns)
    assert f"{path}: column {name!r} must hold {kind}" in message_of(path)


@pytest.mark.parametrize("name", ["query", "model", "score"])
def test_text_that_is_not_utf8_is_refused(tmp_path: Path, name: str) -> None:
    raw = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.array([0, 1], np.int32)), pa.py_buffer(b"\xff")])
    path = write_parquet(tmp_path, **({"query": ["q"], "model": ["a"], "score": [1]} | {name: raw}))
    assert f"{path}: column {name!r}" in message_of(path)
    row = {"query": b"q", "model": b"a", "score": b"1"} | {name: b"\xff"}
    assert "rows.csv: " in csv_complaint(tmp_path, "query,model,score", b",".join(row.values()))
    assert "rows.csv: cannot be read: " in csv_complaint(tmp_path, b"query,model,score,\xff", "q,a,1,x")


def test_texts_that_look_like_nothing_or_numbers_stay_texts(tmp_path: Path) -> None:
    lines = ["query_id,query,dataset,model,score", "007,NA,1,null,1", "7,nan,1,2024-01-01,1"]
    records = read_csv(tmp_path, *lines).records
    assert records.ids == ("007", "7")
    assert records.queries == ("NA", "nan")
    assert records.models == ("null", "2024-01-01")
    assert records.dataset_names == ("1",)


def test_a_long_query_is_read() -> None:
    """Regression: a row over 1 MiB 'straddled two blocks'."""
    records = Records.from_arrays(["x" * 3_000_000, "y"], ["a"], np.ones((2, 1)))
    for suffix in SUFFIXES:
        assert_same(round_trip(records, suffix), records)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"\xef\xbb\xbfquery,model,score\r\n\r\nq,a,1\r\nr,a,7\r\n")
    assert message_of(tmp_path / "rows.csv").startswith("rows.csv:4: score: ")
    assert read_records(tmp_path / "rows.csv", skip_bad_lines=True).records.queries == ("q",)


@pytest.mark.parametrize("content", [b"", b"\n", b"query,model,score\nq,a\n", b"query,model,score\nq,a,1,1\n"])
def test_a_malformed_csv_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    assert message_of(tmp_path / "rows.csv").startswith(f"{tmp_path / 'rows.csv'}: cannot be read: ")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    records = Records.from_arrays([f"q{n}" for n in range(999)], ["a"], np.ones((999, 1)))
    for suffix in (".parquet", ".csv.gz"):
        path = tmp_path / f"rows{suffix}"
        write_records(records, path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert f"{path}: cannot be read: " in message_of(path)
        path.write_bytes(b"query,model,score\nq,a,1\n")
        assert f"{path}: cannot be read: " in message_of(path)
    (tmp_path / "empty.csv.gz").write_bytes(gzip.compress(b""))
    assert "cannot be read" in message_of(tmp_path / "empty.csv.gz")


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "dataset=x"
    folder.mkdir()
    path = write_parquet(folder, query=["q"], model=["a"], score=[1])
    assert read_records(path).records.datasets == ("default",)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    records = Records.from_arrays(["q"], ["a"], np.ones((1, 1)))
    path = tmp_path / f"rows{suffix}"
    write_records(records, path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for action in (lambda: read_records(path), lambda: write_records(records, path)):
        with pytest.raises(MissingExtraError, match=r"needs pyarrow: pip install 'avengers-pro\[parquet\]'"):
            action()


def _reference(text: str) -> dict[tuple[str, str], dict[str, float]]:
    """Read the long form with the standard library; raises ValueError on anything unusual."""
    result: dict[tuple[str, str], dict[str, float]] = {}
    for row in csv.DictReader(io.StringIO(text, newline="")):
        cells = result.setdefault((row["dataset"] or "default", row["query_id"] or row["query"]), {})
        if row["score"] not in {"", "null", "nan", "NA"}:
            word = row["score"].strip().lower()
            cells[row["model"]] = {"true": 1.0, "false": 0.0}[word] if word in {"true", "false"} else float(word)
    return result


def test_mutated_files_are_read_right_or_refused(tmp_path: Path) -> None:
    """Fuzz: one error type, and what is read equals what the standard library reads."""
    draw = random.Random(5)  # noqa: S311
    clean = f'{HEADER}\n1,"q, é",d,a,0.5,0.01,1,2,3\n1,"q, é",d,b,1,,,,\n2,"say ""hi""\nthere",d,a,0,0.5,,,\n'.encode()
    pieces = [b"", b'"', b",", b"\n", b"\r", b"-", b"9", b".", b"1", b" ", b"true", b"null"]
    path = tmp_path / "rows.csv"
    read = 0
    for _ in range(1500):
        data = bytearray(clean)
        for _ in range(draw.randrange(1, 4)):
            place = draw.randrange(len(HEADER), len(data) + 1)
            data[place : place + draw.randrange(4)] = draw.choice([*pieces, bytes([draw.randrange(256)])])
        path.write_bytes(data)
        try:
            records = read_records(path).records
        except RecordsError:
            continue
        read += 1
        expected = _reference(bytes(data).decode())
        assert {key: cells["scores"] for key, cells in by_name(records).items()} == expected, bytes(data)
    assert read > 100
