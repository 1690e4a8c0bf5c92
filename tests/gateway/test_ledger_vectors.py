"""What the ledger keeps for learning: vectors, shadow choices, reported models; and how older ledgers come to it."""

import asyncio
import base64
import json
import sqlite3
from contextlib import closing as closing_of
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from ledger_stores import STORES, closing, execute, identity, open_ledger, opening, record, store_url
from live import FIRST, QUESTION, SECOND, chunk, saying, stream, upstream
from sqlalchemy.ext.asyncio import create_async_engine

from avengers_pro.errors import StoreError
from avengers_pro.gateway import ledger as package
from avengers_pro.gateway.ledger import Ledger, upgrade
from avengers_pro.gateway.ledger.dialects import parse_url
from avengers_pro.routing import Router

url = pytest.fixture(params=STORES)(store_url)
VECTOR = np.linspace(-1, 1, 278).astype("<f2").tobytes()
SHADOW = {"shadow_router": "beef", "shadow_model": "small", "shadow_score": 0.75, "shadow_cost_usd": 0.001}
NOTHING_YET = dict.fromkeys(SHADOW) | {"reported_model": None, "vector": None}


async def make_first_schema(url: str) -> None:
    """Make a database as the first version of the ledger did, with a request in it."""

    def apply(connection):
        config = Config()
        config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")

    engine = create_async_engine(parse_url(url))
    async with engine.begin() as connection:
        await connection.run_sync(apply)
    await engine.dispose()
    await execute(
        url,
        "INSERT INTO decisions (id, at, asked, policy, novel, propensity, prompt_tokens_estimate, stream, router,"
        " clusters, candidates, process, outcome) VALUES ('old', 1.5, 'auto', '{}', false, 1.0, 10, false, 'r',"
        " '[]', '[]', 'gone', 'ok')",
    )
    await execute(url, "INSERT INTO texts (id, part, text) VALUES ('old', 'text', 'asked long ago')")


def test_a_ledger_of_the_first_schema_keeps_its_rows_and_takes_new_ones(url):
    async def scenario():
        await make_first_schema(url)
        async with await open_ledger(url) as ledger:
            await record(ledger, (opening(1, vector=VECTOR), closing(1, reported_model="large-0806", **SHADOW)))
            return [row async for row in ledger.export()]

    old, new = asyncio.run(scenario())
    assert (old["id"], old["at"], old["text"], old["propensity"]) == ("old", 1.5, "asked long ago", 1.0)
    assert NOTHING_YET.items() <= old.items()
    assert ({"vector": VECTOR, "reported_model": "large-0806"} | SHADOW).items() <= new.items()


@pytest.mark.parametrize("url", STORES[1:], indirect=True)
def test_on_postgresql_the_first_schema_is_upgraded_only_when_told_to(url):
    async def scenario():
        await make_first_schema(url)
        with pytest.raises(StoreError, match=r"has the schema 0001, older than .*; run: avengers-pro store upgrade"):
            await Ledger.open(url)
        await upgrade(url)
        async with await Ledger.open(url, recording=False) as ledger:
            return [row["id"] async for row in ledger.export()]

    assert asyncio.run(scenario()) == ["old"]


