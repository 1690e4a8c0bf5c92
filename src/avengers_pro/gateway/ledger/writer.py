"""The writer: one task that writes what waits in group commits.

An opening that comes to an idle writer is written at once. While its commit runs, others gather for the next one, and
go on gathering until _PACE_PER_ROW_S for each row but the first, at most PACE_S, after that one's start: a transaction
costs as much as ten rows do, which matters only when there are many.
"""

import asyncio
import logging

from sqlalchemy import Connection

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.backlog import Backlog
from avengers_pro.gateway.ledger.batch import Batch
from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.dialects import FAILURES, ROW_FAULTS, is_passing, is_row_fault, reason
from avengers_pro.gateway.ledger.lane import make_lane
from avengers_pro.gateway.ledger.presence import Presence
from avengers_pro.gateway.ledger.spool import Row, Spool, write_rows
from avengers_pro.gateway.ledger.statements import Statements

PACE_S = 0.02
"""Most time between the starts of two transactions while openings wait."""
_PACE_PER_ROW_S = 0.002
"""Fewer than five hundred requests a second do not gather for long."""
_RETRY_S = 0.02
"""Before a transaction is tried again because someone else was busy."""
_PAUSE_S = 0.25
"""After a failure that will not pass by itself, as a full disk; what comes meanwhile is tried after that."""
_HANGS_S = 2.0
"""With a spool, a transaction that takes longer is given up; on SQLite its thread goes on, and what it wrote stays."""
_log = logging.getLogger(__name__)


class Writer:
    """Empties a backlog over one connection that it keeps."""

    def __init__(self, database: Database, backlog: Backlog, presence: Presence, spool: Spool | None = None) -> None:
        """Set up; ``run`` is to be started as a task. With a spool, rows go there while the database is away."""
        self._spool = spool
        self._replay_at = 0.0
        self._database = database
        self._backlog = backlog
        self._presence = presence
        self._statements = Statements(database.engine.dialect)
        self._lane = make_lane(database.engine, database.deadline_s)
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
            await self._lane.close()
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
        return len(self._backlog) > 0 or self._doubtful is not None or self._is_spooling

    @property
    def _is_spooling(self) -> bool:
        return self._spool is not None and self._spool.holds_rows

    def _hurry(self) -> None:
        self._hurries = True
        self._backlog.wake.set()

    async def _until_due(self) -> None:
        """Wait for something to write, and for the pace."""
        while not (self._backlog.has_openings or self._hurries or self._doubtful):
            due = self._backlog.closings_due
            if self._is_spooling:
                due = self._replay_at if due is None else min(due, self._replay_at)
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
        if self._spool is not None and self._spool.holds_rows:
            await self._catch_up(self._spool)
        elif self._doubtful is not None:
            await self._resolve(*self._doubtful)
        else:
            await self._write_what_waits()
        self._end_round()

    async def _write_what_waits(self) -> None:
        started, failure = self._loop.time(), None
        try:
            await self._presence.confirm()
        except StoreError as error:
            failure = error
        due = self._backlog.closings_due
        is_due = self._hurries or (due is not None and due <= started)
        self._hurries = False
        batch = self._backlog.take(self._presence.process, with_closings=is_due)
        if failure is not None:
            await self._recover(batch, failure)
        elif batch:
            self._not_before = started + min(PACE_S, _PACE_PER_ROW_S * max(len(batch.openings) - 1, 0))
            await self._write(batch)
        self._backlog.settle()

    def _end_round(self) -> None:
        waiting, self._rounds = self._rounds, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def _write(self, batch: Batch) -> None:
        """Write a batch, or put it back, or find out which rows of it cannot be written."""
        process = self._presence.process
        try:
            async with asyncio.timeout(None if self._spool is None else _HANGS_S):
                await self._lane.run(lambda connection: batch.write(connection, self._statements, process))
        except (*FAILURES, *ROW_FAULTS) as error:
            if batch.is_committing:
                self._doubtful = batch, process
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
        await self._lane.reset(keep=is_to_pass)
        if self._spool is not None and await self._keep(self._spool, batch):
            self._doubtful = None  # whether it is written or not, writing it again does no harm
            if not self._fails:
                self._fails = True
                _log.warning("%s; rows go to the spool", said)
            return
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

    async def _keep(self, spool: Spool, batch: Batch) -> bool:
        """Keep a batch in the spool; False = it could not be."""
        try:
            await spool.keep(batch)
        except OSError as error:
            _log.error("the spool cannot be written: %s", error.strerror)
            return False
        for waiting in batch.openings:
            waiting.kept()
        self._replay_at = self._loop.time() + _PAUSE_S
        return True

    async def _catch_up(self, spool: Spool) -> None:
        """Write what the spool holds, if it is time to try; what comes meanwhile is added to it, in its order."""
        begun = self._loop.time()
        if begun >= self._replay_at:
            try:
                async with asyncio.timeout(_HANGS_S):
                    await self._lane.run(_say_something)
                    await self._presence.confirm()
                await self._replay(spool, spool.first())
            except (*FAILURES, StoreError):
                await self._lane.reset(keep=False)
                took = self._loop.time() - begun
                self._replay_at = begun + took + max(_PAUSE_S, 4 * took)
            if not spool.holds_rows:
                self._succeed(Batch(), self._presence.process)
                return
        batch = self._backlog.take(self._presence.process, with_closings=True)
        self._hurries = False
        if batch and not await self._keep(spool, batch):
            self._backlog.refuse(batch, "neither the database nor the spool can be written")
        self._backlog.settle()

    async def _replay(self, spool: Spool, rows: list[Row], *, is_second_try: bool = False) -> None:
        """Write rows of the spool; one that the database refuses twice is given up.

        Twice, because a connection that is just being shut down fails in the same ways.
        """
        process = self._presence.process
        try:
            await self._lane.run(lambda connection: write_rows(connection, self._statements, rows, process))
        except (*FAILURES, *ROW_FAULTS) as error:
            if is_passing(error) or not is_row_fault(error):
                raise
            await self._lane.reset(keep=False)
            if len(rows) > 1 or not is_second_try:
                await self._lane.run(_say_something)
                for row in rows:
                    await self._replay(spool, [row], is_second_try=len(rows) == 1)
                return
            _log.error("the ledger %s refuses a row of the spool: %s", self._database.shown, reason(error))
        spool.written(len(rows))

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
            is_written = await self._lane.run(batch.is_written)
        except FAILURES as error:
            await self._recover(batch, error)
            return
        self._doubtful = None
        if is_written:
            self._succeed(batch, process)
        else:
            self._backlog.put_back(batch)


def _say_something(connection: Connection) -> None:
    """Find out whether anybody is there."""
    connection.exec_driver_sql("SELECT 1")
    connection.rollback()
