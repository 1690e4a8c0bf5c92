"""The uvicorn server behind `serving`: on a thread of its own, quick to stop, able to reset a connection."""

import asyncio
import socket
import struct
import threading
from contextlib import suppress
from typing import Any

import uvicorn

from avengers_pro.demo.provider.exchange import RESET, Application, Message, Receive, Scope, Send

_FAREWELL_S = 2.0
"""How long a request may still clean up after its connection was closed, before its task is cancelled."""
_TICK_S = 1.0
"""How often uvicorn renews the date header."""
_NO_LINGER = struct.pack("ii", 1, 0)
"""Closing a socket with this set sends RST and drops what is not sent yet."""


class ThreadServer(uvicorn.Server):
    """Serves an application until told to leave.

    Attributes:
        settled: Set once requests are accepted, or starting has failed.
        failure: Why the application did not start, in its own words; None = it started, or did not say.
    """

    def __init__(self, app: Application, *, grace_s: float) -> None:
        """Set up; nothing listens yet.

        Args:
            app: Any ASGI application.
            grace_s: Seconds that requests in flight get to finish when the server stops.
        """
        self._app = app
        self._grace_s = grace_s
        self._leave = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.settled = threading.Event()
        self.failure: str | None = None
        # Proxy headers would replace the client's address, by which a connection is found.
        config = uvicorn.Config(
            self._serve_app, interface="asgi3", log_config=None, access_log=False, ws="none", proxy_headers=False
        )
        super().__init__(config)

    def run_until_left(self, listener: socket.socket) -> None:
        """Serve on a socket in an event loop of its own; return when `leave` was called or starting failed."""
        try:
            with suppress(SystemExit):  # uvicorn's way to say that the application did not start
                self.run(sockets=[listener])
        finally:
            self.settled.set()

    def leave(self) -> None:
        """Ask the server to stop, from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: the server has stopped by itself
                self._loop.call_soon_threadsafe(self._leave.set)

    async def main_loop(self) -> None:
        """Wait for `leave`, rather than look every tenth of a second as uvicorn does."""
        self._loop = asyncio.get_running_loop()
        self.settled.set()
        while not self.should_exit:
            await self.on_tick(0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leave.wait(), _TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let requests in flight finish within the grace period, and end the rest."""
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        connections = self.server_state.connections
        for connection in list(connections):
            connection.shutdown()  # closes what is idle
        await self._wait_for_tasks(self._grace_s)
        for connection in list(connections):
            connection.transport.abort()
        await self._wait_for_tasks(_FAREWELL_S)
        for task in list(self.server_state.tasks):
            task.cancel()
        await self._wait_for_tasks(_FAREWELL_S)
        await self.lifespan.shutdown()

    async def _wait_for_tasks(self, most_s: float) -> None:
        await asyncio.sleep(0)  # lets closed connections tell their tasks
        tasks = set(self.server_state.tasks)
        if tasks and most_s > 0:
            await asyncio.wait(tasks, timeout=most_s)

    async def _serve_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Offer the reset extension, and note why starting fails."""

        async def noting(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                self.failure = message.get("message")
            await send(message)

        if scope["type"] == "lifespan":
            await self._app(scope, receive, noting)
            return
        client = scope["client"]
        extensions = {**scope.get("extensions", {}), RESET: lambda: self._reset(client)}
        await self._app({**scope, "extensions": extensions}, receive, send)

    def _reset(self, client: Any) -> None:
        """Close the connection of a client with a TCP reset instead of the usual goodbye."""
        for connection in list(self.server_state.connections):
            if getattr(connection, "client", None) == client:
                connection.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
                )
                connection.transport.abort()
