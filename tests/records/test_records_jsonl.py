import gzip
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_tables import (
    assert_same,
    by_name,
    complaint,
    message_of,
    patient,
    read_lines,
    reference,
    round_trip,
    tables,
    write_lines,
)

from avengers_pro.errors import RecordsError
from avengers_pro.records import Records, read_records, write_records

GOOD = {"query": "q", "records": {"a": 1}}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
@given(records=tables())
@settings(patient, max_examples=80)
def test_a_table_survives_the_file(suffix: str, records: Records) -> None:
    assert_same(round_trip(records, suffix), records)


def test_every_field_of_the_published_form_is_read(tmp_path: Path) -> None:
    usage = {"cost": 0.02, "prompt_tokens": 10, "completion_tokens": 20, "latency_ms": 1.5, "estimated": True}
    row = {"query": "q", "records": {"a": 0.5, "b": None}, "usages": {"a": usage}, "dataset": "d", "index": 7, "x": []}
    records = read_lines(tmp_path, row).records
    assert records.queries == ("q",)
    assert records.models == ("a", "b")
    np.testing.assert_array_equal(records.scores, [[0.5, np.nan]])
    np.testing.assert_array_equal(records.costs, [[0.02, np.nan]])
    np.testing.assert_array_equal(records.prompt_tokens, [[10, np.nan]])
    np.testing.assert_array_equal(records.completion_tokens, [[20, np.nan]])
    np.testing.assert_array_equal(records.latency_ms, [[1.5, np.nan]])
    assert (records.datasets, records.ids) == (("d",), ("7",))


def test_only_query_and_records_are_required(tmp_path: Path) -> None:
    records = read_lines(tmp_path, GOOD).records
    assert (records.datasets, records.ids) == (("default",), ("0",))
    assert not records.has_costs
    assert records.prompt_tokens is None
    assert records.completion_tokens is None
    assert records.latency_ms is None


def test_null_is_listed_and_absent_is_not_and_both_are_nan(tmp_path: Path) -> None:
    rows = [{"query": "q", "records": {"a": 1, "b": None}}, {"query": "r", "records": {"b": False}}]
    records = read_lines(tmp_path, *rows).records
    np.testing.assert_array_equal(records.scores, [[1, np.nan], [np.nan, 0]])
    assert records.listed.tolist() == [[True, True], [False, True]]


def test_booleans_become_zero_and_one_on_any_scale(tmp_path: Path) -> None:
    row = {"query": "q", "records": {"a": True, "b": False}}
    np.testing.assert_array_equal(read_lines(tmp_path, row).records.scores, [[1, 0]])
    mixed = {"query": "q", "records": {"a": True, "b": False, "c": 50, "d": None}}
    found = read_lines(tmp_path, mixed, score_scale=100).records.scores
    np.testing.assert_array_equal(found, [[1, 0, 0.5, np.nan]])


def test_the_model_set_is_the_union_over_all_rows(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "records": {model: n / 4}} for n, model in enumerate("cab")]
    records = read_lines(tmp_path, *rows).records
    assert records.models == ("c", "a", "b")
    np.testing.assert_array_equal(records.scores, [[0, np.nan, np.nan], [np.nan, 0.25, np.nan], [np.nan, np.nan, 0.5]])


def test_a_usage_counts_wherever_in_the_file_its_model_is_scored(tmp_path: Path) -> None:
    """Regression: a cost above the first row that scores the model was dropped, one below was kept."""
    first = {"query": "q", "records": {"a": 1}, "usages": {"b": {"cost": 2}, "ghost": {"cost": 9}}}
    second = {"query": "r", "records": {"b": 1}, "usages": {"a": {"cost": 3}}}
    records = read_lines(tmp_path, first, second).records
    assert records.models == ("a", "b")
    np.testing.assert_array_equal(records.costs, [[np.nan, 2], [3, np.nan]])


