"""Exploration: exact propensities, constraints that hold, and a gateway that does what its ledger says."""

import asyncio
import json
import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import FIRST, POOL, QUESTION, SECOND, THIRD, ask, eventually
from test_deciding import BIG, LOOP, ROWS, chat_of, decider_of, models, remember
from test_deciding import QUESTION as LONG_QUESTION

from avengers_pro.demo.provider import Fault
from avengers_pro.errors import SettingsError
from avengers_pro.gateway.controls import Controls
from avengers_pro.gateway.exploring import ExploreSettings, explore
from avengers_pro.gateway.settings import settings_of
from avengers_pro.routing import Policy, Router

NUMBERS = st.floats(0, 1) | st.just(math.nan)
RANKINGS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6).map(
    lambda pairs: [(f"m{place}", score, cost) for place, (score, cost) in enumerate(pairs)]
)
SETTINGS = st.builds(ExploreSettings, rate=st.floats(0, 1), within=st.floats(0, 0.5), max_extra_cost=st.floats(0, 0.5))
POLICIES = st.sampled_from([Policy(alpha=0.5), Policy(target=0.9), Policy(budget=0.1)])
CHANCES = st.floats(0, 1, exclude_max=True)


def reference(ranking, how, policy):
    """Return the probability of each first choice, slowly: what explore() must draw by."""
    _, best_score, best_cost = ranking[0]
    lacking = 0.0 if policy.target is not None else how.within
    dearer = 0.0 if policy.budget is not None else how.max_extra_cost
    near = {ranking[0][0]}
    for name, score, cost in ranking[1:]:
        if score >= best_score - lacking and cost <= best_cost + dearer:
            near.add(name)
    return {
        name: (1 - how.rate) * (name == ranking[0][0]) + how.rate / len(near)
        for name, _, _ in ranking
        if name in near and (how.rate > 0 or name == ranking[0][0])
    }


@settings(max_examples=100, deadline=None)
@given(ranking=RANKINGS, how=SETTINGS, policy=POLICIES, seed=st.integers(0, 2**32))
def test_frequencies_are_the_propensities(ranking, how, policy, seed):
    """Over many seeded draws: each within five standard deviations, and what is said is what the reference says."""
    draw, times = random.Random(seed).random, 1500  # noqa: S311
    outcomes = [explore(ranking, how, policy, draw()) for _ in range(times)]
    counts = Counter(order[0][0] for order, _ in outcomes)
    wanted = reference(ranking, how, policy)
    assert sum(wanted.values()) == pytest.approx(1)
    assert counts.keys() <= wanted.keys()
    for order, propensity in outcomes:
        assert propensity == pytest.approx(wanted[order[0][0]])
    for name, chance in wanted.items():
        assert abs(counts[name] - times * chance) <= 5 * math.sqrt(times * chance * (1 - chance)) + 1


@settings(max_examples=300, deadline=None)
@given(ranking=RANKINGS, how=SETTINGS, policy=POLICIES, chance=CHANCES)
def test_bounds_hold_and_the_others_stay_in_their_order(ranking, how, policy, chance):
    order, propensity = explore(ranking, how, policy, chance)
    assert 0 < propensity <= 1
    assert sorted(map(repr, order)) == sorted(map(repr, ranking))
    (first, score, cost), (best, best_score, best_cost) = order[0], ranking[0]
    assert [name for name, _, _ in order[1:]] == [name for name, _, _ in ranking if name != first]
    if first != best:
        assert score >= best_score - (0 if policy.target else how.within)
        assert cost <= best_cost + (0 if policy.budget else how.max_extra_cost)
        assert how.rate > 0
    elif propensity == 1:
        assert len(reference(ranking, how, policy)) == 1 or how.rate < 1e-9


@given(ranking=RANKINGS, policy=POLICIES, chance=CHANCES)
def test_a_rate_of_zero_changes_nothing(ranking, policy, chance):
    order, propensity = explore(ranking, ExploreSettings(within=1.0, max_extra_cost=1.0), policy, chance)
    assert repr(order) == repr(ranking)
    assert propensity == 1


