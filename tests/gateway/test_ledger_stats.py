"""Sums over ranges of time, against a plain reading of the same requests; and pruning, which must not change them."""

import asyncio
import math
import random
import sqlite3
import time
from collections import defaultdict
from contextlib import closing as closing_of
from dataclasses import asdict, replace

import pytest
from ledger_stores import HOUR, STORES, closing, execute, identity, open_ledger, opening, record, store_url

from avengers_pro.gateway.ledger import Filter, Ledger, Totals

url = pytest.fixture(params=STORES)(store_url)

HOURS = 5
_NO_ERRORS = {"ok", "client-gone", "refused"}


def some_requests(seed, count):
    """Requests over a few hours, with everything unknown now and then; some not over; and feedback on some."""
    draw = random.Random(seed)  # noqa: S311

    def maybe(value):
        return draw.choice([None, value, value, value])

    for number in range(count):
        begun = opening(
            number,
            at=HOUR + draw.choice([draw.uniform(0, HOURS), draw.randrange(HOURS + 1)]) * 3_600,
            key=maybe(f"key {draw.randrange(3)}"),
            baseline_cost_usd=draw.choice([None, float("nan"), draw.random(), draw.random()]),
            expected_score=maybe(draw.random()),
            baseline_score=maybe(draw.random()),
        )
        over = closing(
            number,
            outcome=draw.choice(["ok", "ok", "ok", "client-gone", "refused", "upstream-error", "shutdown"]),
            served_by=maybe(f"model {draw.randrange(4)}"),
            fallbacks=draw.choice([0, 0, 1, 3]),
            cost_usd=draw.choice([None, float("nan"), 0.0, draw.random(), draw.random()]),
            prompt_tokens=maybe(draw.randrange(5_000)),
            completion_tokens=maybe(draw.randrange(500)),
        )
        yield begun, draw.choice([None, over, over, over, over]), draw.choice([None, None, draw.random()])


def is_known(*numbers):
    return all(number is not None and math.isfinite(number) for number in numbers)


def plain_totals(requests):
    """The slow way."""
    totals = Totals()
    for begun, over, score in requests:
        costs_known = is_known(over.cost_usd, begun.baseline_cost_usd)
        scores_known = is_known(begun.expected_score, begun.baseline_score)
        totals = replace(
            totals,
            requests=totals.requests + 1,
            errors=totals.errors + (over.outcome not in _NO_ERRORS),
            fallbacks=totals.fallbacks + (over.fallbacks > 0),
            cost_usd=totals.cost_usd + (over.cost_usd if is_known(over.cost_usd) else 0),
            unpriced=totals.unpriced + (not is_known(over.cost_usd)),
            baseline_cost_usd=totals.baseline_cost_usd + (begun.baseline_cost_usd if costs_known else 0),
            saved_usd=totals.saved_usd + (begun.baseline_cost_usd - over.cost_usd if costs_known else 0),
            uncompared=totals.uncompared + (not costs_known),
            expected_score_sum=totals.expected_score_sum + (begun.expected_score if scores_known else 0),
            baseline_score_sum=totals.baseline_score_sum + (begun.baseline_score if scores_known else 0),
            unscored=totals.unscored + (not scores_known),
            prompt_tokens=totals.prompt_tokens + (over.prompt_tokens or 0),
            completion_tokens=totals.completion_tokens + (over.completion_tokens or 0),
            unmetered=totals.unmetered + (over.prompt_tokens is None or over.completion_tokens is None),
            feedback=totals.feedback + (score is not None),
            feedback_score_sum=totals.feedback_score_sum + (score or 0),
        )
    return totals


def plain_stats(requests, since, until):
    within = [one for one in requests if one[1] is not None and since <= one[0].at < until]
    by_model = defaultdict(list)
    for one in within:
        by_model[one[1].served_by].append(one)
    return plain_totals(within), {model: plain_totals(some) for model, some in by_model.items()}


def assert_same(totals, expected):
    assert asdict(totals) == pytest.approx(asdict(expected), abs=1e-9)


