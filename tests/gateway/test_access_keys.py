"""Keys in a real database file: made, found, listed, revoked, noticed by other processes, and never shown."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from avengers_pro.errors import SettingsError, StoreError
from avengers_pro.gateway.access import Access, AccessDenied, Keys, Limits

SOON_S = 10.0


@asynccontextmanager
async def opened(path, *, refresh_s=None, **options):
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", **options)
    try:
        async with await Keys.open(engine, refresh_s=refresh_s) as keys:
            yield keys
    finally:
        await engine.dispose()


async def until(holds):
    give_up_s = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        await asyncio.sleep(0.005)


def name_of(keys, secret):
    """Whose key it is; None = refused."""
    try:
        return Access(keys).authenticate(f"Bearer {secret.reveal()}").name
    except AccessDenied:
        return None


def test_a_key_outlives_the_process_with_everything_it_allows(tmp_path):
    limits = Limits(
        models=("lab/large", "lab/small"),
        exclude=("lab/old",),
        min_alpha=0.2,
        max_alpha=0.9,
        requests_per_minute=60,
        tokens_per_minute=100_000,
        dollars_per_day=1.5,
        dollars_per_month=20.0,
    )

    async def first():
        async with opened(tmp_path / "gateway.db") as keys:
            assert keys.active == 0
            return await keys.create("build farm", "admin", limits)

    async def second(secret):
        async with opened(tmp_path / "gateway.db") as keys:
            assert keys.active == 1
            return await keys.list(), Access(keys).authenticate(f"Bearer {secret.reveal()}")

    before = datetime.now(UTC)
    info, secret = asyncio.run(first())
    (listed,), caller = asyncio.run(second(secret))
    assert listed == info
    assert (caller.key, caller.name, caller.role, caller.limits) == (info.id, "build farm", "admin", limits)
    assert before <= listed.created_at <= datetime.now(UTC)
    assert listed.revoked_at is None


def test_secrets_are_long_and_all_different(tmp_path):
    async def make():
        async with opened(tmp_path / "gateway.db") as keys:
            return [await keys.create("same name") for _ in range(20)]

    made = asyncio.run(make())
    texts = {secret.reveal() for _, secret in made}
    assert len(texts) == len({info.id for info, _ in made}) == 20
    for info, secret in made:
        assert secret.reveal().startswith("ap-")
        assert len(secret.reveal()) == 3 + 43  # 256 bits, 6 a character
        assert info.id not in secret.reveal()
        assert len(info.id) == 8


def test_a_revoked_key_is_refused_at_once_and_stays_in_the_list(tmp_path):
    async def run():
        async with opened(tmp_path / "gateway.db") as keys:
            (kept, kept_secret), (ended, ended_secret) = await keys.create("kept"), await keys.create("ended")
            assert await keys.revoke(ended.id)
            assert not await keys.revoke(ended.id)
            assert not await keys.revoke("nosuchid")
            assert (name_of(keys, kept_secret), name_of(keys, ended_secret)) == ("kept", None)
            with pytest.raises(AccessDenied, match=f"{ended.id} was revoked") as caught:
                Access(keys).authenticate(f"Bearer {ended_secret.reveal()}")
            assert caught.value.status == 401
            listed = await keys.list()
            assert [(info.id, info.revoked_at is None) for info in listed] == [(kept.id, True), (ended.id, False)]
            assert listed[1].revoked_at.tzinfo is UTC
            assert keys.active == 1

    asyncio.run(run())


def test_another_process_makes_and_revokes_keys_of_a_running_gateway(tmp_path):
    program = (
        "import asyncio, sys\n"
        "from sqlalchemy.ext.asyncio import create_async_engine\n"
        "from avengers_pro.gateway.access import Keys\n"
        "async def main():\n"
        "    engine = create_async_engine(sys.argv[1])\n"
        "    async with await Keys.open(engine, refresh_s=None) as keys:\n"
        "        info, secret = await keys.create('from outside')\n"
        "        print(secret.reveal(), await keys.revoke(sys.argv[2]))\n"
        "    await engine.dispose()\n"
        "asyncio.run(main())\n"
    )

    async def run():
        async with opened(tmp_path / "gateway.db", refresh_s=0.01) as keys:
            info, secret = await keys.create("inside")
            access = Access(keys)
            assert access.authenticate(None, secret.reveal()).name == "inside"
            command = [sys.executable, "-c", program, f"sqlite+aiosqlite:///{tmp_path / 'gateway.db'}", info.id]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
            outside, was_revoked = done.stdout.split()
            assert was_revoked == "True"
            await until(lambda: name_of(keys, secret) is None)
            assert access.authenticate(None, outside).name == "from outside"

    asyncio.run(run())


def test_several_gateways_may_start_on_an_empty_database_together(tmp_path):
    async def start(number):
        async with opened(tmp_path / "gateway.db") as keys:
            await keys.create(f"gateway {number}")

    async def run():
        await asyncio.gather(*(start(number) for number in range(6)))
        async with opened(tmp_path / "gateway.db") as keys:
            assert {info.name for info in await keys.list()} == {f"gateway {number}" for number in range(6)}

    asyncio.run(run())


def test_keys_go_on_working_while_the_database_is_away(tmp_path, caplog):
    path, aside = tmp_path / "gateway.db", tmp_path / "aside.db"

    async def run():
        async with opened(path, refresh_s=0.01, poolclass=NullPool) as keys:
            _, secret = await keys.create("steady")
            path.rename(aside)
            path.mkdir()  # SQLite would make a new file in its place
            await until(lambda: "go unnoticed" in caplog.text)
            assert name_of(keys, secret) == "steady"
            with pytest.raises(StoreError, match="cannot read the keys"):
                await keys.list()
            with pytest.raises(StoreError, match="cannot store the new key"):
                await keys.create("impossible")
            path.rmdir()
            aside.rename(path)
            seen = keys.refreshed_at
            await until(lambda: "read again" in caplog.text)
            assert keys.refreshed_at > seen
            assert [info.name for info in await keys.list()] == ["steady"]

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert caplog.text.count("go unnoticed") == 1, "an outage is told once, not every time"


def test_a_database_that_cannot_be_used_is_named_without_its_password(tmp_path):
    async def run(url):
        engine = create_async_engine(url)
        try:
            await Keys.open(engine)
        finally:
            await engine.dispose()

    (tmp_path / "notes.txt").write_text("no database" * 100, encoding="utf-8")
    with pytest.raises(StoreError, match=r"notes\.txt: cannot make the tables .*: file is not a database"):
        asyncio.run(run(f"sqlite+aiosqlite:///{tmp_path / 'notes.txt'}"))
    pytest.importorskip("asyncpg")
    with pytest.raises(StoreError, match="cannot make the tables of keys and sessions") as caught:
        asyncio.run(run("postgresql+asyncpg://gateway:hunter2@127.0.0.1:1/ledger"))
    assert "127.0.0.1:1/ledger" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("column", ["limits = '{\"dollars_per_week\": 5}'", "limits = 'rubbish'", "role = 'root'"])
def test_a_key_of_another_version_is_refused_and_does_not_stop_the_others(tmp_path, caplog, column):
    """Without the limit that this version does not know, the key would be allowed too much."""

    async def run():
        async with opened(tmp_path / "gateway.db") as keys:
            (newer, newer_secret), (_, secret) = await keys.create("newer"), await keys.create("ours")
        with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection, connection:
            connection.execute(f"UPDATE api_keys SET {column} WHERE id = ?", (newer.id,))
        async with opened(tmp_path / "gateway.db") as keys:
            assert (name_of(keys, newer_secret), name_of(keys, secret)) == (None, "ours")
            assert newer.id in caplog.text
            assert await keys.revoke(newer.id)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "role", "said"),
    [
        ("", "user", "1 to 200 printable"),
        ("  ", "user", "1 to 200 printable"),
        ("a\nb", "user", "1 to 200 printable"),
        ("a" * 201, "user", "1 to 200 printable"),
        ("a", "root", "one of user, admin, got 'root'"),
    ],
)
def test_names_and_roles_are_checked(tmp_path, name, role, said):
    async def run():
        async with opened(tmp_path / "gateway.db") as keys:
            with pytest.raises(SettingsError, match=said):
                await keys.create(name, role)
            assert await keys.list() == ()

    asyncio.run(run())


def test_the_secret_is_nowhere_but_in_the_answer(tmp_path, caplog):
    """Neither in what is printed, logged (statements with their values too), raised, nor in the file."""

    async def run():
        async with opened(tmp_path / "gateway.db", echo="debug") as keys:
            info, secret = await keys.create("quiet", limits=Limits(requests_per_minute=1, dollars_per_day=1))
            access = Access(keys)
            caller = access.authenticate(f"Bearer {secret.reveal()}")
            grant = access.admit(caller, tokens=1, cost_usd=0.5, now=1.0)
            raised = []
            for attempt in (
                lambda: access.authenticate(f"Bearer {secret.reveal()}x"),
                lambda: access.authenticate(f"Basic {secret.reveal()}"),
                lambda: access.authenticate(None, secret.reveal()[:-1]),
                lambda: access.admit(caller, tokens=1, cost_usd=0.1, now=1.0),
                lambda: access.admit(caller, tokens=1, cost_usd=float("nan"), now=1.0),
            ):
                with pytest.raises(AccessDenied) as caught:
                    attempt()
                raised.append(caught.value)
            await keys.revoke(info.id)
            with pytest.raises(AccessDenied) as caught:
                access.authenticate(f"Bearer {secret.reveal()}")
            raised.append(caught.value)
            shown = [info, secret, (info, secret), keys, access, caller, grant, await keys.list()]
            said = [f"{one!r} {one!s}" for one in (*shown, *raised)]
            said += [repr([error.body, error.headers, error.__dict__]) for error in raised]
            return secret.reveal(), "".join(said)

    with caplog.at_level(logging.DEBUG):
        secret, said = asyncio.run(run())
    assert "INSERT INTO api_keys" in caplog.text  # so the log would have shown it
    unique = secret.removeprefix("ap-")[:20]
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"quiet" in stored
    assert unique not in said
    assert unique not in caplog.text
    assert unique.encode() not in stored
