import asyncio
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.errors import SettingsError
from avengers_pro.gateway.controls import Controls
from avengers_pro.gateway.deciding import Decider
from avengers_pro.gateway.needs import needs_of
from avengers_pro.gateway.refused import RefusedError
from avengers_pro.gateway.request import read_chat
from avengers_pro.gateway.sessions import Sessions, session_key
from avengers_pro.gateway.settings import settings_of
from avengers_pro.routing import Policy, Router

BIG, MIDDLE, SMALL, LARGE_CONTEXT = "openai/gpt-5", "google/gemini-2.5-pro", "deepseek/deepseek-v3", "qwen/qwen3-235b"
OTHER = "zhipu/glm-4.6"  # known to the router, not in the pool
EXTRA = "lab/extra"  # in the pool, not known to the router
ROWS = [
    {"name": BIG, "input_price": 10, "output_price": 40, "context": 100_000, "capabilities": ["tools", "images"]},
    {
        "name": MIDDLE,
        "input_price": 1.25,
        "output_price": 10,
        "context": 100_000,
        "capabilities": ["tools", "json_schema"],
    },
    {"name": SMALL, "input_price": 0.3, "output_price": 1, "context": 8_000, "capabilities": ["tools"]},
    {"name": LARGE_CONTEXT, "input_price": 0.2, "output_price": 0.6, "context": 1_000_000},
    {"name": EXTRA, "input_price": 2, "output_price": 4},
]
TABLES = {
    "policy": {"alpha": 0.5},
    "presets": {"cheap": {"alpha": 0.0}, "best": {"alpha": 1.0}, "careful": {"target": 0.9}},
    "sessions": {"ttl": 1000, "cache_ttl": 300},
}
QUESTION = "Prove that the sum of two even numbers is even, step by step and without gaps."


@pytest.fixture(scope="module")
def router(sample):
    return Router.fit(sample)


def decider_of(router, rows=ROWS, **tables):
    rows = [{"base_url": "http://127.0.0.1:1/v1", **row} for row in rows]
    found = settings_of({"models": rows, **TABLES, **tables}, "gateway.toml")
    sessions = Sessions(found.sessions)
    return Decider(router, found, sessions, "fingerprint"), sessions


@pytest.fixture(scope="module")
def decider(router):
    return decider_of(router)[0]


def chat_of(model="avengers-pro", text=QUESTION, **fields):
    messages = fields.pop("messages", [{"role": "user", "content": text}])
    return read_chat(json.dumps({"model": model, "messages": messages, **fields}).encode())


def plan_of(decider, chat, controls=None, *, caller=None, now=0.0):
    controls = controls or Controls()
    return asyncio.run(decider.plan(chat, controls, decider.policy(chat.model, controls), caller, now))


def models(plan):
    return [name for name, _, _ in plan.ranking]


def refused(status, decider, chat, controls=None):
    with pytest.raises(RefusedError) as caught:
        plan_of(decider, chat, controls)
    assert caught.value.status == status, caught.value.message
    return caught.value


def test_a_request_is_decided_as_the_router_decides(decider, router):
    plan = plan_of(decider, chat_of())
    able = (MIDDLE, SMALL, BIG, LARGE_CONTEXT)
    assert set(models(plan)) == set(able)
    assert models(plan)[0] == plan.decision.model
    assert plan.text == QUESTION
    assert plan.policy.alpha == 0.5
    assert plan.id.startswith("dec_")
    assert plan.baseline[0] == router.best_single
    assert plan.micros > 0


def test_costs_are_those_of_this_prompt(decider):
    short, long = ({n: c for n, _, c in plan_of(decider, chat_of(user="x" * size)).ranking} for size in (0, 4000))
    for row in ROWS[:-1]:
        assert long[row["name"]] - short[row["name"]] == pytest.approx(1000 * row["input_price"] / 1e6, rel=0.01)


def test_alpha_goes_from_the_cheapest_to_the_best(decider):
    costs = [plan_of(decider, chat_of(f"avengers-pro@{alpha}")).ranking[0][2] for alpha in (0, 1)]
    scores = [plan_of(decider, chat_of(f"avengers-pro@{alpha}")).ranking[0][1] for alpha in (0, 1)]
    assert costs[0] < costs[1]
    assert scores[0] < scores[1]


