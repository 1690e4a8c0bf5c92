"""Collecting as the shell does it: the real program, real sockets, a server that counts what is paid."""

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from collecting import Collecting
from counting_server import counting, from_targets, pool
from served import program, wait_for

from avengers_pro.records import Records, read_records

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
KINDS = [
    {"query": "What is 6 times 7?", "target": 42, "grader": "numeric", "dataset": "sums", "id": "a"},
    {"query": "Capital of France?", "target": "Paris", "grader": "contains", "dataset": "facts"},
    {"query": "A) no B) yes. Is 7 prime?", "target": "B", "grader": "choice", "dataset": "facts"},
]
RIGHT = {"What is 6 times 7?": "It is 42.", "Capital of France?": "Paris", "A) no B) yes. Is 7 prime?": "B"}


@pytest.fixture
def collecting(tmp_path) -> Collecting:
    return Collecting(tmp_path)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def right_answers(path: Path) -> dict[str, str]:
    """By the last user turn, the target as an answer."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        target = row.get("target")
        question = row["query"] if "query" in row else row["messages"][-1]["content"]
        found[question] = str(target[0] if isinstance(target, list) else target)
    return found


def same(left: Records, right: Records) -> bool:
    """Whether two tables agree in everything but how long it took."""
    assert (left.queries, left.models, left.datasets, left.ids) == (
        right.queries, right.models, right.datasets, right.ids
    )  # fmt: skip
    return all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=True)
        for name in ("scores", "costs", "prompt_tokens", "completion_tokens")
    )


def test_killed_and_resumed_pays_nothing_twice_and_ends_the_same(collecting, tmp_path):
    prompts = EXAMPLES / "prompts.jsonl"
    answer = from_targets(right_answers(prompts))
    folder = tmp_path / "killed"
    folder.mkdir()
    with counting(answer, hold_after=41) as server:
        (folder / "pool.toml").write_text(pool(server.url, "a/one", "b/two"))
        command = ("collect", prompts, "--pool", "pool.toml", "-o", "records.jsonl", "--concurrency", 4)
        with program(folder, *command) as running:
            # Every slot waits for an answer that does not come: whatever was answered before is stored by now.
            wait_for(lambda: server.held == 8, "all slots wait")
            assert running.stop(signal.SIGKILL) == -signal.SIGKILL
        assert sum(server.answered.values()) == 41
        server.hold_after = None
        again = collecting(prompts, "--pool", folder / "pool.toml", "-o", folder / "records.jsonl")
        assert again.code == 0, again.err
        assert not server.paid_twice
        assert sum(server.answered.values()) == 2 * 63
        assert len(list((folder / "records.logs").glob("*.eval"))) == 2
        whole = collecting(prompts, "--pool", folder / "pool.toml", "-o", "whole.jsonl")
        assert whole.code == 0, whole.err
    resumed = read_records(folder / "records.jsonl").records
    assert same(resumed, read_records(tmp_path / "whole.jsonl").records)
    assert np.isfinite(resumed.scores).all()
    assert np.isfinite(resumed.costs).all()
    assert resumed.latency_ms is not None
    assert 0 < resumed.scores.mean() < 1


def test_a_cap_stops_keeps_what_was_paid_and_goes_on_later(collecting, tmp_path):
    prompts = EXAMPLES / "prompts.jsonl"
    with counting(from_targets(right_answers(prompts))) as server:
        (tmp_path / "pool.toml").write_text(pool(server.url, "a/one"))
        command = (prompts, "--pool", "pool.toml", "-o", "records.jsonl", "--max-tokens", 20, "--concurrency", 2)
        stopped = collecting(*command, "--max-cost", 0.001)
        assert stopped.code == 1
        assert "the cap of $0.001 is reached; records.jsonl holds what was paid for" in stopped.err
        assert "--max-cost" in stopped.err
        assert "not asked: the cap is reached" in stopped.err
        part = read_records(tmp_path / "records.jsonl").records
        paid = sum(server.answered.values())
        assert 0 < paid < 63
        assert np.isfinite(part.scores).sum() == paid
        assert np.nansum(part.costs) <= 0.001
        again = collecting(*command, "--max-cost", 0.001)  # a cap counts what earlier runs spent
        assert again.code == 1
        assert sum(server.answered.values()) <= paid + 1
        done = collecting(*command, "--max-cost", 1, "--json")
        assert done.code == 0, done.err
        assert not server.paid_twice
        told = json.loads(done.out)
        whole = read_records(tmp_path / "records.jsonl").records
        assert told["total_usd"] == pytest.approx(whole.costs.sum())
        assert told["models"]["a/one"] == {"draws": 63, "scored": 63, "missing": {}, "unpriced": 0, "cut": 0}


def test_what_fails_is_not_observed_and_counted_by_its_reason(collecting, tmp_path):
    too_long = {"message": "This model's maximum context length is 3 tokens.", "code": "context_length_exceeded"}

    def answer(model, question):
        if model == "up" and "7 prime" in question:
            return 500, {"error": {"message": f"cannot read {question}"}}
        if model == "up" and "France" in question:
            return 400, {"error": too_long}
        return RIGHT[question]

    with counting(answer) as server:
        fields = {"upstream_model": "up", "api_key_env": "TEST_KEY", "extra_body": {"top_k": 3}}
        text = pool(server.url, "a/one", **fields).replace('{"top_k": 3}', "{ top_k = 3 }")
        (tmp_path / "pool.toml").write_text(text + pool(server.url, "b/two"))
        write(tmp_path / "p.jsonl", KINDS)
        command = ("p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl", "--retries", 0)
        keyless = collecting(*command)
        assert (keyless.code, server.bodies) == (1, [])
        assert "model 'a/one': the environment has no TEST_KEY; set it to the key" in keyless.err
        done = collecting(*command, TEST_KEY="secret-123")
        assert done.code == 0, done.err
        assert "a/one: 1 not observed: InternalServerError 500" in done.err
        assert "a/one: 1 not observed: prompt too long" in done.err
        assert "7 prime" not in done.err
        ours = [place for place, body in enumerate(server.bodies) if body["model"] == "up"]
        assert all(server.bodies[place]["top_k"] == 3 for place in ours)
        assert {server.headers[place]["authorization"] for place in ours} == {"Bearer secret-123"}
    found = read_records(tmp_path / "r.jsonl").records
    assert found.models == ("a/one", "b/two")
    assert found.ids == ("a", "1", "2")
    assert found.datasets == ("sums", "facts", "facts")
    np.testing.assert_array_equal(found.scores, [[1, 1], [math.nan, 1], [math.nan, 1]])
    prompt, completion = 5, 3
    assert found.costs[0, 0] == pytest.approx(((prompt - 2) * 1.0 + 2 * 0.5 + completion * 4.0) / 1e6)
    assert found.prompt_tokens[0, 0] == prompt
    assert found.completion_tokens[0, 0] == completion
    everything = b"".join(path.read_bytes() for path in (tmp_path / "r.logs").iterdir())
    assert b"secret-123" not in everything


def test_draws_are_averaged_and_more_draws_add_to_the_first(collecting, tmp_path):
    draws = iter(["42", "41", "42", "no"])
    with counting(lambda _, __: next(draws)) as server:
        (tmp_path / "pool.toml").write_text(pool(server.url, "a/one"))
        write(tmp_path / "p.jsonl", KINDS[:1])
        command = ("p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl", "--concurrency", 1)
        assert collecting(*command).code == 0
        assert read_records(tmp_path / "r.jsonl").records.scores[0, 0] == 1.0
        assert collecting(*command, "--samples", 4).code == 0
        assert sum(server.answered.values()) == 4
    found = read_records(tmp_path / "r.jsonl").records
    assert found.scores[0, 0] == 0.5
    assert found.completion_tokens[0, 0] == 1.0


def test_a_judge_scores_apart_and_nonsense_is_not_observed(collecting, tmp_path):
    replies = {"one": "good", "two": "bad", "three": "odd"}

    def answer(model, question):
        if model == "judge/judge":
            assert "Rubric: Is it good?" in question
            return {"good": '{"score": 0.75}', "bad": '```json\n{"score": 0}\n```', "odd": "7 out of 10"}[
                question.split('answer: "')[1].split('"')[0]
            ]
        return replies[question]

    with counting(answer) as server:
        judge = pool(server.url, "judge/judge").replace("[[models]]", "[judge]")
        (tmp_path / "pool.toml").write_text(pool(server.url, "a/one") + judge)
        rubric = {"name": "judge", "rubric": "Is it good?"}
        write(tmp_path / "p.jsonl", [{"query": query, "grader": rubric} for query in replies])
        done = collecting("p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl", "--json")
        assert done.code == 0, done.err
        assert "a/one: 1 not observed: the judge's reply is no score" in done.err
        assert "3 of judge" in done.err
        assert collecting("p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl").code == 0
        assert not server.paid_twice
        judged = {asked: count for asked, count in server.answered.items() if asked[0] == "judge/judge"}
    found = read_records(tmp_path / "r.jsonl").records
    assert found.models == ("a/one",)
    np.testing.assert_array_equal(found.scores[:, 0], [0.75, 0.0, math.nan])
    told = json.loads(done.out)
    assert len(judged) == 3
    assert told["judge_usd"] > 0
    assert told["total_usd"] == pytest.approx(found.costs.sum() + told["judge_usd"])


TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, get_model
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, solver

@solver
def ask_twice():
    async def solve(state, generate):
        state = await generate(state)
        first = state.output.completion
        again = await get_model().generate([ChatMessageUser(content=state.input_text)])
        state.metadata["differs"] = again.completion != first
        return state
    return solve

@task
def rivers():
    return Task(
        dataset=[
            Sample(input="Longest river of Europe?", target="Volga"),
            Sample(input="River of Paris?", target="Seine"),
        ],
        solver=ask_twice(),
        scorer=includes(),
    )
"""


