"""Inspect logs: which score counts, what is not observed, and logs that Inspect itself writes."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
from foreign_files import eval_log, inspect_header, inspect_members, inspect_sample, json_log, zstd_zip

from avengers_pro.errors import RecordsError
from avengers_pro.records.foreign import Options, convert


def only(path, **options):
    """Return the one score of a log with one sample."""
    return convert(path, options=Options(**options)).records.scores[0, 0]


def notes(done):
    return {note.what: note.count for note in done.notes}


@pytest.mark.parametrize(
    ("value", "score"),
    [("C", 1), ("P", 0.5), ("I", 0), ("N", 0), (True, 1), (False, 0), (0.25, 0.25), ("0.75", 0.75), ("Yes", 1)],
)
def test_values_become_scores(tmp_path, value, score):
    path = eval_log(tmp_path / "a.eval", inspect_header("t", "m"), inspect_sample(1, "q", value))
    assert only(path) == score


@pytest.mark.parametrize(("value", "score"), [("C", 1), (True, 1), ("P", 0.5), (7, 0.7)])
def test_a_scale_leaves_words_alone(tmp_path, value, score):
    path = eval_log(tmp_path / "a.eval", inspect_header("t", "m"), inspect_sample(1, "q", value))
    assert only(path, score_scale=10.0) == pytest.approx(score)


@pytest.mark.parametrize("value", ["perhaps", "nan", [1, 2], ""])
def test_a_value_that_is_no_score_names_its_sample(tmp_path, value):
    path = eval_log(tmp_path / "a.eval", inspect_header("t", "m"), inspect_sample("s7", "q", value))
    with pytest.raises(RecordsError, match=r"a\.eval: sample 's7' epoch 1: scores\[match\]: a score must be a number"):
        convert(path)


def test_a_score_out_of_range_names_the_scale(tmp_path):
    path = eval_log(tmp_path / "a.eval", inspect_header("t", "m"), inspect_sample(1, "q", 7))
    with pytest.raises(RecordsError, match=r"score: a score lies outside \[0, 1\]; state the scale.*got 7"):
        convert(path)


def test_epochs_are_averaged_over_those_with_a_score(tmp_path):
    samples = [inspect_sample(1, "q", value, epoch=epoch) for epoch, value in enumerate(["C", "I", None, "C"], 1)]
    samples[3]["error"] = {"message": "timeout", "traceback": "..."}
    done = convert(eval_log(tmp_path / "a.eval", inspect_header("t", "m"), *samples))
    assert done.records.scores.tolist() == [[0.5]]
    assert notes(done) == {
        "samples ran in several epochs; their mean is taken": 1,
        "samples have no score; not observed": 1,
        "samples ended in an error; not observed": 1,
    }


@pytest.mark.parametrize("field", ["error", "invalidation"])
def test_a_failed_sample_is_not_observed_even_with_a_score(tmp_path, field):
    bad = inspect_sample(1, "q", "C", **{field: {"message": "x"}})
    done = convert(eval_log(tmp_path / "a.eval", inspect_header("t", "m"), bad, inspect_sample(2, "r", "C")))
    np.testing.assert_array_equal(done.records.scores, [[np.nan], [1.0]])
    assert done.records.listed.all()


def test_nan_is_not_observed_and_stays_apart_from_text(tmp_path):
    odd = inspect_sample(1, 'is "NaN, -Infinity\\" a number?', float("nan"), metadata={"low": float("-inf")})
    for write in (eval_log, json_log):
        path = write(tmp_path / "a.x", inspect_header("t", "m"), odd, inspect_sample(2, "r", 1))
        done = convert(path)
        np.testing.assert_array_equal(done.records.scores, [[np.nan], [1.0]])
        assert done.records.queries[0] == 'is "NaN, -Infinity\\" a number?'


def test_the_first_declared_scorer_counts_unless_one_is_named(tmp_path):
    header = inspect_header("t", "m", scorers=[{"name": "strict"}, {"name": "judge"}])
    sample = inspect_sample(1, "q", None)
    sample["scores"] = {"judge": {"value": {"tone": 0.25, "facts": 1}}, "strict": {"value": "I"}}
    path = eval_log(tmp_path / "a.eval", header, sample)
    assert only(path) == 0
    assert convert(path).scored_by == (("t", "scorer strict"),)
    assert only(path, scorers=("other", "judge/tone")) == 0.25
    with pytest.raises(
        RecordsError, match="the scorer judge gives several values; choose --scorer judge/tone or judge"
    ):
        only(path, scorers=("judge",))
    with pytest.raises(RecordsError, match="no scorer 'other'; it has strict, judge"):
        only(path, scorers=("other",))


def test_chats_choices_and_ids(tmp_path):
    chat = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": [{"type": "text", "text": "Hi?"}]}]
    path = eval_log(
        tmp_path / "a.eval",
        inspect_header("t", "m"),
        inspect_sample("x/1", chat, "C"),
        inspect_sample(2, "Which?", "C", choices=["one", "two"]),
    )
    records = convert(path).records
    assert records.queries == ("Hi?", "Which?\nA) one\nB) two")
    assert records.ids == ("x/1", "2")
    silent = eval_log(tmp_path / "b.eval", inspect_header("t", "m"), inspect_sample(1, chat[:1], "C"))
    with pytest.raises(RecordsError, match=r"b\.eval: sample 1 epoch 1: input: no user turn with text"):
        convert(silent)


def test_usage_is_the_evaluated_models_without_its_own_grading(tmp_path):
    usage = {
        "m": {"input_tokens": 10, "output_tokens": 7, "input_tokens_cache_read": 4, "total_cost": 0.5},
        "judge": {"input_tokens": 99, "output_tokens": 99},
    }
    grading = {"input_tokens": 3, "output_tokens": 2, "total_cost": 0.125}
    sample = inspect_sample(1, "q", "C", model_usage=usage, role_usage={"grader": grading})
    own = convert(eval_log(tmp_path / "a.eval", inspect_header("t", "m"), sample)).records
    assert [own.prompt_tokens[0, 0], own.completion_tokens[0, 0], own.costs[0, 0]] == [11, 5, 0.375]
    roles = {"grader": {"model": "judge"}}
    other = convert(eval_log(tmp_path / "b.eval", inspect_header("t", "m", model_roles=roles), sample)).records
    assert [other.prompt_tokens[0, 0], other.completion_tokens[0, 0], other.costs[0, 0]] == [14, 7, 0.5]


def test_latency_of_several_turns_is_not_known(tmp_path):
    once = inspect_sample(1, "q", "C", output={"time": 1.5})
    twice = inspect_sample(2, "r", "C", output={"time": 1.5})
    twice["messages"] += twice["messages"]
    records = convert(eval_log(tmp_path / "a.eval", inspect_header("t", "m"), once, twice)).records
    np.testing.assert_array_equal(records.latency_ms, [[1500.0], [np.nan]])


def test_a_log_that_was_cut_off_still_gives_what_it_has(tmp_path):
    members = inspect_members(inspect_header("t", "m") | {"status": "started"}, inspect_sample(1, "q", "C"))
    del members["header.json"]
    done = convert(zstd_zip(tmp_path / "a.eval", members))
    assert notes(done) == {"logs have the status 'started'; the samples they hold are used": 1}
    whole = (tmp_path / "a.eval").read_bytes()
    (tmp_path / "b.eval").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        RecordsError, match=r"b\.eval: not a whole zip file .*; the run that wrote it may have been cut"
    ):
        convert(tmp_path / "b.eval")


def test_headers_that_are_missing_or_wrong_are_named(tmp_path):
    members = inspect_members(inspect_header("t", "m"), inspect_sample(1, "q", "C"))
    with pytest.raises(RecordsError, match=r"a\.eval: no header\.json in it; this is no Inspect log"):
        convert(zstd_zip(tmp_path / "a.eval", {"samples/1_epoch_1.json": members["samples/1_epoch_1.json"]}))
    with pytest.raises(RecordsError, match=r"a\.zip: a zip file without header\.json"):
        convert(zstd_zip(tmp_path / "a.zip", {"x.json": b"{}"}))
    with pytest.raises(RecordsError, match=r"b\.eval: header\.json: .* - at `\$\.eval\.model`"):
        convert(eval_log(tmp_path / "b.eval", inspect_header("t", None)))
    with pytest.raises(RecordsError, match=r"b\.json: .* - at `\$\.eval\.model`"):
        convert(json_log(tmp_path / "b.json", inspect_header("t", None)))
    with pytest.raises(RecordsError, match="there is no usable sample"):
        convert(eval_log(tmp_path / "c.eval", inspect_header("t", "m")))


def test_damaged_members_are_named(tmp_path):
    path = zstd_zip(tmp_path / "a.eval", inspect_members(inspect_header("t", "m"), inspect_sample(1, "q" * 500, "C")))
    raw = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("samples/1_epoch_1.json").header_offset
    raw[start + 80] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(RecordsError, match=r"a\.eval: samples/1_epoch_1\.json: cannot be read"):
        convert(path)


def test_bad_samples_can_be_left_out(tmp_path):
    good = inspect_sample(1, "q", "C")
    wrong = [inspect_sample(2, 5, "C"), inspect_sample(3, "r", "maybe"), inspect_sample(4, " ", "C")]
    path = json_log(tmp_path / "a.json", inspect_header("t", "m"), good, *wrong)
    done = convert(path, options=Options(skip_bad_lines=True))
    assert (done.records.ids, done.skipped) == (("1",), 3)
    rule = "a score must be a number, true, false, or one of C, P, I, N, yes, no"
    assert done.problems == (
        "a.json: samples[1]: input: Expected `str | array`, got `int` (got 5)",
        f"a.json: sample 3 epoch 1: scores[match]: {rule} (got 'maybe')",
        "a.json: sample 4 epoch 1: query: the query is empty",
    )


REAL = """
import sys
from inspect_ai import Task, eval, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, match, mean, scorer
from inspect_ai.solver import generate, solver

