"""RouterBench tables: prompts, columns, pickles."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from avengers_pro.errors import RecordsError
from avengers_pro.records.foreign import Options, convert

COLUMNS = {
    "sample_id": ["a.1", "a.2"],
    "prompt": ["['One?']", "['Turn one', \"turn 'two'\"]"],
    "eval_name": ["a", "a"],
    "lab/m": [1.0, 0.5],
    "gpt": [0.0, None],
    "lab/m|model_response": ["x", "y"],
    "gpt|total_cost": [0.001, 0.002],
    "oracle_model_to_route_to": ["lab/m", "no_model_correct"],
}


def write(path, **columns):
    table = pa.table({name: values for name, values in (COLUMNS | columns).items() if values is not None})
    parquet.write_table(table, path) if path.suffix == ".parquet" else csv.write_csv(table, path)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_table_becomes_records(tmp_path, suffix):
    done = convert(write(tmp_path / f"t{suffix}"))
    records = done.records
    assert records.queries == ("One?", "Turn one\nturn 'two'")
    assert (records.ids, records.datasets, records.models) == (("a.1", "a.2"), ("a", "a"), ("lab/m", "gpt"))
    np.testing.assert_array_equal(records.scores, [[1, 0], [0.5, np.nan]])
    np.testing.assert_array_equal(records.costs, [[np.nan, 0.001], [np.nan, 0.002]])
    (note,) = done.notes
    assert (note.count, note.examples) == (2, ("lab/m|model_response", "oracle_model_to_route_to"))


@pytest.mark.parametrize(
    ("prompt", "query"),
    [
        ("plain", "plain"),
        ("['open", "['open"),
        ("[1, 2]", "[1, 2]"),
        ("['a', 2]", "['a', 2]"),
        ("['a'] + ['b']", "['a'] + ['b']"),
        ('["line\\nbreak"]', "line\nbreak"),
    ],
)
def test_prompts_that_are_lists_as_text(tmp_path, prompt, query):
    assert convert(write(tmp_path / "t.parquet", prompt=[prompt, "other"])).records.queries[0] == query


def test_prompts_that_are_lists(tmp_path):
    done = convert(write(tmp_path / "t.parquet", prompt=[["one", "two"], ["three"]]))
    assert done.records.queries == ("one\ntwo", "three")


def test_scores_as_truth_or_text(tmp_path):
    path = write(tmp_path / "t.parquet", **{"lab/m": [True, False], "gpt": ["True", " 0.5 "]})
    assert convert(path).records.scores.tolist() == [[1, 1], [0, 0.5]]
    assert convert(path, options=Options(score_scale=10)).records.scores.tolist() == [[1, 1], [0, 0.05]]


def test_a_sample_given_twice_keeps_its_last_scores(tmp_path):
    path = write(tmp_path / "t.parquet", sample_id=["s", "s"], prompt=["q", "q"])
    done = convert(path)
    np.testing.assert_array_equal(done.records.scores, [[0.5, 0]])
    assert {note.count for note in done.notes if "(query, model) pair" in note.what} == {1}
    assert len(done.notes) == 3  # replaced, repeated, columns left out


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"gpt": [7.0, 0.0]}, r"t\.parquet: row 1 \(a\.1\): gpt: score: a score lies outside \[0, 1\].*got 7"),
        ({"gpt|total_cost": [0.1, -0.1]}, r"row 2 \(a\.2\): gpt: cost: must be a finite number >= 0.*got -0\.1"),
        ({"gpt": ["high", "1"]}, r"row 1 \(a\.1\): gpt: must be a number \(got 'high'\)"),
        ({"gpt|total_cost": ["true", "1"]}, r"gpt\|total_cost: must be a number \(got 'true'\)"),
        ({"prompt": ["q", ""]}, r"t\.parquet: row 2: prompt: the prompt is empty"),
        ({"sample_id": [None, "b"]}, r"t\.parquet: row 1: sample_id: the sample_id is empty"),
    ],
)
def test_bad_rows_are_named_or_left_out(tmp_path, columns, message):
    path = write(tmp_path / "t.parquet", **columns)
    with pytest.raises(RecordsError, match=message):
        convert(path)
    done = convert(path, options=Options(skip_bad_lines=True))
    assert done.skipped == 1
    assert np.isfinite(done.records.scores[:, 0]).any()


def test_columns_that_are_missing_or_twice(tmp_path):
    with pytest.raises(RecordsError, match="column 'sample_id' is missing; found prompt, eval_name"):
        convert(write(tmp_path / "t.parquet", sample_id=None))
    path = tmp_path / "t.csv"
    path.write_text("sample_id,prompt,m,m,m|total_cost\n1,q,1,1,0.1\n")
    with pytest.raises(RecordsError, match=r"t\.csv: column 'm' is given twice"):
        convert(path)


@pytest.mark.parametrize("name", ["table.pkl", "disguised.csv"])
def test_pickles_are_refused_with_a_safe_way(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(RecordsError, match="is a pickle, which is not read: loading one runs whatever code is in it"):
        convert(path)
    write(tmp_path / "t.parquet")
    done = convert(tmp_path)
    assert any("left out" in note.what and name in note.examples[0] for note in done.notes)
