"""What clients said about answers."""

import math
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.dialects import upsert
from avengers_pro.gateway.ledger.statements import storable
from avengers_pro.gateway.ledger.sums import Additions, Begun, write_additions
from avengers_pro.gateway.ledger.tables import decisions, feedback, waiting_feedback

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """One thing that was said.

    Attributes:
        id: Of the decision.
        at: When, in Unix seconds.
        score: In [0, 1]; None = only words were given.
        comment: None = only a score was given.
        key: Id of the API key that it came with; None = none was asked for.
    """

    id: str
    at: float
    score: float | None
    comment: str | None
    key: str | None


async def give_feedback(database: Database, said: Feedback) -> bool:
    """Keep it; see ``Ledger.feedback``."""
    if said.score is not None and not (math.isfinite(said.score) and 0 <= said.score <= 1):
        raise StoreError(f"a feedback score of {said.score} for {said.id!r} cannot be kept; it must be in [0, 1]")
    return await database.transact(lambda connection: _give(connection, said), "writing feedback")


async def count_waiting_feedback(database: Database) -> None:
    """Add to ``hourly`` the scores of requests that were not over when the score came, and are now.

    Raises:
        StoreError: If the database cannot be read or written.
    """
    await database.transact(_count_waiting, "counting feedback")


async def _give(connection: AsyncConnection, said: Feedback) -> bool:
    row = decisions.c
    # Locks the row on PostgreSQL, and the database on SQLite; only then is the score read that this one replaces.
    touched = await connection.execute(update(decisions).where(row.id == said.id).values(id=said.id))
    if not touched.rowcount:
        return False
    decision = (await connection.execute(_columns().where(row.id == said.id))).one()
    await connection.execute(
        insert(feedback).values(id=said.id, at=said.at, score=said.score, comment=_clean(said.comment), key=said.key)
    )
    latest: dict[str, Any] = {"feedback_score": said.score, "feedback_comment": _clean(said.comment)}
    given = {name: value for name, value in latest.items() if value is not None}
    if given:
        await connection.execute(update(decisions).where(row.id == said.id).values(given))
    if said.score is not None:
        await _count(connection, decision, said.score)
    return True


async def _count(connection: AsyncConnection, decision: Any, score: float) -> None:
    """Add a score to ``hourly``, or let it wait until the request is over and its model is known."""
    if decision.outcome is None:
        await connection.execute(upsert(connection.dialect.name, waiting_feedback, ()).values(id=decision.id))
        return
    has_waited = (await connection.execute(_no_longer_waiting(decision.id))).rowcount > 0
    before = None if has_waited else decision.feedback_score
    additions = Additions()
    additions.add_feedback(
        _begun(decision), decision.served_by, requests=int(before is None), score=score - (before or 0.0)
    )
    await write_additions(connection, additions)


async def _count_waiting(connection: AsyncConnection) -> None:
    is_waiting = decisions.c.id.in_(select(waiting_feedback.c.id))
    query = _columns().where(is_waiting, decisions.c.outcome.is_not(None)).order_by(decisions.c.id).limit(_CHUNK)
    additions = Additions()
    for decision in (await connection.execute(query)).all():
        if (await connection.execute(_no_longer_waiting(decision.id))).rowcount:
            # Read again: on SQLite the lock was not taken before this deletion.
            latest = (await connection.execute(_columns().where(decisions.c.id == decision.id))).one()
            additions.add_feedback(_begun(latest), latest.served_by, requests=1, score=latest.feedback_score)
    await write_additions(connection, additions)


def _columns() -> Any:
    row = decisions.c
    return select(row.id, row.at, row.key, row.served_by, row.outcome, row.feedback_score)


def _no_longer_waiting(decision_id: str) -> Any:
    return delete(waiting_feedback).where(waiting_feedback.c.id == decision_id)


def _begun(decision: Any) -> Begun:
    return Begun(decision.at, decision.key, None, None, None)


def _clean(comment: str | None) -> str | None:
    return None if comment is None else storable(comment)