@scorer(metrics=[mean()])
def unscored():
    async def score(state, target):
        return Score(value=float("nan"))
    return score

@solver
def fragile():
    async def solve(state, generate):
        if state.sample_id == 3:
            raise ValueError("no")
        return state
    return solve

@task
def sums():
    samples = [Sample(input=f"What is {i} + {i}?", target="2") for i in (1, 2, 3)]
    return Task(dataset=samples, solver=[fragile(), generate()], scorer=[match(), unscored()], epochs=2,
                fail_on_error=False)

for name, answer in (("mockllm/a", "2"), ("mockllm/b", "4")):
    outputs = []
    for _ in range(6):
        output = ModelOutput.from_content(name, answer)
        output.usage = ModelUsage(input_tokens=10, output_tokens=3, total_tokens=13)
        outputs.append(output)
    for kind in ("eval", "json"):
        eval(sums(), model=get_model(name, custom_outputs=list(outputs)), log_dir=f"{sys.argv[1]}/{kind}",
             log_format=kind, display="none")
"""


def test_logs_written_by_inspect_itself(tmp_path):
    """Inspect runs in a process of its own: importing it changes zipfile."""
    pytest.importorskip("inspect_ai", reason="inspect-ai is not installed")
    subprocess.run([sys.executable, "-c", REAL, tmp_path], check=True, capture_output=True, timeout=300)
    for kind in ("eval", "json"):
        done = convert(tmp_path / kind)
        records = done.records
        order = np.argsort(records.ids)
        assert records.models == ("mockllm/a", "mockllm/b")
        np.testing.assert_array_equal(records.scores[order], [[1, 0], [1, 0], [np.nan, np.nan]])
        np.testing.assert_array_equal(records.prompt_tokens[order][:2], 10)
        np.testing.assert_array_equal(records.completion_tokens[order][:2], 3)
        assert records.latency_ms is not None
        assert notes(done)["samples ended in an error; not observed"] == 4
        nothing = convert(tmp_path / kind, options=Options(scorers=("unscored",)))
        assert np.isnan(nothing.records.scores).all()
