"""What is written in one transaction."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.rows import Closing, Opening
from avengers_pro.gateway.ledger.statements import Statements, storable
from avengers_pro.gateway.ledger.sums import Additions, Begun
from avengers_pro.gateway.ledger.tables import decisions


@dataclass(slots=True, eq=False)
class Waiting:
    """An opening that is not durable yet.

    Attributes:
        opening: What is to be written.
        begun: What is kept of it until it is over.
        durable: Resolved when it is written, failed when it could not be.
        give_up: Time of the event loop's clock after which it is not tried again.
    """

    opening: Opening
    begun: Begun
    durable: asyncio.Future[None]
    give_up: float

    def succeed(self, process: str) -> None:
        """It is durable."""
        self.begun.process = process
        if not self.durable.done():
            self.durable.set_result(None)

    def kept(self) -> None:
        """It is durable, but not in the database yet."""
        if not self.durable.done():
            self.durable.set_result(None)

    def fail(self, message: str) -> None:
        """It is not written, and will not be."""
        self.begun.has_failed = True
        if not self.durable.done():
            self.durable.set_exception(StoreError(message))


@dataclass(slots=True)
class Batch:
    """Openings and closings of one transaction.

    Attributes:
        openings: To be inserted.
        closings: To be added to their rows, which are written or among the openings.
        is_committing: True when a commit was tried and its end is not known: it may have taken effect.
    """

    openings: list[Waiting] = field(default_factory=list)
    closings: list[tuple[Closing, Begun]] = field(default_factory=list)
    is_committing: bool = False

    def __len__(self) -> int:
        return len(self.openings) + len(self.closings)

    def singles(self) -> "Iterator[Batch]":
        """Return each row as a batch of its own, in the same order."""
        yield from (Batch(openings=[waiting]) for waiting in self.openings)
        yield from (Batch(closings=[closing]) for closing in self.closings)

    def write(self, connection: Connection, statements: Statements, process: str) -> None:
        """Write all rows in one transaction."""
        self._write_openings(connection, statements, process)
        self._write_closings(connection, statements)
        self._write_texts(connection, statements)
        self.is_committing = True
        connection.commit()
        self.is_committing = False

    def _write_openings(self, connection: Connection, statements: Statements, process: str) -> None:
        if self.openings:
            rows = [statements.opening_row(waiting.opening, process) for waiting in self.openings]
            connection.exec_driver_sql(statements.insert_opening, rows)
            kept = [(one.opening.id, one.opening.vector) for one in self.openings if one.opening.vector is not None]
            if kept:
                connection.exec_driver_sql(statements.insert_vector, kept)

    def _write_closings(self, connection: Connection, statements: Statements) -> None:
        if self.closings:
            rows = [statements.closing_row(closing) for closing, _ in self.closings]
            connection.exec_driver_sql(statements.update_closing, rows)
            additions = Additions()
            for closing, begun in self.closings:
                additions.add_request(begun, closing)
            connection.exec_driver_sql(statements.add_to_hourly, additions.rows())

    def _write_texts(self, connection: Connection, statements: Statements) -> None:
        openings = [waiting.opening for waiting in self.openings]
        rows = [(one.id, "text", storable(one.text)) for one in openings if one.text is not None]
        rows += [(one.id, "answer", storable(one.answer)) for one, _ in self.closings if one.answer is not None]
        if rows:
            connection.exec_driver_sql(statements.insert_text, rows)

    def is_written(self, connection: Connection) -> bool:
        """True if a commit of this batch took effect although it seemed to fail: any one of its rows tells."""
        if self.openings:
            query = select(decisions.c.id).where(decisions.c.id == self.openings[0].opening.id)
        else:
            closing = self.closings[0][0]
            query = select(decisions.c.id).where(decisions.c.id == closing.id, decisions.c.outcome == closing.outcome)
        found = connection.execute(query).first() is not None
        connection.rollback()
        self.is_committing = False
        return found
