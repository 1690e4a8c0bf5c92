"""``avengers-pro models`` and the constraints of ``route``, as a shell sees them."""

import json

import pytest

from avengers_pro.demo import sample_path
from avengers_pro.records import read_records, write_records
from avengers_pro.routing import Router
from cli.conftest import Shell

NEW = "openai/gpt-5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A router of the simulated sample without one model, and that model's scores in a file."""
    folder = tmp_path_factory.mktemp("models")
    records = read_records(sample_path()).records
    Router.fit(records.exclude_models([NEW])).save(folder / "router")
    write_records(records.select_models([NEW]).take(range(0, 2000, 10)), folder / "labels.jsonl")
    (folder / "pool.toml").write_text(
        '[[models]]\nname = "deepseek/deepseek-r1"\n'
        'input_price = 50.0\noutput_price = 215.0\ncapabilities = ["tools"]\n',
        encoding="utf-8",
    )
    return folder


@pytest.fixture
def run(folder):
    return Shell(folder)


def test_add_list_reprice_remove(run, folder):
    done = run("models", "add", folder / "router", NEW, folder / "labels.jsonl", "-o", folder / "grown")
    assert done.code == 0, done.err
    assert "added from 200 scores; 13 models" in done.out
    listed = json.loads(run("models", "list", folder / "grown", "--json").out)
    assert next(row["observations"] for row in listed if row["model"] == NEW) == 200
    assert NEW in run("models", "list", folder / "grown").out
    half = run("models", "reprice", folder / "grown", NEW, "--factor", "0.5", "-o", folder / "half")
    assert half.code == 0, half.err
    after = json.loads(run("models", "list", folder / "half", "--json").out)
    cost = {row["model"]: row["mean_cost"] for row in listed}
    assert next(row["mean_cost"] for row in after if row["model"] == NEW) == pytest.approx(cost[NEW] / 2)
    assert run("models", "remove", folder / "half", NEW, "-o", folder / "small").code == 0
    steps = json.loads(run("inspect", folder / "small", "--json").out)["lineage"]
    assert [step["action"] for step in steps] == ["fit", "add_model", "reprice", "remove_model"]


def test_a_pool_table_prices_a_router_and_says_what_models_can_do(run, folder):
    priced = run("models", "reprice", folder / "router", "--pool", folder / "pool.toml", "-o", folder / "priced")
    assert priced.code == 0, priced.err
    before, after = (
        {row["model"]: row for row in json.loads(run("models", "list", folder / name, "--json").out)}
        for name in ("router", "priced")
    )
    name = "deepseek/deepseek-r1"
    assert after[name]["mean_cost"] == pytest.approx(100 * before[name]["mean_cost"], rel=0.01)
    assert after[name]["capabilities"] == ["tools"]
    at_once = run("route", folder / "router", "hello", "--requires", "tools", "--pool", folder / "pool.toml")
    assert at_once.out.strip() == name


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("models", "remove", "router", "lab/none", "-o", "x"), 1, "has no model 'lab/none'"),
        (("models", "add", "router", "lab/none", "labels.jsonl", "-o", "x"), 1, "lab/none"),
        (("models", "reprice", "router", "-o", "x"), 2, "name one MODEL, or give --pool"),
        (("models", "reprice", "router", "a", "--pool", "pool.toml", "-o", "x"), 2, "name one MODEL"),
        (("models", "reprice", "router", "--factor", "2", "--pool", "pool.toml", "-o", "x"), 2, "brings the prices"),
        (("models", "reprice", "router", "zhipu/glm-4.6", "--factor", "-2", "-o", "x"), 1, "at least 0"),
        (("models", "list", "nowhere"), 1, "cannot be read"),
        (("models", "remove", "router", "zhipu/glm-4.6", "-o", "no/where"), 1, "does not exist"),
        (("route", "router", "hello", "--requires", "flying"), 1, "known capabilities"),
        (("route", "router", "hello", "--requires", "tools"), 1, "known to have tools"),
        (("route", "router", "--input", "labels.jsonl", "--json"), 2, "--input writes JSON lines"),
    ],
)
def test_what_cannot_be_is_refused(run, arguments, status, said):
    done = run(*arguments)
    assert done.code == status
    assert said in done.err


def test_infeasible_is_relaxed_when_asked(run, folder):
    arguments = ("route", folder / "router", "hello", "--min-score", "0.999")
    assert run(*arguments).code == 1
    done = run(*arguments, "--on-infeasible", "best")
    assert done.code == 0
    assert "the best was taken" in done.err


def test_explain_shows_levels_and_what_would_change_the_choice(run, folder):
    query = read_records(sample_path()).records.queries[0]
    done = run("route", folder / "router", query, "--explain")
    assert "What each level of clusters adds" in done.out
    assert "When another candidate would win" in done.out
    found = json.loads(run("route", folder / "router", query, "--explain", "--json").out)
    assert {level["clusters"] for level in found["levels"]} == {8, 16, 32, 64, 128}
    assert {other["model"] for other in found["counterfactuals"]} < {row["model"] for row in found["candidates"]}