names = st.sampled_from(["a", "b", "c", "d", "e"])
usage = st.none() | st.fixed_dictionaries(
    {},
    optional={"cost": st.none() | st.floats(0, 10), "latency_ms": st.floats(0, 9), "prompt_tokens": st.integers(0, 9)},
)
rows_of_any_models = st.lists(
    st.fixed_dictionaries(
        {"query": st.just("q"), "records": st.dictionaries(names, st.none() | st.booleans() | st.floats(0, 1))},
        optional={"usages": st.none() | st.dictionaries(names, usage), "dataset": st.sampled_from([None, "", "d"])},
    ),
    min_size=1,
    max_size=8,
).filter(lambda rows: any(row["records"] for row in rows))


@given(rows_of_any_models)
@patient
def test_rows_with_models_in_any_order_and_subset_match_a_plain_reference(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    records = read_lines(tmp_path_factory.getbasetemp(), *rows).records
    assert by_name(records) == reference(rows)
    assert records.models == tuple(dict.fromkeys(model for row in rows for model in row["records"]))


def test_a_table_larger_than_one_run_with_changing_keys_matches_the_reference(tmp_path: Path) -> None:
    draw = random.Random(7)  # noqa: S311
    pool = [f"m{n}" for n in range(12)]
    rows = []
    for number in range(16_000):
        same = number < 7_000  # 84,000 cells with the same keys: more than one run of 65,536
        named = pool if same else draw.sample(pool, draw.randrange(13))
        rows.append(
            {
                "query": f"q{number}",
                "records": {model: draw.choice([0, 1, 0.5, None, True]) for model in named},
                "usages": {model: {"cost": draw.random()} for model in (pool if same else draw.sample(pool, 3))},
            }
        )
    assert by_name(read_lines(tmp_path, *rows).records) == reference(rows)


def test_index_may_be_a_number_a_text_or_absent(tmp_path: Path) -> None:
    rows = [GOOD | {"index": index} for index in (5, "x-1", -3, 10**30, "007")]
    ids = read_lines(tmp_path, *rows, GOOD | {"index": None, "dataset": "other"}).records.ids
    assert ids == ("5", "x-1", "-3", str(10**30), "007", "5")


@pytest.mark.parametrize(
    "name", ["007", "7", "0", "00", "٣", "-1", "1e3", str(10**17), str(10**18), str(2**64), "9" * 5000]
)
def test_an_id_is_written_so_that_it_reads_back_as_the_same_text(name: str) -> None:
    """Regression: '007' came back as '7', and numbers over 64 bits could not be written."""
    records = Records.from_arrays(["q"], ["a"], np.ones((1, 1)), ids=[name])
    assert round_trip(records, ".jsonl").ids == (name,)


def test_huge_token_counts_can_be_written(tmp_path: Path) -> None:
    row = {"query": "q", "records": {"a": 1}, "usages": {"a": {"prompt_tokens": 1e300, "completion_tokens": 12}}}
    records = read_lines(tmp_path, row).records
    assert_same(round_trip(records, ".jsonl"), records)
    write_records(records, tmp_path / "out.jsonl")
    written = json.loads((tmp_path / "out.jsonl").read_text())
    assert written["usages"]["a"] == {"prompt_tokens": 1e300, "completion_tokens": 12}


def test_what_is_written_is_the_published_form(tmp_path: Path) -> None:
    row = {
        "query": 'a "b"\n🙂',
        "records": {"a": 0.5, "b": None},
        "usages": {"a": {"cost": 0.25, "prompt_tokens": 3, "completion_tokens": 2.5, "latency_ms": 10.0}},
        "dataset": "d",
        "index": 7,
    }
    write_records(read_lines(tmp_path, row, {"query": "r", "records": {}}).records, tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        row,
        {"query": "r", "records": {}, "dataset": "default", "index": 1},
    ]


def test_a_table_larger_than_what_is_written_at_once_keeps_every_cell_and_gap(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shape = (2500, 3)

    def gaps(values: Any) -> Any:
        return np.where(rng.random(shape) < 0.3, np.nan, values)

    listed = rng.random(shape) < 0.8
    listed[0] = True
    listed[:, 0] |= ~listed.any(axis=1)
    table = Records(
        queries=tuple(f"query {row}" for row in range(shape[0])),
        models=("a", "b", "c"),
        scores=np.where(listed, gaps(rng.random(shape)), np.nan),
        costs=gaps(rng.random(shape)),
        datasets=tuple(f"set {row % 7}" for row in range(shape[0])),
        ids=tuple(map(str, range(shape[0]))),
        listed=listed,
        prompt_tokens=gaps(rng.integers(0, 1000, shape)),
        latency_ms=gaps(rng.random(shape)),
    )
    write_records(table, tmp_path / "r.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    for row, line in enumerate(lines):
        assert (line["query"], line["dataset"], line["index"]) == (table.queries[row], table.datasets[row], row)
        expected = {
            model: None if np.isnan(table.scores[row, column]) else table.scores[row, column]
            for column, model in enumerate(table.models)
            if listed[row, column]
        }
        assert line["records"] == expected
        for column, model in enumerate(table.models):
            known = {"cost": table.costs, "prompt_tokens": table.prompt_tokens, "latency_ms": table.latency_ms}
            cells = {name: values[row, column] for name, values in known.items() if values is not None}
            used = line.get("usages", {}).get(model, {})
            assert used == {name: value for name, value in cells.items() if not np.isnan(value)}
            assert isinstance(used.get("prompt_tokens", 0), int)


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    records = read_lines(tmp_path, GOOD).records
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        write_records(records, tmp_path / name)
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


# ---- messages instead of a query


@pytest.mark.parametrize(
    ("messages", "query"),
    [
        ([{"role": "user", "content": "hi"}], "hi"),
        (
            [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "x"},
                {"role": "user", "content": "two"},
            ],
            "two",
        ),
        (
            [{"role": "user", "content": "one"}, {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "one",
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "x"}, {"type": "text", "text": "b"}],
                }
            ],
            "a\nb",
        ),
        ([{"role": "user", "content": "one"}, "odd", {"role": "tool", "content": "x"}, {"role": "user"}], "one"),
    ],
)
def test_messages_stand_in_for_the_query(tmp_path: Path, messages: list[Any], query: str) -> None:
    assert read_lines(tmp_path, {"messages": messages, "records": {"a": 1}}).records.queries == (query,)


