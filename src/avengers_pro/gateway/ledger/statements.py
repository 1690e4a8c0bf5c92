"""The writer's statements, compiled once: their text and the order of their values.

Compiling them for each batch and adapting each value would cost more than writing the rows.
"""

from operator import attrgetter
from typing import Any

from sqlalchemy import Dialect, Insert, Update, bindparam, insert, update

from avengers_pro.gateway.ledger.rows import Closing, Opening
from avengers_pro.gateway.ledger.sums import SUMS, add_to_hourly, known
from avengers_pro.gateway.ledger.tables import decisions, texts, unfinished

Row = tuple[Any, ...]
_KEPT_APART = {"text", "answer"}
_OPENING = [name for name in Opening.__dataclass_fields__ if name not in _KEPT_APART]
_CLOSING = [name for name in Closing.__dataclass_fields__ if name not in {*_KEPT_APART, "id", "at"}]
_NUMBERS = {
    *("alpha", "expected_score", "expected_cost_usd", "baseline_cost_usd", "baseline_score"),
    *("propensity", "decision_us", "cost_usd", "first_byte_ms", "total_ms"),
}
_FOREIGN = {"asked", "session", "finish_reason"}
"""Texts that come from clients and upstreams."""


class Statements:
    """The statements of one dialect.

    Attributes:
        insert_opening: Takes rows of ``opening_row``.
        insert_text: Takes (id, part, text).
        update_closing: Takes rows of ``closing_row``; leaves requests that are already over as they are.
        add_to_hourly: Takes rows of ``sums.Additions``.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.insert_opening, names = _compile(insert(decisions), [*_OPENING, "process"], dialect)
        self._process = names.index("process")
        names.remove("process")
        self._opening_values = attrgetter(*names)
        self._opening_numbers, self._opening_texts = _places(names, _NUMBERS), _places(names, _FOREIGN)

        values: dict[str, Any] = {name: bindparam(name) for name in _CLOSING} | {"closed_at": bindparam("at")}
        closing = update(decisions).where(decisions.c.id == bindparam("row_id"), unfinished).values(values)
        self.update_closing, names = _compile(closing, None, dialect)
        names[names.index("row_id")] = "id"
        self._closing_values = attrgetter(*names)
        self._closing_numbers, self._closing_texts = _places(names, _NUMBERS), _places(names, _FOREIGN)

        self.insert_text, _ = _compile(insert(texts), ["id", "part", "text"], dialect)
        self.add_to_hourly, _ = _compile(add_to_hourly(dialect.name), ["hour", "model", "key", *SUMS], dialect)

    def opening_row(self, opening: Opening, process: str) -> Row:
        """Return the values of one ``insert_opening``."""
        row = _cleaned(self._opening_values(opening), self._opening_numbers, self._opening_texts)
        row.insert(self._process, process)
        return tuple(row)

    def closing_row(self, closing: Closing) -> Row:
        """Return the values of one ``update_closing``."""
        return tuple(_cleaned(self._closing_values(closing), self._closing_numbers, self._closing_texts))


def storable(text: str) -> str:
    """Replace what PostgreSQL cannot store: NUL, and halves of surrogate pairs."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if text.isascii() else text.encode(errors="replace").decode()


def _cleaned(values: Row, numbers: list[int], foreign: list[int]) -> list[Any]:
    row = list(values)
    for place in numbers:
        row[place] = known(row[place])
    for place in foreign:
        if row[place] is not None:
            row[place] = storable(row[place])
    return row


def _places(names: list[str], of: set[str]) -> list[int]:
    return [place for place, name in enumerate(names) if name in of]


def _compile(statement: Insert | Update, names: list[str] | None, dialect: Dialect) -> tuple[str, list[str]]:
    """Return the text, and the names of its values in order."""
    compiled: Any = statement.compile(dialect=dialect, column_keys=names)
    return str(compiled), list(compiled.positiontup)
