"""What is written in one transaction."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

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
    """

    openings: list[Waiting] = field(default_factory=list)
    closings: list[tuple[Closing, Begun]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.openings) + len(self.closings)

    def singles(self) -> "Iterator[Batch]":
        """Return each row as a batch of its own, in the same order."""
        yield from (Batch(openings=[waiting]) for waiting in self.openings)
        yield from (Batch(closings=[closing]) for closing in self.closings)

    async def write(self, connection: AsyncConnection, statements: Statements, process: str) -> None:
        """Execute the statements; the caller commits."""
        await self._write_openings(connection, statements, process)
        await self._write_closings(connection, statements)
        texts = [(waiting.opening.id, "text", waiting.opening.text) for waiting in self.openings]
        texts += [(closing.id, "answer", closing.answer) for closing, _ in self.closings]
        kept = [(row, part, storable(text)) for row, part, text in texts if text is not None]
        if kept:
            await connection.exec_driver_sql(statements.insert_text, kept)

    async def _write_openings(self, connection: AsyncConnection, statements: Statements, process: str) -> None:
        if self.openings:
            rows = [statements.opening_row(waiting.opening, process) for waiting in self.openings]
            await connection.exec_driver_sql(statements.insert_opening, rows)

    async def _write_closings(self, connection: AsyncConnection, statements: Statements) -> None:
        if self.closings:
            rows = [statements.closing_row(closing) for closing, _ in self.closings]
            await connection.exec_driver_sql(statements.update_closing, rows)
            additions = Additions()
            for closing, begun in self.closings:
                additions.add_request(begun, closing)
            await connection.exec_driver_sql(statements.add_to_hourly, additions.rows())

    async def is_written(self, connection: AsyncConnection) -> bool:
        """True if a commit of this batch took effect although it seemed to fail: any one of its rows tells."""
        if self.openings:
            query = select(decisions.c.id).where(decisions.c.id == self.openings[0].opening.id)
        else:
            closing = self.closings[0][0]
            query = select(decisions.c.id).where(decisions.c.id == closing.id, decisions.c.outcome == closing.outcome)
        return (await connection.execute(query)).first() is not None