def test_a_query_wins_over_messages(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}]
    assert read_lines(tmp_path, GOOD | {"messages": messages}).records.queries == ("q",)


@pytest.mark.parametrize(
    "messages", [None, [], [{"role": "system", "content": "x"}], [{"role": "user", "content": [1]}]]
)
def test_messages_without_user_text_are_refused(tmp_path: Path, messages: Any) -> None:
    text = complaint(tmp_path, GOOD, {"messages": messages, "records": {"a": 1}})
    assert text.startswith("rows.jsonl:2: query: a row needs 'query', or 'messages' with a user turn that has text")
    assert f"(got {messages})" in text


# ---- score scale


def test_scores_are_divided_by_the_scale_that_is_stated(tmp_path: Path) -> None:
    row = {"query": "q", "records": {"a": 85, "b": 100, "c": 0, "d": None}}
    found = read_lines(tmp_path, row, score_scale=100).records.scores
    np.testing.assert_array_equal(found, [[0.85, 1, 0, np.nan]])


def test_the_scale_is_never_guessed(tmp_path: Path) -> None:
    text = complaint(tmp_path, GOOD, {"query": "r", "records": {"a": 85}})
    assert text == (
        "rows.jsonl:2: records[a]: a score lies outside [0, 1]; state the scale, for example --score-scale 100 "
        "(got 85); --skip-bad-lines leaves such lines out"
    )
    assert "outside [0, 10]" in complaint(tmp_path, {"query": "r", "records": {"a": 85}}, score_scale=10)


def test_a_score_just_above_one_is_shown_in_full(tmp_path: Path) -> None:
    assert "(got 1.0000000001)" in complaint(tmp_path, {"query": "r", "records": {"a": 1.0000000001}})


@pytest.mark.parametrize("scale", [0, -1, np.inf, np.nan])
def test_a_scale_that_is_no_positive_number_is_refused(tmp_path: Path, scale: float) -> None:
    """Regression: an infinite scale made every score 0."""
    assert "the score scale must be a positive number" in complaint(tmp_path, GOOD, score_scale=scale)


# ---- bad lines: file, line, field, value, remedy


