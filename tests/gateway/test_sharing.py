"""Limits of keys that several gateways on one database keep together."""

import asyncio
import math
import sqlite3
import time
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_stores import STORES, execute, open_ledger, store_url
from live import QUESTION, eventually

from avengers_pro.errors import StoreError
from avengers_pro.gateway.access import Access, AccessDenied, Caller, Limits
from avengers_pro.gateway.access.sharing import Sharing
from avengers_pro.gateway.ledger.usage import Order

url = pytest.fixture(params=STORES)(store_url)
GIVE_UP_S = 15.0


@asynccontextmanager
async def replica(url, *, is_strict=True, interval_s=0.05, spent=None):
    """An ``Access`` as a gateway of its own would have it."""
    async with await open_ledger(url) as ledger:
        sharing = Sharing(ledger.usage, is_strict=is_strict, interval_s=interval_s)
        access = Access(sharing=sharing)
        access.restore(spent or {}, spent or {}, time.time())
        sharing.open()
        try:
            yield access
        finally:
            await sharing.close()


def caller(**limits):
    return Caller("team", "team", "user", Limits(**limits))


async def admitted(access, who, *, tokens=0, cost_usd=0.0):
    """Return the grant of one request; None if a limit is used up."""
    now = time.time()
    try:
        grant = access.admit(who, tokens=tokens, cost_usd=cost_usd, now=now)
        await access.cover(who, grant, now)
    except AccessDenied as denied:
        if denied.status != 429:
            raise
        return None
    return grant


@asynccontextmanager
async def locked(folder):
    """Keep everybody from writing; taken in a thread, so that transactions under way can end."""
    with closing(sqlite3.connect(folder / "ledger.db", isolation_level=None, check_same_thread=False)) as lock:
        await asyncio.to_thread(lock.execute, "BEGIN IMMEDIATE")
        yield
        lock.execute("ROLLBACK")


async def until(holds):
    give_up_s = time.monotonic() + GIVE_UP_S
    while not await holds():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        await asyncio.sleep(0.02)


async def counts(url):
    """Return what is used by meter, without dates, and what is held in all."""
    used = {meter.split()[0]: used for meter, used in await execute(url, 'SELECT meter, used FROM "usage"')}
    return used, sum(held for (held,) in await execute(url, "SELECT held FROM leases"))


def test_replicas_together_spend_a_budget_and_no_more(url):
    who = caller(dollars_per_day=1.0, dollars_per_month=20.0)

    async def scenario():
        async with replica(url) as one, replica(url) as other:
            burst = await asyncio.gather(*(admitted(access, who, cost_usd=0.05) for access in (one, other) * 30))
            granted = [grant for grant in burst if grant is not None]
            assert len(granted) <= 20

            async def is_spent():  # what one holds and does not use comes back, and the other may use it
                found = [await admitted(access, who, cost_usd=0.05) for access in (one, other)]
                granted.extend(grant for grant in found if grant is not None)
                return len(granted) == 20

            await until(is_spent)
            assert all([await admitted(access, who, cost_usd=0.05) is None for access in (one, other)])
            granted[0].settle(0, 0.0, time.time())
            granted[1].settle(0, 0.02, time.time())

            async def fits_again():
                granted.append(await admitted(other, who, cost_usd=0.05))
                return granted[-1] is not None

            await until(fits_again)
            for grant in granted[2:]:
                if grant is not None:
                    grant.settle(0, 0.05, time.time())
        return await counts(url)

    used, held = asyncio.run(scenario())
    assert used["day"] == used["month"] == pytest.approx(0.02e9 + 19 * 0.05e9, abs=1)
    assert held == 0


def test_replicas_together_keep_limits_per_minute(url):
    who = caller(requests_per_minute=40, tokens_per_minute=3000)

    async def scenario():
        async with replica(url) as one, replica(url) as other:
            begun = time.time()
            burst = await asyncio.gather(*(admitted(access, who, tokens=100) for access in (one, other) * 40))
            granted = sum(grant is not None for grant in burst)
            seconds = time.time() - begun
            assert granted <= 30 + seconds * 3000 / 60 / 100
            assert granted >= 20
            left = dict(one.headers(who, time.time()))
            assert int(left[b"x-ratelimit-remaining-tokens"]) < 1000

    asyncio.run(scenario())


def test_one_replica_alone_gets_the_whole_limit(url):
    who = caller(requests_per_minute=25)

    async def scenario():
        async with replica(url, interval_s=10) as one:
            begun = time.time()
            found = [await admitted(one, who) for _ in range(40)]
            extra = math.ceil((time.time() - begun) * 25 / 60)
            return sum(grant is not None for grant in found), extra

    granted, extra = asyncio.run(scenario())
    assert 25 <= granted <= 25 + extra


