"""One HTTP request and its response, over raw ASGI."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NoReturn

from avengers_pro.errors import AvengersProError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

RESET = "avengers_pro.reset"
"""Name of the ASGI extension of `serving` that resets the TCP connection of a request."""
JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"


class ClientGoneError(AvengersProError):
    """The client closed the connection before the response was complete."""


class Exchange:
    """A request, and the means to answer it well or badly.

    Attributes:
        method: In capitals.
        path: Decoded, without the query string.
        headers: Names in lower case; values of a repeated header are joined with ", ".
        status: Of the response; None = nothing was sent yet.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._reset: Callable[[], None] | None = scope.get("extensions", {}).get(RESET)
        self._departure: asyncio.Task[Message] | None = None
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = _joined(scope["headers"])
        self.status: int | None = None

    async def read(self) -> bytes:
        """Return the whole body.

        Raises:
            ClientGoneError: If the client leaves while sending it.
        """
        parts: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError("the client left while sending the request")
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)

    async def respond(
        self, status: int, body: bytes, *, content_type: str = JSON, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Send a whole response."""
        await self.start(status, content_type=content_type, headers=(*headers, ("content-length", str(len(body)))))
        await self.end(body)

    async def start(self, status: int, *, content_type: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Send status and headers; without a content-length the body is chunked."""
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self.status = status
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-type", content_type.encode("latin-1")), *encoded],
            }
        )

    async def write(self, data: bytes) -> None:
        """Send a part of the body; wait while the client does not read.

        Raises:
            ClientGoneError: If the client has left.
        """
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        # Servers take a part without giving way as long as their buffer has room: the departure would go unseen.
        await self.pause(0.0)

    async def end(self, data: bytes = b"") -> None:
        """Send the last part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            ClientGoneError: As soon as the client leaves.
        """
        departure = self._watch()
        if seconds > 0:
            await asyncio.wait({departure}, timeout=seconds)
        else:
            await asyncio.sleep(0)
        if departure.done():
            raise ClientGoneError("the client left before the end of the response")

    async def hang(self) -> NoReturn:
        """Send nothing more.

        Raises:
            ClientGoneError: When the client leaves.
        """
        await self._watch()
        raise ClientGoneError("the client left a response that hung")

    async def reset(self) -> None:
        """Reset the TCP connection; what the client has not read yet may be lost."""
        if self._reset is None:
            raise AvengersProError(f"this server has no ASGI extension {RESET}; run the provider with `serving`")
        departure = self._watch()
        self._reset()
        await departure

    def close(self) -> None:
        """Stop watching the client."""
        if self._departure is not None:
            self._departure.cancel()

    def _watch(self) -> asyncio.Task[Message]:
        """Return the task that ends when the client leaves; after the body, nothing else is received."""
        if self._departure is None:
            self._departure = asyncio.ensure_future(self._receive())
        return self._departure


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
