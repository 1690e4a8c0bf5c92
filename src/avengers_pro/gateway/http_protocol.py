"""uvicorn's HTTP, which waits for a request's head for ever and reads heads of any length, with limits to both.

And with what it does not get right: requests that offer an upgrade, clients of HTTP/1.0, errors of its own.
"""

import asyncio
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from avengers_pro.gateway.refused import error_body

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
        self._unread: list[bytes] = []
        self._read = b""
        self._is_deaf = False

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
        if self._is_deaf:
            return
        self._unread = [data]
        while self._unread and not self._is_deaf:
            self._read = self._unread.pop()
            super().data_received(self._read)
        self._read = b""
        cycle: RequestResponseCycle | None = self.cycle
        if (cycle is not None and not cycle.response_complete) or self.transport.is_closing():
            return
        self._watch()
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.max_head_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is too long")

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Note that a head is whole."""
        self._in_head = False
        self._unwatch()
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # to be read once more without it
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.send = _Unchunked(self.cycle)  # type: ignore[method-assign, assignment]

    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Answer as if no upgrade had been offered, as RFC 9110 allows: Java's client offers HTTP/2 with each request.

        The parser takes what follows such a head for another protocol, so it gets the head again without the offer.
        """
        upgrade = sys.exc_info()[1]  # uvicorn calls this while it handles the parser's exception
        assert isinstance(upgrade, httptools.HttpParserUpgrade)  # noqa: S101  # likewise
        head = [self.parser.get_method() + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        head += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        with suppress(AttributeError):  # httptools has it from 0.6.3 on
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        rest = memoryview(self._read)[upgrade.args[0] :]  # not copied: there may be many such heads in it
        self._unread += [rest, b"\r\n".join([*head, b"", b""])]  # type: ignore[list-item]  # as good as bytes

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; what was asked before it is still answered."""
        self._is_deaf = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._refuse(HTTPStatus.BAD_REQUEST, msg)
        elif not cycle.more_body:
            cycle.keep_alive = False
        elif cycle.response_started or self.pipeline:
            self.transport.close()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, msg)

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

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer, and read on unheeding: a close with bytes unread would take the answer back (RFC 9112, 9.6)."""
        self._is_deaf = True
        body = error_body(message, "invalid_request_error")
        head = f"HTTP/1.1 {status} {status.phrase}\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
            return
        self.transport.write_eof()
        self._unwatch()
        self._watch()


class _Unchunked:
    """Sends answers of unknown length to clients of HTTP/1.0, which know no chunks: they end with the connection."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle, self._send, self._is_open = cycle, cycle.send, False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        cycle = self._cycle
        if message["type"] == "http.response.start":
            self._is_open = all(name != b"content-length" for name, _ in message["headers"])
            cycle.chunked_encoding = False if self._is_open else None
        elif self._is_open:
            cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)  # type: ignore[arg-type]  # a mapping of one of uvicorn's many types


def guarded_protocol(max_header_bytes: int) -> type[GuardedProtocol]:
    """Return the protocol with a limit to the headers of a request, in bytes."""
    return type("GuardedProtocol", (GuardedProtocol,), {"max_head_bytes": max_header_bytes + _REQUEST_LINE_BYTES})
