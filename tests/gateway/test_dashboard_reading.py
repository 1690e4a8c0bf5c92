"""What the dashboard asks of the ledger, on both databases."""

import asyncio
import time

import pytest
from dashboard_pages import decided, identity, over
from ledger_stores import STORES, open_ledger, record, store_url
from live import FIRST, SECOND

from avengers_pro.gateway.dashboard import reading
from avengers_pro.gateway.dashboard.decisions import Asked, listing
from avengers_pro.gateway.dashboard.reading import Reading, span_of

url = pytest.fixture(params=STORES)(store_url)


def read(url, work):
    """Write five requests, and do something with a reading."""

    async def scenario():
        async with await open_ledger(url) as ledger:
            for n in range(5):
                key, session = ("one", "talk") if n < 2 else ("two", None)
                begun = decided(n, key=key, session=session, text=f"brown fox {n}%", novel=n == 4)
                await record(ledger, (begun, over(n, cost_usd=0.25, served_by=FIRST if n % 2 else SECOND)))
            return await work(Reading(ledger.engine))

    return asyncio.run(scenario())


@pytest.mark.parametrize("name", ["1h", "24h", "7d", "30d"])
@pytest.mark.parametrize(("key", "count"), [(None, 5), ("one", 2), ("nobody", 0)])
def test_sums_are_those_of_the_key_over_every_range(url, name, key, count):
    async def work(found):
        return await found.sums(span_of(name, time.time()), key)

    span, sums = read(url, work)
    assert sum(totals.requests for totals in sums.values()) == count
    assert sum(totals.cost_usd for totals in sums.values()) == 0.25 * count
    assert all(start in span.starts for start, _ in sums)


def test_a_crowded_hour_is_summed_as_a_whole(url, monkeypatch):
    monkeypatch.setattr(reading, "MOST_ROWS", 3)

    async def work(found):
        return await found.sums(span_of("1h", time.time()), None)

    span, sums = read(url, work)
    assert (span.step, span.since % 3600, sum(totals.requests for totals in sums.values())) == (3600, 0, 5)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"words": "brown"}, {0, 1, 2, 3, 4}),
        ({"words": "BROWN FOX 3%"}, {3}),
        ({"words": "x_3"}, set()),
        ({"words": "talk"}, {0, 1}),
        ({"words": identity(2)}, {2}),
        ({"words": "dec_"}, {0, 1, 2, 3, 4}),
        ({"novel": "1"}, {4}),
        ({"outcome": "errors"}, set()),
        ({"age": "1h", "model": FIRST}, {1, 3}),
        ({"key": "two", "model": SECOND}, {2, 4}),
    ],
)
def test_a_table_holds_what_was_asked_for(url, query, expected):
    async def work(found):
        return await listing(found, Asked.of(query), None, time.time())

    assert {int(row.id[4:], 16) for row in read(url, work).rows} == expected


def test_a_key_sees_its_own_rows_whatever_it_asks_for(url):
    async def work(found):
        now = time.time()
        asked = [{}, {"key": "two"}, {"words": "brown"}, {"words": identity(3)}, {"before": identity(4)}]
        rows = [row for query in asked for row in (await listing(found, Asked.of(query), "one", now)).rows]
        return (
            rows,
            await found.latest(0, "one"),
            await found.tries(0, "one"),
            await found.clusters(0, "one", "0123abcd"),
        )

    rows, latest, tries, clusters = read(url, work)
    assert {row.key for row in rows} == {"one"}
    assert [len(latest), len(tries), len(clusters)] == [2, 2, 2]
