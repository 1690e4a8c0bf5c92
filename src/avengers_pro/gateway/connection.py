"""One HTTP/1.1 connection to an upstream: one request at a time, its answer read as it comes.

Parsing is httptools', which the server side uses too; docs/decisions/0006 says why a client library is not.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

MOST_HEAD_BYTES = 65_536
"""Status line and headers of an answer, interim answers before it included."""
_SWITCHING, _OK = 101, 200
_WITHOUT_BODY = frozenset({204, 304})


class BrokenError(OSError):
    """The connection was lost, or what came is no HTTP; says which in a word or two."""


class Response:
    """What an upstream answers to one request; ``read`` gives its body piece by piece.

    Attributes:
        status: Of HTTP.
        headers: In their order, names in lower case.
        is_whole: Whether the body came to its end.
    """

    def __init__(self, connection: "Connection", read_ahead: int, deadline: float) -> None:
        """Wait for it on a connection.

        Args:
            connection: That the request was sent on.
            read_ahead: Bytes of the body that may wait to be read before the connection is told to wait.
            deadline: Time of the loop's clock at which all of it must be there.
        """
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_whole = False
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = connection
        self._read_ahead, self._deadline = read_ahead, deadline
        self._parts: list[bytes] = []
        self._size = 0
        self._has_head = False
        self._error: BrokenError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def header(self, name: bytes) -> str:
        """Return the first header of a name (in lower case); empty if there is none."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name), "")

    async def head(self, until: float) -> None:
        """Wait for status and headers.

        Raises:
            BrokenError: If they do not come.
            TimeoutError: If they have not come at a time of the loop's clock, or at the deadline.
        """
        while not self._has_head:
            if self._error is not None:
                raise self._error
            await self._wait(until)

    async def read(self, until: float) -> bytes:
        """Return what has come of the body since the last time, waiting if need be; empty = this is its end.

        Raises:
            BrokenError: If the end is missing.
            TimeoutError: If nothing has come at a time of the loop's clock, or the end not at the deadline.
        """
        while not self._parts:
            if self.is_whole:
                return b""
            if self._error is not None:
                raise self._error
            await self._wait(until)
        found = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._size = [], 0
        if self._connection is not None:
            self._connection.go_on()
        return found

    def close(self) -> None:
        """Read no more; a connection whose answer is not at its end is of no use and closed."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def _wait(self, until: float) -> None:
        self._waiter = waiter = self._loop.create_future()
        timer = self._loop.call_at(min(until, self._deadline), _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the connection tells.

    def begin(self, status: int) -> None:
        """The head is there."""
        self.status, self._has_head = status, True
        self._wake()

    def feed(self, data: bytes) -> bool:
        """A piece of the body is there; return whether the connection should wait until it is read."""
        self._parts.append(data)
        self._size += len(data)
        self._wake()
        return self._size > self._read_ahead

    def end(self) -> None:
        """The body is whole."""
        self.is_whole, self._connection = True, None
        self._wake()

    def fail(self, why: str) -> None:
        """No more will come."""
        self._error, self._connection = BrokenError(why), None
        self._wake()


class Connection(asyncio.Protocol):
    """A connection that is kept open between requests.

    Attributes:
        lost: Done when it is closed.
    """

    def __init__(self, on_free: "Callable[[Connection], None]") -> None:
        """Begin without a request.

        Args:
            on_free: Called when an answer has come to its end and another request may be sent.
        """
        self._on_free = on_free
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._answer: Response | None = None
        self._is_paused = False
        self._reset()

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, read_ahead: int, deadline: float) -> Response:
        """Send a request, whole; the connection must be open and free."""
        assert self._transport is not None  # noqa: S101  # the connector returns connections that are made
        self._answer = Response(self, read_ahead, deadline)
        self._reset()
        self._transport.write(request)
        return self._answer

    def go_on(self) -> None:
        """Read again."""
        if self._is_paused and self.is_open and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        self._answer = None
        if self._transport is not None:
            self._transport.abort()

    def _reset(self) -> None:
        """Expect a new answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = 0
        self._is_interim = False
        self._ends_with_connection = True

    # asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """Parse; whoever talks without having been asked is not to be trusted with another request."""
        answer = self._answer
        if answer is None:
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._break("no HTTP")
            return
        if answer.status == 0:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._break("endless headers")

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer: well, if it was to end with the connection."""
        answer, self._answer = self._answer, None
        self._transport = None
        self.lost.set_result(None)
        if answer is None:
            return
        if exc is None and answer.status and self._ends_with_connection:
            answer.end()
        else:
            answer.fail("closed" if exc is None else type(exc).__name__)

    # httptools tells

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes after the body is not passed on."""
        if self._answer is not None and not self._answer.status:
            name = name.lower()
            if name in {b"content-length", b"transfer-encoding"}:
                self._ends_with_connection = False
            self._answer.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin the answer, unless it is an interim one."""
        status = self._parser.get_status_code()
        if self._answer is None:
            return
        self._is_interim = status < _OK and status != _SWITCHING
        if self._is_interim:
            self._answer.headers.clear()
        else:
            if status in _WITHOUT_BODY:
                self._ends_with_connection = False
            self._answer.begin(status)

    def on_body(self, data: bytes) -> None:
        """Pass on a piece of the body."""
        if self._answer is not None and self._answer.feed(data) and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Make the connection free, if it is to be kept."""
        if self._is_interim or self._answer is None:
            self._is_interim = False
            return
        keep = self._parser.should_keep_alive()
        answer, self._answer = self._answer, None
        answer.end()
        if keep and self.is_open:
            self.go_on()
            self._on_free(self)
        elif self._transport is not None:
            self._transport.close()

    def _break(self, why: str) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.fail(why)
        self.abort()


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
