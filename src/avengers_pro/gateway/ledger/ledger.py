"""The ledger of the gateway: what was decided for each request, what it cost, and what that saved."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy.ext.asyncio import AsyncEngine

from avengers_pro.errors import StoreError
from avengers_pro.gateway.ledger.backlog import Backlog
from avengers_pro.gateway.ledger.database import Database
from avengers_pro.gateway.ledger.dialects import file_of, make_engine, parse_url, shown
from avengers_pro.gateway.ledger.feedback import Feedback, give_feedback
from avengers_pro.gateway.ledger.presence import Presence
from avengers_pro.gateway.ledger.reading import export_decisions, read_decision, read_page
from avengers_pro.gateway.ledger.retention import prune
from avengers_pro.gateway.ledger.rows import Closing, Filter, Opening, Stats
from avengers_pro.gateway.ledger.schema import bring_up_to_date, check
from avengers_pro.gateway.ledger.spool import Spool
from avengers_pro.gateway.ledger.totals import read_spend, read_stats
from avengers_pro.gateway.ledger.usage import Usage
from avengers_pro.gateway.ledger.writer import Writer

_ALL = Filter()
_log = logging.getLogger(__name__)


class Ledger:
    """A durable table of requests in SQLite or PostgreSQL; made by ``open``, used within one event loop.

    A request is written twice: ``begin`` when its model is chosen, ``finish`` when it is over. One whose process
    went away in between is found later and gets the outcome ``interrupted``. Prompts, answers and vectors are kept only
    if an ``Opening`` or ``Closing`` holds them.
    """

    def __init__(
        self, database: Database, presence: Presence | None, queue_limit: int, spool: Spool | None = None
    ) -> None:
        """Use ``open`` instead."""
        self._database = database
        self._presence = presence
        self._spool: Spool | None = None
        self._backlog = Backlog(queue_limit, database.deadline_s, database.shown)
        self._tasks: list[asyncio.Task[None]] = []
        if presence is None:
            self._writer = None
            self._backlog.close(f"the ledger {database.shown} was opened for reading")
            return
        self._spool = spool
        self._writer = Writer(database, self._backlog, presence, spool)
        self._tasks = [
            asyncio.create_task(self._writer.run(), name="ledger writer"),
            asyncio.create_task(presence.keep(), name="ledger heartbeat"),
        ]
        for task in self._tasks:
            task.add_done_callback(_report_end)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        recording: bool = True,
        queue_limit: int = 10_000,
        deadline_s: float = 5.0,
        spool: Path | None = None,
    ) -> Self:
        """Connect, and mark the requests that processes which are gone have left unfinished.

        A SQLite file is made, or brought to the newest schema, if need be. On PostgreSQL that is left to
        ``avengers-pro store upgrade``, because other replicas may be at work.

        Args:
            url: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` or ``postgresql://user:password@host/database``.
            recording: False only reads, gives feedback and prunes: nothing is marked, and ``begin`` fails.
            queue_limit: Most openings, and most closings, that wait to be written at once.
            deadline_s: How long a transaction is tried while others are busy, in seconds.
            spool: Folder in which rows are kept while the database is away, and from which they are written later:
                then ``begin`` succeeds all the same. None = rows that cannot be written fail.

        Raises:
            SettingsError: If the URL is wrong.
            MissingExtraError: If its driver is not installed.
            StoreError: If the database cannot be reached, read or written; if its schema is newer than this
                version's, or on PostgreSQL older; or, for reading, if there is none.
        """
        parsed = parse_url(url)
        database = Database(make_engine(parsed, deadline_s), shown(parsed), deadline_s)
        presence = Presence(database) if recording else None
        async with AsyncExitStack() as undo:
            undo.push_async_callback(database.engine.dispose)
            path = file_of(parsed)
            if path is not None and not recording and not path.exists():
                raise StoreError(f"the ledger {database.shown} does not exist; is the path right?")
            if path is not None:
                await bring_up_to_date(database)
            await check(database)
            if presence is not None:
                undo.callback(presence.release)
                await presence.enter()
            kept = None if spool is None or presence is None else Spool.open(spool)
            undo.pop_all()
        return cls(database, presence, queue_limit, kept)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def lost_closings(self) -> int:
        """How many closings were never written.

        Too many waited, or their opening was not written, or the database refused them, or it was still failing at
        ``close``. Their requests, if written, will be ``interrupted``.
        """
        return self._backlog.lost_closings

    @property
    def engine(self) -> AsyncEngine:
        """The database, which the API keys share."""
        return self._database.engine

    @property
    def usage(self) -> Usage:
        """What all replicas on this database have used of the limits of the keys."""
        return Usage(self._database)

    @property
    def queued(self) -> int:
        """Openings and closings that wait or are being written, those in the spool among them."""
        return len(self._backlog) + (0 if self._spool is None else len(self._spool))

    def begin(self, opening: Opening) -> asyncio.Future[None]:
        """Queue what is known when a request's model is chosen; never blocks.

        Returns:
            Done when the row is durable. Fails with StoreError if it could not be written: the queue is full (at
            once), the database was busy until the deadline, or it refused (with its reason). A request whose future
            has failed is not in the ledger, and its closing will be lost.
        """
        return self._backlog.begin(opening)

    def finish(self, closing: Closing) -> None:
        """Queue what is known when a request is over; never blocks, never raises.

        It is written within about 50 ms, and tried again for as long as the database fails. It may come right before
        its own ``begin``. A second one of the same request is lost.
        """
        self._backlog.finish(closing)

    async def flush(self) -> None:
        """Return when all that was queued is written, or refused for good.

        Raises:
            StoreError: If the database fails until the deadline.
        """
        if self._writer is not None:
            await self._writer.flush()

    async def close(self) -> None:
        """Write what is left, trying until the deadline, and disconnect; then ``begin`` fails. Does not raise."""
        writer, self._writer = self._writer, None
        if writer is not None and self._presence is not None:
            writer.stop()
            await asyncio.wait(self._tasks[:1], timeout=self._database.deadline_s)
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            try:
                await self._presence.leave()
            except StoreError as error:
                _log.warning("%s", error)
            if self.lost_closings:
                _log.error("the ledger %s has lost the ends of %d requests", self._database.shown, self.lost_closings)
        if self._spool is not None:
            if self._spool.holds_rows:
                _log.warning("%d rows stay in the spool until the next start", len(self._spool))
            self._spool.close()
        await self._database.engine.dispose()

    async def decision(self, id: str) -> dict[str, Any] | None:  # noqa: A002  (the column's name)
        """Return one whole row; None if there is none.

        Returns:
            The fields of ``Opening`` and ``Closing`` (``closed_at`` is the closing's ``at``; ``outcome`` is None while
            the request is not over), ``process``, ``feedback_score`` and ``feedback_comment`` (the latest), and
            ``feedback``: all that was said, each with ``at``, ``score``, ``comment`` and ``key``, oldest first. JSON
            texts stay texts.

        Raises:
            StoreError: If the database cannot be read.
        """
        return await read_decision(self._database, id)

    async def decisions(
        self,
        filter: Filter = _ALL,  # noqa: A002  (what everyone calls it)
        limit: int = 50,
        before: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return a page of decisions, newest first.

        Args:
            filter: Which ones.
            limit: Most rows, at least 1.
            before: Id of the last row of the page before; None = the first page. Empty if that one was pruned since.

        Returns:
            Rows as in ``decision``, without ``text``, ``answer``, ``vector`` and ``feedback``.

        Raises:
            StoreError: If the database cannot be read.
        """
        return await read_page(self._database, filter, limit, before)

    def export(self, filter: Filter = _ALL) -> AsyncIterator[dict[str, Any]]:  # noqa: A002
        """Iterate over whole rows as in ``decision``, oldest first, holding a few hundred at a time.

        Raises:
            StoreError: While iterating, if the database cannot be read.
        """
        return export_decisions(self._database, filter)

    async def feedback(
        self, decision_id: str, *, score: float | None, comment: str | None, key: str | None, at: float
    ) -> bool:
        """Keep what a client said about an answer. All is kept; of each decision the latest score counts.

        Args:
            decision_id: Of the request.
            score: In [0, 1]; None leaves an earlier one.
            comment: None leaves an earlier one.
            key: Id of the API key that it came with; None = none was asked for.
            at: When, in Unix seconds.

        Returns:
            False if there is no such decision.

        Raises:
            StoreError: If the score is out of range, or the database cannot be written.
        """
        said = Feedback(id=decision_id, at=at, score=score, comment=comment, key=key)
        return await give_feedback(self._database, said)

    async def stats(self, since: float, until: float | None = None) -> Stats:
        """Sum over the requests begun in a range of time that are over.

        Whole hours come from hourly sums, so the range may be long; the rows of an hour that is only partly in the
        range are summed themselves. Where those were pruned, or are more than 100,000, the range is widened to the
        whole hour, as the result says. A score given before its request was over is counted a few seconds later.

        Args:
            since: In Unix seconds.
            until: Not included; None = everything so far, which needs no rows of the present hour.

        Raises:
            StoreError: If the database cannot be read.
        """
        return await read_stats(self._database, since, until)

    async def spend(self, since: float) -> dict[str, float]:
        """Return what each API key has spent on the requests begun since then, in US dollars.

        Requests of unknown cost and without a key are left out; hours count as in ``stats``.

        Raises:
            StoreError: If the database cannot be read.
        """
        return await read_spend(self._database, since)

    async def prune(self, *, older_than: float | None = None, max_bytes: int | None = None) -> int:
        """Remove decisions with their texts, vectors and feedback, oldest first.

        Hourly sums stay, and so do requests that are not over.

        Args:
            older_than: Those begun before this, in Unix seconds; None = none for their age.
            max_bytes: As many as it takes for the rest to fit; on PostgreSQL by an estimate. None = any size.

        Returns:
            How many were removed.

        Raises:
            StoreError: If the database cannot be read or written.
        """
        return await prune(self._database, older_than, max_bytes)


def _report_end(task: asyncio.Task[None]) -> None:
    """Say so at once if a task ended that should not have."""
    if not task.cancelled() and task.exception() is not None:
        _log.critical("the %s has stopped", task.get_name(), exc_info=task.exception())
