"""Sums over a range of time: whole hours from ``hourly``, the ends of the range from the rows themselves.

Where the rows of such an end are pruned, or too many to be summed while someone waits, the range is widened to the
whole hour.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from operator import add
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.rows import Stats, Totals
from avengers_pro.gateway.ledger.sums import HOUR_S, SUMS, Number, hour_of, sums_over_rows
from avengers_pro.gateway.ledger.tables import NO_NAME, decisions, hourly, marks

PRUNED = "pruned"
"""Name of the mark up to which rows may be missing."""
MOST_ROWS = 100_000
"""Requests in an hour that are summed row by row; that takes some tenths of a second."""
_Sums = dict[str, tuple[Number, ...]]


@dataclass(frozen=True, slots=True)
class _Range:
    """A range in Unix seconds, ``until`` not included; infinity = no end."""

    since: float
    until: float

    def ragged(self) -> set[int]:
        """Return the hours that are only partly in the range, of those at its ends."""
        return {hour_of(end) for end in (self.since, self.until) if math.isfinite(end) and end % HOUR_S}

    def widened(self, hours: set[int]) -> "_Range":
        """Move ends that lie in these hours to their edges."""
        since, until = self.since, self.until
        if hour_of(since) in hours:
            since = hour_of(since)
        if math.isfinite(until) and hour_of(until) in hours:
            until = math.ceil(until / HOUR_S) * HOUR_S
        return _Range(float(since), float(until))

    def parts(self) -> "tuple[_Range | None, list[_Range]]":
        """Return the whole hours in the range, None if there is none, and what is left of it."""
        first = math.ceil(self.since / HOUR_S) * HOUR_S
        last = self.until if math.isinf(self.until) else hour_of(self.until)
        if first >= last:
            return None, [self]
        ends = [_Range(self.since, first), _Range(last, self.until)]
        return _Range(first, last), [end for end in ends if end.since < end.until]


async def read_stats(database: Database, since: float, until: float | None) -> Stats:
    """Return the sums by model; see ``Ledger.stats``."""
    whole, sums = await _read(database, since, until, hourly.c.model, decisions.c.served_by)
    models = {model or None: _totals(row) for model, row in sorted(sums.items())}
    total = tuple(map(sum, zip(*sums.values(), strict=True))) if sums else (0,) * len(SUMS)
    return Stats(since=whole.since, until=whole.until, total=_totals(total), models=models)


async def read_spend(database: Database, since: float) -> dict[str, float]:
    """Return US dollars by key; see ``Ledger.spend``."""
    _, sums = await _read(database, since, None, hourly.c.key, decisions.c.key)
    return {key: _totals(row).cost_usd for key, row in sorted(sums.items()) if key != NO_NAME}


async def _read(
    database: Database,
    since: float,
    until: float | None,
    hourly_group: ColumnElement[str],
    row_group: ColumnElement[str],
) -> tuple[_Range, _Sums]:
    asked = _Range(since, math.inf if until is None else until)

    async def read(connection: AsyncConnection) -> tuple[_Range, _Sums]:
        whole = asked.widened(await _hours_without_rows(connection, asked.ragged()))
        hours, ends = whole.parts()
        sums: _Sums = defaultdict(lambda: (0,) * len(SUMS))
        queries = [_over_rows(end, row_group) for end in ends]
        if hours is not None:
            queries.append(_over_hours(hours, hourly_group))
        for query in queries:
            for name, *row in (await connection.execute(query)).all():
                sums[name or NO_NAME] = tuple(map(add, sums[name or NO_NAME], row))
        return whole, dict(sums)

    return await database.transact(read, "reading the totals")


async def _hours_without_rows(connection: AsyncConnection, hours: set[int]) -> set[int]:
    """Return those of the hours whose rows are pruned, or too many to sum."""
    if not hours:
        return set()
    pruned = (await connection.execute(select(marks.c.at).where(marks.c.name == PRUNED))).scalar_one_or_none()
    many = select(hourly.c.hour).where(hourly.c.hour.in_(hours)).group_by(hourly.c.hour)
    crowded = await connection.execute(many.having(func.sum(hourly.c.requests) > MOST_ROWS))
    return {hour for hour in hours if pruned is not None and hour <= pruned} | {hour for (hour,) in crowded}


def _over_hours(hours: _Range, group: ColumnElement[str]) -> Any:
    sums = [func.sum(hourly.c[name]) for name in SUMS]
    return select(group, *sums).where(*_within(hourly.c.hour, hours)).group_by(group)


def _over_rows(part: _Range, group: ColumnElement[str]) -> Any:
    is_over = decisions.c.outcome.is_not(None)
    return select(group, *sums_over_rows()).where(is_over, *_within(decisions.c.at, part)).group_by(group)


def _within(column: ColumnElement[Any], part: _Range) -> list[ColumnElement[bool]]:
    since = column >= part.since
    return [since] if math.isinf(part.until) else [since, column < part.until]


def _totals(row: tuple[Number, ...]) -> Totals:
    values: dict[str, Any] = dict(zip(SUMS, row, strict=True))
    return Totals(**{name: _like(getattr(_ZERO, name), value) for name, value in values.items()})


_ZERO = Totals()


def _like(example: float, value: Any) -> Any:
    """PostgreSQL sums integers as decimals."""
    return type(example)(value)
