"""``avengers-pro compare`` as the shell runs it."""

import asyncio
import json

import numpy as np
import pytest

from avengers_pro.demo.history import Course, simulated_records, write_history
from avengers_pro.records import write_records
from avengers_pro.routing import Router
from cli.conftest import Shell


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sample):
    """Two routers, their training records, held-out records, and a ledger of simulated traffic."""
    home = tmp_path_factory.mktemp("compare")
    rows = np.random.default_rng(4).permutation(len(sample))
    parts = {"train": rows[:600], "few": rows[:60], "held-out": rows[600:1200], "mixed": rows[500:1200]}
    for name, part in parts.items():
        write_records(sample.take(part), home / f"{name}.jsonl")
    Router.fit(sample.take(parts["train"])).save(home / "old")
    Router.fit(sample.take(parts["few"])).save(home / "new")
    truth = simulated_records(400, seed=8)
    course = Course(feedback=0.5, explored=0.5, near=1.0, dearer=1e9)
    asyncio.run(write_history(f"sqlite:///{home}/ledger.db", Router.load(home / "old"), truth, course))
    return home


@pytest.fixture
def run(folder):
    return Shell(folder)


LEDGER = ("--ledger", "sqlite:///ledger.db")
HELD_OUT = ("--records", "held-out.jsonl")


def test_on_records_the_verdict_comes_last_and_the_reasons_before_it(run):
    ran = run("compare", "old", "new", *HELD_OUT, "--alpha", "1")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].startswith("600 held-out queries under alpha 1; old and new choose differently on ")
    assert lines[-2].startswith("  score: B is worse, -")
    assert lines[-1].startswith("  cost: B is ")
    for words in ("By dataset", "sim-mmlu-pro", "Where queries go", "drawn at random", "A expects", "observed"):
        assert words in ran.out
    assert "whether these queries were trained on cannot be seen" in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("old", "new", "--require", "not-worse"), 1, "not-worse is not proven: score: B is worse"),
        (("new", "old", "--require", "better", "--on", "score"), 0, "better is proven"),
        (("old", "old", "--require", "not-worse"), 0, "not-worse is proven"),
        (("old", "old", "--require", "better"), 1, "neither score nor cost is known to be better"),
        (("old", "new", "--require", "not-worse", "--margin", "0.5", "--cost-margin", "9"), 0, "not-worse is proven"),
    ],
)
def test_what_is_required_is_the_exit_status(run, arguments, code, said):
    ran = run("compare", *arguments, *HELD_OUT, "--alpha", "1")
    assert (ran.code, said in ran.err) == (code, True), ran.err


def test_json_holds_everything_and_the_requirement(run):
    ran = run("compare", "old", "new", *HELD_OUT, "--json", "--require", "better", "--flips", "2")
    assert ran.code == 1
    told = json.loads(ran.out)
    assert told["requirement"]["asked"] == "better"
    assert told["requirement"]["proven"] is False
    assert "better is not proven" in told["requirement"]["reason"]
    assert len(told["flips"]) == 2
    assert told["queries"] == 600
    assert len(told["verdict"]) == 2
    assert told["score"]["interval"][0] < told["score"]["difference"] < told["score"]["interval"][1]


def test_training_records_prove_nothing(run):
    ran = run("compare", "old", "old", "--records", "train.jsonl", "--require", "not-worse")
    assert ran.code == 1
    assert "old has learnt from exactly these records" in ran.out
    assert "a router has learnt from these records" in ran.err
    ran = run(
        "compare", "old", "new", "--records", "mixed.jsonl", "--trained-on", "train.jsonl", "--require", "not-worse"
    )
    assert "100 queries left out" in ran.out
    assert ran.out.startswith("600 held-out queries")


def test_on_the_ledger_two_routers_or_one(run):
    ran = run("compare", "old", "new", *LEDGER)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("400 of 400 requests judged, ")
    for words in ("IPS", "SNIPS", "doubly robust", "What the log has seen", "This assumes", "A = old, B = new"):
        assert words in ran.out
    told = json.loads(run("compare", "new", *LEDGER, "--json").out)
    assert told["a"]["name"] == "the logged policy"
    assert set(told["by_estimator"]["score"]) == {"ips", "snips", "dr"}
    ran = run("compare", "old", *LEDGER, "--until", "2020-01-01")
    assert ran.code == 1
    assert "none of 0 requests can be judged (the ledger holds none)" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("old", "new"), 2, "give --records FILE, or --ledger URL"),
        (("old", "new", *HELD_OUT, *LEDGER), 2, "give --records FILE, or --ledger URL"),
        (("old", *HELD_OUT), 2, "--records takes two routers"),
        (("old", "new", "old", *LEDGER), 2, "--ledger one or two"),
        (("old", "new", *LEDGER, "--alpha", "0.5"), 2, "--alpha goes with --records"),
        (("old", "new", *LEDGER, "--trained-on", "train.jsonl"), 2, "--trained-on goes with --records"),
        (("old", "new", *HELD_OUT, "--since", "7d"), 2, "go with --ledger"),
        (("old", "new", *HELD_OUT, "--alpha", "1", "--target", "1"), 1, "contradict each other"),
        (("old", "none", *HELD_OUT), 1, "cannot be read"),
        (("old", "new", "--ledger", "sqlite:///none.db"), 1, "does not exist"),
    ],
)
def test_what_cannot_be_is_refused_in_words(run, arguments, code, said):
    ran = run("compare", *arguments)
    assert ran.code == code, ran.err
    assert said in ran.err
