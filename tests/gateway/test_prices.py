import datetime as dt
import subprocess
import sys
from decimal import Decimal

import pytest

from avengers_pro.errors import SettingsError
from avengers_pro.gateway.prices import price_sources, priced
from avengers_pro.routing.pool import Endpoint, ModelCard

OPENAI = "https://api.openai.com/v1"
MILLION = Decimal(1_000_000)


def card(name, *base_urls, upstream_model=None, **more):
    endpoints = tuple(Endpoint(base_url=base_url, upstream_model=upstream_model) for base_url in base_urls)
    return ModelCard(name=name, endpoints=endpoints, **more)


def list_price(model, **place):
    """Return US dollars per million tokens, as the price list itself works them out for a short call."""
    from genai_prices import Usage, calc_price

    call = calc_price(Usage(input_tokens=1000, output_tokens=1000), model, **place)
    cached = calc_price(Usage(input_tokens=1000, cache_read_tokens=1000, output_tokens=0), model, **place)
    return tuple(float(price * 1000) for price in (call.input_price, call.output_price, cached.input_price))


def prices(found):
    return found.input_price, found.output_price, found.cached_input_price


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("gpt-4.1", OPENAI),
        ("gpt-4.1-mini", f"{OPENAI}/"),
        ("gpt-4.1", "https://our-name.openai.azure.com/openai/v1"),
        ("claude-sonnet-4-6", "https://api.anthropic.com/v1"),
        ("gemini-2.5-flash-lite", "https://generativelanguage.googleapis.com/v1beta/openai"),
        ("openai/gpt-4.1-mini", "https://openrouter.ai/api/v1"),
    ],
)
def test_list_prices_come_from_the_host_of_the_endpoint(model, base_url):
    (found,) = priced([card(model, base_url)])
    assert prices(found) == pytest.approx(list_price(model, provider_api_url=base_url))
    assert found.cost_usd(1_000_000, 0) == found.input_price


def test_the_upstream_name_decides_not_the_routers_name():
    (found,) = priced([card("our-favourite", OPENAI, upstream_model="gpt-4.1")])
    assert found.name == "our-favourite"
    assert prices(found) == pytest.approx(list_price("gpt-4.1", provider_id="openai"))


@pytest.mark.parametrize("name", ["openai/gpt-4.1", "gpt-4.1"])
def test_without_endpoints_the_name_tells_the_provider(name):
    (found,) = priced([card(name)])
    assert prices(found) == pytest.approx(list_price("gpt-4.1", provider_id="openai"))


def test_everything_else_of_a_card_stays():
    given = card("gpt-4.1", OPENAI, context=1000, capabilities=("tools",))
    (found,) = priced([given])
    assert (found.context, found.capabilities, found.endpoints) == (1000, ("tools",), given.endpoints)


def test_stated_prices_win_and_nothing_is_added_to_them():
    given = card("gpt-4.1", OPENAI, input_price=9.0, output_price=11.0)
    (source,) = price_sources([given])
    assert (source.card, source.origin, source.matched, source.notes) == (given, "config", None, ())
    assert source.card.cost_usd(1_000_000, 0, cached_tokens=1_000_000) == 9.0


def test_a_missing_price_is_filled_beside_a_stated_one():
    (source,) = price_sources([card("gpt-4.1", OPENAI, output_price=11.0)])
    expected = list_price("gpt-4.1", provider_id="openai")
    assert prices(source.card) == (expected[0], 11.0, expected[2])
    assert source.notes == ("output_price is the configuration's",)


def test_the_source_is_told():
    from importlib.metadata import version

    sources = price_sources(
        [
            card("gpt-4.1", OPENAI),
            card("own", "http://localhost:8000/v1", input_price=0.0, output_price=0.0),
            card("rare", "http://localhost:8000/v1", price="unknown"),
        ]
    )
    assert [source.origin for source in sources] == [f"genai-prices {version('genai-prices')}", "config", "unknown"]
    assert sources[0].matched == "openai: gpt-4.1"
    assert all(source.problem is None for source in sources)


def test_free_by_statement_is_free_and_unknown_is_not():
    free, unknown = priced([card("a", input_price=0.0, output_price=0.0), card("b", price="unknown")])
    assert free.cost_usd(10, 10) == 0
    assert unknown.cost_usd(10, 10) != unknown.cost_usd(10, 10)  # NaN


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (card("gpt-4.1", "http://localhost:8000/v1"), "'gpt-4.1' at localhost"),
        (card("openai/gpt-oss-20b", "https://llm.example.com/v1"), "at llm.example.com"),
        (card("gpt-none", OPENAI), "'gpt-none' at api.openai.com"),
        (card("x", OPENAI, "http://localhost/v1"), "'x' at api.openai.com or 'x' at localhost"),
        (card("nobody/nothing"), "'nobody/nothing'"),
        (card("own", OPENAI, upstream_model="text-embedding-3-small"), "text-embedding-3-small"),
        (card("half", "http://localhost/v1", input_price=1.0), "'half' at localhost"),
    ],
)
def test_a_model_without_price_is_named_with_the_remedy(given, said):
    with pytest.raises(SettingsError) as caught:
        priced([card("gpt-4.1", OPENAI), given], "gateway.toml")
    message = str(caught.value)
    assert message.startswith(f"gateway.toml: models[1] ({given.name}): ")
    assert said in message
    assert 'state input_price and output_price, in US dollars per million tokens, or price = "unknown"' in message