BAD = {
    "negative score": ({"query": "q", "records": {"a": -0.5}}, "records[a]: a score lies outside [0, 1]", "-0.5"),
    "score is text": ({"query": "q", "records": {"a": 1, "b": "0.5"}}, "records[b]: Expected", "'0.5'"),
    "score is a list": ({"query": "q", "records": {"a": [1]}}, "records[a]: Expected", "[1]"),
    "records is a list": ({"query": "q", "records": [1]}, "records: Expected `object`, got `array`", "[1]"),
    "no records": ({"query": "q"}, "records: a row needs 'records': {model: score}", "nothing"),
    "records is null": ({"query": "q", "records": None}, "records: Expected `object`, got `null`", "None"),
    "model is empty": (
        {"query": "q", "records": {"a": 1, " ": 0}},
        "records: a model's name is empty",
        "{'a': 1.0, ' ': 0.0}",
    ),
    "query is empty": ({"query": "", "records": {"a": 1}}, "query: the query is empty", "''"),
    "query is blank": ({"query": " \n", "records": {"a": 1}}, "query: the query is empty", r"' \n'"),
    "query is a number": ({"query": 5, "records": {"a": 1}}, "query: Expected `str | null`, got `int`", "5"),
    "negative cost": (
        GOOD | {"usages": {"a": {"cost": -1}}},
        "usages[a].cost: must be a finite number >= 0; leave it out",
        "-1",
    ),
    "negative tokens": (GOOD | {"usages": {"a": {"prompt_tokens": -2}}}, "usages[a].prompt_tokens: must be", "-2"),
    "negative output": (GOOD | {"usages": {"a": {"completion_tokens": -2}}}, "usages[a].completion_tokens: must", "-2"),
    "negative latency": (GOOD | {"usages": {"a": {"latency_ms": -2.5}}}, "usages[a].latency_ms: must be", "-2.5"),
    "cost is text": (
        GOOD | {"usages": {"a": {"cost": "1"}}},
        "usages[a].cost: Expected `float | null`, got `str`",
        "'1'",
    ),
    "cost is true": (
        GOOD | {"usages": {"a": {"cost": True}}},
        "usages[a].cost: Expected `float | null`, got `bool`",
        "True",
    ),
    "usage is a number": (GOOD | {"usages": {"a": 0.1}}, "usages[a]: Expected", "0.1"),
    "usages is a list": (GOOD | {"usages": []}, "usages: Expected", "[]"),
    "dataset is a number": (GOOD | {"dataset": 3}, "dataset: Expected `str | null`, got `int`", "3"),
    "index is a fraction": (GOOD | {"index": 1.5}, "index: Expected `int | str | null`, got `float`", "1.5"),
    "index is true": (GOOD | {"index": True}, "index: Expected", "True"),
    "messages is text": ({"messages": "hi", "records": {"a": 1}}, "messages: Expected", "'hi'"),
    "cost is NaN": (
        '{"query":"q","records":{"a":1},"usages":{"a":{"cost":NaN}}}',
        "line: not valid JSON: JSON is malformed",
        "{",
    ),
    "cost is infinite": (
        GOOD | {"usages": {"a": {"cost": float("inf")}}},
        "line: not valid JSON: JSON is malformed",
        "{",
    ),
    "cost is huge": (
        '{"query":"q","records":{"a":1},"usages":{"a":{"cost":1e999}}}',
        "line: not valid JSON: Number out",
        "{",
    ),
    "bad JSON": (
        '{"query": "q", "records": {"a": 1}',
        "line: not valid JSON: Input data was truncated",
        '{"query": "q"',
    ),
    "two objects": ('{"query": "q"}{"query": "q"}', "line: not valid JSON: JSON is malformed", '{"query": "q"}{'),
    "invalid UTF-8": (
        b'{"query": "\xff", "records": {"a": 1}}',
        "line: not valid JSON: 'utf-8' codec",
        '{"query": "\ufffd"',
    ),
    "invalid UTF-8 in a skipped field": (
        b'{"query":"q","records":{"a":1},"\xff":1}',
        "line: not valid JSON: 'utf-8'",
        "{",
    ),
    "lone surrogate": (r'{"query": "\ud800", "records": {"a": 1}}', "line: not valid JSON: JSON is malformed", "{"),
    "huge score": ('{"query":"q","records":{"a":' + "9" * 400 + "}}", "records[a]: Number out of range", "9" * 76),
    "huge index": (
        '{"query":"q","records":{"a":1},"index":' + "9" * 5000 + "}",
        "line: not valid JSON: Integer value",
        "{",
    ),
    "a number": ("5", "line: one JSON object a line is expected", "5"),
    "null": ("null", "line: one JSON object a line is expected", "null"),
    "repeated key": (
        '{"query":"q","query":5,"query":"q","records":{"a":1}}',
        "line: Expected `str | null`, got `int`",
        "{",
    ),
    "deep nesting": (
        '{"query":"q","records":{"a":1},"x":' + "[" * 100_000,
        "line: not valid JSON: maximum recursion",
        "{",
    ),
}


