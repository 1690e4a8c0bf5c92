"""The few ASGI moves that the hot path makes."""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from types import TracebackType
from typing import Any, Self

import msgspec

from avengers_pro.gateway.access import AccessDenied
from avengers_pro.gateway.refused import Headers, RefusedError
from avengers_pro.gateway.settings import ServerSettings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_TIMEOUT = 30.0
"""Seconds for a request body to arrive."""
_log = logging.getLogger(__name__)


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """Return a header's value; None if it is not there."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


class ClientGoneError(Exception):
    """The client closed the connection before its request was read."""


async def read_body(receive: Receive, headers: Headers, limits: ServerSettings) -> bytes:
    """Read a request body.

    Raises:
        RefusedError: If it is too long, takes too long, or its headers are too many.
        ClientGoneError: If the client left.
    """
    if len(headers) > limits.max_headers or sum(len(k) + len(v) for k, v in headers) > limits.max_header_bytes:
        raise RefusedError(431, "the request's headers are too large", code="headers_too_large")
    too_long = RefusedError(
        413,
        f"the body is longer than {limits.max_body_bytes} bytes ([server] max_body_bytes)",
        code="body_too_large",
        headers=[(b"connection", b"close")],
    )
    length = header(headers, b"content-length")
    if length is not None and length.isdecimal() and int(length) > limits.max_body_bytes:
        raise too_long
    parts, size, more = [], 0, True
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while more:
                message = await _next(receive)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limits.max_body_bytes:
                    raise too_long
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise RefusedError(
            408, f"the body did not arrive within {BODY_TIMEOUT:g} s", headers=[(b"connection", b"close")]
        ) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _next(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message


async def refuse(send: Send, refusal: RefusedError | AccessDenied, extra: Headers | None = None) -> None:
    """Answer with an error."""
    body = refusal.body() if isinstance(refusal, RefusedError) else msgspec.json.encode(refusal.body)
    await answer(send, refusal.status, body, [*refusal.headers, *(extra or [])])


async def answer(
    send: Send, status: int, body: bytes, headers: Headers, content_type: bytes = b"application/json"
) -> None:
    """Answer with a whole body."""
    fixed = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


def internal_error() -> RefusedError:
    """Return what a client is told of a fault of the gateway's own: nothing of the fault itself."""
    return RefusedError(500, "the gateway failed; its log says where", kind="server_error", code="internal_error")


class Contained:
    """Contains a fault of the gateway's own: logs where it happened, and has the client answered.

    The log does not get the error's message, which may hold a prompt or a secret. Errors that are no ``Exception``,
    such as a cancellation, go on.
    """

    def __init__(self, doing: str, reply: Callable[[RefusedError], Awaitable[None]] | None = None) -> None:
        """Contain what happens in the block.

        Args:
            doing: What the block does, for the log.
            reply: Called with the error to answer with; None = nobody waits for an answer.
        """
        self._doing, self._reply = doing, reply

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        _log.error("%s: unexpected %s\n%s", self._doing, kind.__name__, "".join(traceback.format_tb(trace)))
        if self._reply is not None:
            await self._reply(internal_error())
        return True
