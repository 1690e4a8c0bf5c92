"""The table of decisions, and one of them opened."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, or_

from avengers_pro.gateway.dashboard.reading import Reading, with_words
from avengers_pro.gateway.ledger.rows import NO_ERRORS
from avengers_pro.gateway.ledger.tables import decisions, not_ok

ROWS = 50
AGES = {"1h": 3600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}
_MOST_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Asked:
    """What the table shall show; empty texts narrow nothing.

    Attributes:
        words: Id of a decision, name of a session, or words of a kept prompt.
        model: That answered.
        outcome: One outcome, or ``errors`` for all that are errors.
        key: Id of an API key.
        age: One of ``AGES``.
        novel: Only queries unlike all training records.
        before: Id of the last decision of the page before.
    """

    words: str = ""
    model: str = ""
    outcome: str = ""
    key: str = ""
    age: str = ""
    novel: bool = False
    before: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> "Asked":
        """Read the address; what means nothing is left out."""
        texts = {name: query.get(name, "").strip()[:_MOST_LETTERS] for name in ("words", "model", "outcome", "key")}
        age = query.get("age", "")
        return cls(
            **texts, age=age if age in AGES else "", novel=query.get("novel") == "1", before=query.get("before", "")
        )

    @property
    def parameters(self) -> dict[str, str]:
        """What the address of the same table says, without the page."""
        found = {"words": self.words, "model": self.model, "outcome": self.outcome, "key": self.key, "age": self.age}
        found["novel"] = "1" if self.novel else ""
        return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the table.

    Attributes:
        asked: What was asked for.
        rows: Newest first.
        older: Id after which the next page begins; None = this is the last one.
    """

    asked: Asked
    rows: tuple[Any, ...]
    older: str | None


async def listing(reading: Reading, asked: Asked, key: str | None, now: float) -> Listing:
    """Read a page of decisions, of one key's if it is given.

    Raises:
        StoreError: If the database cannot be read.
    """
    conditions = _conditions(asked, key, now)
    if asked.words.startswith("dec_"):
        row = decisions.c
        conditions += [row.id >= asked.words, row.id < asked.words + "g"]  # ids are hexadecimal
    elif asked.words:
        is_session = await reading.has_session(asked.words)
        conditions.append(decisions.c.session == asked.words if is_session else with_words(asked.words))
    if asked.before:
        at = await reading.time_of(asked.before)
        if at is None:
            return Listing(asked, (), None)
        row = decisions.c
        conditions += [row.at <= at, or_(row.at < at, row.id < asked.before)]
    rows = await reading.listed(conditions, ROWS + 1)
    return Listing(asked, tuple(rows[:ROWS]), rows[ROWS - 1].id if len(rows) > ROWS else None)


def _conditions(asked: Asked, key: str | None, now: float) -> list[ColumnElement[bool]]:
    row = decisions.c
    found: list[Any] = [] if key is None else [row.key == key]
    if asked.key and key is None:
        found.append(row.key == asked.key)
    if asked.model:
        found.append(row.served_by == asked.model)
    if asked.outcome == "errors":
        found += [row.outcome.not_in(NO_ERRORS), not_ok]
    elif asked.outcome == "running":
        found.append(row.outcome.is_(None))
    elif asked.outcome:
        found.append(row.outcome == asked.outcome)
        found += [not_ok] if asked.outcome != "ok" else []
    if asked.novel:
        found.append(row.novel.is_(True))
    if asked.age:
        found.append(row.at >= now - AGES[asked.age])
    return found
