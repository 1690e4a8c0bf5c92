"""Two routers on the traffic of a real ledger with a simulated history."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from avengers_pro.demo.history import Course, simulated_records, write_history
from avengers_pro.errors import EvaluationError
from avengers_pro.learning import Traffic, read_traffic
from avengers_pro.learning.compare_traffic import compare_on_traffic
from avengers_pro.learning.redecide import REFUSED, UNDECIDED, Candidate, decide_again
from avengers_pro.learning.switch import CANNOT_TELL
from avengers_pro.records import Records
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.artifact import Step

POLICIES = {"avengers-pro": Policy(alpha=0.9), "avengers-pro/cheap": Policy(alpha=0.4)}


@pytest.fixture(scope="module")
def truth() -> Records:
    table = simulated_records(1000, seed=5)
    return table.select_models(table.complete_models())


@pytest.fixture(scope="module")
def in_use(truth) -> Router:
    return Router.fit(truth.take(range(300)))


@pytest.fixture(scope="module")
def other(truth) -> Router:
    return Router.fit(truth.take(range(100, 300)))


@pytest.fixture(scope="module")
def traffic(tmp_path_factory, truth, in_use) -> Traffic:
    """700 simulated requests, all models open to exploration, 40 % with feedback, 5 % with a named model."""
    url = f"sqlite:///{tmp_path_factory.mktemp('traffic')}/ledger.db"
    course = Course(policies=POLICIES, feedback=0.4, explored=0.5, near=1.0, dearer=1e9, named=0.05, seed=6)
    asyncio.run(write_history(url, in_use, truth.take(range(300, 1000)), course))
    return asyncio.run(read_traffic(url, router=in_use))


def test_the_router_in_use_decides_as_it_did_under_each_policy(traffic, in_use):
    """Where the log did not explore, deciding again from the kept vectors finds the logged choice."""
    kept = traffic.take(traffic.routed)
    decided = decide_again(kept, Candidate("in use", in_use, "f"), list(kept.models))
    sure = kept.propensity > 0.5
    assert np.mean(decided.chosen[sure] == kept.chosen[sure]) > 0.98  # vectors are kept in half precision
    assert np.mean(decided.chosen[~sure] == kept.chosen[~sure]) < 0.1
    rows = np.flatnonzero(decided.chosen >= 0)
    logged = kept.expected_scores[rows, decided.chosen[rows]]
    assert np.allclose(decided.scores[rows], logged)


def test_everything_is_counted_and_the_truth_is_covered(traffic, truth, in_use, other):
    found = compare_on_traffic(traffic, Candidate("new", other, "n"), Candidate("old", in_use, "o"))
    assert found.left_out == {"the client named the model": int((~traffic.routed).sum())}
    assert found.rows + sum(found.left_out.values()) == found.requests == 700
    assert found.rated == int(np.isfinite(traffic.scores[traffic.routed]).sum())
    assert (found.a.name, found.b.name) == ("old", "new")
    assert found.a.never == found.b.never == {}
    assert len(found.assumptions) == 6
    kept = np.flatnonzero(traffic.routed)
    table = truth.take(300 + kept)
    value = {}
    for name, router in (("old", in_use), ("new", other)):
        choices = decide_again(traffic.take(kept), Candidate(name, router, name), list(traffic.models)).chosen
        value[name] = np.mean(
            [scores[truth.models.index(traffic.models[c])] for scores, c in zip(table.scores, choices, strict=True)]
        )
    low, high = found.score.interval
    assert low <= value["new"] - value["old"] <= high
    assert found.a.score["dr"][1] <= value["old"] <= found.a.score["dr"][2]
    assert found.cost.queries == found.priced == found.rows


def test_one_router_is_compared_with_the_log_as_it_was(traffic, in_use):
    found = compare_on_traffic(traffic, Candidate("in use", in_use, "f"))
    assert found.a.name == "the logged policy"
    assert found.a.matched == found.rows
    assert found.a.effective_size is None
    kept = traffic.take(traffic.routed)
    assert found.a.cost["snips"][0] == pytest.approx(np.nanmean(kept.costs))


def test_choices_of_a_shadow_are_read_where_nothing_else_was_kept(traffic, other):
    """The same choices, decided anew or logged by the shadow, give the same numbers."""
    candidate = Candidate("new", other, "shadow-print")
    kept = traffic.take(traffic.routed)
    chosen = decide_again(kept, candidate, list(kept.models)).chosen
    logged = replace(kept, vectors=None, shadow=chosen, shadow_routers=("shadow-print",) * len(kept))
    anew, read = compare_on_traffic(kept, candidate), compare_on_traffic(logged, candidate)
    assert read.score == anew.score
    assert read.b.shares == anew.b.shares
    another = replace(logged, shadow_routers=("somebody-else",) * len(kept))
    with pytest.raises(EvaluationError, match=r"none of \d+ requests can be judged .*log_vectors = true.*new run as"):
        compare_on_traffic(another, candidate)


def test_rows_without_vectors_are_left_out_and_counted(traffic, in_use):
    kept = traffic.take(traffic.routed)
    vectors = kept.vectors.copy()
    vectors[:100] = np.nan
    found = compare_on_traffic(replace(kept, vectors=vectors), Candidate("in use", in_use, "f"))
    assert found.left_out == {"in use: no vector, text or shadow choice was kept": 100}
    unknown = kept.propensity.copy()
    unknown[:7] = np.nan
    found = compare_on_traffic(replace(kept, propensity=unknown), Candidate("in use", in_use, "f"))
    assert found.left_out == {"the propensity is not known": 7}


def test_a_model_that_was_never_logged_is_named_and_nothing_is_claimed(traffic, truth):
    table = truth.take(range(300))
    best = replace(
        table,
        models=(*table.models, "lab/unseen"),
        **{
            name: np.column_stack([getattr(table, name), column])
            for name, column in (
                ("scores", np.ones(300)),
                ("costs", np.full(300, 1e-4)),
                ("listed", np.ones(300, bool)),
            )
        },
        prompt_tokens=None,
        completion_tokens=None,
        latency_ms=None,
    )
    found = compare_on_traffic(traffic, Candidate("new", Router.fit(best), "n"))
    assert found.b.never == {"lab/unseen": round(found.b.shares["lab/unseen"] * found.rows)}
    assert found.score.outcome == found.cost.outcome == CANNOT_TELL
    assert "never tried at all: lab/unseen" in found.score.obstacle


def test_policies_of_the_ledger_are_read_for_the_models_that_a_router_knows(traffic, in_use):
    kept = traffic.take(traffic.routed).take(range(30))

    def chosen(policy):
        return decide_again(
            replace(kept, policies=(policy,) * 30), Candidate("r", in_use, "f"), list(kept.models)
        ).chosen

    name = in_use.models[0]
    assert set(chosen(f'{{"alpha":0.5,"models":["{name}","lab/unknown"],"exclude":[]}}')) == {kept.models.index(name)}
    assert set(chosen('{"alpha":0.5,"models":["lab/unknown"]}')) == {REFUSED}
    assert set(chosen('{"alpha":0.5,"max_cost":0.0}')) == {REFUSED}
    with pytest.raises(EvaluationError, match="cannot be read"):
        chosen('{"alpha":7}')
    with pytest.raises(EvaluationError, match="'patience', which this version does not know"):
        chosen('{"alpha":0.5,"patience":1}')
    short = replace(kept, vectors=kept.vectors[:, :5])
    assert set(decide_again(short, Candidate("r", in_use, "f"), list(kept.models)).chosen) == {UNDECIDED}


def test_a_router_that_has_learnt_since_is_warned_of(traffic, truth, in_use):
    updated = in_use.update(truth.take(range(300, 400)))
    found = compare_on_traffic(traffic, Candidate("new", updated, "n"), Candidate("old", in_use, "o"))
    assert any("new has learnt since it was fitted (update)" in line for line in found.warnings)
    assert not any("old has learnt" in line for line in found.warnings)


def test_requests_that_a_router_has_learnt_from_do_not_judge_it(traffic, in_use):
    kept = traffic.take(traffic.routed)
    detail = {"until": float(kept.at[249]), "feedback_until": float(kept.at[-1])}
    learnt = in_use.changed(in_use.fitted, in_use.facts, Step("traffic", detail))
    found = compare_on_traffic(kept, Candidate("new", learnt, "n"), Candidate("old", in_use, "o"))
    assert found.left_out == {"new has learnt from them or from later ones": 250}
    assert found.rows == len(kept) - 250
    assert found.warnings == []
    with pytest.raises(EvaluationError, match="new has learnt from them"):
        compare_on_traffic(kept.take(range(250)), Candidate("new", learnt, "n"))


def test_unknown_costs_are_missing_and_said(traffic, in_use):
    kept = traffic.take(traffic.routed)
    costs = kept.costs.copy()
    costs[::4] = np.nan
    found = compare_on_traffic(replace(kept, costs=costs), Candidate("in use", in_use, "f"))
    assert found.priced == int(np.isfinite(costs).sum())
    assert any("cost of 25." in line for line in found.warnings)
    assert found.a.cost["snips"][0] == pytest.approx(np.nanmean(kept.costs), rel=0.3)
    silent = compare_on_traffic(replace(kept, scores=np.full(len(kept), np.nan)), Candidate("in use", in_use, "f"))
    assert silent.score.obstacle == "no request has a known score"
    assert silent.score.difference is None