def test_every_model_without_price_is_named_at_once():
    with pytest.raises(SettingsError) as caught:
        priced([card("a", "http://x/v1"), card("gpt-4.1", OPENAI), card("b", "http://x/v1")], "F")
    assert [line.partition(": genai")[0] for line in str(caught.value).splitlines()] == [
        "F: models[0] (a)",
        "F: models[2] (b)",
    ]


def test_endpoints_of_different_price_are_told():
    own = card("gpt-4.1", "http://localhost:8000/v1", OPENAI)
    same, differing = price_sources([card("gpt-4.1", OPENAI, f"{OPENAI}/"), own])
    assert same.notes == ()
    assert prices(differing.card) == prices(same.card)
    note = "its endpoints differ in price, or have none listed; that of openai: gpt-4.1 is used for all"
    assert differing.notes == (note,)


@pytest.fixture
def price_list():
    """Put a price list of our own in place of the bundled one."""
    from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
    from genai_prices.types import (
        ClauseEquals,
        ConditionalPrice,
        ModelInfo,
        ModelPrice,
        Provider,
        Tier,
        TieredPrices,
        TimeOfDateConstraint,
    )

    def tiered(base, above):
        return TieredPrices(base=Decimal(base), tiers=[Tier(start=200_000, price=Decimal(above))])

    def flat(**values):
        return ModelPrice(**{name: Decimal(value) for name, value in values.items()})

    night = TimeOfDateConstraint(start_time=dt.time(16, 30, tzinfo=dt.UTC), end_time=dt.time(0, 30, tzinfo=dt.UTC))
    entries = {
        "tiered": ModelPrice(input_mtok=tiered("1", "2"), output_mtok=tiered("3", "4"), cache_read_mtok=Decimal("0.5")),
        "nightly": [
            ConditionalPrice(prices=flat(input_mtok="2", output_mtok="4")),
            ConditionalPrice(constraint=night, prices=flat(input_mtok="1", output_mtok="2")),
        ],
        "with-fee": flat(input_mtok="1", output_mtok="1", requests_kcount="5"),
        "writes": flat(input_mtok="1", output_mtok="1", cache_read_mtok="0.1", cache_write_mtok="1.25"),
        "listed-without-price": ModelPrice(),
    }
    models = [ModelInfo(id=name, match=ClauseEquals(equals=name), prices=entry) for name, entry in entries.items()]
    provider = Provider(id="lab", name="Lab", api_pattern=r"https://api\.lab\.example", models=models)
    set_custom_snapshot(DataSnapshot(providers=[provider], from_auto_update=False))
    yield "https://api.lab.example/v1"
    set_custom_snapshot(None)


@pytest.mark.parametrize(
    ("model", "expected", "note"),
    [
        ("tiered", (1.0, 3.0, 0.5), "prompts of more than 200000 tokens have another price"),
        ("nightly", (2.0, 4.0, None), "the price changes with the time of day; the dearest is used"),
        ("with-fee", (1.0, 1.0, None), "the provider's fee per request is not counted"),
        ("writes", (1.0, 1.0, 0.1), "tokens written to the provider's cache cost $1.25 per million"),
    ],
)
def test_what_a_price_leaves_out_is_told(price_list, model, expected, note):
    (source,) = price_sources([card(model, price_list)])
    assert prices(source.card) == expected
    assert len(source.notes) == 1
    assert source.notes[0].startswith(note)


def test_tiers_beyond_the_context_do_not_matter(price_list):
    (source,) = price_sources([card("tiered", price_list, context=200_000)])
    assert source.notes == ()


def test_an_entry_without_price_is_not_free(price_list):
    with pytest.raises(SettingsError, match=r"'listed-without-price' at api\.lab\.example"):
        priced([card("listed-without-price", price_list)])


def test_looking_up_needs_no_network_and_no_thread():
    code = (
        "import socket, threading\n"
        "def refuse(*a, **k): raise AssertionError('went online')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse\n"
        "from avengers_pro.gateway.prices import priced\n"
        "from avengers_pro.routing.pool import Endpoint, ModelCard\n"
        f"endpoints = (Endpoint(base_url={OPENAI!r}),)\n"
        "assert priced([ModelCard(name='gpt-4.1', endpoints=endpoints)])[0].input_price > 0\n"
        "assert threading.active_count() == 1\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_price_list_is_loaded_only_when_asked():
    code = (
        "import sys\n"
        "from avengers_pro.gateway import checking, prices, settings\n"
        "from avengers_pro.routing.pool import ModelCard\n"
        "prices.priced([ModelCard(name='a', input_price=1.0, output_price=1.0)])\n"
        "assert 'genai_prices' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
