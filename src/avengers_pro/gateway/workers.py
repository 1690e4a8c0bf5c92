"""Several worker processes on one port: started, watched, told to reload and to stop.

Every worker is a whole gateway with a ledger writer of its own; they share the port (SO_REUSEPORT), the database, and
the limits of keys. The system deals connections out by their addresses. Conversations (``[sessions]``) and breakers are
each worker's own.
"""

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

import msgspec

from avengers_pro.errors import AvengersProError, SettingsError
from avengers_pro.gateway.logs import set_up_logging
from avengers_pro.gateway.server import bound, run, url_of
from avengers_pro.gateway.settings import Settings
from avengers_pro.gateway.telemetry import METRICS_FOLDER

_TICK_S = 0.2
_RESTART_S = 1.0
"""Least time between two starts of a worker, so that one that cannot live does not burn the machine."""
_log = logging.getLogger(__name__)


@dataclass
class _Worker:
    """One place among the workers.

    Attributes:
        process: Who has it at present.
        told: Where it says that it answers, or why it does not.
        began: When it was started, by a monotonic clock.
        is_up: Whether it has said that it answers.
    """

    process: BaseProcess
    told: Connection
    began: float
    is_up: bool = False


def run_workers(
    router: str | Path, settings: Settings, count: int, *, started: Callable[[str], None] | None = None
) -> None:
    """Serve with several processes until SIGTERM or SIGINT; SIGHUP reaches all of them.

    A worker that ends by itself is started again.

    Args:
        router: Folder or URL, as for ``create_app``.
        settings: As for ``server.run``.
        count: Of workers, at least 1.
        started: Called with the URL once all answer.

    Raises:
        SettingsError: If the address cannot be listened on, or not by several processes.
        AvengersProError: If a worker does not start at first, with its reason.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise SettingsError("several workers need a system on which processes can share a port; serve with one")
    set_up_logging(settings.logging)
    host = settings.server.host
    places = bound(host, settings.server.port, shares_port=True)  # held, so that nobody else takes it in between
    try:
        server = msgspec.structs.replace(settings.server, port=places[0].getsockname()[1])
        settings = msgspec.structs.replace(settings, server=server)
        with _metrics_folder():
            _Supervisor(router, settings, count).run(lambda: started(url_of(host, server.port)) if started else None)
    finally:
        for place in places:
            place.close()


class _Supervisor:
    def __init__(self, router: str | Path, settings: Settings, count: int) -> None:
        self._router, self._settings, self._count = router, settings, count
        self._spawning = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._stops = False

    def run(self, started: Callable[[], None]) -> None:
        with self._signals():
            try:
                self._workers = [self._start() for _ in range(self._count)]
                is_announced = False
                while not self._stops:
                    self._look(is_announced=is_announced)
                    if not is_announced and all(worker.is_up for worker in self._workers):
                        is_announced = True
                        started()
            finally:
                self._end()

    def _start(self) -> _Worker:
        told, telling = self._spawning.Pipe(duplex=False)
        process = self._spawning.Process(target=_work, args=(self._router, self._settings, telling), name="worker")
        process.start()
        telling.close()
        return _Worker(process, told, time.monotonic())

    def _look(self, *, is_announced: bool) -> None:
        wait([worker.process.sentinel for worker in self._workers], timeout=_TICK_S)
        for number, worker in enumerate(self._workers):
            failure = _heard(worker)
            if worker.process.exitcode is None or self._stops:
                continue
            if not is_announced:
                raise AvengersProError(failure or f"a worker ended with status {worker.process.exitcode}; see the log")
            if time.monotonic() < worker.began + _RESTART_S:
                continue
            _log.warning(
                "a worker has ended and is started again",
                extra={"pid": worker.process.pid, "status": worker.process.exitcode, "reason": failure},
            )
            self._forget(worker)
            self._workers[number] = self._start()

    def _forget(self, worker: _Worker) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]
        worker.told.close()
        worker.process.join()

    def _end(self) -> None:
        self._tell(signal.SIGTERM)
        for worker in self._workers:
            worker.process.join()
            worker.told.close()

    def _tell(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.process.pid is not None and worker.process.exitcode is None:
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, number)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self._stops = True

        def reload(_number: int, _frame: FrameType | None) -> None:
            self._tell(signal.SIGHUP)

        handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _heard(worker: _Worker) -> str | None:
    """Return why a worker does not answer, if it has said so."""
    failure = None
    with suppress(EOFError, OSError):
        while worker.told.poll():
            failure = worker.told.recv()
            worker.is_up = worker.is_up or failure is None
    return failure


@contextmanager
def _metrics_folder() -> Iterator[None]:
    """Have the workers keep their metrics together; they inherit the variable."""
    folder = tempfile.mkdtemp(prefix="avengers-pro-metrics-")
    before = os.environ.get(METRICS_FOLDER)
    os.environ[METRICS_FOLDER] = folder
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ[METRICS_FOLDER]
        else:
            os.environ[METRICS_FOLDER] = before


def _work(router: str | Path, settings: Settings, telling: Connection) -> None:
    """Be one worker: the whole of a spawned process."""
    from avengers_pro.gateway.app import create_app

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server listens to it
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        run(create_app(router, settings), settings, started=lambda _: telling.send(None), shares_port=True)
    except AvengersProError as error:
        with suppress(OSError):
            telling.send(str(error))
        raise SystemExit(1) from None


def _follow_parent() -> None:
    """Stop, as if told to, when the parent has gone without saying so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