@pytest.mark.parametrize(("row", "where", "value"), BAD.values(), ids=BAD)
def test_a_bad_line_names_file_line_field_and_value(tmp_path: Path, row: Any, where: str, value: str) -> None:
    text = complaint(tmp_path, GOOD | {"dataset": "other"}, "", row, GOOD | {"dataset": "third"})
    assert text.startswith(f"rows.jsonl:3: {where}")
    assert f" (got {value}" in text
    assert text.endswith("; --skip-bad-lines leaves such lines out")
    assert len(text) < 300


@pytest.mark.parametrize("row", [row for row, _, _ in BAD.values()], ids=BAD)
def test_a_bad_line_can_be_left_out(tmp_path: Path, row: Any) -> None:
    reading = read_lines(tmp_path, GOOD | {"dataset": "d"}, "", row, GOOD | {"dataset": "e"}, skip_bad_lines=True)
    assert reading.records.datasets == ("d", "e")
    assert reading.records.ids == ("0", "3")
    assert (reading.skipped, [problem.line for problem in reading.problems]) == (1, [3])


def test_the_last_of_repeated_keys_counts_as_in_every_json_parser(tmp_path: Path) -> None:
    line = '{"query":"p","query":"q","records":{"b":1},"records":{"a":0,"a":1}}'
    records = read_lines(tmp_path, line).records
    assert (records.queries, records.models, records.scores.tolist()) == (("q",), ("a",), [[1.0]])


def test_the_records_are_blamed_where_an_earlier_field_of_a_row_is_fine(tmp_path: Path) -> None:
    row = {"note": [], "usages": {"a": None, "b": {"cost": 1}, "c": {"cost": 1, "latency_ms": "x"}}, **GOOD}
    assert complaint(tmp_path, row).startswith("rows.jsonl:1: usages[c].latency_ms: Expected")


def test_repeated_ids_name_both_lines(tmp_path: Path) -> None:
    rows = [
        GOOD | {"dataset": "d", "index": 4},
        GOOD | {"dataset": "e", "index": 4},
        GOOD | {"dataset": "d", "index": "4"},
    ]
    assert complaint(tmp_path, *rows) == (
        "rows.jsonl:3: index: this id was used before in dataset 'd', on line 1 (got 4); "
        "--skip-bad-lines leaves such lines out"
    )


def test_the_first_of_several_bad_values_is_reported(tmp_path: Path) -> None:
    """Regression: a bad score far below hid a bad cost further up."""
    rows = [GOOD | {"usages": {"a": {"cost": -1}}}, {"query": "r", "records": {"a": 7}}]
    assert complaint(tmp_path, *rows).startswith("rows.jsonl:1: usages[a].cost: ")


@pytest.mark.parametrize("array", ["[" + json.dumps(GOOD) + "]", "[\n" + json.dumps(GOOD) + "\n]"])
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_an_array_instead_of_lines_is_explained(tmp_path: Path, array: str, name: str) -> None:
    text = complaint(tmp_path, array, name=name)
    assert text.startswith(f"{name}:1: line: ")
    assert "one JSON object a line is expected" in text


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", '{"query": "q", "records": {}}'])
def test_a_file_without_a_usable_row_is_refused(tmp_path: Path, content: str) -> None:
    text = complaint(tmp_path, content)
    assert text == "rows.jsonl: no usable row; a row needs 'query', and 'records' that name a model"


