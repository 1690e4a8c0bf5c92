"""The sums of ``hourly``: what a finished request adds to them, and the same sums over rows."""

import math
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from types import SimpleNamespace
from typing import Any

from sqlalchemy import ColumnElement, Insert, and_, case, func
from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.gateway.ledger.dialects import upsert
from avengers_pro.gateway.ledger.rows import NO_ERRORS, Closing, Totals
from avengers_pro.gateway.ledger.tables import NO_NAME, decisions, hourly

HOUR_S = 3_600
SUMS = tuple(field.name for field in fields(Totals))
"""Columns of ``hourly`` that are sums, in the order of ``Totals``."""
Group = tuple[int, str, str]
"""Primary key of ``hourly``: the hour's first Unix second, model, API key."""
Number = int | float
_in_order = attrgetter(*SUMS)


@dataclass(slots=True, eq=False)
class Begun:
    """What the sums need of a request until it is over.

    Attributes:
        at: When the request came, in Unix seconds.
        key: Id of its API key.
        baseline_cost_usd: Of the best single model; None = unknown.
        expected_score: Of the first choice; None = unknown.
        baseline_score: Of the best single model; None = unknown.
        process: The process under whose name its row was written; None = it is not durable yet.
        has_failed: True when its row was not written, and will not be.
    """

    at: float
    key: str | None
    baseline_cost_usd: float | None
    expected_score: float | None
    baseline_score: float | None
    process: str | None = None
    has_failed: bool = False


class Additions:
    """What a transaction adds to ``hourly``, by row of it."""

    def __init__(self) -> None:
        self._sums: dict[Group, SimpleNamespace] = {}

    def add_request(self, begun: Begun, closing: Closing) -> None:
        """Add a request that is over; ``sums_over_rows`` says the same in SQL."""
        sums = self._of(begun, closing.served_by)
        sums.requests += 1
        sums.errors += closing.outcome not in NO_ERRORS
        sums.fallbacks += closing.fallbacks > 0
        cost, baseline_cost = known(closing.cost_usd), known(begun.baseline_cost_usd)
        if cost is None:
            sums.unpriced += 1
        else:
            sums.cost_usd += cost
        if cost is None or baseline_cost is None:
            sums.uncompared += 1
        else:
            sums.baseline_cost_usd += baseline_cost
            sums.saved_usd += baseline_cost - cost
        expected_score, baseline_score = known(begun.expected_score), known(begun.baseline_score)
        if expected_score is None or baseline_score is None:
            sums.unscored += 1
        else:
            sums.expected_score_sum += expected_score
            sums.baseline_score_sum += baseline_score
        sums.prompt_tokens += closing.prompt_tokens or 0
        sums.completion_tokens += closing.completion_tokens or 0
        sums.unmetered += closing.prompt_tokens is None or closing.completion_tokens is None

    def add_feedback(self, begun: Begun, model: str | None, *, requests: int, score: float) -> None:
        """Add the score of so many requests, or with ``requests=0`` the change of one that was added before."""
        sums = self._of(begun, model)
        sums.feedback += requests
        sums.feedback_score_sum += score

    def rows(self) -> list[tuple[Any, ...]]:
        """Return rows for ``add_to_hourly``, ordered so that two transactions never wait for each other."""
        return [(*group, *_in_order(sums)) for group, sums in sorted(self._sums.items(), key=itemgetter(0))]

    def _of(self, begun: Begun, model: str | None) -> SimpleNamespace:
        group = (hour_of(begun.at), model or NO_NAME, begun.key or NO_NAME)
        sums = self._sums.get(group)
        if sums is None:
            sums = self._sums[group] = SimpleNamespace(**dict.fromkeys(SUMS, 0))
        return sums


def add_to_hourly(dialect: str) -> Insert:
    """Return the statement that adds rows to ``hourly``."""
    return upsert(dialect, hourly, SUMS)


async def write_additions(connection: AsyncConnection, additions: Additions) -> None:
    """Add to ``hourly`` in the transaction of the connection."""
    names = ("hour", "model", "key", *SUMS)
    rows = [dict(zip(names, row, strict=True)) for row in additions.rows()]
    if rows:
        await connection.execute(add_to_hourly(connection.dialect.name), rows)


def hour_of(at: float) -> int:
    """Return the first Unix second of the hour."""
    return int(at // HOUR_S) * HOUR_S


def known(number: float | None) -> float | None:
    """Return the number; None if it is NaN or infinite."""
    return number if number is None or math.isfinite(number) else None


def sums_over_rows() -> list[ColumnElement[Any]]:
    """Return the sums as aggregates over rows of ``decisions`` that are over, in the order of SUMS."""
    row = decisions.c
    is_priced = row.cost_usd.is_not(None)
    is_compared = and_(is_priced, row.baseline_cost_usd.is_not(None))
    is_scored = and_(row.expected_score.is_not(None), row.baseline_score.is_not(None))
    is_metered = and_(row.prompt_tokens.is_not(None), row.completion_tokens.is_not(None))

    def count(condition: ColumnElement[bool]) -> ColumnElement[Any]:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    def total(number: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[Any]:
        return func.coalesce(func.sum(case((condition, number))), 0)

    return [
        func.count(),
        count(row.outcome.not_in(NO_ERRORS)),
        count(row.fallbacks > 0),
        total(row.cost_usd, is_priced),
        count(~is_priced),
        total(row.baseline_cost_usd, is_compared),
        total(row.baseline_cost_usd - row.cost_usd, is_compared),
        count(~is_compared),
        total(row.expected_score, is_scored),
        total(row.baseline_score, is_scored),
        count(~is_scored),
        total(row.prompt_tokens, row.prompt_tokens.is_not(None)),
        total(row.completion_tokens, row.completion_tokens.is_not(None)),
        count(~is_metered),
        count(row.feedback_score.is_not(None)),
        total(row.feedback_score, row.feedback_score.is_not(None)),
    ]
