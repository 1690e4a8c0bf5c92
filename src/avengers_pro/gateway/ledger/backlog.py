"""What waits for the writer."""

import asyncio

from avengers_pro.gateway.ledger.batch import Batch, Waiting
from avengers_pro.gateway.ledger.rows import Closing, Opening
from avengers_pro.gateway.ledger.sums import Begun

LINGER_S = 0.05
"""How long closings gather: nobody waits for them, and many together cost less."""


class Backlog:
    """Openings and closings that are not written yet, at most ``limit`` of each.

    Attributes:
        wake: Set when the writer may have something to do.
        lost_closings: Closings that were never written; see ``Ledger.lost_closings``.
    """

    def __init__(self, limit: int, deadline_s: float, shown: str) -> None:
        """Set up, in a running event loop.

        Args:
            limit: Most openings, and most closings, that wait at once.
            deadline_s: Seconds after which an opening is not tried again.
            shown: Name of the database for messages.
        """
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._deadline_s = deadline_s
        self._shown = shown
        self._openings: list[Waiting] = []
        self._closings: list[tuple[Closing, Begun | None]] = []
        self._taken = Batch()
        self._begun: dict[str, Begun] = {}
        self._closings_since = 0.0
        self._closed: str | None = None
        self.wake = asyncio.Event()
        self.lost_closings = 0

    def __len__(self) -> int:
        """Return how much waits or is being written."""
        return len(self._openings) + len(self._closings) + len(self._taken)

    @property
    def has_openings(self) -> bool:
        """True if an opening waits."""
        return bool(self._openings)

    @property
    def closings_due(self) -> float | None:
        """When closings have gathered long enough, by the event loop's clock; None = there are none."""
        return self._closings_since + LINGER_S if self._closings else None

    def begin(self, opening: Opening) -> asyncio.Future[None]:
        """Queue an opening; see ``Ledger.begin``."""
        durable: asyncio.Future[None] = self._loop.create_future()
        begun = Begun(
            opening.at,
            opening.key,
            opening.baseline_cost_usd,
            opening.expected_score,
            opening.baseline_score,
        )
        waiting = Waiting(opening, begun, durable, self._loop.time() + self._deadline_s)
        if self._closed is not None:
            waiting.fail(self._closed)
        elif opening.id in self._begun:
            waiting.fail(f"the ledger {self._shown}: the request {opening.id!r} has been begun already")
        elif len(self._openings) + len(self._taken.openings) >= self._limit:
            waiting.fail(f"the ledger {self._shown} is behind: {self._limit} requests wait to be written already")
        else:
            self._begun[opening.id] = begun
            self._openings.append(waiting)
            self.wake.set()
        return durable

    def finish(self, closing: Closing) -> None:
        """Queue a closing; see ``Ledger.finish``."""
        begun = self._begun.pop(closing.id, None)
        if self._closed is not None or len(self._closings) + len(self._taken.closings) >= self._limit:
            self.lost_closings += 1
            return
        if not self._closings:
            self._closings_since = self._loop.time()
            self.wake.set()
        self._closings.append((closing, begun))

    def take(self, process: str, *, with_closings: bool) -> Batch:
        """Return what waits, in one batch, until ``settle``.

        Args:
            process: Who writes at present. A request that was begun under another name belongs to a process that
                was taken for gone; it has been finished as interrupted.
            with_closings: False leaves the closings for later.
        """
        self._taken, self._openings = Batch(openings=self._openings), []
        if with_closings:
            for closing, before in self._closings:
                # A closing may have come before its opening, as long as both are here now.
                begun = before or self._begun.pop(closing.id, None)
                if begun is None or begun.has_failed or begun.process not in {None, process}:
                    self.lost_closings += 1
                else:
                    self._taken.closings.append((closing, begun))
            self._closings = []
        return self._taken

    def settle(self) -> None:
        """All that was taken is written, refused or put back."""
        self._taken = Batch()

    def put_back(self, batch: Batch) -> None:
        """Queue again what was taken, save openings that have failed."""
        self._openings = [waiting for waiting in batch.openings if not waiting.begun.has_failed] + self._openings
        self._closings = [*batch.closings, *self._closings]

    def refuse(self, batch: Batch, message: str) -> None:
        """Give up a batch."""
        self.fail(batch.openings, message)
        self.lost_closings += len(batch.closings)

    def fail(self, openings: list[Waiting], message: str) -> None:
        """Give up openings."""
        for waiting in openings:
            waiting.fail(message)
            if self._begun.get(waiting.opening.id) is waiting.begun:
                del self._begun[waiting.opening.id]

    def expire(self, batch: Batch, message: str) -> None:
        """Give up the openings, of this batch and of the queue, that have been tried long enough."""
        now = self._loop.time()
        self.fail([waiting for waiting in (*batch.openings, *self._openings) if waiting.give_up <= now], message)
        self._openings = [waiting for waiting in self._openings if not waiting.begun.has_failed]

    def close(self, message: str) -> None:
        """Take nothing more, and give up what is there."""
        self._closed = message
        for openings, closings in ((self._openings, self._closings), (self._taken.openings, self._taken.closings)):
            self.fail(openings, message)
            self.lost_closings += len(closings)
        self._openings, self._closings, self._taken = [], [], Batch()