def test_whose_cost_or_score_is_not_known_is_not_drawn():
    ranking = [("a", 0.5, 0.01), ("b", 0.5, math.nan), ("c", math.nan, 0.01)]
    how = ExploreSettings(rate=1.0, within=1.0, max_extra_cost=1.0)
    assert {explore(ranking, how, Policy(), chance / 100)[0][0][0] for chance in range(100)} == {"a"}
    assert explore(ranking, how, Policy(), 0.5)[1] == 1


@pytest.mark.parametrize(
    ("key", "value"), [("rate", 1.1), ("rate", -0.1), ("rate", math.nan), ("within", 2), ("max_extra_cost", -1)]
)
def test_settings_out_of_range_are_refused(key, value):
    rows = [{"name": "a", "base_url": "http://127.0.0.1:1/v1"}]
    with pytest.raises(SettingsError, match=rf"gateway.toml: explore\.{key}"):
        settings_of({"models": rows, "explore": {key: value}}, "gateway.toml")


# Which requests


EVERYTHING = {"rate": 1.0, "within": 1.0, "max_extra_cost": 100.0}


@pytest.fixture(scope="module")
def router(sample):
    return Router.fit(sample)


@pytest.fixture
def exploring(router):
    return decider_of(router, explore=EVERYTHING)


def plans(decider, chat, controls=None, *, times=40, explores=True, now=0.0):
    controls = controls or Controls()
    policy = decider.policy(chat.model, controls)

    async def run():
        return [await decider.plan(chat, controls, policy, None, now, explores=explores) for _ in range(times)]

    return asyncio.run(run())


def untouched(found):
    return {plan.propensity for plan in found} == {1.0} and len({tuple(models(plan)) for plan in found}) == 1


def test_every_near_tie_is_drawn_and_the_order_behind_it_stays(exploring):
    decider, _ = exploring
    found = plans(decider, chat_of(), times=100)
    assert {plan.propensity for plan in found} == {0.25}
    assert {models(plan)[0] for plan in found} == set(models(found[0]))
    best = [name for name, _, _ in found[0].decision.ranking()]
    for plan in found:
        assert models(plan)[1:] == [name for name in best if name != models(plan)[0]]
        assert plan.explores == (models(plan)[0] != plan.decision.model)


def test_nobody_explores_unasked(router, exploring):
    assert untouched(plans(exploring[0], chat_of(), explores=False))
    assert untouched(plans(decider_of(router)[0], chat_of()))


def test_a_named_model_is_not_explored(exploring):
    assert untouched(plans(exploring[0], chat_of(BIG)))


def test_what_was_decided_without_looking_is_not_explored(exploring):
    picture = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    several = [{**row, "capabilities": ["images"]} for row in ROWS]
    decider, _ = decider_of(exploring[0].router, several, explore=EVERYTHING)
    found = plans(decider, chat_of(messages=[{"role": "user", "content": [picture]}]))
    assert len(models(found[0])) > 1
    assert untouched(found)


@pytest.mark.parametrize("known", [True, False])
def test_a_tool_loop_is_not_explored(exploring, known):
    decider, sessions = exploring
    loop = chat_of(messages=LOOP)
    if known:
        remember(sessions, loop, BIG)
    assert untouched(plans(decider, loop))


def test_a_conversation_whose_prompt_is_cached_is_not_explored_until_the_cache_is_cold(exploring):
    decider, sessions = exploring
    chat = chat_of(user="x" * 40_000)
    remember(sessions, chat, BIG, tokens=8000)
    assert untouched(plans(decider, chat, now=300.0))
    assert not untouched(plans(decider, chat, now=300.5))


