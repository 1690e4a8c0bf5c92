"""The HTTP server around the gateway: listening, signals, draining, logs."""

import asyncio
import ctypes
import errno
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn
from uvicorn.lifespan.on import LifespanOn, LifespanSendMessage

from avengers_pro.errors import AvengersProError, SettingsError
from avengers_pro.gateway.app import App
from avengers_pro.gateway.asgi import Receive, Scope, Send
from avengers_pro.gateway.http_protocol import guarded_protocol
from avengers_pro.gateway.logs import set_up_logging
from avengers_pro.gateway.settings import Settings

_KEEP_ALIVE_S = 75
"""Longer than clients keep idle connections, so that they close them and no request meets a closing one."""
_BACKLOG = 2048
_FAREWELL_S = 2.0
"""For requests that are cut off to say so, and for that to reach the client."""
_TICK_S = 0.1
_NO_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read, not listened on
_log = logging.getLogger(__name__)


def run(
    app: App, settings: Settings, *, started: Callable[[str], None] | None = None, shares_port: bool = False
) -> None:
    """Serve the gateway in this thread, the process's main one, until SIGTERM or SIGINT.

    Logging is set up here. SIGHUP loads the router again. Requests under way get ``drain_timeout`` to finish.

    Args:
        app: The gateway.
        settings: Where to listen, and what to bear; ``[logging]``.
        started: Called once requests are answered, with the URL, without a slash at the end.
        shares_port: Listen beside other processes on the same port; the system deals the connections out.

    Raises:
        SettingsError: If the address cannot be listened on.
        AvengersProError: If the gateway does not start, with its reason.
    """
    set_up_logging(settings.logging)
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # a thread pool for one short text costs more than it saves
    server = settings.server
    listeners = bound(server.host, server.port, shares_port=shares_port)
    config = uvicorn.Config(
        _logging_requests(app) if _log.isEnabledFor(logging.DEBUG) else app,
        http=guarded_protocol(server.max_header_bytes),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    config.load()
    config.lifespan_class = Lifespan
    running = _Server(config, app, server.drain_timeout, url_of(server.host, listeners[0].getsockname()[1]), started)
    told = logging.getLogger("uvicorn.error")
    told.addFilter(_is_news)
    try:
        with suppress(SystemExit):  # uvicorn's way to say that the application did not start
            running.run(sockets=listeners)
    finally:
        told.removeFilter(_is_news)
        for listener in listeners:
            listener.close()
    if not running.started:
        failure = getattr(running.lifespan, "failure", None)
        raise AvengersProError(failure or "the gateway did not start; the log says why")


def spare_collections() -> None:
    """Settle down after the start: keep the garbage collector from walking what stays, and give memory back.

    What is there now stays; requests leave little behind that is cyclic. Measured: a fifth of a request's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc keeps what loading needed for a moment, some 13 MB
        trim(0)


class Lifespan(LifespanOn):
    """Starts and stops an application, and keeps the reason why it did not start.

    Attributes:
        failure: That reason; None = it gave none.
    """

    failure: str | None = None

    async def send(self, message: LifespanSendMessage) -> None:
        """Take what the application says."""
        if message["type"] == "lifespan.startup.failed":
            self.failure, message["message"] = message.get("message"), ""
        await super().send(message)


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, app: App, drain_s: float, url: str, started: Callable[[str], None] | None
    ) -> None:
        super().__init__(config)
        self._gateway, self._drain_s, self._url, self._when_started = app.gateway, drain_s, url, started
        self._reloads: set[asyncio.Task[None]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        spare_collections()
        if self._when_started is not None:
            self._when_started(self._url)
        _log.info("listening", extra={"url": self._url, "router": self._gateway.decider.fingerprint[:12]})

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Unlike uvicorn's: a signal that was obeyed ends the process with status 0, not by the signal itself."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, within the time there is; tell the rest that it is over."""
        self._gateway.is_ready = False
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()  # closes what is idle
        waiting = len(self.server_state.tasks)
        _log.info("stopping", extra={"requests": waiting, "drain_seconds": self._drain_s})
        await self._until_quiet(self._drain_s)
        if left := [task for task in self.server_state.tasks if not task.done()]:
            _log.warning("requests cut off", extra={"requests": len(left)})
            for task in left:
                task.cancel()
            await self._until_quiet(_FAREWELL_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)
        await self.lifespan.shutdown()
        _log.info("stopped")

    async def _until_quiet(self, most_s: float) -> None:
        """Wait until every request is answered and every answer is sent; a second SIGINT ends the wait."""
        state, end = self.server_state, time.monotonic() + most_s
        while (state.tasks or state.connections) and not self.force_exit and time.monotonic() < end:
            if state.tasks:
                await asyncio.wait(set(state.tasks), timeout=min(_TICK_S, max(end - time.monotonic(), 0.0)))
            await asyncio.sleep(0 if state.tasks or not state.connections else _TICK_S / 10)

    def _reload(self) -> None:
        task = asyncio.get_running_loop().create_task(self._reload_now())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_now(self) -> None:
        with suppress(AvengersProError):  # the reload said why, and the old router goes on
            await self._gateway.reload()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether uvicorn says something that is not told otherwise."""
    cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cancelled and record.getMessage() != "Application startup failed. Exiting."


def _logging_requests(app: App) -> Callable[[Scope, Receive, Send], Any]:
    """Log a line for each request; done at ``debug`` alone, for the ledger has them all."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        begun = time.perf_counter()
        told: dict[str, Any] = {"method": scope["method"], "path": scope["path"], "status": None}

        async def noting(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                ours = {name: value for name, value in message["headers"] if name.startswith(b"x-avengers-pro-")}
                named = {name[15:].decode().replace("-", "_"): value.decode("latin-1") for name, value in ours.items()}
                told.update(status=message["status"], **named)
            await send(message)

        try:
            await app(scope, receive, noting)
        finally:
            told["milliseconds"] = round((time.perf_counter() - begun) * 1000, 3)
            _log.debug("request", extra=told)

    return serve


def bound(host: str, port: int, *, shares_port: bool = False) -> list[socket.socket]:
    """Take the port, on every address of the host, before anything else is done; it is listened on by uvicorn.

    Args:
        host: Name or address.
        port: 0 = any free one, the same on every address.
        shares_port: Let other processes of this user take it as well (SO_REUSEPORT).

    Raises:
        SettingsError: If the host has no address, or the port is taken.
    """
    where = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"{where}: cannot be listened on: no address is known for {host!r}") from error
    listeners: list[socket.socket] = []
    problem: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        chosen = listeners[0].getsockname()[1] if listeners and port == 0 else port
        try:
            listeners.append(
                _bound(family, kind, protocol, (address[0], chosen, *address[2:]), shares_port=shares_port)
            )
        except OSError as error:
            problem = error
            if error.errno not in _NO_ADDRESS:
                break
    if not listeners or (problem is not None and problem.errno not in _NO_ADDRESS):
        for listener in listeners:
            listener.close()
        reason = problem.strerror if problem is not None else "it has no address"
        raise SettingsError(
            f"{where}: cannot be listened on: {reason}; choose another with --port or [server] port, 0 = any free one"
        ) from problem
    return listeners


def _bound(family: int, kind: int, protocol: int, address: tuple[Any, ...], *, shares_port: bool) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(host: str, port: int, *, seen_from: str | None = None) -> str:
    """Return where a client reaches it, without a slash at the end.

    Args:
        host: What is listened on.
        port: Likewise.
        seen_from: Name under which a client knows this machine, where every address is listened on; None = the
            client is on it.
    """
    reached = ((seen_from or _EVERYWHERE[host]) if host in _EVERYWHERE else host).strip("[]")
    return f"http://{f'[{reached}]' if ':' in reached else reached}:{port}"
