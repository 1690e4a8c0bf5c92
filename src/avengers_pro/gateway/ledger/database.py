"""One database: its engine, and transactions that are tried again while someone else is busy."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.dialects import FAILURES, is_passing, reason

Result = TypeVar("Result")
_PAUSE_S = 0.02
"""Between two tries of a transaction."""


@dataclass(frozen=True, slots=True)
class Database:
    """An engine with its name for messages.

    Attributes:
        engine: Its pool of connections.
        shown: The URL without the password.
        deadline_s: How long a transaction is tried again, in seconds.
    """

    engine: AsyncEngine
    shown: str
    deadline_s: float

    async def transact(self, work: Callable[[AsyncConnection], Awaitable[Result]], doing: str) -> Result:
        """Do some work in one transaction and commit it.

        Args:
            work: Called again, on a new connection, if the database was only busy. What it reads before its first
                write may be changed by others before that write.
            doing: What this is for, for messages: "reading the decisions".

        Raises:
            StoreError: If the database cannot be reached, read or written within the deadline.
        """
        give_up = asyncio.get_running_loop().time() + self.deadline_s
        while True:
            try:
                async with self.engine.begin() as connection:
                    return await work(connection)
            except FAILURES as error:
                if not is_passing(error) or asyncio.get_running_loop().time() > give_up:
                    raise StoreError(f"the ledger {self.shown}: {doing} failed: {reason(error)}") from error
            await asyncio.sleep(_PAUSE_S)
