"""The tables of keys and of the secret behind sessions, in the same database as the ledger."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Column, DateTime, Integer, LargeBinary, MetaData, String, Table, Text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from avengers_pro.errors import StoreError

metadata = MetaData()
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("name", String(200), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("limits", Text, nullable=False),
)
"""``digest`` is the SHA-256 of the secret, ``limits`` JSON, times are in UTC."""
session_secret = Table(
    "session_secret",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", LargeBinary(32), nullable=False),
)
"""One row, made by the first gateway."""


async def prepare(engine: AsyncEngine) -> None:
    """Make the tables if they are missing; several processes may do so at the same time.

    Raises:
        StoreError: If the database cannot be reached or written.
    """
    for is_last in (False, True):
        try:
            async with engine.begin() as connection:
                await connection.run_sync(metadata.create_all)
        except (SQLAlchemyError, OSError) as error:
            # Another process may have made one between our look and our CREATE TABLE: a second look finds it. If
            # something else is wrong, the same error comes again.
            if is_last:
                raise _store_error(engine, "cannot make the tables of keys and sessions", error) from error
        else:
            return


@contextmanager
def store_errors(engine: AsyncEngine, what: str) -> Iterator[None]:
    """Turn the database's errors into ours, without statements and their values.

    Raises:
        StoreError: Instead of SQLAlchemy's and the network's errors.
    """
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        raise _store_error(engine, what, error) from error


def _store_error(engine: AsyncEngine, what: str, error: SQLAlchemyError | OSError) -> StoreError:
    where = engine.url.render_as_string(hide_password=True)
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return StoreError(f"{where}: {what}: {cause}; check that the database is up and may be written")
