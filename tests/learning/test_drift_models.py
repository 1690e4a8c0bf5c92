"""What upstreams say they are, and what models cost."""

import numpy as np
import pytest

from avengers_pro.gateway.reported import is_same_model
from avengers_pro.learning.drift.prices import check_listed, check_paid
from avengers_pro.learning.drift.reported import check_reported, check_snapshot
from avengers_pro.routing.pool import Endpoint, ModelCard

OPENAI = "https://api.openai.com/v1"


def card(name="lab/one", *, url="http://127.0.0.1/v1", upstream=None, **prices) -> ModelCard:
    return ModelCard(name=name, endpoints=(Endpoint(base_url=url, upstream_model=upstream),), **prices)


@pytest.mark.parametrize(
    ("asked", "reported"),
    [
        ("gpt-5", "gpt-5"),
        ("gpt-5", "gpt-5-2025-08-07"),
        ("openai/gpt-5", "gpt-5-2025-08-07"),
        ("GPT-4", "gpt-4-0613"),
        ("claude-sonnet-4", "claude-sonnet-4-20250514"),
        ("claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022"),
        ("claude-3-opus", "claude-3-opus@20240229"),
        ("mistral-large-latest", "mistral-large-2411"),
        ("gemini-1.5-pro", "models/gemini-1.5-pro-002"),
        ("qwen/qwen3-235b-a22b", "qwen/qwen3-235b-a22b-04-28"),
        ("gpt-5-2025-08-07", "gpt-5"),
    ],
)
def test_dates_make_no_other_model(asked, reported):
    assert is_same_model(asked, reported)


@pytest.mark.parametrize(
    ("asked", "reported"),
    [
        ("gpt-5", "gpt-5-mini"),
        ("gpt-5", "gpt-5.1"),
        ("gpt-5", "gpt-51"),
        ("gpt-4", "gpt-41106"),
        ("gpt-5", "gpt-4o-2024-08-06"),
        ("gpt-5-2025-08-07", "gpt-5-2025-11-13"),
        ("qwen3-235b", "qwen3-235b-thinking"),
        ("gpt-5", "gpt-5-2025-08-07-mini"),
        ("llama-3-8b", "llama-3-70b"),
        ("gpt-5", "gpt-5-2025-13-45"),
        ("gpt-5", ""),
    ],
)
def test_anything_else_does(asked, reported):
    assert not is_same_model(asked, reported)


def test_answers_of_another_model_are_found():
    asked = card("openai/gpt-5", upstream="gpt-5")
    found = check_reported(asked, ["gpt-5-2025-08-07"] * 95 + ["gpt-5-mini"] * 5 + [None] * 50)
    assert found.value == pytest.approx(0.05)
    assert found.rows == 100
    assert found.beyond
    assert "'gpt-5-mini'" in found.advice
    assert not check_reported(asked, ["gpt-5-2025-08-07"] * 95).beyond
    assert check_reported(asked, [None] * 4).problem is not None


def test_any_of_a_models_endpoints_may_answer():
    endpoints = tuple(Endpoint(base_url=OPENAI, upstream_model=name) for name in ("one-large", "lab/one-large-2b"))
    asked = ModelCard(name="lab/one", endpoints=endpoints)
    assert check_reported(asked, ["one-large", "one-large-2b"]).value == 0


def test_a_changed_snapshot_is_found_with_its_day():
    at = 1_780_000_000.0 + 3600 * np.arange(40)
    names = ["gpt-5-2025-08-07"] * 20 + ["gpt-5-2025-11-13"] * 20
    found = check_snapshot("openai/gpt-5", at, names)
    assert found.beyond
    assert "2025-08-07' until 2026-05-29 and as 'gpt-5-2025-11-13'" in found.advice
    assert not check_snapshot("openai/gpt-5", at, names[:20] * 2).beyond


def test_endpoints_that_take_turns_are_no_change():
    at = np.arange(40.0)
    assert not check_snapshot("lab/one", at, ["one-a", "one-b"] * 20).beyond
    assert not check_snapshot("lab/one", at, ["one-a"] * 38 + ["one-b"] * 2).beyond
    assert check_snapshot("lab/one", at, [None] * 40).problem is not None


def test_what_was_paid_is_held_against_tokens_times_prices():
    mine = card(input_price=2.0, output_price=8.0, cached_input_price=0.5)
    prompt, completion = np.full(10, 1000.0), np.full(10, 500.0)
    costs = (prompt * 2 + completion * 8) / 1e6
    assert not check_paid(mine, costs, prompt, completion).beyond
    assert check_paid(mine, costs * 1.05, prompt, completion).value == pytest.approx(1.05)
    assert check_paid(mine, costs * 1.05, prompt, completion).beyond
    assert not check_paid(mine, (prompt * 0.5 + completion * 8) / 1e6, prompt, completion).beyond, "all cached"
    assert check_paid(mine, costs * 0.5, prompt, completion).beyond


def test_what_is_unknown_is_not_taken_for_free():
    mine = card(input_price=2.0, output_price=8.0)
    costs, tokens = np.array([0.01, np.nan, 0.01]), np.array([1000.0, 1000.0, np.nan])
    found = check_paid(mine, costs, tokens, tokens)
    assert found.rows == 1
    assert found.value == pytest.approx(1.0)
    assert check_paid(mine, costs[1:2], tokens[:1], tokens[:1]).problem is not None
    assert check_paid(card(price="unknown"), costs, tokens, tokens).problem is not None


def test_a_stated_price_is_held_against_the_list():
    listed = card("openai/gpt-4o", url=OPENAI, upstream="gpt-4o", input_price=2.5, output_price=10.0)
    assert not check_listed(listed).beyond
    dear = check_listed(card("openai/gpt-4o", url=OPENAI, upstream="gpt-4o", input_price=5.0, output_price=10.0))
    assert dear.beyond
    assert dear.value == pytest.approx(1.0)
    assert "listed at $2.5" in dear.advice
    assert "list" in check_listed(card("openai/gpt-4o", url=OPENAI, upstream="gpt-4o")).problem
    assert "does not list" in check_listed(card(input_price=1.0, output_price=1.0)).problem