def test_a_task_of_inspect_runs_over_the_pool_and_resumes(collecting, tmp_path):
    with counting(lambda _, question: "the Volga" if "Europe" in question else "the Loire") as server:
        (tmp_path / "pool.toml").write_text(pool(server.url, "a/one", "b/two"))
        (tmp_path / "mine.py").write_text(TASK)
        command = ("--task", "mine.py@rivers", "--pool", "pool.toml", "-o", "r.jsonl", "--temperature", 0)
        done = collecting(*command)
        assert done.code == 0, done.err
        assert sum(server.answered.values()) == 2 * 2 * 2  # equal calls of one sample are two draws, not one
        first = read_records(tmp_path / "r.jsonl").records
        assert collecting(*command).code == 0
        assert sum(server.answered.values()) == 8
        unknown = collecting("--task", "mine.py@lakes", *command[2:])
        assert unknown.code == 1
        assert "lakes" in unknown.err
    assert same(first, read_records(tmp_path / "r.jsonl").records)
    assert set(first.datasets) == {"rivers"}
    assert first.queries == ("Longest river of Europe?", "River of Paris?")
    np.testing.assert_array_equal(first.scores, [[1, 1], [0, 0]])
    assert first.prompt_tokens[0, 0] == 2 * (len("Longest river of Europe?") // 4 + 1)


def test_the_cost_of_a_task_is_estimated_before_it_runs(collecting, tmp_path):
    with counting(lambda _, __: "the Volga") as server:
        (tmp_path / "pool.toml").write_text(pool(server.url, "a/one", "b/two"))
        (tmp_path / "mine.py").write_text(TASK + "\n@task\ndef torn():\n    raise LookupError('no river here')\n")
        command = ("--pool", "pool.toml", "--samples", 3, "--max-tokens", 100, "--dry-run")
        dry = collecting("--task", "mine.py@rivers", *command)
        assert dry.code == 0, dry.err
        assert "Estimate: 2 samples of mine.py@rivers, 3 draws" in dry.err
        characters = 3 * (len("Longest river of Europe?") + len("River of Paris?"))
        calls, prompt, answer = 2 * 3, characters / 4, 2 * 3 * 100
        for name in ("a/one", "b/two"):
            (row,) = (line.split() for line in dry.err.splitlines() if line.startswith(name))
            assert row[1:5] == [str(calls), "0", f"{prompt:,.0f}", f"{answer:,.0f}"]
        assert "estimated cost: $" in dry.err
        one = collecting("--task", "mine.py@rivers", "--limit", 1, *command)
        assert "Estimate: 1 samples" in one.err
        torn = collecting("--task", "mine.py@torn", *command)
        assert torn.code == 0, torn.err
        assert "no estimate before it runs (no river here" in torn.err
        assert server.bodies == []


def test_a_price_that_the_pool_does_not_state_is_looked_up_and_told(collecting, tmp_path):
    listed = '[[models]]\nname = "gpt"\nbase_url = "https://api.openai.com/v1"\nupstream_model = "gpt-4o"\n'
    (tmp_path / "pool.toml").write_text(listed + 'api_key_env = "NO_KEY"\n')
    write(tmp_path / "p.jsonl", [{"query": "x" * 4_000_000, "target": "y", "grader": "exact"}])
    dry = collecting("p.jsonl", "--pool", "pool.toml", "--max-cost", 9, "--dry-run")
    assert dry.code == 0, dry.err
    assert "the list price of openai: gpt-4o" in dry.err
    assert "estimated cost: $" in dry.err
    assert "no price is known" not in dry.err


def test_code_runs_only_when_allowed_and_only_confined(collecting, tmp_path):
    from avengers_pro.collection.sandbox import SandboxError, check_sandbox

    try:
        check_sandbox()
    except SandboxError as error:
        pytest.skip(f"this machine cannot confine code: {error}")
    tests = ["assert double(2) == 4", "assert double('a') == 'aa'", "assert double(1) == 3"]
    write(tmp_path / "p.jsonl", [{"query": "Write double(x).", "grader": "python-tests", "target": tests}])
    with counting(lambda _, __: "Here:\n```python\ndef double(x):\n    return 2 * x\n```\n") as server:
        (tmp_path / "pool.toml").write_text(pool(server.url, "a/one"))
        command = ("p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl")
        refused = collecting(*command)
        assert (refused.code, server.bodies) == (1, [])
        assert "--allow-code-execution" in refused.err
        done = collecting(*command, "--allow-code-execution")
        assert done.code == 0, done.err
    assert read_records(tmp_path / "r.jsonl").records.scores[0, 0] == pytest.approx(2 / 3)


def test_unknown_prices_and_usages_are_missing_and_loud(collecting, tmp_path):
    with counting(lambda _, question: RIGHT[question]) as server:
        unpriced = f'[[models]]\nname = "b/two"\nbase_url = "{server.url}/v1"\n'
        (tmp_path / "pool.toml").write_text(pool(server.url, "a/one") + unpriced)
        write(tmp_path / "p.jsonl", KINDS)
        command = ("p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl")
        capped = collecting(*command, "--max-cost", 1)
        assert (capped.code, server.bodies) == (1, [])
        assert "the cost cannot be capped, as b/two has no price" in capped.err
        done = collecting(*command)
        assert done.code == 0, done.err
        assert "no price is known of b/two" in done.err
        assert "3 answers have no known cost" in done.err
        found = read_records(tmp_path / "r.jsonl").records
        assert np.isnan(found.costs[:, 1]).all()
        assert np.isfinite(found.scores).all()
        server.usage = False
        silent = collecting("p.jsonl", "--pool", "pool.toml", "-o", "s.jsonl", "--models", "a/one")
        assert silent.code == 0, silent.err
        assert "3 answers have no known cost" in silent.err
    found = read_records(tmp_path / "s.jsonl").records
    assert np.isnan(found.costs).all()
    assert found.prompt_tokens is None


def test_a_dry_run_estimates_and_asks_nothing(shell, tmp_path):
    with counting(lambda _, question: RIGHT[question]) as server:
        (tmp_path / "pool.toml").write_text(pool(server.url, "a/one"))
        write(tmp_path / "p.jsonl", KINDS)
        dry = shell("collect", "p.jsonl", "--pool", "pool.toml", "--dry-run", "--max-tokens", 100)
        assert (dry.code, dry.out, server.bodies) == (0, "", [])
        expected = (sum(len(row["query"]) for row in KINDS) / 4 * 1.0 + 3 * 100 * 4.0) / 1e6
        assert f"estimated cost: ${expected:.3g}" in dry.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["p.jsonl", "pool.toml"]


@pytest.mark.parametrize(
    ("rows", "arguments", "code", "message"),
    [
        ([{"query": "x", "target": "y"}], (), 1, "p.jsonl:1: the row names no grader"),
        ([{"query": "x", "target": "y"}], ("--grader", "exakt"), 1, "a grader is one of exact, contains"),
        ([{"query": "x", "target": "y"}], ("--grader", "numeric"), 1, "numeric: the target must be a number, got 'y'"),
        ([{"query": "x", "target": "y"}], ("--grader", "judge"), 1, "nobody is named: add [judge] to the pool"),
        ([{"query": "x", "target": "y"}], ("--grader", "exact", "--models", "c"), 1, "no model 'c'; there are a/one"),
        ([{"query": " ", "target": "y"}], ("--grader", "exact"), 1, "p.jsonl:1: query: the query is empty"),
        ([], ("--grader", "exact"), 1, "p.jsonl: no prompts"),
        ([{"query": "x"}], ("--task", "t"), 2, "give PROMPTS or --task, one of them"),
        ([{"query": "x", "target": "y"}], ("--grader", "exact", "-o", "no/where.jsonl"), 1, "does not exist"),
        ([{"query": "x", "target": "y"}], ("--grader", "exact", "-o", "old.jsonl"), 1, "old.jsonl exists, and no"),
        ([{"query": "x", "target": "y"}], ("--grader", "exact", "-o", "r.txt"), 1, "r.txt: unknown kind of file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_asked(shell, tmp_path, rows, arguments, code, message):
    (tmp_path / "pool.toml").write_text(pool("http://127.0.0.1:9", "a/one"))
    (tmp_path / "old.jsonl").write_text("mine")
    write(tmp_path / "p.jsonl", rows)
    ran = shell("collect", "p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert (tmp_path / "old.jsonl").read_text() == "mine"
    assert not list(tmp_path.glob("*.logs"))


def test_without_the_extra_it_names_it(tmp_path):
    (tmp_path / "pool.toml").write_text(pool("http://127.0.0.1:9", "a/one"))
    write(tmp_path / "p.jsonl", KINDS)
    hide = "import sys; sys.modules['inspect_ai'] = None; from avengers_pro.cli.main import main; main()"
    (tmp_path / "hidden.py").write_text(hide)
    command = [sys.executable, "hidden.py", "collect", "p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == "error: collecting records needs inspect-ai: pip install 'avengers-pro[collect]'\n"


def test_interrupted_by_hand_it_says_how_to_go_on(tmp_path):
    with counting(lambda _, question: RIGHT[question], hold_after=2) as server:
        (tmp_path / "pool.toml").write_text(pool(server.url, "a/one"))
        write(tmp_path / "p.jsonl", KINDS)
        command = ("collect", "p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl", "--concurrency", 1)
        with program(tmp_path, *command) as running:
            # The only slot waits for an answer that does not come: whatever was answered before is stored by now.
            wait_for(lambda: server.held == 1, "the last call waits")
            assert running.stop(signal.SIGINT) == 1
            assert "interrupted" in running.err
            assert "Run the same command again to go on" in running.err
            assert "Traceback" not in running.err
        server.hold_after = None
        assert Collecting(tmp_path)("p.jsonl", "--pool", "pool.toml", "-o", "r.jsonl").code == 0
        assert not server.paid_twice
    assert np.isfinite(read_records(tmp_path / "r.jsonl").records.scores).all()