@pytest.mark.parametrize(("preset", "alpha"), [("cheap", 0.0), ("best", 1.0)])
def test_a_preset_an_alpha_and_settings_say_the_same(decider, preset, alpha):
    order = models(plan_of(decider, chat_of(f"avengers-pro/{preset}")))
    assert order == models(plan_of(decider, chat_of(f"avengers-pro@{alpha}")))
    assert order == models(plan_of(decider, chat_of(), Controls(alpha=alpha)))


def test_a_target_is_met(decider):
    assert plan_of(decider, chat_of("avengers-pro/careful")).policy.target == 0.9


def test_a_request_without_text_is_decided_by_the_means(decider):
    picture = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    plan = plan_of(decider, chat_of(messages=[{"role": "user", "content": [picture]}]))
    assert plan.text == ""
    assert models(plan) == [BIG]


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"tools": [{}]}, {BIG, MIDDLE, SMALL}),
        ({"response_format": {"type": "json_schema"}}, {MIDDLE}),
        ({"max_tokens": 20_000}, {BIG, MIDDLE, LARGE_CONTEXT}),
        ({"max_tokens": 200_000}, {LARGE_CONTEXT}),
        ({"tools": [{}], "max_tokens": 20_000}, {BIG, MIDDLE}),
    ],
)
def test_a_model_that_cannot_do_it_is_no_candidate(decider, fields, left):
    assert set(models(plan_of(decider, chat_of(**fields)))) == left


def test_a_long_prompt_needs_room(decider):
    assert set(models(plan_of(decider, chat_of(user="x" * 600_000)))) == {LARGE_CONTEXT}


def test_a_large_picture_needs_none(decider):
    content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 2_000_000}}]
    assert models(plan_of(decider, chat_of(messages=[{"role": "user", "content": content}]))) == [BIG]


def test_settings_narrow_the_choice(decider):
    assert set(models(plan_of(decider, chat_of(), Controls(models=(BIG, SMALL))))) == {BIG, SMALL}
    assert set(models(plan_of(decider, chat_of(), Controls(exclude=(BIG, SMALL))))) == {MIDDLE, LARGE_CONTEXT}
    assert set(models(plan_of(decider, chat_of(), Controls(requires=("tools",))))) == {BIG, MIDDLE, SMALL}
    assert models(plan_of(decider, chat_of(), Controls(requires=("tools", "images")))) == [BIG]
    costs = {name: cost for name, _, cost in plan_of(decider, chat_of()).ranking}
    between = (min(costs.values()) + max(costs.values())) / 2
    assert set(models(plan_of(decider, chat_of(), Controls(max_cost=between)))) == {
        name for name, cost in costs.items() if cost <= between
    }


@pytest.mark.parametrize("controls", [Controls(models=("openai/gtp-5",)), Controls(exclude=("openai/gtp-5",))])
def test_an_unknown_model_in_the_settings_is_400_with_the_nearest(decider, controls):
    error = refused(400, decider, chat_of(), controls)
    assert error.param == "avengers_pro"
    assert "'openai/gtp-5'; did you mean 'openai/gpt-5'?" in error.message


@pytest.mark.parametrize("name", [OTHER, EXTRA])
def test_what_router_or_pool_alone_know_cannot_be_chosen_from(decider, name):
    assert name in refused(400, decider, chat_of(), Controls(models=(name,))).message


def test_422_says_which_constraint_removed_which_model(decider):
    message = refused(422, decider, chat_of(tools=[{}], n=2), Controls(exclude=(BIG,))).message
    assert message.startswith("infeasible")
    assert f"{BIG}: excluded by the policy" in message
    assert f"{SMALL}, {MIDDLE}: lacks n;" in message
    assert f"{LARGE_CONTEXT}: lacks n, tools" in message
    assert OTHER not in message


def test_422_tells_capabilities_and_expectations_apart(decider):
    controls = Controls(models=(BIG, MIDDLE, LARGE_CONTEXT), requires=("tools",), max_cost=0.0)
    message = refused(422, decider, chat_of(response_format={"type": "json_schema"}), controls).message
    assert f"{BIG}: lacks json_schema" in message
    assert f"{SMALL}: not among the policy's models" in message
    assert f"{LARGE_CONTEXT}: not known to have tools" in message
    assert f"{MIDDLE}: expected cost $" in message
    assert "max_cost $0" in message