def test_what_learning_needs_comes_back_as_it_was_written(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(
                ledger,
                (opening(1, vector=VECTOR, propensity=0.05), closing(1, reported_model="large-0806", **SHADOW)),
                (opening(2), closing(2)),
                (opening(3), closing(3, reported_model="nul\0 \ud800", **SHADOW | {"shadow_score": float("nan")})),
            )
            return [await ledger.decision(identity(number)) for number in (1, 2, 3)]

    kept, bare, strange = asyncio.run(scenario())
    assert ({"vector": VECTOR, "reported_model": "large-0806", "propensity": 0.05} | SHADOW).items() <= kept.items()
    assert NOTHING_YET.items() <= bare.items()
    assert strange["reported_model"] == "nul\N{REPLACEMENT CHARACTER} ?"
    assert strange["shadow_score"] is None


def test_a_vector_is_written_with_its_decision_or_not_at_all(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"

    async def scenario():
        async with await Ledger.open(url) as ledger:
            with closing_of(sqlite3.connect(tmp_path / "ledger.db")) as connection:
                connection.execute("ALTER TABLE vectors RENAME TO elsewhere")
            with pytest.raises(StoreError, match="vectors"):
                await ledger.begin(opening(1, vector=VECTOR))
            await ledger.begin(opening(2))
            return [row[0] for row in await execute(url, "SELECT id FROM decisions")]

    assert asyncio.run(scenario()) == [identity(2)]


def test_pruning_removes_vectors(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, *((opening(number, vector=VECTOR), closing(number)) for number in range(20)))
            await ledger.prune(older_than=opening(15).at)
            return [row[0] for row in await execute(url, "SELECT id FROM vectors ORDER BY id")]

    assert asyncio.run(scenario()) == [identity(number) for number in range(15, 20)]


def test_vectors_count_for_the_size(url):
    """Five hundred vectors of 8 kB each, which no database can compress."""
    noise = np.random.default_rng(0)

    async def scenario():
        async with await open_ledger(url) as ledger:
            rows = ((opening(number, vector=noise.bytes(8_000)), closing(number)) for number in range(500))
            await record(ledger, *rows)
            return await ledger.prune(max_bytes=2_500_000)

    assert 200 < asyncio.run(scenario()) < 480


# The gateway


def test_the_gateway_keeps_vectors_when_it_is_asked_to(gateway, provider, router_folder):
    live = gateway(provider, {"store": {"log_vectors": True}})
    picture = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    for content, model in ((QUESTION, "avengers-pro"), (QUESTION, SECOND), ([picture], "avengers-pro")):
        assert live.ask(content, model=model).status == 200
    routed, named, unseen = live.rows()
    seen = Router.load(router_folder).embed([QUESTION])[0]
    assert routed["vector"] == seen.astype("<f2").tobytes()
    assert (named["vector"], unseen["vector"]) == (None, None)
    assert {row["text"] for row in live.rows()} == {None}
    told = live.call(f"/v1/decisions/{routed['id']}").json
    assert base64.b64decode(told["vector"]) == routed["vector"]


def test_the_gateway_keeps_no_vectors_by_itself(gateway, provider):
    live = gateway(provider, {"explore": {"rate": 1.0}})
    live.ask()
    assert live.row()["vector"] is None


COMPLETION = {"choices": [{"index": 0, "message": {"content": "2"}, "finish_reason": "stop"}]}


def answering(**fields):
    body = json.dumps(COMPLETION | fields).encode()
    return saying(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n" + body)


@pytest.mark.parametrize(
    ("model", "kept"), [("gpt-5-2025-08-07", "gpt-5-2025-08-07"), (None, None), (5, None), ({"id": "x"}, None)]
)
def test_the_model_that_the_upstream_reports_is_kept(gateway, stack, model, kept):
    usage = {"prompt_tokens": 7, "completion_tokens": 1}
    url = stack.enter_context(upstream(answering(model=model, usage=usage)))
    live = gateway(url)
    assert live.ask().json["model"] == model
    row = live.row()
    assert row["reported_model"] == kept
    assert (row["outcome"], row["served_by"], row["prompt_tokens"]) == ("ok", FIRST, 7)


def test_the_model_of_a_stream_is_kept(gateway, stack):
    last = chunk(finish_reason="stop").replace(b'{"object"', b'{"model": "gpt-5-2025-08-07", "object"')
    url = stack.enter_context(upstream(saying(stream(chunk("2"), last, b"data: [DONE]\n\n"))))
    live = gateway(url)
    assert live.ask(stream=True).status == 200
    assert live.row()["reported_model"] == "gpt-5-2025-08-07"
