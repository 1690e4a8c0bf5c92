"""What the pages ask of the ledger's database: sums over time, the latest requests, pages of decisions."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.gateway.access.tables import store_errors
from avengers_pro.gateway.ledger import Totals
from avengers_pro.gateway.ledger.sums import HOUR_S, SUMS, hour_of, sums_over_rows
from avengers_pro.gateway.ledger.tables import decisions, hourly, texts

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

LATEST = 2000
"""Requests of which latencies are read: quantiles of so many are exact enough, and quick at any size."""
TRIES = 1000
"""Requests that say how the endpoints are."""
SEARCHED = 5000
"""Requests, newest first, in whose kept prompts words are looked for."""
MOST_ROWS = 10_000
"""Requests in the hours of a range that are summed row by row; more are summed by whole hours."""
Sums = dict[tuple[int, str | None], Totals]
"""By the bucket's first Unix second and the model that answered; None = none did."""
_SAMPLED = ("decision_us", "first_byte_ms", "total_ms", "served_by", "cost_usd", "baseline_model", "baseline_cost_usd")
_LISTED = (
    *("id", "at", "key", "asked", "model", "served_by", "outcome", "status", "fallbacks", "alpha", "policy"),
    *("expected_score", "expected_cost_usd", "cost_usd", "first_byte_ms", "total_ms", "novel", "feedback_score"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """A range of time up to now, in equal steps.

    Attributes:
        name: As in the address: ``1h``, ``24h``, ``7d`` or ``30d``.
        since: First Unix second.
        until: End, not included.
        step: Seconds.
    """

    name: str
    since: int
    until: int
    step: int

    @property
    def starts(self) -> list[int]:
        """First second of each step."""
        return list(range(self.since, self.until, self.step))


_SPANS = {
    "1h": (HOUR_S, 300),
    "24h": (24 * HOUR_S, HOUR_S),
    "7d": (168 * HOUR_S, 6 * HOUR_S),
    "30d": (720 * HOUR_S,) * 2,
}
SPANS = tuple(_SPANS)


def span_of(name: str, now: float) -> Span:
    """Return a range that ends with the step in which now is; 24 hours for a name that is not known."""
    if name not in _SPANS:
        name = "24h"
    length, step = _SPANS[name]
    step = 24 * HOUR_S if name == "30d" else step
    grain = min(step, HOUR_S)
    until = (int(now) // grain + 1) * grain
    return Span(name, until - length, until, step)


class Reading:
    """Queries on the ledger, for pages; every one is quick at a million rows.

    Rows of one key alone are read where a key is given.
    """

    def __init__(self, engine: "AsyncEngine") -> None:
        """Read from the ledger's database."""
        self._engine = engine

    async def sums(self, span: Span, key: str | None) -> tuple[Span, Sums]:
        """Sum up finished requests by step and model.

        Returns:
            The range that was summed, and the sums. Steps below an hour are only for rows that are few enough;
            otherwise the range is widened to whole hours.

        Raises:
            StoreError: If the database cannot be read.
        """
        async with self._connected("reading the totals") as connection:
            if span.step % HOUR_S:
                whole = Span(span.name, hour_of(span.since), hour_of(span.until - 1) + HOUR_S, HOUR_S)
                if not await self._are_many(connection, whole):
                    return span, await self._rows(connection, span, key)
                span = whole
            return span, await self._hourly(connection, span, key)

    async def latest(self, since: float, key: str | None, limit: int = LATEST) -> list[Any]:
        """Return the latest finished requests of a range, newest first.

        Raises:
            StoreError: If the database cannot be read.
        """
        row = decisions.c
        columns = [row[name] for name in _SAMPLED]
        query = select(*columns).where(row.at >= since, row.outcome.is_not(None), *_of(key))
        return await self._all(query.order_by(row.at.desc(), row.id.desc()).limit(limit), "reading latencies")

    async def tries(self, since: float, key: str | None) -> list[Any]:
        """Return endpoint, failed attempts and time to the first byte of the latest finished requests of a range.

        Raises:
            StoreError: If the database cannot be read.
        """
        row = decisions.c
        query = select(row.endpoint, row.attempts, row.first_byte_ms).where(
            row.at >= since, row.outcome.is_not(None), *_of(key)
        )
        return await self._all(query.order_by(row.at.desc(), row.id.desc()).limit(TRIES), "reading attempts")

    async def compared(self, since: float, key: str | None) -> list[Any]:
        """Return first choice, shadow's choice and novelty of the latest requests of a range that were embedded.

        Raises:
            StoreError: If the database cannot be read.
        """
        row = decisions.c
        query = select(row.model, row.shadow_model, row.novel).where(
            row.at >= since, row.outcome.is_not(None), row.clusters != "[]", *_of(key)
        )
        return await self._all(query.order_by(row.at.desc(), row.id.desc()).limit(LATEST), "reading choices")

    async def clusters(self, since: float, key: str | None, router: str) -> list[Any]:
        """Return the clusters of the latest requests of a range that a router decided; none of novel queries.

        Raises:
            StoreError: If the database cannot be read.
        """
        row = decisions.c
        newest = (
            select(row.clusters, row.router, row.novel)
            .where(row.at >= since, *_of(key))
            .order_by(row.at.desc(), row.id.desc())
            .limit(LATEST)
            .subquery()
        )
        query = select(newest.c.clusters).where(newest.c.router == router, newest.c.novel.is_(False))
        return await self._all(query, "reading clusters")

    async def listed(self, conditions: Sequence[ColumnElement[bool]], limit: int) -> list[Any]:
        """Return decisions for a table, newest first.

        Raises:
            StoreError: If the database cannot be read.
        """
        row = decisions.c
        query = select(*(row[name] for name in _LISTED)).where(*conditions)
        return await self._all(query.order_by(row.at.desc(), row.id.desc()).limit(limit), "reading decisions")

    async def time_of(self, decision: str) -> float | None:
        """Return when a decision was made; None = there is none of this id.

        Raises:
            StoreError: If the database cannot be read.
        """
        found = await self._all(select(decisions.c.at).where(decisions.c.id == decision), "reading a decision")
        return found[0].at if found else None

    async def has_session(self, name: str) -> bool:
        """Whether a conversation of this name is known.

        Raises:
            StoreError: If the database cannot be read.
        """
        known = select(decisions.c.id).where(decisions.c.session == name, decisions.c.session.is_not(None)).limit(1)
        return bool(await self._all(known, "reading a session"))

    async def _all(self, query: Any, doing: str) -> list[Any]:
        async with self._connected(doing) as connection:
            return list((await connection.execute(query)).all())

    @asynccontextmanager
    async def _connected(self, doing: str) -> AsyncIterator[AsyncConnection]:
        with store_errors(self._engine, f"{doing} failed"):
            async with self._engine.connect() as connection:
                yield connection

    async def _are_many(self, connection: AsyncConnection, span: Span) -> bool:
        column = hourly.c
        query = select(func.sum(column.requests)).where(column.hour >= span.since, column.hour < span.until)
        return ((await connection.execute(query)).scalar() or 0) > MOST_ROWS

    async def _hourly(self, connection: AsyncConnection, span: Span, key: str | None) -> Sums:
        column = hourly.c
        where = [column.hour >= span.since, column.hour < span.until]
        if key is not None:
            where.append(column.key == key)
        # By hour first, which the primary key has in order: a third less work than by step at once.
        sums = [func.sum(column[name]).label(name) for name in SUMS]
        hours = select(column.hour, column.model, *sums).where(*where).group_by(column.hour, column.model).subquery()
        bucket = (hours.c.hour - span.since) // span.step
        query = select(bucket, hours.c.model, *(func.sum(hours.c[name]) for name in SUMS))
        rows = (await connection.execute(query.group_by(bucket, hours.c.model))).all()
        return {(span.since + int(place) * span.step, model or None): _totals(values) for place, model, *values in rows}

    async def _rows(self, connection: AsyncConnection, span: Span, key: str | None) -> Sums:
        row = decisions.c
        bucket = case(*((row.at < start + span.step, start) for start in span.starts), else_=span.starts[-1])
        query = select(bucket, row.served_by, *sums_over_rows()).where(
            row.outcome.is_not(None), row.at >= span.since, row.at < span.until, *_of(key)
        )
        rows = (await connection.execute(query.group_by(bucket, row.served_by))).all()
        return {(int(start), model): _totals(values) for start, model, *values in rows}


def _of(key: str | None) -> list[ColumnElement[bool]]:
    return [] if key is None else [decisions.c.key == key]


def with_words(words: str) -> ColumnElement[bool]:
    """Return the condition that a kept prompt has these words; looks at the newest ``SEARCHED`` requests alone."""
    row = decisions.c
    newest = select(row.id).order_by(row.at.desc()).limit(SEARCHED).subquery()
    pattern = "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    found = select(texts.c.id).where(
        texts.c.id.in_(select(newest.c.id)), texts.c.part == "text", texts.c.text.ilike(pattern, escape="\\")
    )
    return row.id.in_(found)


def _totals(values: Sequence[Any]) -> Totals:
    known = zip(SUMS, values, strict=True)
    return Totals(**{name: type(getattr(_ZERO, name))(value) for name, value in known})


_ZERO = Totals()