def test_while_a_lease_lasts_nobody_is_asked(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    who = caller(dollars_per_day=100.0)

    async def scenario():
        async with replica(url, interval_s=60) as one:
            assert await admitted(one, who, cost_usd=0.01)
            async with locked(tmp_path):
                for _ in range(40):
                    assert await admitted(one, who, cost_usd=0.01)

    asyncio.run(scenario())


def test_a_key_without_limits_is_not_counted(url):
    async def scenario():
        async with replica(url) as one:
            assert await admitted(one, caller(models=("a",)), tokens=10**9, cost_usd=1e6)
        return await counts(url)

    assert asyncio.run(scenario()) == ({}, 0)


def test_a_request_that_asked_nobody_gives_all_back(url):
    who = caller(requests_per_minute=1, tokens_per_minute=100, dollars_per_day=1.0)

    async def scenario():
        async with replica(url) as one:
            grant = await admitted(one, who, tokens=100, cost_usd=1.0)
            grant.release()

            async def fits_again():  # within a fraction of a second, not of the minute that the limit is for
                return await admitted(one, who, tokens=50, cost_usd=0.5) is not None

            await until(fits_again)

    asyncio.run(scenario())


def test_what_a_replica_that_is_gone_held_counts_as_used(url):
    who = caller(dollars_per_day=1.0)

    async def scenario():
        async with await open_ledger(url) as ledger:
            gone = Sharing(ledger.usage, interval_s=60)
            access = Access(sharing=gone)
            assert await admitted(access, who, cost_usd=0.6)
            await execute(url, "UPDATE leases SET at = at - 61")
            assert await ledger.usage.stay("another") == 1
            used, held = await counts(url)
            assert used["day"] == pytest.approx(0.61e9)
            assert held == 0
            # It was not gone after all: what it reports is counted already, and it goes on.
            assert await admitted(access, who, cost_usd=0.3)
            await gone.close()
            used, held = await counts(url)
            assert used["day"] + held == pytest.approx(0.9e9)

    asyncio.run(scenario())


def test_spending_from_before_anybody_counted_counts(url):
    who = caller(dollars_per_day=1.0)

    async def scenario():
        async with replica(url, spent={"team": 0.7}) as one, replica(url) as other:
            assert await admitted(one, who, cost_usd=0.2)
            assert await admitted(other, who, cost_usd=0.2) is None

    asyncio.run(scenario())


def test_what_costs_nothing_goes_through_a_spent_budget(url):
    who = caller(dollars_per_day=0.1)

    async def scenario():
        async with replica(url) as one:
            grant = await admitted(one, who, cost_usd=0.1)
            grant.settle(10, 0.3, time.time())
            assert await admitted(one, who, cost_usd=0.0)
            assert await admitted(one, who, cost_usd=0.01) is None
        return await counts(url)

    assert asyncio.run(scenario())[0]["day"] == pytest.approx(0.3e9)


def test_a_database_that_is_away_refuses_or_is_told_later(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    who = caller(dollars_per_day=1.0)

    async def scenario():
        async with replica(url, interval_s=0.2) as strict, replica(url, is_strict=False, interval_s=0.2) as lenient:
            async with locked(tmp_path):
                with pytest.raises(StoreError, match="counting what keys use"):
                    await admitted(strict, who, cost_usd=0.1)
                for _ in range(10):
                    assert await admitted(lenient, who, cost_usd=0.1)
                assert await admitted(lenient, who, cost_usd=0.1) is None  # it keeps the limit by itself

            async def is_refused():
                try:
                    return await admitted(strict, who, cost_usd=0.1) is None
                except StoreError:
                    return False

            await until(is_refused)

    asyncio.run(scenario())


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.floats(0, 30),
        st.floats(0, 1),
        st.floats(0, 40),
        st.floats(0, 20),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS, per_minute=st.sampled_from([0.0, 60.0]))
def test_used_and_held_never_exceed_the_limit(steps, per_minute):
    """Against a plain account: what is used drains, what is held does not, the sum stays within the limit."""
    limit = 100.0

    async def scenario(url):
        held, used, at = [0.0, 0.0, 0.0], 0.0, 1e9
        async with await open_ledger(url) as ledger:
            for who, seconds, share, needed, lease in steps:
                at += seconds
                spent = held[who] * share
                least = held[who] - spent
                order = Order(
                    meter="requests",
                    limit=limit,
                    per_minute=per_minute,
                    known=0.0,
                    used=spent,
                    had=held[who],
                    least=least,
                    needed=least + needed,
                    wanted=least + needed + lease,
                )
                (level,) = await ledger.usage.exchange(f"r{who}", "team", [order], at)
                used = max(0.0, used - seconds * per_minute / 60) + spent
                room = limit - used - sum(held) + held[who]
                held[who] = least if room < least + needed else max(least, min(least + needed + lease, room))
                assert level.used == pytest.approx(used, abs=1e-6)
                assert level.mine == pytest.approx(held[who], abs=1e-6)
                assert used + sum(held) <= limit + 1e-6

    with TemporaryDirectory() as folder:
        asyncio.run(scenario(f"sqlite:///{Path(folder)}/ledger.db"))


def test_gateways_share_the_budget_of_a_key(gateway, provider):
    tables = {"access": {"required": True, "refresh": 0.05}}
    one, other = gateway(provider, tables), gateway(provider, tables)
    _, secret = one.key(requests_per_minute=6)
    headers = {"authorization": f"Bearer {secret}"}
    eventually(lambda: all(live.ask(QUESTION, headers=headers).status != 401 for live in (one, other)))
    begun = time.monotonic()
    statuses = [live.ask(QUESTION, headers=headers).status for live in (one, other) * 6]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) + 2 <= 6 + math.ceil((time.monotonic() - begun) * 0.1) + 1
    assert statuses.count(429) >= 5
    refused = one.ask(QUESTION, headers=headers)
    assert refused.error["code"] == "rate_limit_exceeded"


def test_days_are_apart(url):
    who = caller(dollars_per_day=1.0)

    async def scenario():
        async with replica(url) as one:
            midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp() + 86_400
            today = await admitted(one, who, cost_usd=1.0)
            tomorrow = one.admit(who, tokens=0, cost_usd=1.0, now=midnight + 1)
            await one.cover(who, tomorrow, midnight + 1)
            for grant, cost in ((today, 0.5), (tomorrow, 0.25)):
                grant.settle(0, cost, midnight + 2)
        return await execute(url, 'SELECT used FROM "usage" ORDER BY meter')

    assert asyncio.run(scenario()) == [(0.5e9,), (0.25e9,)]
