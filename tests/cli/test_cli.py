"""The program as the shell sees it: stdout is the result, stderr the talk, exit status 0, 1 or 2."""

import json
import os
import subprocess
import sys

import pytest

from avengers_pro.evaluation import Evaluation
from avengers_pro.routing import Router


def test_help_lists_the_verbs_without_loading_numpy(shell):
    ran = shell("--help")
    assert ran.code == 0
    for verb in ("demo", "inspect", "fit", "evaluate", "sweep", "route", "models", "serve", "keys", "ledger", "store"):
        assert f"\n  {verb} " in ran.out
    code = (
        "import sys; sys.argv = ['avengers-pro', '--help']\n"
        "from avengers_pro.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert 'numpy' not in sys.modules and 'faiss' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    "verb", ["demo", "inspect", "fit", "evaluate", "sweep", "route", "models", "serve", "keys", "ledger", "store"]
)
def test_every_verb_has_help_with_examples(shell, verb):
    ran = shell(verb, "--help")
    assert ran.code == 0
    assert f"avengers-pro {verb}" in ran.out
    assert "Example" in ran.out


def test_wrong_usage_is_status_2(shell):
    assert shell("fly").code == 2
    assert shell("evaluate").code == 2
    assert shell("route", "router").code == 2
    assert shell("evaluate", "x.jsonl", "--alphas", "a:b").code == 2


def test_a_missing_file_is_one_line_on_stderr_and_status_1(shell):
    ran = shell("inspect", "nowhere.jsonl")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.strip() == "error: nowhere.jsonl: no such file"


def test_inspect_records(shell, records):
    ran = shell("inspect", records)
    assert ran.code == 0
    assert "300 queries, 13 models, 10 datasets" in ran.out
    assert "openai/gpt-5-chat" in ran.out
    assert "are not observed" in ran.out
    told = json.loads(shell("inspect", records, "--json").out)
    assert told["rows"] == 300
    assert len(told["models"]) == 13


def test_inspect_says_what_is_wrong_where(shell, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"query": "a", "records": {"m": 1}}\n{"query": "b", "records": {"m": 87}}\n')
    ran = shell("inspect", bad)
    assert ran.code == 1
    assert "bad.jsonl:2: records[m]" in ran.err
    assert "--score-scale" in ran.err
    scaled = shell("inspect", bad, "--score-scale", "100")
    assert scaled.code == 0
    skipped = shell("inspect", bad, "--skip-bad-lines")
    assert skipped.code == 0
    assert "1 bad lines left out" in skipped.err


def test_fit_inspect_route(shell, records):
    ran = shell("fit", records, "-o", "router", "--clusters", 12)
    assert ran.code == 0, ran.err
    assert "avengers-pro-code, 13 models, 300 queries" in ran.out
    assert "using --method avengers-pro-code" in ran.err
    about = json.loads(shell("inspect", "router", "--json").out)
    assert about["method"] == "avengers-pro-code"
    assert about["params"]["clusters"] == 12
    assert len(about["clusters"]) == 12
    assert "Clusters" in shell("inspect", "router").out
    routed = shell("route", "router", "Write a SQL query that counts orders by day.", "--alpha", "0.4")
    assert routed.code == 0
    assert routed.out.strip() in about["models"][0]["model"] + "".join(m["model"] for m in about["models"])
    assert "expected score" in routed.err


def test_route_json_and_explain(shell, router):
    told = json.loads(shell("route", router, "What is 2 + 2?", "--json").out)
    assert told["model"] == told["candidates"][0]["model"]
    explained = json.loads(shell("route", router, "What is 2 + 2?", "--json", "--explain").out)
    assert explained["by_alpha"][0]["from"] == 0
    assert "inf " not in shell("route", router, "What is 2 + 2?", "--explain", "--max-cost", 1e-9).out
    text = shell("route", router, "What is 2 + 2?", "--explain").out
    assert "Candidates" in text
    assert "By alpha" in text
    assert "Nearest clusters" in text


def test_route_reads_stdin_and_takes_the_older_names_of_alpha(shell, router):
    ran = shell(
        "route", router, "-", "--json", "--performance_weight", 0.6, "--cost_sensitivity", 0.2, stdin="hi there"
    )
    assert json.loads(ran.out)["alpha"] == pytest.approx(0.75)
    assert json.loads(shell("route", router, "hi", "--json", "--performance-weight", 0.9).out)["alpha"] == 0.9
    both = shell("route", router, "hi", "--alpha", 0.5, "--performance_weight", 0.5)
    assert both.code == 1
    assert "not both" in both.err
    assert shell("route", router, "hi", "--performance_weight", 0, "--cost_sensitivity", 0).code == 1
    assert shell("route", router, "hi", "--cost_sensitivity", 7).code == 1


def test_an_infeasible_request_says_so_with_status_1(shell, router):
    ran = shell("route", router, "hello", "--max-cost", "0.000000001")
    assert (ran.code, ran.out) == (1, "")
    assert "infeasible" in ran.err
    assert "max_cost" in ran.err
    assert json.loads(shell("route", router, "hello", "--min-score", 1, "--json").out)["model"] is None


