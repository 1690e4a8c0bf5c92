"""The gateway's HTTP client: connections to upstreams, kept warm, without redirects, cookies or proxies."""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, urlsplit

from avengers_pro.gateway.connection import Connection, Response

KEEP_S = 60.0
"""How long a connection is kept that nobody uses."""
_READ_AHEAD = 16_384
"""Bytes of an answer that may wait for a slow reader, beside what one read brings."""
_SAFE = "/%:@!$&'()*+,;=~?-._"


class NotConnectedError(OSError):
    """No connection could be made."""


class ConnectTimeoutError(TimeoutError):
    """No connection was made in time."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go.

    Attributes:
        host: Name or address.
        port: Of TCP.
        tls: Whether the connection is encrypted, and the name checked.
    """

    host: str
    port: int
    tls: bool

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def split_url(url: str) -> tuple[Origin, str]:
    """Return where a URL's connections go, and what is asked for there.

    Raises:
        ValueError: If it has no host, or a port that is none.
    """
    parts = urlsplit(url)
    if parts.hostname is None:
        raise ValueError(f"{url!r} names no host")
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    tls = parts.scheme == "https"
    query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
    return Origin(host, parts.port or (443 if tls else 80), tls), (quote(parts.path, safe=_SAFE) or "/") + query


def request_head(method: str, origin: Origin, path: str, headers: dict[str, str]) -> bytes:
    """Return a request's head up to the value of its content-length, which is not known yet."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {origin.authority}", "accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "content-length: "]).encode("latin-1")


class HttpClient:
    """Sends requests, each on a connection of its own as long as it is being answered."""

    def __init__(self) -> None:
        """Begin without connections."""
        self._idle: dict[Origin, deque[tuple[float, Connection]]] = {}
        self._open: set[Connection] = set()

    async def ask(
        self, origin: Origin, head: bytes, body: bytes, *, connect_by: float, head_by: float, whole_by: float
    ) -> Response:
        """Send a request and wait for the head of its answer; whoever gets it closes it.

        Args:
            origin: Where to.
            head: As ``request_head`` makes it.
            body: Of the request.
            connect_by: Time of the loop's clock at which the connection must be made.
            head_by: The same for the head of the answer.
            whole_by: The same for all of it.

        Raises:
            NotConnectedError: If nobody listens there, or is not who they should be.
            ConnectTimeoutError: If connecting takes too long.
            BrokenError: If the connection is lost, or what comes is no HTTP.
            TimeoutError: If the head is not there in time.
        """
        connection = self._warm(origin) or await self._connect(origin, min(connect_by, head_by))
        response = connection.send(b"%b%d\r\n\r\n%b" % (head, len(body), body), _READ_AHEAD, whole_by)
        try:
            await response.head(head_by)
        finally:
            if not response.status:
                response.close()
        return response

    async def close(self) -> None:
        """Close all connections."""
        for connection in self._open:
            connection.abort()
        if self._open:
            await asyncio.wait([connection.lost for connection in self._open])

    def _warm(self, origin: Origin) -> Connection | None:
        """Return the connection that was used last: the others may grow old, and are closed then."""
        idle = self._idle.get(origin)
        if not idle:
            return None
        oldest = asyncio.get_running_loop().time() - KEEP_S
        while idle and (idle[0][0] < oldest or not idle[0][1].is_open):
            idle.popleft()[1].abort()
        while idle:
            connection = idle.pop()[1]
            if connection.is_open:
                return connection
        return None

    async def _connect(self, origin: Origin, until: float) -> Connection:
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault(origin, deque())

        def free(connection: Connection) -> None:
            idle.append((loop.time(), connection))

        tls = self._tls if origin.tls else None
        try:
            async with asyncio.timeout_at(until):
                _, connection = await loop.create_connection(
                    lambda: Connection(free), origin.host, origin.port, ssl=tls
                )
        except TimeoutError as error:
            raise ConnectTimeoutError("connect timeout") from error
        except OSError as error:
            raise NotConnectedError("cannot connect") from error
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made with the first encrypted connection: reading the authorities takes a while."""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["http/1.1"])
        return context