async def write(ledger, requests):
    draw = random.Random(0)  # noqa: S311
    for begun, over, _ in requests:
        ledger.begin(begun)
        if over is not None:
            ledger.finish(over)
        if draw.random() < 0.02:
            await ledger.flush()  # several transactions add to the same hours
    await ledger.flush()
    for begun, _, score in requests:
        if score is not None:
            await ledger.feedback(begun.id, score=0.5, comment=None, key=None, at=HOUR)
            await ledger.feedback(begun.id, score=score, comment=None, key=None, at=HOUR)


def ranges(seed):
    draw = random.Random(seed)  # noqa: S311
    yield HOUR, HOUR + HOURS * 3_600
    yield HOUR + 3_600, HOUR + 2 * 3_600
    yield HOUR + 600, HOUR + 1_200
    yield HOUR + 600, HOUR + 3_600
    yield HOUR + 600, HOUR + 3_600 + 600
    yield HOUR - 10**6, HOUR + 10**7
    yield HOUR + 600, HOUR + 600
    for _ in range(20):
        since = HOUR + draw.uniform(-1, HOURS) * 3_600
        yield since, since + draw.uniform(0, HOURS) * 3_600


@pytest.mark.parametrize("seed", [1, 2])
def test_sums_agree_with_a_plain_reading(url, seed):
    requests = list(some_requests(seed, 300))

    async def scenario():
        async with await open_ledger(url) as ledger:
            await write(ledger, requests)
            found = [(since, until, await ledger.stats(since, until)) for since, until in ranges(seed)]
            return found, await ledger.stats(HOUR + 5_000), await ledger.spend(HOUR + 5_000)

    found, open_ended, spend = asyncio.run(scenario())
    for since, until, stats in found:
        total, models = plain_stats(requests, since, until)
        assert (stats.since, stats.until) == (since, until)
        assert_same(stats.total, total)
        assert stats.models.keys() == models.keys()
        for model, expected in models.items():
            assert_same(stats.models[model], expected)
    assert_same(open_ended.total, plain_stats(requests, HOUR + 5_000, math.inf)[0])
    expected_spend = defaultdict(float)
    for begun, over, _ in requests:
        if over is not None and begun.key is not None and begun.at >= HOUR + 5_000:
            expected_spend[begun.key] += over.cost_usd if is_known(over.cost_usd) else 0
    assert spend == pytest.approx(dict(expected_spend))


def test_an_hour_with_too_many_rows_counts_as_a_whole(url, monkeypatch):
    monkeypatch.setattr("avengers_pro.gateway.ledger.totals.MOST_ROWS", 50)
    crowded = [(opening(number, at=HOUR + number), closing(number)) for number in range(60)]
    quiet = [(opening(number, at=HOUR + 3_600 + number), closing(number)) for number in range(100, 130)]

    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, *crowded, *quiet)
            return await ledger.stats(HOUR + 30, HOUR + 3_600 + 110)

    stats = asyncio.run(scenario())
    assert (stats.since, stats.until) == (HOUR, HOUR + 3_600 + 110)
    assert stats.total.requests == 70


def test_a_score_that_comes_before_the_end_is_counted_after_it(url, monkeypatch):
    monkeypatch.setattr("avengers_pro.gateway.ledger.presence.BEAT_S", 0.05)

    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, (opening(1), None), (opening(2), None))
            for number, score in ((1, 0.2), (1, 0.4), (2, 1.0)):
                await ledger.feedback(identity(number), score=score, comment=None, key=None, at=HOUR)
            early = (await ledger.stats(0)).total
            ledger.finish(closing(1))
            await ledger.flush()
            give_up = time.monotonic() + 10
            while not (late := (await ledger.stats(0)).total).feedback:
                assert time.monotonic() < give_up
                await asyncio.sleep(0.02)
            await ledger.feedback(identity(1), score=0.6, comment=None, key=None, at=HOUR)
            return early, late, (await ledger.stats(0)).total, (await ledger.stats(HOUR + 0.5, HOUR + 1.5)).total

    early, late, corrected, by_rows = asyncio.run(scenario())
    assert early.feedback == 0
    assert (late.feedback, late.feedback_score_sum) == (1, pytest.approx(0.4))
    assert (corrected.feedback, corrected.feedback_score_sum) == (1, pytest.approx(0.6))
    assert (by_rows.feedback, by_rows.feedback_score_sum) == (1, pytest.approx(0.6))


