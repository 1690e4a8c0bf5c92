"""Which processes write at present, so that requests of those that are gone can be told from live ones.

Every writing process has a row with a heartbeat in the database. One whose last beat is older than GONE_AFTER_S is
taken for gone: its row is removed, and its unfinished requests are marked as interrupted. That works for any number of
replicas on PostgreSQL, but the requests of a process that was killed stay open for a minute.

A SQLite file lives on one machine, which knows better: every writing process holds a shared lock (flock) on a file
beside the database, and the system drops it when the process ends, however it ends. Who gets the exclusive lock on
opening knows that nobody else is there, and marks at once; if somebody is, the heartbeats decide. (The lock is not on
the database itself: SQLite locks that file, and closing a second handle of it would drop SQLite's locks.)

Heartbeats are by the replicas' own clocks, which must agree to within half of GONE_AFTER_S. A process that could not
reach the database for so long that it was taken for gone learns it at its next beat and goes on under a new name; the
requests that it had open stay interrupted.
"""

import asyncio
import logging
import secrets
import time

from sqlalchemy import delete, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.dialects import file_of
from avengers_pro.gateway.ledger.feedback import count_waiting_feedback
from avengers_pro.gateway.ledger.interrupted import mark_interrupted
from avengers_pro.gateway.ledger.lock import SharedLock
from avengers_pro.gateway.ledger.tables import processes

BEAT_S = 10.0
GONE_AFTER_S = 60.0
_log = logging.getLogger(__name__)


class Presence:
    """This process among those that write.

    Attributes:
        process: The name under which it writes at present.
    """

    def __init__(self, database: Database) -> None:
        """Set up; ``enter`` makes it known."""
        self._database = database
        self._lock: SharedLock | None = None
        self._last_beat = 0.0
        self.process = secrets.token_hex(8)

    async def enter(self) -> None:
        """Mark what processes that are gone have left, and become one of those that write.

        Raises:
            StoreError: If the database cannot be written.
        """
        path = file_of(self._database.engine.url)
        gone_before = time.time() - GONE_AFTER_S
        if path is not None:
            self._lock = SharedLock(path.with_name(f"{path.name}.lock"))
            if await self._lock.acquire(self._database.deadline_s):
                gone_before = float("inf")
        await mark_interrupted(self._database, gone_before)
        await self._beat()
        if self._lock is not None:
            await self._lock.share(self._database.deadline_s)

    async def keep(self) -> None:
        """Beat, and look after what others have left, until cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._beat()
                await mark_interrupted(self._database, time.time() - GONE_AFTER_S)
                await count_waiting_feedback(self._database)
            except StoreError as error:
                _log.warning("no heartbeat: %s", error)

    async def confirm(self) -> None:
        """Make sure that nobody takes this process for gone while it writes.

        Raises:
            StoreError: If no beat was written for long, and none can be now.
        """
        if time.time() - self._last_beat > GONE_AFTER_S / 2:
            await self._beat()

    async def leave(self) -> None:
        """Be known as gone. What was left unfinished is marked by the next process, or by another one's next look.

        Raises:
            StoreError: If the database cannot be written.
        """
        try:
            await self._database.transact(self._remove, "leaving")
        finally:
            self.release()

    def release(self) -> None:
        """Drop the lock, if there is one."""
        if self._lock is not None:
            self._lock.release()

    async def _beat(self) -> None:
        now = time.time()

        async def beat(connection: AsyncConnection) -> str:
            mine = update(processes).where(processes.c.id == self.process).values(beat_at=now)
            if (await connection.execute(mine)).rowcount:
                return self.process
            name = secrets.token_hex(8)
            await connection.execute(insert(processes).values(id=name, beat_at=now))
            return name

        self.process = await self._database.transact(beat, "writing its heartbeat")
        self._last_beat = now

    async def _remove(self, connection: AsyncConnection) -> None:
        await connection.execute(delete(processes).where(processes.c.id == self.process))
