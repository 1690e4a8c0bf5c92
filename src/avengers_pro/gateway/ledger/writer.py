"""The writer: one task that writes what waits in group commits.

An opening that comes to an idle writer is written at once. While a commit runs, and until PACE_S after its start,
others gather for the next: that bounds the number of transactions, each of which costs as much as ten rows.
"""

import asyncio
import logging

from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.backlog import Backlog
from avengers_pro.gateway.ledger.batch import Batch
from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.dialects import FAILURES, ROW_FAULTS, is_passing, is_row_fault, reason
from avengers_pro.gateway.ledger.presence import Presence
from avengers_pro.gateway.ledger.statements import Statements

PACE_S = 0.01
"""Least time between the starts of two transactions."""
_RETRY_S = 0.02
"""Before a transaction is tried again because someone else was busy."""
_PAUSE_S = 0.25
"""After a failure that will not pass by itself, as a full disk; what comes meanwhile is tried after that."""
_log = logging.getLogger(__name__)


class Writer:
    """Empties a backlog over one connection that it keeps."""

    def __init__(self, database: Database, backlog: Backlog, presence: Presence) -> None:
        """Set up; ``run`` is to be started as a task."""
        self._database = database
        self._backlog = backlog
        self._presence = presence
        self._statements = Statements(database.engine.dialect)
        self._connection: AsyncConnection | None = None
        self._doubtful: tuple[Batch, str] | None = None
        self._not_before = 0.0
        self._hurries = self._stops = self._fails = False
        self._rounds: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Write until ``stop``, and then what is left."""
        try:
            while not self._stops or self._is_behind:
                await self._until_due()
                await self._round()
        finally:
            self._backlog.close(f"the ledger {self._database.shown} is closed")
            if self._doubtful is not None:
                self._backlog.refuse(self._doubtful[0], f"the ledger {self._database.shown} is closed")
            await self._disconnect()
            self._end_round()

    async def flush(self) -> None:
        """Return when nothing waits any more.

        Raises:
            StoreError: If the database failed for as long as a transaction is tried.
        """
        try:
            async with asyncio.timeout(self._database.deadline_s):
                while self._is_behind:
                    self._hurry()
                    self._rounds.append(self._loop.create_future())
                    await self._rounds[-1]
        except TimeoutError:
            raise StoreError(
                f"the ledger {self._database.shown}: {len(self._backlog)} rows are still unwritten "
                f"after {self._database.deadline_s:g} s; is the disk full, or the server away?"
            ) from None

    def stop(self) -> None:
        """Let ``run`` end once it has written what is there."""
        self._stops = True
        self._hurry()

    @property
    def _is_behind(self) -> bool:
        return len(self._backlog) > 0 or self._doubtful is not None

    def _hurry(self) -> None:
        self._hurries = True
        self._backlog.wake.set()

    async def _until_due(self) -> None:
        """Wait for something to write, and for the pace."""
        while not (self._backlog.has_openings or self._hurries or self._doubtful):
            due = self._backlog.closings_due
            if due is not None and due <= self._loop.time():
                break
            self._backlog.wake.clear()
            try:
                async with asyncio.timeout_at(due):
                    await self._backlog.wake.wait()
            except TimeoutError:
                break
        pause = self._not_before - self._loop.time()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _round(self) -> None:
        self._not_before = self._loop.time() + PACE_S
        if self._doubtful is not None:
            await self._resolve(*self._doubtful)
        else:
            due = self._backlog.closings_due
            is_due = self._hurries or (due is not None and due <= self._loop.time())
            self._hurries = False
            batch = self._backlog.take(self._presence.process, with_closings=is_due)
            if batch:
                await self._write(batch)
            self._backlog.settle()
        self._end_round()

    def _end_round(self) -> None:
        waiting, self._rounds = self._rounds, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def _write(self, batch: Batch) -> None:
        """Write a batch, or put it back, or find out which rows of it cannot be written."""
        process = self._presence.process
        try:
            await self._presence.confirm()
            connection = await self._connect()
            await batch.write(connection, self._statements, process)
            self._doubtful = batch, process
            await connection.commit()
            self._doubtful = None
        except (*FAILURES, *ROW_FAULTS, StoreError) as error:
            await self._recover(batch, error)
        else:
            self._succeed(batch, process)

    def _succeed(self, batch: Batch, process: str) -> None:
        for waiting in batch.openings:
            waiting.succeed(process)
        if self._fails:
            self._fails = False
            _log.warning("the ledger %s can be written again", self._database.shown)

    async def _recover(self, batch: Batch, error: Exception) -> None:
        said = f"the ledger {self._database.shown} cannot be written: {reason(error)}"
        is_to_pass = is_passing(error)
        await self._roll_back(is_busy=is_to_pass)
        if self._doubtful is None and not is_to_pass and is_row_fault(error):
            await self._write_apart(batch, said)
            return
        if not self._fails:
            self._fails = True
            _log.warning("%s", said)
        self._not_before = self._loop.time() + (_RETRY_S if is_to_pass else _PAUSE_S)
        if not is_to_pass:
            self._backlog.fail(batch.openings, said)
        if self._doubtful is None:
            self._backlog.put_back(batch)
        self._backlog.expire(batch, said)

    async def _write_apart(self, batch: Batch, said: str) -> None:
        """Write each row in a transaction of its own, so that one that cannot be written does not spoil the others."""
        if len(batch) == 1:
            self._backlog.refuse(batch, said)
            if batch.closings:
                _log.error("%s (the end of the request %s)", said, batch.closings[0][0].id)
            return
        for single in batch.singles():
            is_early = any(begun.process is None for _, begun in single.closings)
            if is_early or self._doubtful is not None:
                self._backlog.put_back(single)
            else:
                await self._write(single)

    async def _resolve(self, batch: Batch, process: str) -> None:
        """Find out whether a commit that failed took effect all the same: the connection may have been lost after."""
        try:
            is_written = await batch.is_written(await self._connect())
        except FAILURES as error:
            await self._recover(batch, error)
            return
        self._doubtful = None
        if is_written:
            self._succeed(batch, process)
        else:
            self._backlog.put_back(batch)

    async def _connect(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = await self._database.engine.connect()
        return self._connection

    async def _roll_back(self, *, is_busy: bool) -> None:
        """End the failed transaction; unless the database was only busy, the connection goes with it."""
        if self._connection is None:
            return
        if is_busy and not self._connection.invalidated:
            try:
                await self._connection.rollback()
            except FAILURES:
                await self._disconnect()
        else:
            await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.invalidate()
                await connection.close()
            except FAILURES:
                _log.debug("a broken connection to %s could not be closed", self._database.shown, exc_info=True)