def test_unknown_models_get_a_hint(shell, router):
    ran = shell("route", router, "hello", "--models", "openai/gpt5")
    assert ran.code == 1
    assert "did you mean 'openai/gpt-5'" in ran.err


def test_route_a_file_in_order(shell, router, tmp_path):
    queries = tmp_path / "queries.jsonl"
    rows = [{"query": f"What is {i} times {i}?", "index": f"q{i}"} for i in range(50)]
    rows.append({"messages": [{"role": "system", "content": "be kind"}, {"role": "user", "content": "Hello"}]})
    queries.write_text("\n".join(map(json.dumps, rows)))
    ran = shell("route", router, "--input", queries, "--output", "out.jsonl", "--alpha", 0.3)
    assert ran.code == 0, ran.err
    told = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["index"] for row in told] == [*(f"q{i}" for i in range(50)), 50]
    single = json.loads(shell("route", router, rows[7]["query"], "--alpha", 0.3, "--json").out)
    assert told[7]["model"] == single["model"]
    to_stdout = shell("route", router, "--input", queries, "--alpha", 0.3)
    assert [json.loads(line) for line in to_stdout.out.splitlines()] == told


def test_a_bad_line_in_a_batch_names_itself_and_leaves_no_half_file(shell, router, tmp_path):
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"query": "fine"}\n{"query": ""}\n')
    ran = shell("route", router, "--input", queries, "--output", "out.jsonl")
    assert ran.code == 1
    assert "queries.jsonl:2" in ran.err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_damaged_router_is_a_message(shell, tmp_path):
    (tmp_path / "router").mkdir()
    ran = shell("route", tmp_path / "router", "hello")
    assert ran.code == 1
    assert "router.json" in ran.err


