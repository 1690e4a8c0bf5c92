"""All that differs between SQLite and PostgreSQL; nothing else in the ledger says which one it talks to."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from avengers_pro.errors import MissingExtraError, SettingsError

FAILURES = (SQLAlchemyError, OSError)
"""What a database raises; a server that cannot be reached is an OSError, and so is a TimeoutError."""
ROW_FAULTS = (ValueError, TypeError, OverflowError)
"""What a driver raises, beside its own errors, when a value does not fit its column."""
_DRIVERS = {
    "sqlite": ("aiosqlite", "serve"),
    "postgresql": ("asyncpg", "postgres"),
    "postgres": ("asyncpg", "postgres"),
}
_COMMAND_TIMEOUT_S = 25.0
"""A transaction on PostgreSQL ends within this time; it must be less than half of ``presence.GONE_AFTER_S``."""
_LONGEST_BUSY_S = 1.0
"""How long the database itself waits for another's transaction; the callers try again until their own deadline."""
_PASSING_SQLITE = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_PASSING_CLASSES = {"08", "40", "57"}
"""PostgreSQL: connection lost, transaction rolled back for the sake of another, shut down by an operator."""
_PASSING_STATES = {"53300", "55P03"}
"""PostgreSQL: too many connections, lock not available."""
_ROW_FAULT_CLASSES = {"22", "23"}
"""PostgreSQL: a value that does not fit, a constraint that is broken."""
_SCHEMA_LOCK = 7_238_410_927
"""PostgreSQL's advisory locks are numbers; this one is the ledger's."""
_INDEX_BYTES = 150
"""PostgreSQL: bytes that a row takes in the indices, roughly."""


def parse_url(url: str) -> URL:
    """Return the URL with its asynchronous driver.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://user:password@host/database``.

    Raises:
        SettingsError: If it is none of these.
        MissingExtraError: If the driver is not installed.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsError(
            f"the store's URL cannot be read ({type(error).__name__}); like sqlite:///ledger.db "
            "or postgresql://user:password@host/database it must be"
        ) from None  # the URL may hold a password
    kind = parsed.get_backend_name()
    if kind not in _DRIVERS:
        raise SettingsError(f"the store's URL starts with {parsed.drivername!r}; sqlite:// or postgresql:// is needed")
    driver, extra = _DRIVERS[kind]
    if find_spec(driver) is None:
        raise MissingExtraError(driver, extra, f"a store in {parsed.drivername}")
    if kind == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise SettingsError(f"the store's URL {url!r} names no file; write sqlite:///ledger.db")
        return parsed.set(drivername="sqlite+aiosqlite")
    return _with_asyncpg_names(parsed.set(drivername="postgresql+asyncpg"))


def _with_asyncpg_names(url: URL) -> URL:
    """``sslmode`` is what everyone writes, ``ssl`` is what the driver calls it."""
    query = dict(url.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    return url.set(query=query)


def shown(url: URL) -> str:
    """Return the URL for messages: as one writes it, without the password."""
    return url.set(drivername=url.get_backend_name()).render_as_string()


def file_of(url: URL) -> Path | None:
    """Return the file of a SQLite database; None for PostgreSQL."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def make_engine(url: URL, deadline_s: float, *, is_patient: bool = False) -> AsyncEngine:
    """Return an engine; nothing is connected yet. Its errors hold no values: these may be prompts.

    Args:
        url: From ``parse_url``.
        deadline_s: How long to wait for a connection, in seconds.
        is_patient: True if one statement may take any time, as in a migration.
    """
    busy_s = min(deadline_s, _LONGEST_BUSY_S)
    if file_of(url) is not None:
        engine = create_async_engine(
            url, connect_args={"timeout": busy_s}, pool_timeout=deadline_s, hide_parameters=True
        )
        event.listen(engine.sync_engine, "connect", _set_up_sqlite_connection)
        return engine
    limits = {"timeout": deadline_s, "command_timeout": None if is_patient else _COMMAND_TIMEOUT_S}
    engine = create_async_engine(
        url, connect_args=limits, pool_pre_ping=True, pool_timeout=deadline_s, hide_parameters=True
    )
    if not is_patient:
        set_up = partial(_set_up_postgresql_connection, int(busy_s * 1_000))
        event.listen(engine.sync_engine, "connect", set_up)
    return engine


def make_thread_engine(url: URL, deadline_s: float) -> Engine:
    """Return an engine for the same SQLite file on the standard library's driver, for use in one thread."""
    busy_s = min(deadline_s, _LONGEST_BUSY_S)
    plain = url.set(drivername="sqlite+pysqlite")
    engine = create_engine(plain, connect_args={"timeout": busy_s}, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "connect", _set_up_sqlite_connection)
    return engine


