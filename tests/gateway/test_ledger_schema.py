"""Versions of the schema: made, brought up to date, refused."""

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from ledger_stores import STORES, execute, needs_postgresql, open_ledger, opening, postgresql_url, record, store_url
from sqlalchemy.ext.asyncio import create_async_engine

from avengers_pro.errors import StoreError
from avengers_pro.gateway import ledger as package
from avengers_pro.gateway.ledger import Ledger, upgrade
from avengers_pro.gateway.ledger.dialects import parse_url
from avengers_pro.gateway.ledger.tables import REVISIONS, metadata

url = pytest.fixture(params=STORES)(store_url)


def test_the_steps_lead_to_the_tables_in_use(url):
    async def scenario():
        await upgrade(url)
        engine = create_async_engine(parse_url(url))
        async with engine.connect() as connection:
            differences = await connection.run_sync(
                lambda plain: compare_metadata(MigrationContext.configure(plain, opts={"compare_type": True}), metadata)
            )
        await engine.dispose()
        return differences

    assert asyncio.run(scenario()) == []


def test_every_step_is_known_in_order():
    config = Config()
    config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
    steps = [step.revision for step in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(steps)) == REVISIONS


def test_upgrading_again_changes_nothing(url):
    async def scenario():
        async with await open_ledger(url) as ledger:
            await record(ledger, (opening(1), None))
            await upgrade(url)
            return [row["id"] async for row in ledger.export()]

    assert asyncio.run(scenario()) == [opening(1).id]


def test_upgrades_at_the_same_time_wait_for_each_other(url):
    async def scenario():
        await asyncio.gather(*(upgrade(url) for _ in range(4)))
        return await execute(url, "SELECT version_num FROM alembic_version")

    assert asyncio.run(scenario()) == [(REVISIONS[-1],)]


def test_ledgers_opened_at_the_same_time_make_one_database(tmp_path):
    url = f"sqlite:///{tmp_path}/new/folder/ledger.db"

    async def scenario():
        ledgers = await asyncio.gather(*(Ledger.open(url) for _ in range(4)))
        for number, ledger in enumerate(ledgers):
            await ledger.begin(opening(number))
        rows = [row["outcome"] async for row in ledgers[0].export()]
        await asyncio.gather(*(ledger.close() for ledger in ledgers))
        return rows

    assert asyncio.run(scenario()) == [None] * 4


def test_a_newer_schema_is_refused_and_left_alone(url):
    async def scenario():
        await upgrade(url)
        await execute(url, "UPDATE alembic_version SET version_num = '9999'")
        for attempt in (Ledger.open(url), Ledger.open(url, recording=False), upgrade(url)):
            with pytest.raises(StoreError, match=r"schema 9999.*newer"):
                await attempt
        return await execute(url, "SELECT version_num FROM alembic_version")

    assert asyncio.run(scenario()) == [("9999",)]


@needs_postgresql
def test_postgresql_is_upgraded_only_when_told_to():
    async def scenario(url):
        with pytest.raises(StoreError, match="holds no ledger yet; run: avengers-pro store upgrade"):
            await Ledger.open(url)
        await upgrade(url)
        async with await Ledger.open(url) as ledger:
            await ledger.begin(opening(1))

    for url in postgresql_url():
        asyncio.run(scenario(url))