def test_constraints_hold_for_what_is_drawn(exploring):
    decider, _ = exploring
    ranking = decider.router.route(LONG_QUESTION, Policy(models=tuple(models(plans(decider, chat_of())[0])))).ranking()
    scores, costs = [score for _, score, _ in ranking], [cost for _, _, cost in ranking]
    controls = Controls(min_score=float(np.median(scores)), exclude=(BIG,))
    for plan in plans(decider, chat_of(), controls):
        assert plan.ranking[0][1] >= controls.min_score
        assert models(plan)[0] != BIG
    controls = Controls(max_cost=float(np.median(costs)) * 2)
    assert all(plan.ranking[0][2] <= controls.max_cost for plan in plans(decider, chat_of(), controls))
    for plan in plans(decider, chat_of(), Controls(target=0.9)):
        assert plan.ranking[0][1] >= plan.decision.ranking()[0][1]
    for plan in plans(decider, chat_of(), Controls(budget=0.02)):
        assert plan.ranking[0][2] <= plan.decision.ranking()[0][2]


@pytest.mark.parametrize("instead", ["best", "cheapest"])
def test_where_no_model_meets_the_policy_nothing_is_explored(exploring, instead):
    assert untouched(plans(exploring[0], chat_of(), Controls(max_cost=0.0, on_infeasible=instead)))


# The gateway


def test_the_ledger_says_how_each_first_choice_came_about(gateway, provider):
    live = gateway(provider, {"explore": EVERYTHING})
    answers = [live.ask(f"{QUESTION} {number}") for number in range(40)]
    rows = live.rows()
    assert [row["id"] for row in rows] == [answer.decision for answer in answers]
    assert {row["model"] for row in rows} == set(POOL)
    for row, answer in zip(rows, answers, strict=True):
        expected = {name: (score, cost) for name, score, cost, _ in json.loads(row["candidates"])}
        assert row["propensity"] == pytest.approx(1 / 3)
        assert row["model"] == row["served_by"] == answer.headers["x-avengers-pro-model"]
        assert (row["expected_score"], row["expected_cost_usd"]) == expected[row["model"]]
        assert float(answer.headers["x-avengers-pro-expected-score"]) == pytest.approx(row["expected_score"], abs=1e-4)
        route = live.call("/v1/route", ask(f"{QUESTION} {row['model']}"))
        assert route.json["model"] == route.json["candidates"][0]["model"]
    best = [json.loads(row["candidates"])[0][0] for row in rows]
    drawn = sum(row["model"] != first for row, first in zip(rows, best, strict=True))
    eventually(lambda: live.metric("explored_total") == drawn)
    assert drawn > 0
    assert live.call(f"/v1/decisions/{rows[0]['id']}").json["propensity"] == pytest.approx(1 / 3)


def test_without_exploration_every_choice_was_certain(gateway, provider):
    live = gateway(provider)
    live.ask()
    live.ask(model=SECOND)
    assert [row["propensity"] for row in live.rows()] == [1.0, 1.0]
    assert live.metric("explored_total") == 0


def test_when_another_model_answers_the_propensity_is_still_that_of_the_first_choice(gateway, provide):
    live = gateway(provide(faults={THIRD: [Fault(fault="500")]}), {"explore": EVERYTHING})
    for number in range(30):
        assert live.ask(f"{QUESTION} {number}").status == 200
    rows = live.rows()
    fell_back = [row for row in rows if row["model"] == THIRD]
    assert fell_back
    for row in fell_back:
        rest = [name for name, *_ in json.loads(row["candidates"]) if name != THIRD]
        assert row["served_by"] == rest[0]
        assert row["propensity"] == pytest.approx(1 / 3)
    assert {row["served_by"] for row in rows} == {FIRST, SECOND}


def test_a_key_sees_no_model_that_it_may_not_use(gateway, provider):
    live = gateway(provider, {"explore": EVERYTHING, "access": {"refresh": 0.05}})
    _, secret = live.key(models=(FIRST, SECOND))
    eventually(lambda: live.ask().status == 401)
    for number in range(20):
        assert live.ask(f"{QUESTION} {number}", headers={"authorization": f"Bearer {secret}"}).status == 200
    rows = [row for row in live.rows() if row["key"] is not None]
    assert {row["model"] for row in rows} == {FIRST, SECOND}
    assert {row["propensity"] for row in rows} == {0.5}
