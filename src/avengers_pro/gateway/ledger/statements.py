"""The writer's statements, compiled once: their text and the order of their values.

Compiling them for each batch and adapting each value would cost more than writing the rows.
"""

import math
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Dialect, Insert, Update, bindparam, insert, update

from avengers_pro.gateway.ledger.rows import Closing, Opening
from avengers_pro.gateway.ledger.sums import SUMS, add_to_hourly, known
from avengers_pro.gateway.ledger.tables import decisions, texts, unfinished, vectors

Row = tuple[Any, ...]
_KEPT_APART = {"text", "answer", "vector"}
_OPENING = [name for name in Opening.__struct_fields__ if name not in _KEPT_APART]
_CLOSING = [name for name in Closing.__struct_fields__ if name not in {*_KEPT_APART, "id", "at"}]
_NUMBERS = {
    *("alpha", "expected_score", "expected_cost_usd", "baseline_cost_usd", "baseline_score"),
    *("propensity", "decision_us", "cost_usd", "first_byte_ms", "total_ms", "shadow_score", "shadow_cost_usd"),
}
_FOREIGN = {"asked", "session", "finish_reason", "reported_model"}
"""Texts that come from clients and upstreams."""


class Statements:
    """The statements of one dialect.

    Attributes:
        insert_opening: Takes rows of ``opening_row``.
        opening_columns: Names of the values of ``opening_row``.
        insert_text: Takes (id, part, text).
        insert_vector: Takes (id, vector).
        update_closing: Takes rows of ``closing_row``; leaves requests that are already over as they are.
        add_to_hourly: Takes rows of ``sums.Additions``.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.insert_opening, names = _compile(insert(decisions), [*_OPENING, "process"], dialect)
        self.opening_columns = tuple(names)
        self._opening = _Row(names[:-1])  # the process is the last of these columns in the table

        values: dict[str, Any] = {name: bindparam(name) for name in _CLOSING} | {"closed_at": bindparam("at")}
        closing = update(decisions).where(decisions.c.id == bindparam("row_id"), unfinished).values(values)
        self.update_closing, names = _compile(closing, None, dialect)
        self._closing = _Row(["id" if name == "row_id" else name for name in names])

        self.insert_text, _ = _compile(insert(texts), ["id", "part", "text"], dialect)
        self.insert_vector, _ = _compile(insert(vectors), ["id", "vector"], dialect)
        self.add_to_hourly, _ = _compile(add_to_hourly(dialect.name), ["hour", "model", "key", *SUMS], dialect)

    def opening_row(self, opening: Opening, process: str) -> Row:
        """Return the values of one ``insert_opening``."""
        return (*self._opening.of(opening), process)

    def closing_row(self, closing: Closing) -> Row:
        """Return the values of one ``update_closing``."""
        return self._closing.of(closing)


class _Row:
    """Takes values from an opening or closing, and replaces those that cannot be stored."""

    def __init__(self, names: list[str]) -> None:
        self._values = attrgetter(*names)
        self._number_places = [place for place, name in enumerate(names) if name in _NUMBERS]
        self._text_places = [place for place, name in enumerate(names) if name in _FOREIGN]
        self._numbers = itemgetter(*self._number_places)

    def of(self, source: Opening | Closing) -> Row:
        row: Row = self._values(source)
        # One NaN or infinity among the summands shows in the sum; looking at each would take several times as long.
        if math.isfinite(sum(filter(None, self._numbers(row)))):
            for place in self._text_places:
                if row[place] is not None and not _is_plain(row[place]):
                    break
            else:
                return row
        values = list(row)
        for place in self._number_places:
            values[place] = known(values[place])
        for place in self._text_places:
            values[place] = None if values[place] is None else storable(values[place])
        return tuple(values)


def storable(text: str) -> str:
    """Replace what PostgreSQL cannot store: NUL, and halves of surrogate pairs."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if text.isascii() else text.encode(errors="replace").decode()


def _is_plain(text: str) -> bool:
    return text.isascii() and "\0" not in text


def _compile(statement: Insert | Update, names: list[str] | None, dialect: Dialect) -> tuple[str, list[str]]:
    """Return the text, and the names of its values in order."""
    compiled: Any = statement.compile(dialect=dialect, column_keys=names)
    return str(compiled), list(compiled.positiontup)