def test_422_for_a_request_too_long_for_all(decider):
    message = refused(422, decider, chat_of(max_tokens=2_000_000)).message
    assert f"{SMALL}: has room for 8000 tokens, the request needs about 2000" in message


@pytest.mark.parametrize("instead", ["cheapest", "best"])
def test_on_infeasible_takes_one_all_the_same(decider, instead):
    everything = plan_of(decider, chat_of(tools=[{}])).ranking
    chosen = plan_of(decider, chat_of(tools=[{}]), Controls(max_cost=0.0, on_infeasible=instead)).ranking[0]
    assert refused(422, decider, chat_of(tools=[{}]), Controls(max_cost=0.0)).code == "infeasible"
    wanted = (
        min(cost for _, _, cost in everything) if instead == "cheapest" else max(score for _, score, _ in everything)
    )
    assert wanted == (chosen[2] if instead == "cheapest" else chosen[1])


def test_on_infeasible_does_not_give_a_model_what_it_lacks(decider):
    refused(422, decider, chat_of(n=2), Controls(on_infeasible="best"))


def test_a_models_own_name_is_taken_at_its_word(decider):
    plan = plan_of(decider, chat_of(SMALL, tools=[{}], n=7, max_tokens=10**400))
    assert models(plan) == [SMALL]
    assert plan.decision is None
    assert plan.baseline is None
    assert plan.policy == Policy(models=(SMALL,))
    assert plan.text == ""


@pytest.mark.parametrize("most", [1, 10**6, 10**100, 10**400])
def test_a_named_model_is_expected_to_cost_what_it_does_on_average_and_not_its_limit(decider, most):
    name, score, cost = plan_of(decider, chat_of(SMALL, max_tokens=most)).ranking[0]
    routed = {name: (score, cost) for name, score, cost in decider.router.route_blind().ranking()}
    assert (name, score) == (SMALL, pytest.approx(routed[SMALL][0]))
    assert 0 < cost < 0.02


def test_a_named_model_the_router_does_not_know_costs_what_its_card_says(decider):
    chat = chat_of(EXTRA, max_tokens=1000)
    name, score, cost = plan_of(decider, chat).ranking[0]
    assert name == EXTRA
    assert math.isnan(score)
    assert cost == pytest.approx((needs_of(chat).prompt_tokens * 2 + 1000 * 4) / 1e6)


def test_an_unknown_model_is_404_with_the_nearest(decider):
    error = refused(404, decider, chat_of("openai/gpt5"))
    assert (error.code, error.param) == ("model_not_found", "model")
    assert "did you mean 'openai/gpt-5'?" in error.message
    message = refused(404, decider, chat_of("\x00\r\nset-cookie: x")).message
    assert "there are avengers-pro, avengers-pro/cheap" in message
    assert "\r" not in message


def test_a_policy_the_method_cannot_follow_is_400(sample):
    decider, _ = decider_of(Router.fit(sample, method="avengers-pro-paper"), presets={})
    assert "means nothing" in refused(400, decider, chat_of(), Controls(target=0.9)).message
    assert "means nothing" in refused(400, decider, chat_of(), Controls(max_latency=5.0)).message


def test_a_pool_without_any_model_of_the_router_is_refused(router):
    with pytest.raises(SettingsError, match=r"no model of the router has a \[\[models\]\] row"):
        decider_of(router, ROWS[-1:])


LOOP = [
    {"role": "user", "content": QUESTION},
    {"role": "assistant", "tool_calls": [{"id": "1"}]},
    {"role": "tool", "tool_call_id": "1", "content": "4"},
]


def remember(sessions, chat, model, *, tokens=10, caller=None, named=None, now=0.0):
    sessions.remember(session_key(caller, named, chat.messages), model, tokens, now, calls_tools=True)


def test_a_tool_loop_keeps_its_model_whatever_the_policy_says_now(router):
    decider, sessions = decider_of(router)
    loop = chat_of("avengers-pro/cheap", messages=LOOP)
    before = models(plan_of(decider, loop))
    keeper = before[-1]
    remember(sessions, loop, keeper)
    after = models(plan_of(decider, loop))
    assert after == [keeper, *(name for name in before if name != keeper)]
    assert models(plan_of(decider, loop, now=1001.0)) == before
    assert models(plan_of(decider, loop, caller="other")) == before
    assert models(plan_of(decider, chat_of("avengers-pro/cheap", messages=LOOP[:1])))[0] != keeper


