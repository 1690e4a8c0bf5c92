"""Keys in PostgreSQL, where it is installed: several gateways share one table."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from avengers_pro.gateway.access import Keys, Limits

pytest.importorskip("asyncpg")
PROGRAMS = [Path(found).resolve().parent for found in [shutil.which("postgres") or shutil.which("initdb")] if found]


@pytest.fixture(scope="module")
def postgres():
    """A server of its own; it refuses to run as root, so root lends it to its usual user."""
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed")
    is_root = os.geteuid() == 0
    if is_root and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="keys"))
    who = {}
    if is_root:
        shutil.chown(folder, "postgres")
        who = {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}
    data = folder / "data"

    def run(program, *arguments):
        command = [PROGRAMS[0] / program, "-D", data, *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, **who)

    try:
        run("initdb", "-A", "trust", "-U", "gateway", "-N")
        run("pg_ctl", "-o", f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off", "-l", folder / "log", "-w", "start")
        try:
            yield f"postgresql+asyncpg://gateway@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def test_gateways_share_keys_in_postgresql(postgres):
    async def until(holds):
        give_up_s = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < give_up_s, "it did not happen in time"
            await asyncio.sleep(0.01)

    async def run():
        async with AsyncExitStack() as stack:
            engines = [create_async_engine(postgres) for _ in range(5)]
            for engine in engines:
                stack.push_async_callback(engine.dispose)
            opened = await asyncio.gather(*(Keys.open(engine, refresh_s=0.02) for engine in engines))
            for keys in opened:
                await stack.enter_async_context(keys)
            one, other = opened[:2]
            info, secret = await one.create("shared", "admin", Limits(models=("a",), dollars_per_day=2.5))
            assert await other.list() == (info,)
            await until(lambda: all(keys.find(secret.reveal()) == info for keys in opened))
            assert await other.revoke(info.id)
            assert not await one.revoke(info.id)
            await until(lambda: all(keys.active == 0 for keys in opened))
            assert (await one.list())[0].revoked_at >= info.created_at

    asyncio.run(run())
