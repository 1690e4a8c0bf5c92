"""The ledger as columns, read from a real one that a simulated history wrote."""

import asyncio
import json

import numpy as np
import pytest

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger import Ledger, Opening
from avengers_pro.learning import read_traffic, traffic
from learning.logged import LABELLED, POOL, logged


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return logged(tmp_path_factory.mktemp("traffic"), failed=0.1, fallbacks=0.2, named=0.1)


@pytest.fixture(scope="module")
def read(world):
    return world.traffic()


def exported(url):
    async def scenario():
        async with await Ledger.open(url, recording=False) as ledger:
            return [row async for row in ledger.export()]

    return asyncio.run(scenario())


def test_every_column_says_what_the_row_says(world, read):
    rows = exported(world.url)
    assert len(read) == len(rows) == 300
    assert read.ids == tuple(row["id"] for row in rows)
    assert read.models == world.router.models == POOL
    named = [*read.models, None]
    assert [named[column] for column in read.chosen] == [row["model"] for row in rows]
    assert [named[column] for column in read.served] == [row["served_by"] for row in rows]
    assert [named[column] for column in read.shadow] == [None] * 300
    assert read.outcomes == tuple(row["outcome"] for row in rows)
    assert set(read.outcomes) == {"ok", "upstream-error"}
    for column, name in (
        (read.at, "at"),
        (read.propensity, "propensity"),
        (read.scores, "feedback_score"),
        (read.costs, "cost_usd"),
        (read.prompt_tokens, "prompt_tokens"),
        (read.completion_tokens, "completion_tokens"),
        (read.latency_ms, "total_ms"),
    ):
        np.testing.assert_array_equal(column, [np.nan if row[name] is None else row[name] for row in rows])
    for place, row in enumerate(rows):
        for name, score, cost, _ in json.loads(row["candidates"]):
            assert read.expected_scores[place, POOL.index(name)] == score
            assert read.expected_costs[place, POOL.index(name)] == cost
    assert read.routed.tolist() == [row["asked"] == "avengers-pro" for row in rows]
    assert 0 < (~read.routed).sum() < 100
    assert (read.served != read.chosen)[read.served >= 0].any()


def test_candidates_that_were_none_are_unknown(read):
    one = np.flatnonzero(~read.routed)[0]
    assert np.isfinite(read.expected_scores[one]).sum() == 1


def test_vectors_are_those_of_the_queries_whether_they_or_the_texts_were_kept(world, read, tmp_path):
    queries = world.truth.queries[LABELLED:]
    np.testing.assert_allclose(read.vectors, world.router.embed(queries), atol=4e-3)
    kept = logged(tmp_path, router=world.router, keep="text")
    np.testing.assert_array_equal(kept.traffic().vectors, world.router.embed(queries))
    assert asyncio.run(read_traffic(kept.url)).vectors is None  # nothing embeds a text without a router


def test_without_vectors_and_texts_there_are_none(world, tmp_path):
    assert logged(tmp_path, 30, router=world.router, keep="nothing").traffic().vectors is None


def test_vectors_of_another_embedder_count_as_not_kept(world):
    small = asyncio.run(read_traffic(world.url))
    assert small.vectors.shape == (300, world.router.embedding.dimension)
    assert set(small.models) == set(POOL)

    class Other:
        models, embedding = ("lab/own",), world.router.embedding.__class__("static", "other", 3)

    other = asyncio.run(read_traffic(world.url, router=Other()))
    assert other.vectors is None
    assert other.models[0] == "lab/own"
    assert set(other.models) == {"lab/own", *POOL}
    assert (other.chosen > 0).all()


def test_chunks_make_no_difference(world, read, monkeypatch):
    monkeypatch.setattr(traffic, "_CHUNK", 7)
    told = []
    again = world.traffic(progress=told.append)
    assert again.ids == read.ids
    assert told[:2] == [7, 14]
    for name in ("vectors", "expected_scores", "expected_costs", "chosen", "scores", "scored_at"):
        np.testing.assert_array_equal(getattr(again, name), getattr(read, name))
    assert again.clusters == read.clusters


def test_a_range_of_time(world, read):
    middle = float(read.at[100])
    assert world.traffic(since=middle).ids == read.ids[100:]
    assert world.traffic(until=middle).ids == read.ids[:100]


def test_it_is_shown_by_its_sizes_without_contents(read):
    assert repr(read) == f"Traffic({len(read)} requests, {len(read.models)} models)"


def test_rows_can_be_taken_by_place_and_by_mask(read):
    mask = read.routed
    taken, same = read.take(mask), read.take(np.flatnonzero(mask))
    assert len(taken) == mask.sum()
    assert taken.models == read.models
    assert taken.ids == same.ids == tuple(one for one, kept in zip(read.ids, mask, strict=True) if kept)
    np.testing.assert_array_equal(taken.vectors, read.vectors[mask])
    assert read.take([2, 1]).policies == (read.policies[2], read.policies[1])


def test_of_feedback_the_latest_score_counts_and_the_first_time(world, tmp_path):
    mine = logged(tmp_path, 20, router=world.router, feedback=0.0, failed=0.0)
    first = mine.traffic()
    assert np.isnan(first.scores).all()
    assert np.isnan(first.scored_at).all()

    async def scenario():
        async with await Ledger.open(mine.url, recording=False) as ledger:
            for at, score in ((50.0, None), (60.0, 0.2), (70.0, 0.9), (80.0, None)):
                await ledger.feedback(first.ids[3], score=score, comment="so", key=None, at=at)

    asyncio.run(scenario())
    second = mine.traffic()
    assert (second.scores[3], second.scored_at[3]) == (0.9, 60.0)
    assert np.isfinite(second.scores).sum() == 1


def test_unfinished_requests_are_left_out(world, tmp_path):
    mine = logged(tmp_path, 10, router=world.router)

    async def scenario():
        async with await Ledger.open(mine.url) as ledger:
            (row, *_) = [row async for row in ledger.export()]
            fields = {name: row.get(name) for name in Opening.__struct_fields__}
            await ledger.begin(Opening(**{**fields, "id": "dec_zz", "at": row["at"] + 1e6}))
            return await read_traffic(mine.url, router=world.router)

    assert len(asyncio.run(scenario())) == 10


def test_an_empty_ledger_is_no_traffic_and_a_missing_one_an_error(world, tmp_path):
    url = f"sqlite:///{tmp_path}/empty.db"

    async def scenario():
        async with await Ledger.open(url):
            pass
        return await read_traffic(url, router=world.router)

    nothing = asyncio.run(scenario())
    assert len(nothing) == 0
    assert nothing.expected_scores.shape == (0, len(POOL))
    with pytest.raises(StoreError, match="does not exist"):
        asyncio.run(read_traffic(f"sqlite:///{tmp_path}/none.db"))
