"""What the ledger keeps when processes are killed, and what it says about requests they left."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ledger_stores import STORES, closing, execute, identity, open_ledger, opening, record, store_url
from sqlalchemy import Engine, event

from avengers_pro.gateway.ledger import Ledger, presence

url = pytest.fixture(params=STORES)(store_url)

_BEGIN_AND_WAIT_TO_BE_KILLED = """
import asyncio, sys
from ledger_stores import closing, open_ledger, opening

async def main(url):
    ledger = await open_ledger(url)
    await asyncio.gather(*(ledger.begin(opening(number, text="kept")) for number in range(300)))
    for number in range(100):
        ledger.finish(closing(number))
    await ledger.flush()
    print("durable", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(sys.argv[1]))
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )


def run_and_kill(url: str) -> None:
    with start(_BEGIN_AND_WAIT_TO_BE_KILLED, url) as child:
        assert child.stdout.readline() == "durable\n"
        child.send_signal(signal.SIGKILL)


async def outcomes(ledger: Ledger) -> list[str | None]:
    return [row["outcome"] async for row in ledger.export()]


def test_a_killed_process_loses_nothing_that_was_durable(url):
    run_and_kill(url)
    rows = asyncio.run(execute(url, "SELECT id, outcome FROM decisions ORDER BY id"))
    assert [row.id for row in rows] == [identity(number) for number in range(300)]
    assert [row.outcome for row in rows] == ["ok"] * 100 + [None] * 200
    assert asyncio.run(execute(url, "SELECT count(*) FROM texts")) == [(300,)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_on_sqlite_the_next_process_knows_at_once_what_was_interrupted(url):
    run_and_kill(url)

    async def scenario():
        async with await open_ledger(url) as ledger:
            return await outcomes(ledger), await ledger.stats(0)

    found, stats = asyncio.run(scenario())
    assert found == ["ok"] * 100 + ["interrupted"] * 200
    assert (stats.total.requests, stats.total.errors, stats.total.unpriced) == (300, 200, 200)
    assert stats.models[None].requests == 200


def test_where_others_are_at_work_heartbeats_say_who_is_gone(url):
    async def scenario():
        async with await open_ledger(url) as bystander:
            await asyncio.to_thread(run_and_kill, url)
            async with await open_ledger(url) as ledger:
                young = await outcomes(ledger)
            await execute(url, "UPDATE processes SET beat_at = beat_at - 3600 WHERE beat_at < :now", now=time.time())
            async with await open_ledger(url) as ledger:
                return young, await outcomes(ledger), (await bystander.stats(0)).total

    young, old, total = asyncio.run(scenario())
    assert young == ["ok"] * 100 + [None] * 200
    assert old == ["ok"] * 100 + ["interrupted"] * 200
    assert (total.requests, total.errors) == (300, 200)


def test_opening_a_second_ledger_leaves_the_first_ones_requests_alone(url):
    async def scenario():
        async with await open_ledger(url) as first:
            await first.begin(opening(1))
            async with await open_ledger(url) as second:
                await second.begin(opening(2))
                untouched = await second.decision(identity(1))
                first.finish(closing(1))
                second.finish(closing(2))
                await asyncio.gather(first.flush(), second.flush())
                return untouched, await outcomes(first), (await first.stats(0)).total.requests

    untouched, found, requests = asyncio.run(scenario())
    assert untouched["outcome"] is None
    assert (found, requests) == (["ok", "ok"], 2)


def test_a_ledger_closed_in_time_leaves_its_requests_to_the_next(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await ledger.begin(opening(1))
        async with await open_ledger(url) as ledger:
            return await outcomes(ledger)

    assert asyncio.run(scenario()) == ["interrupted"]


def test_a_running_ledger_marks_what_another_left(url, monkeypatch):
    monkeypatch.setattr(presence, "BEAT_S", 0.05)

    async def scenario():
        async with await open_ledger(url) as ledger:
            await execute(url, "INSERT INTO processes VALUES ('another', 0)")
            await record(ledger, (opening(1), None), (opening(2), None))
            await execute(url, f"UPDATE decisions SET process = 'another' WHERE id = '{identity(2)}'")
            give_up = time.monotonic() + 10
            while None not in (found := await outcomes(ledger)) or "interrupted" not in found:
                assert time.monotonic() < give_up, found
                await asyncio.sleep(0.02)
            return found

    assert asyncio.run(scenario()) == [None, "interrupted"]


def test_a_process_taken_for_gone_goes_on_and_is_not_counted_twice(url, monkeypatch):
    async def scenario():
        async with await open_ledger(url) as paused:
            await paused.begin(opening(1))
            await execute(url, "UPDATE processes SET beat_at = 0")
            async with await open_ledger(url) as other:
                assert await outcomes(other) == ["interrupted"]
            monkeypatch.setattr(presence, "GONE_AFTER_S", 0.0)  # the paused one finds that it has not beaten for long
            paused.finish(closing(1))
            await record(paused, (opening(2), closing(2)))
            return await outcomes(paused), (await paused.stats(0)).total, paused.lost_closings

    found, total, lost = asyncio.run(scenario())
    assert found == ["interrupted", "ok"]
    assert (total.requests, total.errors, lost) == (2, 1, 1)


def test_futures_resolve_only_when_another_process_can_see_the_row(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            for number in range(20):
                await ledger.begin(opening(number))
                assert await execute(url, "SELECT count(*) FROM decisions") == [(number + 1,)]

    asyncio.run(scenario())


def test_requests_at_the_same_time_share_commits(url):
    commits = []

    def note(connection):
        commits.append(connection)

    async def scenario():
        async with await open_ledger(url) as ledger:
            event.listen(Engine, "commit", note)
            try:
                await asyncio.gather(*(ledger.begin(opening(number)) for number in range(500)))
            finally:
                event.remove(Engine, "commit", note)

    asyncio.run(scenario())
    assert 1 <= len(commits) <= 3
