import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.gateway.controls import NOTHING, Controls, asked_policy, named_policy, read_controls, with_controls
from avengers_pro.gateway.refused import RefusedError
from avengers_pro.routing import Policy

PRESETS = {"cheap": Policy(alpha=0.1, exclude=("a/large",)), "same": Policy(target=1.0, confidence=0.95)}


def body(**fields):
    return msgspec.Raw(json.dumps(fields).encode())


def header(name, value):
    return f"x-avengers-pro-{name}".encode(), value.encode()


def refused(call, *args, status=400):
    with pytest.raises(RefusedError) as caught:
        call(*args)
    assert caught.value.status == status
    return caught.value


def test_nothing_said_is_nothing():
    assert read_controls(None, [(b"accept", b"*/*"), (b"x-avengers", b"1")]) is NOTHING
    assert with_controls(PRESETS["same"], NOTHING) is PRESETS["same"]


EVERYTHING = Controls(
    alpha=0.25, max_cost=0.5, min_score=0.5, max_latency=900.0, models=("a", "b"), exclude=("c",), requires=("tools",),
    on_infeasible="best", session="s-1",
)  # fmt: skip


def test_body_and_headers_say_the_same():
    said = {name: getattr(EVERYTHING, name) for name in Controls.__struct_fields__}
    given_ones = {name: value for name, value in said.items() if value is not None}
    assert read_controls(body(**given_ones), []) == EVERYTHING
    texts = {name: ", ".join(value) if isinstance(value, tuple) else str(value) for name, value in given_ones.items()}
    assert read_controls(None, [header(name.replace("_", "-"), text) for name, text in texts.items()]) == EVERYTHING


def test_some_may_come_in_the_body_and_some_in_headers():
    assert read_controls(body(alpha=1), [header("session", "s")]) == Controls(alpha=1.0, session="s")


@pytest.mark.parametrize(
    ("given_body", "headers", "names"),
    [
        (body(alhpa=1), [], "alhpa"),
        (body(alpha="much"), [], "$.alpha"),
        (body(alpha=True), [], "$.alpha"),
        (body(models="a"), [], "$.models"),
        (body(models=[1]), [], "$.models"),
        (msgspec.Raw(b"[]"), [], "avengers_pro"),
        (msgspec.Raw(b'{"session":"\xff"}'), [], "avengers_pro"),
        (msgspec.Raw(b'{"models":' + b"[" * 9000), [], "avengers_pro"),
        (None, [header("alhpa", "1")], "x-avengers-pro-alhpa"),
        (None, [header("decision", "dec_1")], "x-avengers-pro-decision"),
        (None, [header("alpha", "much")], "x-avengers-pro-alpha"),
        (body(alpha=1), [header("alpha", "1")], "alpha"),
        (None, [header("alpha", "0"), header("alpha", "1")], "alpha"),
        (None, [header("models", "a"), header("models", "b")], "models"),
    ],
)
def test_what_is_unknown_wrong_or_given_twice_is_named(given_body, headers, names):
    error = refused(read_controls, given_body, headers)
    assert names in error.message
    assert error.param
    assert "\ufffd" not in error.message


def test_settings_of_absurd_size_are_refused():
    """Policies are remembered, so what makes one must be small."""
    assert "16384 bytes" in refused(read_controls, body(models=["a"] * 10_000), []).message


@pytest.mark.parametrize(
    ("controls", "names"),
    [
        ({"alpha": 2}, ["alpha"]),
        ({"alpha": float("nan")}, ["alpha"]),
        ({"alpha": 0.5, "target": 1.0}, ["alpha", "target"]),
        ({"target": 1.0, "budget": 0.01}, ["target", "budget"]),
        ({"max_cost": -1}, ["max_cost"]),
        ({"min_score": 1.5}, ["min_score"]),
        ({"requires": ("wings",)}, ["requires", "wings"]),
        ({"on_infeasible": "panic"}, ["on_infeasible", "panic"]),
    ],
)
def test_contradictions_and_values_out_of_range_are_named(controls, names):
    error = refused(with_controls, Policy(), Controls(**controls))
    assert error.param == "avengers_pro"
    assert all(name in error.message for name in names)


