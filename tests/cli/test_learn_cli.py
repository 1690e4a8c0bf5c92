"""``avengers-pro learn`` on the ledger of a simulated gateway."""

import json
import shutil

import pytest

from avengers_pro.records import write_records
from avengers_pro.routing import Router
from cli.conftest import Shell
from learning.logged import LABELLED, POOL, logged

LEDGER = ("--ledger", "sqlite:///ledger.db")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with a router, the records it was fitted on, and the ledger of 200 requests."""
    folder = tmp_path_factory.mktemp("learn-cli")
    world = logged(folder, 200)
    world.router.save(folder / "router")
    write_records(world.truth.take(range(LABELLED)), folder / "records.jsonl")
    return folder


@pytest.fixture
def run(recorded, tmp_path):
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    return Shell(tmp_path)


def test_it_writes_a_new_router_and_says_what_changed(run):
    old = (run.folder / "router" / "router.json").read_bytes()
    ran = run("learn", *LEDGER, "--router", "router", "-o", "new")
    assert ran.code == 0, ran.err
    assert "of 200 new decisions" in ran.out
    for name in POOL:
        assert name in ran.out
    assert "What would be chosen for these queries, before and after" in ran.out
    assert "no model is judged by that" in ran.err
    assert (run.folder / "router" / "router.json").read_bytes() == old
    assert [step.action for step in Router.load(run.folder / "new").lineage] == ["fit", "traffic"]
    assert not list(run.folder.glob("**/*.part"))


def test_the_same_traffic_is_not_learnt_twice(run):
    assert run("learn", *LEDGER, "--router", "router", "-o", "new").code == 0
    ran = run("learn", *LEDGER, "--router", "new", "-o", "newer")
    assert (ran.code, ran.out) == (1, "")
    assert "nothing new to learn: 0 decisions since the router last learnt" in ran.err
    assert not (run.folder / "newer").exists()
    assert run("learn", *LEDGER, "--router", "new", "-o", "newer", "--since", "2020-01-01").code == 0


def test_json_says_the_same(run):
    ran = run("learn", *LEDGER, "--router", "router", "-o", "new", "--half-life", "7d", "--json")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["output"] == "new"
    assert told["decisions"] == 200
    assert sum(line["scores"] for line in told["models"]) == told["scores"] > 50
    assert {line["alpha"] for line in told["frontier"]} == {1.0, 0.9, 0.7, 0.5, 0.3, 0.1}


def test_the_pool_and_the_ledger_come_from_the_gateways_settings(run):
    models = "\n".join(
        f'[[models]]\nname = "{name}"\ninput_price = 1.0\noutput_price = 4.0\nbase_url = "http://127.0.0.1:9/v1"\n'
        for name in (*POOL[1:], "lab/new")
    )
    (run.folder / "gateway.toml").write_text(f'[store]\nurl = "sqlite:///ledger.db"\n\n{models}')
    ran = run("learn", "--router", "router", "-o", "new", "--pool", "gateway.toml")
    assert ran.code == 0, ran.err
    assert "lab/new (new)" in ran.out
    assert f"{POOL[0]} (gone)" in ran.out
    assert "of models that the router does not know" in ran.err
    assert Router.load(run.folder / "new").models == (*POOL[1:], "lab/new")


def test_clusters_anew(run):
    ran = run("learn", *LEDGER, "--router", "router", "-o", "new", "--recluster", "--records", "records.jsonl")
    assert ran.code == 0, ran.err
    old, new = (Router.load(run.folder / name).fitted.levels.sizes for name in ("router", "new"))
    assert new != old
    assert run("route", "new", "What is the capital of France?", "--explain").code == 0


def test_a_ledger_without_vectors_says_what_to_set(run, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    logged(folder, 30, router=Router.load(run.folder / "router"), keep="nothing", feedback=1.0)
    ran = run("learn", "--ledger", "sqlite:///bare/ledger.db", "--router", "router", "-o", "new")
    assert ran.code == 1
    assert "[store] log_vectors = true" in ran.err
    assert not (run.folder / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--recluster",), 2, "--recluster needs --records"),
        (("--records", "records.jsonl"), 2, "--records serve --recluster alone"),
        (("--half-life", "soon"), 2, "neither a number of decisions like 5000 nor a time like 14d"),
        (("--half-life", "0"), 2, "neither a number of decisions like"),
        (("-o", "router"), 2, "another folder than the router's"),
        (("-o", "no/such/folder"), 1, "does not exist; make it first"),
        (("--ledger", "sqlite:///none.db"), 1, "does not exist; is the path right?"),
        (("--router", "none"), 1, "cannot be read"),
        (("--pool", "none.toml"), 1, "none.toml: cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused(run, arguments, code, message):
    ran = run("learn", *LEDGER, "--router", "router", "-o", "new", *arguments)
    assert ran.code == code, ran.err
    assert message in " ".join(ran.err.split())
    assert ran.out == ""
    assert not (run.folder / "new").exists()


def test_no_ledger_named_and_no_settings(run):
    ran = run("learn", "--router", "router", "-o", "new")
    assert ran.code == 1
    assert "gateway.toml: no such file" in ran.err
