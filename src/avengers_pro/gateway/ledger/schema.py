"""The schema's version: looked at whenever a ledger is opened, raised by ``upgrade``."""

from pathlib import Path

from sqlalchemy import Connection, inspect

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.dialects import file_of, lock_schema, make_engine, parse_url, prepare_file, shown
from avengers_pro.gateway.ledger.tables import REVISIONS, metadata

_PATIENCE_S = 30.0
"""How long an upgrade waits for a connection, or for others to finish theirs."""
_VERSION_TABLE = "alembic_version"
"""Alembic's own: one row, the revision."""
_MAKE_VERSION = (
    f"CREATE TABLE {_VERSION_TABLE} "
    "(version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)


async def upgrade(url: str) -> None:
    """Bring a database to the schema of this version, making it if it is empty. Nothing happens if it has it already.

    All steps are one transaction; it may take long on a large database.

    Args:
        url: As for ``Ledger.open``.

    Raises:
        SettingsError: If the URL is wrong.
        MissingExtraError: If its driver is not installed.
        StoreError: If the database cannot be reached or written, or its schema is newer than this version's.
    """
    parsed = parse_url(url)
    engine = make_engine(parsed, _PATIENCE_S, is_patient=True)
    try:
        await bring_up_to_date(Database(engine, shown(parsed), _PATIENCE_S))
    finally:
        await engine.dispose()


async def bring_up_to_date(database: Database) -> None:
    """As ``upgrade``, on a database that is at hand."""
    path = file_of(database.engine.url)
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"the ledger {database.shown}: its folder cannot be made: {error.strerror}") from error
        await database.transact(prepare_file, "opening")
    if await _revision(database) != REVISIONS[-1]:
        await database.transact(lambda connection: connection.run_sync(_apply, database.shown), "upgrading the schema")


async def check(database: Database) -> None:
    """Refuse a schema that is not this version's.

    Raises:
        StoreError: If it is older, newer, or not there; says what to do.
    """
    _refuse_newer(revision := await _revision(database), database.shown)
    if revision != REVISIONS[-1]:
        what = "holds no ledger yet" if revision is None else f"has the schema {revision}, older than {REVISIONS[-1]}"
        raise StoreError(f"the ledger {database.shown} {what}; run: avengers-pro store upgrade")


async def _revision(database: Database) -> str | None:
    return await database.transact(lambda connection: connection.run_sync(_read_revision), "reading its schema")


def _read_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(_VERSION_TABLE):
        return None
    revision: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {_VERSION_TABLE}").scalar()
    return revision


def _refuse_newer(revision: str | None, name: str) -> None:
    if revision is not None and revision not in REVISIONS:
        raise StoreError(
            f"the ledger {name} has the schema {revision}, which this version does not know (it knows up to "
            f"{REVISIONS[-1]}): it was written by a newer one; install that, or name another database"
        )


def _apply(connection: Connection, name: str) -> None:
    lock_schema(connection)
    revision = _read_revision(connection)  # another process may have been here first
    _refuse_newer(revision, name)
    if revision is None:
        metadata.create_all(connection, checkfirst=False)
        connection.exec_driver_sql(_MAKE_VERSION)
        connection.exec_driver_sql(f"INSERT INTO {_VERSION_TABLE} VALUES ('{REVISIONS[-1]}')")
    elif revision != REVISIONS[-1]:
        _step_up(connection)


def _step_up(connection: Connection) -> None:
    """Take the steps that an older schema lacks."""
    from alembic import command  # takes a while to import, and 10 MB, and is needed only here
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
