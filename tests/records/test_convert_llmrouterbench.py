"""LLMRouterBench results: names, zeros that mean nothing, demo runs."""

import json

import numpy as np
import pytest
from foreign_files import llmrouterbench_file, llmrouterbench_record

from avengers_pro.errors import RecordsError
from avengers_pro.records.foreign import Options, convert


def notes(done):
    return {note.what: note.count for note in done.notes}


def test_models_join_on_split_and_index(tmp_path):
    llmrouterbench_file(tmp_path, "aime", "gpt-5", *(llmrouterbench_record(i, f"q{i}", 1.0) for i in (1, 2)))
    llmrouterbench_file(tmp_path, "aime", "qwen", llmrouterbench_record(2, "q2", 0.0))
    records = convert(tmp_path).records
    assert (records.models, records.ids, records.datasets) == (("gpt-5", "qwen"), ("test/1", "test/2"), ("aime",) * 2)
    np.testing.assert_array_equal(records.scores, [[1, np.nan], [1, 0]])
    np.testing.assert_array_equal(records.costs, [[0.0001, np.nan], [0.0001, 0.0001]])
    np.testing.assert_array_equal(records.prompt_tokens, [[15, np.nan], [15, 15]])


def test_of_two_runs_the_later_file_counts(tmp_path):
    for stamp, score in (("20260201_000000", 1.0), ("20260101_000000", 0.0)):
        llmrouterbench_file(tmp_path, "aime", "gpt", llmrouterbench_record(1, "q", score), stamp=stamp)
    done = convert(tmp_path)
    assert done.records.scores.tolist() == [[1.0]]
    replaced = "outcomes give a (query, model) pair another score than a later one; the last scored one is kept"
    assert notes(done) == {replaced: 1}


def test_a_later_run_without_a_score_does_not_hide_an_earlier_one(tmp_path):
    for stamp, score in (("20260101_000000", 1.0), ("20260201_000000", None)):
        llmrouterbench_file(tmp_path, "aime", "gpt", llmrouterbench_record(1, "q", score), stamp=stamp)
    assert convert(tmp_path).records.scores.tolist() == [[1.0]]


def test_zeros_throughout_are_not_known(tmp_path):
    free = [llmrouterbench_record(i, f"q{i}", 1.0, cost=0.0) for i in (1, 2)]
    some = [llmrouterbench_record(i, f"q{i}", 1.0, cost=cost) for i, cost in ((1, 0.0), (2, 0.5))]
    mute = [llmrouterbench_record(i, f"q{i}", 1.0, prompt_tokens=0, completion_tokens=0) for i in (1, 2)]
    for model, rows in (("free", free), ("some", some), ("unmetered", mute)):
        llmrouterbench_file(tmp_path, "aime", model, *rows)
    done = convert(tmp_path)
    np.testing.assert_array_equal(done.records.costs, [[np.nan, 0, 0.0001], [np.nan, 0.5, 0.0001]])
    np.testing.assert_array_equal(done.records.prompt_tokens, [[15, 15, np.nan]] * 2)
    assert notes(done) == {
        "files say 0 for every cost; taken as not known": 1,
        "files say 0 for every token count; taken as not known": 1,
    }


def test_a_failed_record_has_neither_score_nor_usage(tmp_path):
    failed = llmrouterbench_record(1, "q", None, cost=0.0, prompt_tokens=0, completion_tokens=0)
    done = convert(llmrouterbench_file(tmp_path, "aime", "gpt", failed, llmrouterbench_record(2, "r", 1.0)))
    np.testing.assert_array_equal(done.records.costs, [[np.nan], [0.0001]])
    np.testing.assert_array_equal(done.records.scores, [[np.nan], [1]])
    assert notes(done) == {"records have no score; not observed": 1}


def test_demo_runs_are_left_out(tmp_path):
    llmrouterbench_file(tmp_path, "aime", "gpt", llmrouterbench_record(1, "q", 0.0), stamp="3", demo=True)
    llmrouterbench_file(tmp_path, "aime", "gpt", llmrouterbench_record(1, "q", 1.0))
    done = convert(tmp_path)
    assert done.records.scores.tolist() == [[1.0]]
    assert notes(done) == {"files of demo runs are left out": 1}


def test_names_of_older_files_are_their_folders(tmp_path):
    path = llmrouterbench_file(tmp_path, "aime", "gpt", llmrouterbench_record(1, "q", 1.0))
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in whole.items() if not name.endswith("_name")}))
    records = convert(path).records
    assert (records.models, records.datasets, records.ids) == (("gpt",), ("aime",), ("test/1",))


def test_which_field_is_the_query(tmp_path):
    turns = [{"role": "user", "content": "in a chat"}]
    rows = [
        llmrouterbench_record(1, "plain", 1.0),
        llmrouterbench_record(2, "", 1.0),
        llmrouterbench_record(3, turns, 1.0),
        llmrouterbench_record(4, {"odd": 1}, 1.0),
    ]
    path = llmrouterbench_file(tmp_path, "aime", "gpt", *rows)
    assert convert(path).records.queries == ("plain", "Answer briefly.\n", "in a chat", "Answer briefly.\n{'odd': 1}")
    prompts = convert(path, options=Options(query_field="prompt")).records.queries
    assert prompts[0] == "Answer briefly.\nplain"
    with pytest.raises(RecordsError, match="no query field 'text'; it has origin_query and prompt"):
        convert(path, options=Options(query_field="text"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"score": 55.0}, r"\.json: records\[1\] \(index 2\): score: a score lies outside \[0, 1\].*got 55"),
        ({"cost": -1.0}, r"records\[1\] \(index 2\): cost: must be a finite number >= 0.*got -1"),
        ({"score": "high"}, r"records\[1\]: score: Expected .*, got `str` \(got 'high'\)"),
        ({"origin_query": None, "prompt": " "}, r"records\[1\] \(index 2\): query: the query is empty"),
    ],
)
def test_bad_records_are_named_or_left_out(tmp_path, fields, message):
    rows = llmrouterbench_record(1, "q", 1.0), llmrouterbench_record(2, "r", 1.0) | fields
    path = llmrouterbench_file(tmp_path, "aime", "gpt", *rows)
    with pytest.raises(RecordsError, match=message):
        convert(path)
    done = convert(path, options=Options(skip_bad_lines=True))
    assert (done.records.queries, done.skipped) == (("q",), 1)