def test_a_score_corrected_right_after_the_end_is_counted_once(url):
    """The first one still waits to be counted when the second one comes."""

    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, (opening(1), None))
            await ledger.feedback(identity(1), score=0.2, comment=None, key=None, at=HOUR)
            ledger.finish(closing(1))
            await ledger.flush()
            await ledger.feedback(identity(1), score=1.0, comment=None, key=None, at=HOUR)
            return (await ledger.stats(0)).total, await execute(url, "SELECT * FROM waiting_feedback")

    total, waiting = asyncio.run(scenario())
    assert (total.feedback, total.feedback_score_sum) == (1, pytest.approx(1.0))
    assert waiting == []


def test_pruning_by_age_keeps_the_sums(url):
    requests = [(opening(number, at=HOUR + number * 60, text="q"), closing(number)) for number in range(600)]
    requests[3] = (requests[3][0], None)
    cut = HOUR + 250 * 60  # ten minutes into the fifth hour

    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, *requests)
            await ledger.feedback(identity(0), score=1.0, comment=None, key=None, at=HOUR)
            before = await ledger.stats(HOUR)
            removed = await ledger.prune(older_than=cut)
            again = await ledger.prune(older_than=cut)
            rows = [row["id"] async for row in ledger.export()]
            left = await execute(url, "SELECT (SELECT count(*) FROM texts), (SELECT count(*) FROM feedback)")
            ragged = await ledger.stats(HOUR + 60, HOUR + 245 * 60)
            recent = await ledger.stats(HOUR + 310 * 60, HOUR + 330 * 60)
            return before, removed, again, rows, left, await ledger.stats(HOUR), ragged, recent

    before, removed, again, rows, left, after, ragged, recent = asyncio.run(scenario())
    assert (removed, again) == (249, 0)
    assert rows == [identity(number) for number in (3, *range(250, 600))]
    assert left == [(351, 0)]
    assert after == before
    assert (ragged.since, ragged.until) == (HOUR, HOUR + 5 * 3_600)
    assert ragged.total.requests == 299
    assert (recent.since, recent.until) == (HOUR + 310 * 60, HOUR + 330 * 60)
    assert recent.total.requests == 20


def test_pruning_by_size_stops_when_the_rest_fits(url):
    draw = random.Random(0)  # noqa: S311  (texts that PostgreSQL cannot compress)

    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(
                ledger,
                *(
                    (opening(number, text=draw.randbytes(1_500).hex(), session="s"), closing(number))
                    for number in range(2_000)
                ),
            )
            before = (await ledger.stats(0)).total
            generous = await ledger.prune(max_bytes=10**9)
            removed = await ledger.prune(max_bytes=3_000_000)
            again = await ledger.prune(max_bytes=3_000_000)
            rows = [row["id"] async for row in ledger.export()]
            return before, (await ledger.stats(0)).total, generous, removed, again, rows

    before, after, generous, removed, again, rows = asyncio.run(scenario())
    assert generous == 0
    assert 200 < removed < 1_900
    assert again == 0
    assert rows == [identity(number) for number in range(removed, 2_000)]
    assert before == after


def test_pruning_makes_a_sqlite_file_smaller(tmp_path):
    path = tmp_path / "ledger.db"

    async def scenario():
        async with await Ledger.open(f"sqlite:///{path}") as ledger:
            await record(ledger, *((opening(number, text="x" * 3_000), closing(number)) for number in range(2_000)))
            with closing_of(sqlite3.connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            full = path.stat().st_size
            await ledger.prune(max_bytes=2_000_000)
            return full

    full = asyncio.run(scenario())
    assert full > 6_000_000
    assert path.stat().st_size < 2_200_000


def test_requests_go_on_while_it_prunes(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, *((opening(number), closing(number)) for number in range(3_000)))
            pruning = asyncio.create_task(ledger.prune(older_than=HOUR + 2_900))
            numbers = iter(range(10_000, 20_000))
            while not pruning.done():
                number = next(numbers)
                await ledger.begin(opening(number))
                ledger.finish(closing(number))
            await ledger.flush()
            kept = await ledger.decisions(Filter(), limit=10_000)
            return pruning.result(), len(kept), next(numbers) - 10_000, (await ledger.stats(0)).total.requests

    removed, kept, added, requests = asyncio.run(scenario())
    assert removed == 2_900
    assert kept == 100 + added
    assert requests == 3_000 + added
    assert added > 1
