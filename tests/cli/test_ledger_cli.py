"""``avengers-pro ledger`` on what a gateway has really recorded."""

import base64
import json
from collections import Counter

import pytest

from avengers_pro.demo.provider import create_provider, serving
from cli.conftest import Shell
from cli.served import CHAT, post, served, write_config

STORE = ("--store", "sqlite:///ledger.db")
MODELS = ("openai/gpt-5",) * 4 + ("qwen/qwen3-235b",) * 3


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, router):
    """A folder with the ledger of ten requests, three of them routed and one of those rated."""
    folder = tmp_path_factory.mktemp("recorded")
    with serving(create_provider()) as upstream:
        config = write_config(folder / "gateway.toml", upstream, "[store]\nretention_days = 1\nlog_vectors = true\n")
        with served(folder, router, config) as (running, url):
            for model in (*MODELS, *["avengers-pro"] * 3):
                with post(f"{url}/v1/chat/completions", {**CHAT, "model": model}) as answer:
                    decision = answer.headers["x-avengers-pro-decision"]
                    answer.read()
            with post(f"{url}/v1/feedback", {"decision": decision, "score": 0.75}) as answer:
                assert answer.status == 200
            assert running.stop() == 0
    return folder, decision


@pytest.fixture
def run(recorded):
    return Shell(recorded[0])


def test_export_writes_every_row_with_its_parts_as_json(run, recorded):
    folder, decision = recorded
    ran = run("ledger", "export", *STORE)
    assert ran.code == 0, ran.err
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    assert len(rows) == 10
    assert "10 decisions exported" in ran.err
    assert rows[-1]["id"] == decision
    assert rows[-1]["policy"] == {"alpha": 0.7}
    assert len(rows[-1]["candidates"]) == 13
    assert rows[-1]["feedback"][0]["score"] == 0.75
    assert (rows[-1]["propensity"], rows[-1]["shadow_model"]) == (1.0, None)
    assert rows[-1]["reported_model"] == rows[-1]["served_by"]
    assert len(base64.b64decode(rows[-1]["vector"])) == 2 * 278
    assert rows[0]["vector"] is None
    ran = run("ledger", "export", *STORE, "-o", "rows.jsonl", "--model", "openai/gpt-5", "--since", "1h")
    assert ran.out == ""
    kept = [json.loads(line)["served_by"] for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert kept == [row["served_by"] for row in rows if row["served_by"] == "openai/gpt-5"]
    assert run("ledger", "export", *STORE, "--until", "2020-01-01").out == ""
    assert not list(folder.glob("*.part"))


def test_stats_agree_with_the_rows(run):
    rows = [json.loads(line) for line in run("ledger", "export", *STORE).out.splitlines()]
    told = json.loads(run("ledger", "stats", *STORE, "--json").out)
    assert told["total"]["requests"] == 10
    assert told["total"]["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in rows))
    counts = {row["model"]: row["requests"] for row in told["models"]}
    assert counts == Counter(row["served_by"] for row in rows)
    assert told["until"] is None
    table = run("ledger", "stats", "--config", "gateway.toml").out
    for word in ("spent", "saved", "unknown cost", "errors", "fallbacks", "openai/gpt-5", "all"):
        assert word in table
    none = json.loads(run("ledger", "stats", *STORE, "--since", "2000-01-01", "--until", "2000-01-02", "--json").out)
    assert none["total"]["requests"] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("export", "--since", "yesterday", *STORE), 2, "an age like 7d"),
        (("export", "-o", "no/where.jsonl", *STORE), 1, "does not exist"),
        (("prune", "--max-bytes", "big", *STORE), 2, "no size like 500MB"),
        (("prune", *STORE), 2, "nothing to go by"),
        (("stats", "--store", "sqlite:///none.db"), 1, "does not exist"),
    ],
)
def test_what_cannot_be_is_refused(run, arguments, code, said):
    ran = run("ledger", *arguments)
    assert ran.code == code
    assert said in ran.err


def test_prune_says_first_what_would_go(tmp_path, recorded):
    for name in ("ledger.db", "gateway.toml"):
        (tmp_path / name).write_bytes((recorded[0] / name).read_bytes())
    run = Shell(tmp_path)
    assert run("ledger", "prune", "--config", "gateway.toml").out == "0 decisions removed\n"  # [store] retention_days
    assert run("ledger", "prune", "--older-than", "1h", "--dry-run", *STORE).out == "0 decisions would be removed\n"
    assert run("ledger", "prune", "--older-than", "0m", "--dry-run", *STORE).out == "10 decisions would be removed\n"
    assert run("ledger", "prune", "--max-bytes", "1GB", "--dry-run", *STORE).out == "0 decisions would be removed\n"
    assert run("ledger", "prune", "--max-bytes", "1KB", "--dry-run", *STORE).out == "10 decisions would be removed\n"
    assert run("ledger", "prune", "--older-than", "0m", *STORE).out == "10 decisions removed\n"
    assert run("ledger", "export", *STORE).out == ""
    assert json.loads(run("ledger", "stats", *STORE, "--json").out)["total"]["requests"] == 10
