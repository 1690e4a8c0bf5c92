"""Marking the unfinished requests of processes that are gone."""

import time
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.rows import INTERRUPTED, Closing
from avengers_pro.gateway.ledger.sums import Additions, Begun, write_additions
from avengers_pro.gateway.ledger.tables import decisions, processes, unfinished

_CHUNK = 500
"""Requests a transaction: the writer waits for each on SQLite."""


async def mark_interrupted(database: Database, gone_before: float) -> int:
    """Finish, as interrupted, the requests of processes that are gone.

    Args:
        database: Where.
        gone_before: A process whose last beat is older than this is gone, in Unix seconds.

    Returns:
        How many requests were marked.

    Raises:
        StoreError: If the database cannot be read or written.
    """
    marked = 0
    while True:
        some = await database.transact(
            lambda connection: _mark_some(connection, gone_before), "marking interrupted requests"
        )
        marked += some
        if some < _CHUNK:
            return marked


async def _mark_some(connection: AsyncConnection, gone_before: float) -> int:
    # Written first, so that on SQLite nobody else writes between the reading and the marking.
    await connection.execute(delete(processes).where(processes.c.beat_at < gone_before))
    row = decisions.c
    query = (
        select(row.id, row.at, row.key, row.baseline_cost_usd, row.expected_score, row.baseline_score)
        .where(unfinished, row.process.not_in(select(processes.c.id)))
        .order_by(row.id)
        .limit(_CHUNK)
        .with_for_update()
    )
    found = (await connection.execute(query)).all()
    if found:
        now = time.time()
        ids = [one.id for one in found]
        await connection.execute(
            update(decisions).where(row.id.in_(ids), unfinished).values(outcome=INTERRUPTED, closed_at=now)
        )
        additions = Additions()
        for one in found:
            additions.add_request(Begun(*one[1:]), _interrupted(one, now))
        await write_additions(connection, additions)
    return len(found)


def _interrupted(one: Any, at: float) -> Closing:
    return Closing(
        id=one.id,
        at=at,
        outcome=INTERRUPTED,
        status=0,
        served_by=None,
        endpoint=None,
        fallbacks=0,
        attempts="[]",
        prompt_tokens=None,
        completion_tokens=None,
        cached_tokens=None,
        cost_usd=None,
        finish_reason=None,
        first_byte_ms=None,
        total_ms=None,
    )
