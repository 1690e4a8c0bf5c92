"""What happens when the database is busy, full, broken or away."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
import traceback
from contextlib import asynccontextmanager
from contextlib import closing as closing_of
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledger_stores import (
    STORES,
    closing,
    execute,
    identity,
    needs_postgresql,
    open_ledger,
    opening,
    postgresql_url,
    record,
    store_url,
)
from sqlalchemy.ext.asyncio import create_async_engine

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.dialects import parse_url

url = pytest.fixture(params=STORES)(store_url)


@asynccontextmanager
async def locked(url):
    """Another connection that keeps everyone from writing."""
    engine = create_async_engine(parse_url(url))
    async with engine.connect() as connection:
        if url.startswith("sqlite"):
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            await connection.exec_driver_sql("LOCK TABLE decisions IN EXCLUSIVE MODE")
        yield
        await connection.rollback()
    await engine.dispose()


def test_a_lock_that_goes_away_in_time_is_waited_for(url):
    async def scenario():
        async with await open_ledger(url, deadline_s=20) as ledger:
            async with locked(url):
                waiting = [ledger.begin(opening(number)) for number in range(10)]
                await asyncio.wait(waiting, timeout=0.3)
                assert not any(future.done() for future in waiting)
                ledger.finish(closing(0))
            await asyncio.gather(*waiting)
            await ledger.flush()
            return await ledger.decision(identity(0)), await execute(url, "SELECT count(*) FROM decisions")

    row, count = asyncio.run(scenario())
    assert row["outcome"] == "ok"
    assert count == [(10,)]


def test_a_lock_that_stays_fails_the_requests_and_then_they_work_again(url):
    async def scenario():
        async with await open_ledger(url, deadline_s=0.3) as ledger:
            await record(ledger, (opening(1), None))
            async with locked(url):
                started = time.monotonic()
                with pytest.raises(StoreError, match=r"cannot be written: .*lock"):
                    await ledger.begin(opening(2))
                assert 0.3 <= time.monotonic() - started < 5
                ledger.finish(closing(1))
                ledger.finish(closing(2))
                with pytest.raises(StoreError, match="still unwritten"):
                    await ledger.flush()
            await ledger.begin(opening(3))
            await ledger.flush()
            rows = [(row["id"], row["outcome"]) async for row in ledger.export()]
            return rows, (await ledger.stats(0)).total.requests, ledger.lost_closings

    rows, requests, lost = asyncio.run(scenario())
    assert rows == [(identity(1), "ok"), (identity(3), None)]
    assert requests == 1
    assert lost == 1  # of the request that was refused


def test_closing_a_ledger_that_cannot_write_says_what_was_lost(url, caplog):
    async def scenario():
        ledger = await open_ledger(url, deadline_s=0.3)
        await ledger.begin(opening(1))
        async with locked(url):
            ledger.finish(closing(1))
            never = ledger.begin(opening(2))
            await ledger.close()
        with pytest.raises(StoreError):
            await never
        async with await open_ledger(url) as later:
            return ledger.lost_closings, [row["id"] async for row in later.export()]

    lost, ids = asyncio.run(scenario())
    assert lost == 1
    assert ids == [identity(1)]
    assert "has lost the ends of 1 requests" in caplog.text


def test_errors_do_not_tell_what_was_said(url, caplog):
    words = "between you and me"

    async def scenario():
        async with await open_ledger(url, deadline_s=0.2) as ledger:
            await ledger.begin(opening(1))
            errors = []
            async with locked(url):
                with pytest.raises(StoreError) as caught:
                    await ledger.begin(opening(2, text=words))
                errors.append(caught.value)
            for attempt in (
                ledger.begin(opening(3, text=words, clusters={})),
                ledger.feedback(identity(1), score=None, comment=words, key={}, at=0.0),
            ):
                with pytest.raises(StoreError) as caught:
                    await attempt
                errors.append(caught.value)
            return errors

    for error in asyncio.run(scenario()):
        assert words not in "".join(traceback.format_exception(error))
    assert words not in caplog.text


def test_more_than_the_queue_holds_fails_at_once(url):
    async def scenario():
        async with await open_ledger(url, queue_limit=5) as ledger:
            futures = [ledger.begin(opening(number)) for number in range(8)]
            full = [future for future in futures if future.done()]
            for future in full:
                with pytest.raises(StoreError, match="5 requests wait to be written already"):
                    await future
            await asyncio.gather(*futures[:5])
            await ledger.begin(opening(9))
            for number in range(8):
                ledger.finish(closing(number))
            await ledger.flush()
            return len(full), [row["outcome"] async for row in ledger.export()], ledger.lost_closings

    refused, outcomes, lost = asyncio.run(scenario())
    assert refused == 3
    assert outcomes == ["ok"] * 5 + [None]
    assert lost == 3


def test_a_row_that_cannot_be_written_does_not_spoil_its_neighbours(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, (opening(1), None))
            good = [ledger.begin(opening(2)), ledger.begin(opening(3)), ledger.begin(opening(4))]
            bad = ledger.begin(opening(5, clusters={"not": "a text"}))
            again = ledger.begin(opening(1))
            ledger.finish(closing(1))
            ledger.finish(closing(2, attempts={"not": "a text"}))
            ledger.finish(closing(3))
            await asyncio.gather(*good)
            for future in (bad, again):
                with pytest.raises(StoreError):
                    await future
            await ledger.flush()
            rows = {row["id"]: row["outcome"] async for row in ledger.export()}
            return rows, (await ledger.stats(0)).total.requests, ledger.lost_closings

    rows, requests, lost = asyncio.run(scenario())
    assert rows == {identity(1): "ok", identity(2): None, identity(3): "ok", identity(4): None}
    assert (requests, lost) == (2, 1)


def test_an_id_of_an_earlier_process_is_refused(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, (opening(1), closing(1)))
            futures = [ledger.begin(opening(number)) for number in (2, 1, 3)]
            return await asyncio.gather(*futures, return_exceptions=True)

    first, second, third = asyncio.run(scenario())
    assert (first, third) == (None, None)
    assert isinstance(second, StoreError)


_FILL_THE_DISK = """
import asyncio, resource, signal, sys
from ledger_stores import closing, identity, open_ledger, opening
from avengers_pro.errors import StoreError