def test_an_objective_replaces_the_one_that_is_there_and_the_rest_stays():
    base = Policy(target=0.9, confidence=0.8, exclude=("c",), max_cost=1.0)
    assert with_controls(base, Controls(alpha=0.2)) == Policy(alpha=0.2, confidence=0.8, exclude=("c",), max_cost=1.0)
    assert with_controls(base, Controls(budget=0.01)).target is None
    assert with_controls(base, Controls(max_cost=2.0)) == Policy(
        target=0.9, confidence=0.8, exclude=("c",), max_cost=2.0
    )


def test_a_session_does_not_change_the_policy():
    base = Policy(alpha=0.5)
    assert with_controls(base, Controls(session="s")) is base
    assert with_controls(base, Controls(alpha=0.1, session="s")) is with_controls(
        base, Controls(alpha=0.1, session="t")
    )


def test_what_a_model_name_stands_for():
    default = Policy(target=0.9)
    assert named_policy("avengers-pro", default, PRESETS) is default
    assert named_policy("avengers-pro@0.3", default, PRESETS) == Policy(alpha=0.3)
    assert named_policy("avengers-pro/cheap", default, PRESETS) is PRESETS["cheap"]
    assert named_policy("avengers-pro-7b", default, PRESETS) is None
    assert named_policy("openai/gpt-5", default, PRESETS) is None


@pytest.mark.parametrize("alpha", ["", "x", "1.5", "-0.1", "nan", "inf", "0.3/cheap", "\r\nx: y"])
def test_an_alpha_that_is_none_is_400_and_names_the_model(alpha):
    error = refused(named_policy, f"avengers-pro@{alpha}", Policy(), PRESETS)
    assert error.param == "model"
    assert "alpha in [0, 1]" in error.message
    assert "\n" not in error.message


def test_an_unknown_preset_is_404_with_the_nearest():
    error = refused(named_policy, "avengers-pro/chaep", Policy(), PRESETS, status=404)
    assert (error.code, error.param) == ("model_not_found", "model")
    assert "did you mean avengers-pro/cheap?" in error.message
    assert "there are none" in refused(named_policy, "avengers-pro/x", Policy(), {}, status=404).message


def test_model_name_and_settings_together():
    default = Policy(alpha=0.5)
    assert asked_policy("avengers-pro/cheap", Controls(alpha=0.9), default, PRESETS) == Policy(
        alpha=0.9, exclude=("a/large",)
    )
    assert asked_policy("avengers-pro@0.3", Controls(max_cost=1.0), default, PRESETS) == Policy(alpha=0.3, max_cost=1.0)
    assert asked_policy("openai/gpt-5", Controls(alpha=0.9), default, PRESETS) is None


@pytest.mark.parametrize("objective", ["alpha", "target", "budget"])
def test_an_alpha_in_the_model_name_contradicts_another_objective(objective):
    error = refused(asked_policy, "avengers-pro@0.3", Controls(**{objective: 0.3}), Policy(), PRESETS)
    assert error.param == objective
    assert "avengers-pro@0.3" in error.message


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.lists(st.text(max_size=4), max_size=2)
)
NAMES = st.sampled_from([*Controls.__struct_fields__, "odd", ""])


@settings(max_examples=300, deadline=None)
@given(
    st.none() | st.dictionaries(NAMES, VALUES, max_size=4),
    st.lists(
        st.tuples(NAMES, st.binary(max_size=8) | st.sampled_from([b"nan", b"1e999", b"0.5", b"null", b"a,,b"])),
        max_size=3,
    ),
)
def test_nothing_said_does_worse_than_400(given_body, headers):
    raw = None if given_body is None else msgspec.Raw(json.dumps(given_body).encode())
    named = [(b"x-avengers-pro-" + name.replace("_", "-").encode(), value) for name, value in headers]
    try:
        assert isinstance(with_controls(Policy(), read_controls(raw, named)), Policy)
    except RefusedError as error:
        assert error.status == 400  # noqa: PT017  # a refusal is as good as a policy
        json.loads(error.body())