def test_a_file_of_bad_lines_only_is_refused_even_when_they_are_skipped(tmp_path: Path) -> None:
    assert "no usable row" in complaint(tmp_path, "x", "y", skip_bad_lines=True)
    assert "no usable row" in complaint(tmp_path, {"query": "q", "records": {"a": 5}}, skip_bad_lines=True)


# ---- leaving bad lines out


def test_skipped_lines_of_every_kind_are_counted_and_ten_listed(tmp_path: Path) -> None:
    bad = [row for row, _, _ in BAD.values()]
    reading = read_lines(tmp_path, GOOD, *bad, GOOD | {"index": 0}, skip_bad_lines=True)
    assert len(reading.records) == 1
    assert reading.skipped == len(bad) + 1
    assert len(reading.problems) == 10
    assert str(reading.problems[0]) == "rows.jsonl:3: records[b]: Expected `bool | float | null`, got `str` (got '0.5')"
    listed = reading.problems[0]
    assert (listed.file, listed.line, listed.field, listed.value) == ("rows.jsonl", 3, "records[b]", "'0.5'")


def test_nothing_skipped_is_said_as_zero(tmp_path: Path) -> None:
    reading = read_lines(tmp_path, GOOD, skip_bad_lines=True)
    assert (reading.skipped, reading.problems) == (0, ())


def test_a_line_with_two_faults_is_counted_once(tmp_path: Path) -> None:
    """Regression: a bad score on a repeated id counted twice."""
    rows = [
        GOOD | {"index": 1},
        {"query": "q", "records": {"a": 5, "b": -1}, "index": 1, "usages": {"a": {"cost": -1}}},
    ]
    reading = read_lines(tmp_path, *rows, skip_bad_lines=True)
    assert (reading.skipped, len(reading.records)) == (1, 1)


def test_a_skipped_line_does_not_take_its_id_with_it(tmp_path: Path) -> None:
    """Regression: the good row was dropped too, as a repeat of the bad one."""
    rows = [{"query": "bad", "records": {"a": 5}, "index": 1}, GOOD | {"index": 1}]
    reading = read_lines(tmp_path, *rows, skip_bad_lines=True)
    assert (reading.skipped, reading.records.queries) == (1, ("q",))


def test_a_model_that_only_skipped_lines_name_is_no_model(tmp_path: Path) -> None:
    rows = [{"query": "bad", "records": {"ghost": 5}}, GOOD]
    reading = read_lines(tmp_path, *rows, skip_bad_lines=True)
    assert reading.records.models == ("a",)


# ---- the file itself


def test_blank_lines_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", GOOD, "", "  ", GOOD, end="\r\n")
    records = read_records(path).records
    assert records.ids == ("0", "3")
    assert_same(round_trip(records, ".jsonl"), records)


def test_the_last_line_needs_no_line_end(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(GOOD))
    assert len(read_records(tmp_path / "rows.jsonl").records) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_is_accepted(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001
    """Regression: Windows editors put one at the start, and the first line was then bad JSON."""
    content = ("\ufeff" + json.dumps(GOOD) + "\n").encode()
    path = tmp_path / ("rows.jsonl.gz" if packed else "rows.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_records(path).records.queries == ("q",)


def test_a_query_may_hold_any_character(tmp_path: Path) -> None:
    query = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x11000), 0x1F642]))
    assert read_lines(tmp_path, {"query": query, "records": {"a": 1}}).records.queries == (query,)


def test_gzip_of_several_members_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    lines = [json.dumps(GOOD | {"index": index}).encode() + b"\n" for index in range(2)]
    path.write_bytes(b"".join(map(gzip.compress, lines)))
    assert read_records(path).records.ids == ("0", "1")


