"""Reading decisions: one, a page, or all of them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.rows import Filter
from avengers_pro.gateway.ledger.tables import decisions, feedback, not_ok, texts, vectors

_READING = "reading decisions"
_CHUNK = 500
"""Decisions that an export holds at once; each chunk is a transaction of its own, so that a long export does not keep
SQLite from trimming its log."""
_OF_THESE: BindParameter[str] = bindparam("ids", expanding=True)
_TEXTS = select(texts.c.id, texts.c.part, texts.c.text).where(texts.c.id.in_(_OF_THESE))
_VECTORS = select(vectors.c.id, vectors.c.vector).where(vectors.c.id.in_(_OF_THESE))
_FEEDBACK = (
    select(feedback.c.id, feedback.c.at, feedback.c.score, feedback.c.comment, feedback.c.key)
    .where(feedback.c.id.in_(_OF_THESE))
    .order_by(feedback.c.number)
)


async def read_decision(database: Database, decision_id: str) -> dict[str, Any] | None:
    """Return one row; see ``Ledger.decision``."""

    async def read(connection: AsyncConnection) -> list[dict[str, Any]]:
        return await _complete(connection, select(decisions).where(decisions.c.id == decision_id))

    rows = await database.transact(read, _READING)
    return rows[0] if rows else None


async def read_page(database: Database, which: Filter, limit: int, before: str | None) -> list[dict[str, Any]]:
    """Return a page, newest first; see ``Ledger.decisions``."""
    row = decisions.c

    async def read(connection: AsyncConnection) -> list[dict[str, Any]]:
        query = select(decisions).where(*_conditions(which)).order_by(row.at.desc(), row.id.desc()).limit(limit)
        if before is not None:
            at = await _time_of(connection, before)
            if at is None:
                return []
            query = query.where(row.at <= at, or_(row.at < at, row.id < before))
        return [dict(one) for one in (await connection.execute(query)).mappings()]

    return await database.transact(read, _READING)


async def export_decisions(database: Database, which: Filter) -> AsyncIterator[dict[str, Any]]:
    """Yield whole rows, oldest first; see ``Ledger.export``."""
    row = decisions.c
    oldest_first = select(decisions).where(*_conditions(which)).order_by(row.at, row.id).limit(_CHUNK)
    after: tuple[float, str] | None = None
    while True:
        query = oldest_first
        if after is not None:
            at, last = after
            query = query.where(row.at >= at, or_(row.at > at, row.id > last))
        rows = await database.transact(_completing(query), _READING)
        for one in rows:
            yield one
        if len(rows) < _CHUNK:
            return
        after = rows[-1]["at"], rows[-1]["id"]


def _completing(query: Select[Any]) -> Any:
    return lambda connection: _complete(connection, query)


async def _complete(connection: AsyncConnection, query: Select[Any]) -> list[dict[str, Any]]:
    """Return rows with their texts, vectors and all their feedback, oldest first."""
    found = await connection.execute(query)
    names = tuple(found.keys())
    rows = [dict(zip(names, row, strict=True)) for row in found]
    by_id = {row["id"]: row for row in rows}
    for row in rows:
        row |= {"text": None, "answer": None, "vector": None, "feedback": []}
    ids = {"ids": list(by_id)}
    for decision, part, text in await connection.execute(_TEXTS, ids):
        by_id[decision][part] = text
    for decision, vector in await connection.execute(_VECTORS, ids):
        by_id[decision]["vector"] = vector
    for decision, at, score, comment, key in await connection.execute(_FEEDBACK, ids):
        by_id[decision]["feedback"].append({"at": at, "score": score, "comment": comment, "key": key})
    return rows


async def _time_of(connection: AsyncConnection, decision_id: str) -> float | None:
    at: float | None = (
        await connection.execute(select(decisions.c.at).where(decisions.c.id == decision_id))
    ).scalar_one_or_none()
    return at


def _conditions(which: Filter) -> Sequence[ColumnElement[bool]]:
    row = decisions.c
    wanted = {
        row.served_by: which.model,
        row.key: which.key,
        row.outcome: which.outcome,
        row.session: which.session,
        row.novel: which.novel,
    }
    conditions: list[Any] = [column == value for column, value in wanted.items() if value is not None]
    if which.outcome not in {None, "ok"}:
        conditions.append(not_ok)
    if which.since is not None:
        conditions.append(row.at >= which.since)
    if which.until is not None:
        conditions.append(row.at < which.until)
    return conditions
