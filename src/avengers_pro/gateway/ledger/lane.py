"""The writer's own connection, on which a whole transaction runs as one plain function.

Over asyncpg that function runs in the event loop, switched by a greenlet. For SQLite it runs in a thread of its own,
on the standard library's driver: over aiosqlite every statement costs three or four handovers between two threads, and
at thousands of requests a second these would cost more than the rows (44 instead of 29 µs of CPU a request, with 60 in
a transaction). All other work goes over aiosqlite.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from avengers_pro.gateway.ledger.dialects import FAILURES, make_thread_engine

Result = TypeVar("Result")


class Lane(Protocol):
    """A connection that is made when it is needed, and made again after a failure."""

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        """Run the function; it commits."""
        ...

    async def reset(self, *, keep: bool) -> None:
        """End a transaction that failed; unless ``keep``, the connection goes with it. Raises nothing."""
        ...

    async def close(self) -> None:
        """Disconnect. Raises nothing."""
        ...


def make_lane(engine: AsyncEngine, deadline_s: float) -> Lane:
    """Return the lane for a database."""
    return _ThreadLane(engine, deadline_s) if engine.dialect.name == "sqlite" else _LoopLane(engine)


class _LoopLane:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        if self._connection is None:
            self._connection = await self._engine.connect()
        return await self._connection.run_sync(work)

    async def reset(self, *, keep: bool) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if keep and not connection.invalidated:
                await connection.rollback()
                return
            self._connection = None
            await connection.invalidate()
            await connection.close()
        except FAILURES:
            self._connection = None  # it was broken anyway

    async def close(self) -> None:
        await self.reset(keep=False)


class _ThreadLane:
    def __init__(self, engine: AsyncEngine, deadline_s: float) -> None:
        self._engine = make_thread_engine(engine.url, deadline_s)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-writer")
        self._connection: Connection | None = None

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    async def reset(self, *, keep: bool) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._reset, keep)

    async def close(self) -> None:
        await self.reset(keep=False)
        self._thread.shutdown(wait=False)

    def _run(self, work: Callable[[Connection], Result]) -> Result:
        if self._connection is None:
            self._connection = self._engine.connect()
        return work(self._connection)

    def _reset(self, keep: bool) -> None:  # noqa: FBT001  (an executor passes no names)
        connection = self._connection
        if connection is None:
            return
        try:
            if keep:
                connection.rollback()
                return
            self._connection = None
            connection.invalidate()
            connection.close()
        except FAILURES:
            self._connection = None  # it was broken anyway
