"""Removing old decisions; the hourly sums stay."""

import math

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.dialects import give_back, upsert, used_bytes
from avengers_pro.gateway.ledger.tables import decisions, feedback, marks, texts, vectors, waiting_feedback
from avengers_pro.gateway.ledger.totals import PRUNED

_CHUNK = 500
"""Decisions a transaction: on SQLite, requests wait for each."""
_PAGES = 2_000
"""Pages that a SQLite file gives back at a time."""
_PRUNING = "pruning"


async def prune(database: Database, older_than: float | None, max_bytes: int | None) -> int:
    """Remove decisions, oldest first; see ``Ledger.prune``."""
    removed = 0
    if older_than is not None:
        while some := await _remove(database, _CHUNK, older_than):
            removed += some
    if max_bytes is not None:
        removed += await _shrink(database, max_bytes)
    if removed:
        while await database.transact(lambda connection: give_back(connection, _PAGES), _PRUNING):
            pass
    return removed


async def _shrink(database: Database, max_bytes: int) -> int:
    removed = 0
    while (surplus := await database.transact(lambda connection: _surplus(connection, max_bytes), _PRUNING)) > 0:
        this_time = 0
        while this_time < surplus:
            some = await _remove(database, min(_CHUNK, surplus - this_time), math.inf)
            if not some:
                return removed
            this_time += some
            removed += some
    return removed


async def _surplus(connection: AsyncConnection, max_bytes: int) -> int:
    """Return how many decisions are too many, by their mean size."""
    used = await used_bytes(connection)
    if used <= max_bytes:
        return 0
    rows = (await connection.execute(select(func.count()).select_from(decisions))).scalar_one()
    return math.ceil(rows * (used - max_bytes) / used)


async def _remove(database: Database, limit: int, older_than: float) -> int:
    return await database.transact(lambda connection: _remove_some(connection, limit, older_than), _PRUNING)


async def _remove_some(connection: AsyncConnection, limit: int, older_than: float) -> int:
    row = decisions.c
    oldest = select(row.id, row.at).where(row.outcome.is_not(None)).order_by(row.at).limit(limit).with_for_update()
    if math.isfinite(older_than):
        oldest = oldest.where(row.at < older_than)
    found = (await connection.execute(oldest)).all()
    if found:
        ids = [one.id for one in found]
        await _mark_pruned(connection, found[-1].at)
        for table in (texts, vectors, feedback, waiting_feedback, decisions):
            await connection.execute(delete(table).where(table.c.id.in_(ids)))
    return len(found)


async def _mark_pruned(connection: AsyncConnection, at: float) -> None:
    await connection.execute(upsert(connection.dialect.name, marks, ()).values(name=PRUNED, at=at))
    await connection.execute(update(marks).where(marks.c.name == PRUNED, marks.c.at < at).values(at=at))
