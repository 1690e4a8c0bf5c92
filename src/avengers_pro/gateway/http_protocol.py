"""uvicorn's HTTP, which waits for a request's head for ever and reads heads of any length, with limits to both."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_TIMEOUT_S = 10.0
"""From the first byte of a request, or the opening of a connection, until all headers are there."""
_REQUEST_LINE_BYTES = 16_384


class GuardedProtocol(HttpToolsProtocol):
    """Closes connections that are slow to say what they want, or say too much before they say it.

    What comes after an early answer, such as the rest of a body that was refused, is held to the same time.

    Attributes:
        head_timeout: In seconds.
        max_head_bytes: Request line and headers together.
    """

    head_timeout = HEAD_TIMEOUT_S
    max_head_bytes = 65_536 + _REQUEST_LINE_BYTES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn's."""
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; watch the clock and the size as long as no request is being answered."""
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if (cycle is not None and not cycle.response_complete) or self.transport.is_closing():
            return
        self._watch()
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._refuse()

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Note that a head is whole."""
        self._in_head = False
        self._unwatch()
        super().on_headers_complete()

    def _watch(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout, self._give_up)

    def _unwatch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _refuse(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        self.transport.close()


def guarded_protocol(max_header_bytes: int) -> type[GuardedProtocol]:
    """Return the protocol with a limit to the headers of a request, in bytes."""
    return type("GuardedProtocol", (GuardedProtocol,), {"max_head_bytes": max_header_bytes + _REQUEST_LINE_BYTES})
