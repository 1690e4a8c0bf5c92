"""A lock between processes of one machine that the system drops when its holder ends, however it ends."""

import asyncio
import os
import sys
from pathlib import Path

from avengers_pro.errors import StoreError

if sys.platform != "win32":
    import fcntl

_PAUSE_S = 0.01


class SharedLock:
    """A file that any number of processes lock together, or one of them alone.

    Where the system or the file system has no such locks, nobody is ever alone.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self._path = path
        self._descriptor: int | None = None

    async def acquire(self, deadline_s: float) -> bool:
        """Lock alone if nobody else has a lock, and together with the others if somebody has.

        Returns:
            True if alone; nobody else gets the lock until ``share``.

        Raises:
            StoreError: If the file cannot be made, or another process stays alone for so many seconds.
        """
        if sys.platform == "win32":
            return False
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"the lock file {self._path} cannot be made: {error.strerror}") from error
        if self._try(fcntl.LOCK_EX):
            return True
        await self.share(deadline_s)
        return False

    async def share(self, deadline_s: float) -> None:
        """Hold the lock together with others, from now on.

        Raises:
            StoreError: If another process stays alone for so many seconds.
        """
        if sys.platform == "win32":
            return
        try:
            async with asyncio.timeout(deadline_s):
                while not self._try(fcntl.LOCK_SH):  # noqa: ASYNC110  (another process lets go of it)
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise StoreError(
                f"another process has been opening the ledger of {self._path} for {deadline_s:g} s; try again"
            ) from None

    def release(self) -> None:
        """Drop the lock; the file stays, for another process may be about to lock it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self, operation: int) -> bool:
        if sys.platform == "win32" or self._descriptor is None:
            return False
        try:
            fcntl.flock(self._descriptor, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # the file system has no locks
            return operation == fcntl.LOCK_SH
        return True
