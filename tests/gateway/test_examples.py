from dataclasses import dataclass
from pathlib import Path

import pytest

from avengers_pro.gateway.checking import check
from avengers_pro.gateway.prices import price_sources, priced
from avengers_pro.gateway.settings import read_settings

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.toml"))
LISTED = {"openai", "anthropic", "gemini", "openrouter", "mixed"}


@dataclass
class Router:
    """As much of a router as a check needs."""

    models: tuple[str, ...]


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request):
    return request.param


def test_there_is_an_example_for_each_kind_of_upstream():
    assert {path.stem for path in EXAMPLES} == LISTED | {"vllm", "ollama"}


def test_an_example_passes_the_check_once_its_environment_is_set(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = read_settings(example)
    router = Router(tuple(card.name for card in found.models))
    bare = check(found, router, keys_exist=True, environ={})
    needed = {finding.message.split()[3] for finding in bare if "environment variable" in finding.message}
    assert all(name in example.read_text(encoding="utf-8").split("[", 1)[0] for name in needed)  # named at the top
    environ = dict.fromkeys(needed, "x")
    errors = [finding for finding in check(found, router, keys_exist=True, environ=environ) if finding.level == "error"]
    assert errors == []


def test_an_example_states_what_its_models_can_do(example):
    for card in read_settings(example).models:
        assert card.context is not None
        assert card.context > 4096
        assert card.capabilities is not None


def test_an_example_has_prices_or_says_it_has_none(example):
    cards = priced(read_settings(example).models, str(example))
    for card in cards:
        if card.price != "unknown":
            assert 0 < card.input_price < card.output_price < 1000
            assert card.cached_input_price is None or card.cached_input_price < card.input_price
    listed = [source for source in price_sources(read_settings(example).models) if source.matched]
    assert bool(listed) == (example.stem in LISTED)
