"""Versions of the schema: made, brought up to date, refused."""

import asyncio
import re
from pathlib import Path

import pytest
from alembic import command
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


MADE = {
    "sqlite": "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name",
    "postgresql": """
        SELECT 'column', table_name, column_name, data_type, is_nullable, column_default, character_maximum_length
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT 'index', tablename, indexname, indexdef, '', '', 0 FROM pg_indexes WHERE schemaname = 'public'
        ORDER BY 1, 2, 3""",
}


def made_of(rows):
    """Return rows of ``MADE`` without SQLite's blanks and order of columns: one that a later step added stands last."""
    return [
        (*row[:3], *(sorted(re.split(r"[,()]+", re.sub(r"\s", "", str(part)))) for part in row[3:])) for row in rows
    ]


def steps():
    config = Config()
    config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
    return config


def step_to(url, revision):
    """Make a database as it was at a step."""

    async def scenario():
        engine = create_async_engine(parse_url(url))

        def take(connection):
            config = steps()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

        async with engine.begin() as connection:
            await connection.run_sync(take)
        await engine.dispose()

    asyncio.run(scenario())


@pytest.mark.parametrize("first", REVISIONS)
def test_the_steps_from_each_version_lead_to_what_is_made_at_once(url, tmp_path, first):
    kind = url.partition(":")[0]
    asyncio.run(upgrade(url))
    at_once = asyncio.run(execute(url, MADE[kind]))
    for other in [f"sqlite:///{tmp_path}/steps.db"] if kind == "sqlite" else postgresql_url():
        step_to(other, first)
        asyncio.run(upgrade(other))
        assert asyncio.run(execute(other, "SELECT version_num FROM alembic_version")) == [(REVISIONS[-1],)]
        assert made_of(asyncio.run(execute(other, MADE[kind]))) == made_of(at_once)


def test_every_step_is_known_in_order():
    found = [step.revision for step in ScriptDirectory.from_config(steps()).walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS


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