def _set_up_sqlite_connection(connection: Any, _record: object) -> None:
    """Choose how much a commit waits for.

    In WAL mode NORMAL writes each commit to the file at once and leaves it to the operating system when that reaches
    the disk. A process that is killed, even by SIGKILL, loses nothing: what it wrote is in the system's cache. Only
    when the machine itself goes down may the last commits be missing; the file stays consistent even then.
    """
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _set_up_postgresql_connection(busy_ms: int, connection: Any, _record: object) -> None:
    """Wait for another's lock no longer than SQLite does; the callers try again until their own deadline."""
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = {busy_ms}")
    cursor.close()
    connection.commit()


async def prepare_file(connection: AsyncConnection) -> None:
    """Set what a SQLite file keeps for good; does nothing on PostgreSQL.

    Readers and the writer do not wait for each other in WAL mode. Incremental vacuum lets pruning give space back;
    it can be chosen only while the file has no tables.
    """
    if connection.dialect.name == "sqlite":
        await connection.exec_driver_sql("PRAGMA auto_vacuum = INCREMENTAL")
        await connection.exec_driver_sql("PRAGMA journal_mode = WAL")


def lock_schema(connection: Connection) -> None:
    """Begin a transaction that no second migration of the same database can enter."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")


def upsert(dialect: str, table: Table, added: Sequence[str]) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that adds to the named columns of a row whose primary key is already there.

    With nothing to add, such a row is left as it is.
    """
    keys = list(table.primary_key.columns)
    if dialect == "sqlite":
        one = sqlite.insert(table)
        if not added:
            return one.on_conflict_do_nothing(index_elements=keys)
        return one.on_conflict_do_update(
            index_elements=keys, set_={name: table.c[name] + one.excluded[name] for name in added}
        )
    other = postgresql.insert(table)
    if not added:
        return other.on_conflict_do_nothing(index_elements=keys)
    return other.on_conflict_do_update(
        index_elements=keys, set_={name: table.c[name] + other.excluded[name] for name in added}
    )


async def used_bytes(connection: AsyncConnection) -> int:
    """Return how many bytes the rows take.

    SQLite: pages in use, exactly. PostgreSQL, whose files keep the space of deleted rows: an estimate from the
    number of rows and the size of the thousand oldest.
    """
    if connection.dialect.name == "sqlite":
        pages, free, size = [
            (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("page_count", "freelist_count", "page_size")
        ]
        return int((pages - free) * size)
    used = 0.0
    for table, order in (("decisions", "at"), ("texts", "id"), ("vectors", "id")):
        sample = f"SELECT pg_column_size(t.*) AS size FROM {table} t ORDER BY {order} LIMIT 1000"
        rows = (await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")).scalar_one()
        mean = (await connection.exec_driver_sql(f"SELECT coalesce(avg(size), 0) FROM ({sample}) s")).scalar_one()
        used += rows * (float(mean) + _INDEX_BYTES)
    return int(used)


async def give_back(connection: AsyncConnection, pages: int) -> bool:
    """Return up to so many free pages of a SQLite file to the file system.

    PostgreSQL keeps the space of deleted rows for new ones; its autovacuum sees to that.

    Returns:
        True if more can be given back.
    """
    if connection.dialect.name != "sqlite":
        return False
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    before = await _free_pages(connection)
    try:
        # Only a script is run to its end, and this PRAGMA frees one page at each step.
        await driver.executescript(f"PRAGMA incremental_vacuum({pages})")
    except sqlite3.OperationalError:  # someone is busy: new rows will use these pages, or the next pruning sees to it
        return False
    return 0 < await _free_pages(connection) < before  # a file made elsewhere may not be able to shrink


async def _free_pages(connection: AsyncConnection) -> int:
    return int((await connection.exec_driver_sql("PRAGMA freelist_count")).scalar_one())


def is_passing(error: Exception) -> bool:
    """True if the same transaction may well succeed a moment later: someone else is busy, or a server is away."""
    if isinstance(error, OSError | PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _PASSING_SQLITE  # the low byte; the rest says why
    state = _state(error)
    return error.connection_invalidated or state[:2] in _PASSING_CLASSES or state in _PASSING_STATES


def is_row_fault(error: Exception) -> bool:
    """True if one row of the transaction is at fault, so that the others can be written without it."""
    if isinstance(error, (*ROW_FAULTS, IntegrityError, DataError, InterfaceError, ProgrammingError)):
        return True
    return isinstance(error, DBAPIError) and _state(error)[:2] in _ROW_FAULT_CLASSES


def reason(error: BaseException) -> str:
    """Return what the database said, without the statement and its values."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return str(said) or type(said).__name__


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""
