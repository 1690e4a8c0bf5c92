"""Sample logs of lm-evaluation-harness: metric, filter, prompt and model."""

import json

import numpy as np
import pytest
from foreign_files import lm_eval_line, lm_eval_log

from avengers_pro.errors import RecordsError
from avengers_pro.records.foreign import Options, convert


def notes(done):
    return {note.what: note.count for note in done.notes}


def write(path, *lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_models_of_one_task_join_on_the_document(tmp_path):
    for model, value in (("org/a", 1.0), ("org/b", 0.0)):
        lm_eval_log(tmp_path, model, "arc_easy", lm_eval_line(0, "q", "acc", value), lm_eval_line(1, "r", "acc", 1.0))
    done = convert(tmp_path)
    assert done.records.models == ("org/a", "org/b")
    assert done.records.scores.tolist() == [[1, 0], [1, 1]]
    assert (done.records.datasets, done.records.ids) == (("arc_easy",) * 2, ("0", "1"))
    assert done.scored_by == (("arc_easy", "metric acc"),)
    left_out = "files in the folders are of no known format; left out"
    assert notes(done) == {left_out: 2}  # the results files


def test_chat_templates_do_not_keep_models_apart(tmp_path):
    line = lm_eval_line(0, "What?", "acc", 1.0)
    other = line | {"arguments": {"gen_args_0": {"arg_0": "<|user|>What?<|assistant|>", "arg_1": {}}}}
    lm_eval_log(tmp_path, "org/a", "t", line)
    lm_eval_log(tmp_path, "org/b", "t", other)
    done = convert(tmp_path)
    assert done.records.queries == ("What?",)
    assert done.records.scores.tolist() == [[1, 1]]
    prompts = "outcomes show the same document in another prompt (a chat template?); the first prompt is kept"
    assert notes(done)[prompts] == 1
    (by_doc,) = convert(tmp_path, options=Options(query_field="answer")).records.queries
    assert by_doc == "4"


def test_another_document_under_the_same_id_is_a_row_of_its_own(tmp_path):
    lm_eval_log(tmp_path, "org/a", "t", lm_eval_line(0, "old version", "acc", 1.0))
    lm_eval_log(tmp_path, "org/b", "t", lm_eval_line(0, "new version", "acc", 0.0))
    done = convert(tmp_path)
    assert (done.records.queries, done.records.ids) == (("old version", "new version"), ("0", "0#2"))
    np.testing.assert_array_equal(done.records.scores, [[1, np.nan], [np.nan, 0]])
    assert notes(done)["ids stand for another text than before; the texts are separate rows (id#2, ...)"] == 1


def test_metrics_have_an_order_unless_one_is_named(tmp_path):
    both = lm_eval_line(0, "q", "acc_norm", 0.25, metrics=["acc_norm", "acc"], acc=1.0)
    path = lm_eval_log(tmp_path, "org/a", "t", both)
    assert convert(path).records.scores.tolist() == [[1]]
    named = convert(path, options=Options(metrics=("exact_match", "acc_norm")))
    assert (named.records.scores.tolist(), named.scored_by) == ([[0.25]], (("t", "metric acc_norm"),))
    with pytest.raises(RecordsError, match="no metric 'bleu'; the task has acc_norm, acc; choose by --metric"):
        convert(path, options=Options(metrics=("bleu",)))


def test_the_only_metric_counts_and_several_unknown_ones_are_refused(tmp_path):
    path = lm_eval_log(tmp_path, "org/a", "t", lm_eval_line(0, "q", "mine", 0.5))
    assert convert(path).records.scores.tolist() == [[0.5]]
    path = lm_eval_log(tmp_path, "org/a", "t", lm_eval_line(0, "q", "mine", 0.5, metrics=["mine", "his"], his=1))
    with pytest.raises(RecordsError, match="no metric that is known as a score; the task has mine, his; choose by"):
        convert(path)


@pytest.mark.parametrize(("value", "score"), [(True, 1), (False, 0), (1, 1), (None, np.nan), (float("nan"), np.nan)])
def test_values_of_metrics(tmp_path, value, score):
    lines = lm_eval_line(0, "q", "acc", value), lm_eval_line(1, "r", "acc", 1.0)
    done = convert(lm_eval_log(tmp_path, "org/a", "t", *lines))
    np.testing.assert_array_equal(done.records.scores, [[score], [1.0]])


def test_the_first_filter_counts_unless_one_is_named(tmp_path):
    lines = [
        lm_eval_line(doc, f"q{doc}", "exact_match", value, filter=name)
        for name, value in (("strict-match", 0.0), ("flexible-extract", 1.0))
        for doc in (0, 1)
    ]
    path = lm_eval_log(tmp_path, "org/a", "gsm8k", *lines)
    done = convert(path)
    assert done.records.scores.tolist() == [[0], [0]]
    assert done.scored_by == (("gsm8k", "metric exact_match"), ("gsm8k", "filter strict-match"))
    assert notes(done) == {"lines are of another answer filter; left out": 2}
    named = convert(path, options=Options(filters=("none", "flexible-extract")))
    assert named.records.scores.tolist() == [[1], [1]]
    with pytest.raises(RecordsError, match="no answer filter 'loose'; it has strict-match, flexible-extract"):
        convert(path, options=Options(filters=("loose",)))


CHAT = [
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "ok"},
    {"role": "user", "content": "last"},
]


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ({"gen_args_0": {"arg_0": "context", "arg_1": " one"}, "gen_args_1": {"arg_0": "context"}}, "context"),
        ([["context", {"until": []}]], "context"),
        ({"gen_args_0": {"arg_0": [json.dumps(CHAT)], "arg_1": {}}}, "last"),
        ({"gen_args_0": {"arg_0": json.dumps(CHAT), "arg_1": {}}}, "last"),
        ({"gen_args_0": {"arg_0": '[{"role" is no chat', "arg_1": {}}}, '[{"role" is no chat'),
    ],
)
def test_prompts_of_every_version(tmp_path, arguments, query):
    line = lm_eval_line(0, "q", "acc", 1.0, arguments=arguments)
    assert convert(lm_eval_log(tmp_path, "org/a", "t", line)).records.queries == (query,)