def test_damaged_gzip_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress("\n".join(json.dumps(GOOD | {"index": n}) for n in range(500)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    assert message_of(path).startswith(f"{path}: cannot be read: Compressed file ended before")
    assert "cannot be read" in message_of(path, skip_bad_lines=True)
    path.write_bytes(whole[:50] + bytes(20) + whole[70:])
    assert message_of(path).startswith(f"{path}: cannot be read: ")
    path.write_bytes(whole[:-6] + bytes(6))
    assert "CRC check failed" in message_of(path)


def test_a_plain_file_named_gz_is_reported(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl.gz", GOOD)
    assert message_of(path) == f"{path}: cannot be read: Not a gzipped file (b'{{\"')"


def test_missing_and_unknown_files_are_reported(tmp_path: Path) -> None:
    assert message_of(tmp_path / "none.jsonl") == f"{tmp_path / 'none.jsonl'}: no such file"
    assert message_of(tmp_path) == f"{tmp_path}: no such file"
    text = complaint(tmp_path, GOOD, name="rows.xml")
    assert text.endswith("rows.xml: unknown kind of file; use .jsonl, .jsonl.gz, .parquet, .csv, .csv.gz")
    with pytest.raises(RecordsError, match="no records file was named"):
        read_records()


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    records = read_lines(tmp_path, GOOD).records
    for name in ("none/out.jsonl", "none/out.jsonl.gz", "none/out.csv", "none/out.csv.gz", "none/out.parquet"):
        with pytest.raises(RecordsError, match=f"{name}: cannot be written: "):
            write_records(records, tmp_path / name)
    with pytest.raises(RecordsError, match="unknown kind of file"):
        write_records(records, tmp_path / "out.xlsx")


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_progress_counts_bytes_up_to_the_file_size(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    records = Records.from_arrays([f"q{n}" for n in range(9000)], ["a"], np.ones((9000, 1)))
    write_records(records, path)
    calls: list[tuple[int, int]] = []
    assert len(read_records(path, progress=lambda done, total: calls.append((done, total))).records) == 9000
    size = path.stat().st_size
    assert len(calls) == 5
    assert calls == sorted(calls)
    assert calls[-1] == (size, size)
    assert {total for _, total in calls} == {size}


def test_reading_is_streamed(tmp_path: Path) -> None:
    """The first bad line ends the reading: what follows is never decoded."""
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as stream:
        stream.write(b"oops\n")
        stream.truncate(1 << 33)  # 8 GiB of nothing
    assert message_of(path).startswith("rows.jsonl:1: line: not valid JSON")


def _mutated(draw: random.Random, line: bytes) -> bytes:
    data = bytearray(line)
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(len(data) + 1)
        piece = draw.choice(
            [b"", b'"', b"{", b"}", b"null", b"\n", b"-", b"9", b"\\u", b"[", bytes([draw.randrange(256)])]
        )
        data[place : place + draw.randrange(4)] = piece
    return bytes(data)


def _plain_value_is_good(row: Any) -> bool:
    """Say the format's rules once more, without msgspec's types."""
    number = lambda value: isinstance(value, int | float) and not isinstance(value, bool)  # noqa: E731
    return (
        isinstance(row, dict)
        and isinstance(row.get("query"), str)
        and bool(row["query"].strip())
        and isinstance(row.get("records"), dict)
        and all(
            model.strip() and (score is None or isinstance(score, bool) or (number(score) and 0 <= score <= 1))
            for model, score in row["records"].items()
        )
    )


def test_mutated_lines_are_read_right_or_refused(tmp_path: Path) -> None:
    """Fuzz: one error type, and what is read equals what a plain JSON parser says."""
    draw = random.Random(3)  # noqa: S311
    usages = {"a": {"cost": 0.1, "prompt_tokens": 3}}
    line = json.dumps({"query": "q é", "records": {"a": 1, "b": 0.5, "c": None}, "usages": usages}).encode()
    path = tmp_path / "rows.jsonl"
    read = 0
    for _ in range(1500):
        content = _mutated(draw, line)
        path.write_bytes(content)
        try:
            records = read_records(path).records
        except RecordsError:
            continue
        read += 1
        rows = [msgspec.json.decode(part) for part in content.split(b"\n") if part.strip()]
        assert all(map(_plain_value_is_good, rows))
        found = {model: score for model, score in rows[0]["records"].items() if score is not None}
        assert by_name(records)["default", records.ids[0]]["scores"] == found
    assert read > 50