def test_evaluate_prints_and_keeps_everything(shell, records, tmp_path):
    ran = shell(
        "evaluate", records, "--seeds", 1, "--alphas", "0,0.5,1", "--clusters", 12,
        "--output", "r.json", "--report", "r.md", "--figure", "f.svg", "--note", "simulated data",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    result = Evaluation.from_json((tmp_path / "r.json").read_bytes())
    assert ran.out.strip().splitlines()[-1] == result.verdict.text
    assert result.methods["avengers-pro-code"].params["clusters"] == 12
    assert "records.jsonl (simulated data)" in ran.out
    assert (tmp_path / "f.svg").read_text().startswith("<svg")
    assert result.verdict.text.split(" ")[0] in (tmp_path / "r.md").read_text()
    printed = Evaluation.from_json(
        shell("evaluate", records, "--seeds", 1, "--alphas", "0,0.5,1", "--clusters", 12, "--json").out.encode()
    )
    assert printed.methods == result.methods


def test_the_published_flags_work_as_spelled(shell, records, tmp_path):
    ran = shell(
        "evaluate", "--input", records, "--output", "results.json", "--performance_weight", 0.8,
        "--cost_sensitivity", 0.2, "--clusters", 8, "--train_ratio", 0.6, "--min_accuracy", 0.1,
        "--excluded_models", "openai/gpt-5-chat,zhipu/glm-4.6", "--excluded_datasets", "sim-tau2",
        "--dataset_exclusion_mode", "soft", "--export_cluster", "models", "--max_router", 2,
        "--method", "avengers-pro-code", "--seed", 7,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    result = Evaluation.from_json((tmp_path / "results.json").read_bytes())
    assert "At alpha 0.8" in ran.out
    assert [split.seed for split in result.splits] == [7]
    assert result.records.train_ratio == 0.6
    assert "zhipu/glm-4.6" not in result.records.models
    assert result.records.excluded_datasets == ["sim-tau2"]
    assert list(result.methods) == ["avengers-pro-code (oracle among 2 selected)"]
    assert Router.load(tmp_path / "models").method.name == "avengers-pro-code"


def test_a_published_config_file_works_and_the_command_line_wins(shell, records, tmp_path):
    config = {
        "n_clusters": 10, "train_ratio": 0.7, "seed": 2013, "max_router": 1, "top_k": 3, "beta": 9.0,
        "max_workers": 4, "cluster_batch_size": 1000, "cost_sensitivity": 0.55, "performance_weight": 0.45,
        "min_accuracy_threshold": 0.0, "budget_limit": None, "excluded_models": ["openai/gpt-5-chat"],
        "excluded_datasets": ["sim-aime"], "dataset_exclusion_mode": "soft", "export_cluster": None,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    ran = shell(
        "evaluate", records, "--config", "config.json", "--output", "r.json", "--clusters", 25, "--alphas", "1,0"
    )
    assert ran.code == 0, ran.err
    assert "max_workers has no effect" in ran.err
    result = Evaluation.from_json((tmp_path / "r.json").read_bytes())
    params = result.methods["avengers-pro-code"].params
    assert (params["clusters"], params["top_clusters"]) == (25, 3)
    assert [split.seed for split in result.splits] == [2013]
    assert "At alpha 0.45" in ran.out
    (tmp_path / "config.toml").write_text("clustres = 4\n")
    wrong = shell("evaluate", records, "--config", "config.toml")
    assert wrong.code == 1
    assert "did you mean 'clusters'" in wrong.err
    (tmp_path / "list.json").write_text("[1]")
    assert "one object" in shell("evaluate", records, "--config", "list.json").err
    assert "cannot be read" in shell("evaluate", records, "--config", "gone.json").err


def test_a_flag_equal_to_its_default_still_overrides_the_config(shell, records, tmp_path):
    (tmp_path / "config.toml").write_text("seeds = 3\ntrain-ratio = 0.5\n")
    arguments = ("evaluate", records, "--config", "config.toml", "--alphas", "1", "--json")
    assert len(json.loads(shell(*arguments).out)["splits"]) == 3
    told = json.loads(shell(*arguments, "--seeds", 5, "--train-ratio", 0.7).out)
    assert len(told["splits"]) == 5
    assert told["records"]["train_ratio"] == 0.7


def test_flags_that_mean_nothing_to_the_method_are_refused(shell, records):
    ran = shell("fit", records, "-o", "router", "--method", "knn", "--clusters", 5)
    assert ran.code == 1
    assert "--clusters means nothing to knn" in ran.err
    assert shell("fit", records, "-o", "router", "--method", "oracle").code == 1
    assert shell("fit", records, "-o", "nowhere/router").code == 1
    assert shell("evaluate", records, "--report", "x.pdf").code == 2
    assert shell("evaluate", records, "--seed", -1).code == 2
    assert shell("evaluate", records, "--alphas", "0:inf:1").code == 2


def test_exported_routers_keep_the_exclusions(shell, records, tmp_path):
    ran = shell(
        "evaluate", records, "--seeds", 1, "--alphas", "1", "--excluded_models", "openai/gpt-5",
        "--excluded_datasets", "sim-aime", "--export_cluster", "models",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    router = Router.load(tmp_path / "models")
    assert "openai/gpt-5" not in router.models
    assert max(fact.observations for fact in router.facts) < 300


def test_targets_and_budgets(shell, records):
    assert shell("fit", records, "-o", "router").code == 0
    cheap, good = (
        json.loads(shell("route", "router", "What is 2 + 2?", "--target", target, "--json").out)
        for target in (0.5, 1.0)
    )
    assert cheap["objective"].startswith("target 0.5")
    assert cheap["candidates"][0]["expected_cost"] <= good["candidates"][0]["expected_cost"]
    assert json.loads(shell("route", "router", "hi", "--budget", 0.01, "--json").out)["objective"].startswith("budget")
    both = shell("route", "router", "hi", "--budget", 0.01, "--target", 1.0)
    assert both.code == 1
    assert "contradict" in both.err
    assert shell("fit", records, "-o", "plain", "--method", "avengers-pro-paper").code == 0
    uncalibrated = shell("route", "plain", "hi", "--target", 1.0)
    assert uncalibrated.code == 1
    assert "has no calibration" in uncalibrated.err


def test_sweep(shell, records, tmp_path):
    ran = shell(
        "sweep",
        records,
        "--over",
        "clusters",
        "--values",
        "4,8",
        "--seeds",
        1,
        "--output",
        "s.csv",
        "--figure",
        "s.png",
    )
    assert ran.code == 0, ran.err
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 7
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(shell("sweep", records, "--over", "alpha", "--values", "0:1:0.5", "--seeds", 1, "--json").out)
    assert {row["value"] for row in told} == {0.0, 0.5, 1.0}


def test_embedding_keys_come_from_the_environment_and_are_not_shown(shell, records):
    """Nothing listens on the port: the error names the URL and never the key."""
    ran = shell(
        "fit", records, "-o", "router", "--embedder", "openai:any", "--embedding-base-url", "http://127.0.0.1:9/v1",
        EMBEDDING_API_KEY="secret-key-123",
    )  # fmt: skip
    assert ran.code == 1
    assert "127.0.0.1:9" in ran.err
    assert "secret-key-123" not in ran.err + ran.out


def test_a_closed_pipe_is_no_traceback(records):
    command = f"{sys.executable} -m avengers_pro inspect {records} | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert "Traceback" not in done.stderr


def test_the_demo_tells_its_story(shell, tmp_path):
    ran = shell("demo", "--seeds", 1)
    assert ran.code == 0, ran.err
    for part in ("1. Data (simulated data)", "2. Fit", "3. Proof", "4. Five queries", "5. Written", "Next"):
        assert part in ran.out
    folder = tmp_path / "avengers-pro-demo"
    assert Router.load(folder / "router").route("a question").model in Router.load(folder / "router").models
    assert Evaluation.from_json((folder / "results.json").read_bytes()).records.note == "simulated data"
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "simulated data" in report
    assert "Where routing wins and loses" in report
    assert (folder / "frontier.svg").read_text().startswith("<svg")
