"""What the dashboard's sessions are signed with."""

import secrets
from contextlib import suppress

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from avengers_pro.gateway.access.tables import session_secret, store_errors

_BYTES = 32


async def read_session_secret(engine: AsyncEngine) -> bytes:
    """Return the secret of a database's gateways, which the first of them makes.

    All workers and replicas sign with the same, so that a session begun at one is good at the others, and after a
    restart. Who can read the database can forge sessions, but not keys, of which it holds digests.

    Returns:
        32 random bytes.

    Raises:
        StoreError: If the database cannot be read or written.
    """
    with store_errors(engine, "cannot read what sessions are signed with"):
        with suppress(IntegrityError):  # another gateway made it
            async with engine.begin() as connection:
                found = (await connection.execute(select(session_secret.c.value))).scalar()
                if found is not None:
                    return bytes(found)
                await connection.execute(insert(session_secret).values(id=1, value=secrets.token_bytes(_BYTES)))
        async with engine.connect() as connection:
            return bytes((await connection.execute(select(session_secret.c.value))).scalar_one())