def test_a_tool_loop_whose_model_is_no_candidate_goes_on_without_it(router):
    decider, sessions = decider_of(router)
    loop = chat_of(messages=LOOP)
    remember(sessions, loop, SMALL)
    assert SMALL not in models(plan_of(decider, loop, Controls(exclude=(SMALL,))))


def test_what_is_cached_makes_its_model_cheaper_and_only_as_long_as_it_is(router):
    rows = [{**row, "cached_input_price": row["input_price"] / 10} for row in ROWS]
    decider, sessions = decider_of(router, rows)
    chat = chat_of(user="x" * 40_000)

    def costs(**how):
        return {name: cost for name, _, cost in plan_of(decider, chat, **how).ranking}

    fresh = costs()
    remember(sessions, chat, BIG, tokens=8000)
    cached = costs(now=300.0)
    assert fresh[BIG] - cached[BIG] == pytest.approx(8000 * 10 * 0.9 / 1e6)
    assert {name: cost for name, cost in cached.items() if name != BIG} == pytest.approx(
        {name: cost for name, cost in fresh.items() if name != BIG}
    )
    assert costs(now=300.5) == fresh
    assert costs(caller="other") == fresh


def test_a_conversation_stays_while_changing_costs_more_than_it_gains(router):
    """Two models near a tie: the one that has the prompt in its cache wins, whichever it is."""
    rows = [{**row, "cached_input_price": 0.0, "input_price": 3, "output_price": 3} for row in ROWS[:2]]
    decider, sessions = decider_of(router, rows)
    chat = chat_of("avengers-pro@0.1", user="x" * 40_000)
    for name in (BIG, MIDDLE):
        remember(sessions, chat, name, tokens=10_000)
        assert models(plan_of(decider, chat))[0] == name


def test_a_named_session_is_its_callers_own(router):
    decider, sessions = decider_of(router)
    loop = chat_of("avengers-pro/cheap", messages=LOOP)
    keeper = models(plan_of(decider, loop))[-1]
    remember(sessions, loop, keeper, caller="a", named="s")
    assert models(plan_of(decider, loop, Controls(session="s"), caller="a"))[0] == keeper
    for caller, named in (("b", "s"), (None, "s"), ("a", "t"), ("a", None)):
        assert models(plan_of(decider, loop, Controls(session=named), caller=caller))[0] != keeper


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60) | st.text("\x00\u200b\ufeff\u0300\U0001f600 ", min_size=1, max_size=6))
def test_whatever_is_asked_somebody_is_chosen(decider, text):
    ranking = plan_of(decider, chat_of(text=text)).ranking
    assert len(ranking) == 4
    assert np.isfinite([score for _, score, _ in ranking]).all()
    assert np.isfinite([cost for _, _, cost in ranking]).all()


def test_ids_sort_by_time(decider):
    ids = [plan_of(decider, chat_of()).id for _ in range(3)]
    assert [one[:16] for one in ids] == sorted(one[:16] for one in ids)
    assert len(set(ids)) == 3


def test_a_plan_explains_itself(decider):
    plan = plan_of(decider, chat_of(), Controls(exclude=(BIG,)))
    found = decider.explain(plan)
    assert BIG in json.dumps(found)
    assert models(plan)[0] in json.dumps(found)


def test_a_named_model_takes_no_policy(router):
    """What cannot be meant is not ignored."""
    decider, _ = decider_of(router)
    name = decider.pool[0]
    with pytest.raises(RefusedError, match="alpha, max_cost cannot go with the model") as caught:
        decider.policy(name, Controls(alpha=0.3, max_cost=1.0))
    assert caught.value.status == 400
    assert decider.policy(name, Controls(session="s")) is None


def test_the_best_single_model_is_one_of_the_pool(router):
    best = decider_of(router)[0].best_single
    others = [row for row in ROWS if row["name"] != best]
    assert len(others) == len(ROWS) - 1
    assert decider_of(router, others)[0].best_single in [row["name"] for row in others]