def test_older_logs_do_not_list_their_metrics_or_filters(tmp_path):
    line = lm_eval_line("7", "q", "acc", 1.0)
    old = {
        name: value for name, value in line.items() if not name.endswith("_hash") and name not in {"metrics", "filter"}
    }
    path = write(tmp_path / "samples_arc.jsonl", old)
    done = convert(path)
    assert (done.records.datasets, done.records.ids, done.records.scores.tolist()) == (("arc",), ("7",), [[1]])


def test_the_model_comes_from_the_results_or_the_folder(tmp_path):
    folder = tmp_path / "org__some-model"
    folder.mkdir()
    path = write(folder / "samples_t_2026-01-01T00-00-00.1.jsonl", lm_eval_line(0, "q", "acc", 1.0))
    assert convert(path).records.models == ("org/some-model",)
    results = folder / "results_2026-01-01T00-00-00.1.json"
    results.write_text('{"config": {"model_args": "base_url=http://h,model=gpt-x,num_concurrent=2"}, "x": NaN}')
    assert convert(path).records.models == ("gpt-x",)
    results.write_text('{"model_name": "org/by-name", "config": {"model_args": {"pretrained": "other"}}}')
    assert convert(path).records.models == ("org/by-name",)
    results.write_text('{"model_name": ""}')
    assert convert(path).records.models == ("org/some-model",)
    results.write_text('{"model_name": 5}')
    with pytest.raises(RecordsError, match=r"results_.*json: Expected `str | null`, got `int` - at `\$.model_name`"):
        convert(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"samples_t_.*\.jsonl:2: line: not valid JSON: Input data was truncated"),
        ({"doc_id": None}, r":2: doc_id: a line needs 'doc_id', a number or text, got None"),
        ({"doc_id": 1, "arguments": {"gen_args_9": {}}, "acc": 1}, r":2: query.*: Object missing required field"),
        (
            {"doc_id": 1, "arguments": {"gen_args_0": {"arg_0": CHAT[1:2]}}, "acc": 1},
            r":2: query: the first request in",
        ),
        ({"doc_id": 1, "arguments": [], "acc": 1}, r":2: query: the first request in 'arguments' has no text"),
        ({"doc_id": 1, "acc": 1}, r":2: query: a line needs 'arguments'.*--query-field"),
        (lm_eval_line(1, "q", "acc", "high"), r":2: score: acc must be a number, got 'high'; name another one by"),
        (lm_eval_line(1, "q", "f1", 0.5), r":2: score: the line has no acc, which is the score of the lines before"),
        (lm_eval_line(1, "q", "acc", 50.0), r":2: score: a score lies outside \[0, 1\]; state the scale"),
        (lm_eval_line(1, "", "acc", 1.0), r":2: query: the query is empty"),
        (lm_eval_line(1, "q", "acc", 1.0, doc_hash="\udcff"), r":2: doc_hash: not valid JSON: .utf-8"),
    ],
)
def test_bad_lines_are_named_or_left_out(tmp_path, line, message):
    path = lm_eval_log(tmp_path, "org/a", "t", lm_eval_line(0, "fine", "acc", 1.0))
    with path.open("a", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n")
    with pytest.raises(RecordsError, match=message):
        convert(path)
    done = convert(path, options=Options(skip_bad_lines=True))
    assert (done.records.queries, done.skipped) == (("fine",), 1)


def test_a_missing_field_of_the_document_names_those_there(tmp_path):
    path = lm_eval_log(tmp_path, "org/a", "t", lm_eval_line(0, "q", "acc", 1.0))
    with pytest.raises(RecordsError, match=r":1: query: doc has no text 'prompt'; it has question, answer"):
        convert(path, options=Options(query_field="prompt"))