def leave_room(number_of_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (number_of_bytes, resource.RLIM_INFINITY))

async def main(url):
    ledger = await open_ledger(url, deadline_s=20)
    durable, refused = [], []
    await ledger.begin(opening(0))
    leave_room(400_000)
    for number in range(1, 2_000):
        try:
            await ledger.begin(opening(number, text="x" * 5_000))
            durable.append(number)
        except StoreError as error:
            refused.append(str(error))
            ledger.finish(closing(0))
            break
    else:
        raise SystemExit("the disk was never full")
    for number in range(5_000, 5_003):
        try:
            await ledger.begin(opening(number, text="x" * 500_000))
        except StoreError as error:
            refused.append(str(error))
    leave_room(resource.RLIM_INFINITY)
    await ledger.begin(opening(9_999))
    await ledger.flush()
    assert (await ledger.decision(identity(0)))["outcome"] == "ok", "the closing was not kept"
    ids = [row["id"] async for row in ledger.export()]
    await ledger.close()
    assert ids == [identity(number) for number in (0, *durable, 9_999)], "what was durable is not what is there"
    print(ledger.lost_closings, *refused, sep="\\n")

asyncio.run(main(sys.argv[1]))
"""


def test_a_full_disk_fails_requests_with_its_reason_and_is_recovered_from(tmp_path):
    """A limit on the size of files stands in for the disk, in a process of its own."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", _FILL_THE_DISK, f"sqlite:///{tmp_path}/ledger.db"],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lost, *refused = done.stdout.splitlines()
    assert lost == "0"
    assert len(refused) == 4
    assert all("disk" in reason for reason in refused), refused
    with closing_of(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@needs_postgresql
def test_a_server_that_drops_connections_is_connected_to_again():
    async def scenario(url):
        async with await open_ledger(url) as ledger:
            await ledger.begin(opening(1))
            drop = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            await execute(url, drop + " AND datname = current_database()")
            await ledger.begin(opening(2))
            ledger.finish(closing(1))
            await ledger.flush()
            return [row["outcome"] async for row in ledger.export()]

    for url in postgresql_url():
        assert asyncio.run(scenario(url)) == ["ok", None]


class Cut:
    """A line to the server that breaks right after the next commit, before anyone hears of it."""

    def __init__(self, socket_path):
        self._socket_path = socket_path
        self.is_armed = False
        self.cuts = 0

    async def serve(self, reader, writer):
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._socket_path)
        has_committed = asyncio.Event()

        async def forward():
            while data := await reader.read(65_536):
                upstream_writer.write(data)
                if self.is_armed and b"COMMIT" in data:
                    has_committed.set()

        async def back():
            while data := await upstream_reader.read(65_536):
                if has_committed.is_set():
                    self.is_armed, self.cuts = False, self.cuts + 1
                    return
                writer.write(data)

        tasks = [asyncio.create_task(forward()), asyncio.create_task(back())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        upstream_writer.close()
        writer.close()


@needs_postgresql
def test_a_commit_whose_answer_is_lost_is_not_done_twice():
    async def scenario(plain):
        parsed = sa.make_url(plain)
        cut = Cut(f"{parsed.query['host']}/.s.PGSQL.5432")
        async with await asyncio.start_server(cut.serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"postgresql://postgres@127.0.0.1:{port}/{parsed.database}?ssl=disable"
            async with await open_ledger(url) as ledger:
                await record(ledger, (opening(1), None))
                cut.is_armed = True
                ledger.finish(closing(1))
                await ledger.flush()
                cut.is_armed = True
                await asyncio.gather(ledger.begin(opening(2)), ledger.begin(opening(3)))
                rows = [(row["id"], row["outcome"]) async for row in ledger.export()]
                return cut.cuts, rows, (await ledger.stats(0)).total.requests, ledger.lost_closings

    for plain in postgresql_url():
        cuts, rows, requests, lost = asyncio.run(scenario(plain))
        assert cuts == 2
        assert rows == [(identity(1), "ok"), (identity(2), None), (identity(3), None)]
        assert (requests, lost) == (1, 0)
