"""Passing an upstream's answer on: bytes as they come, nothing re-encoded."""

import asyncio
import time
from typing import TYPE_CHECKING

from avengers_pro.gateway.asgi import Receive, Send
from avengers_pro.gateway.attempt import Usable
from avengers_pro.gateway.bookkeeping import Course
from avengers_pro.gateway.refused import Headers, error_event
from avengers_pro.gateway.sse import EventReader

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_NOT_PASSED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"content-encoding",
        b"date",
        b"server",
        b"set-cookie",
        b"alt-svc",
        b"strict-transport-security",
    }
)
"""Headers that speak of the connection to the upstream, not of the answer."""


def passed_headers(response: "ClientResponse") -> Headers:
    """Return the upstream's headers that belong to the answer."""
    return [(name.lower(), value) for name, value in response.raw_headers if name.lower() not in _NOT_PASSED]


async def deliver(send: Send, found: Usable, course: Course, headers: Headers) -> None:
    """Send an answer to the client, and note how it went.

    A stream whose upstream dies ends with an error event and no ``[DONE]``.

    Args:
        send: To the client.
        found: The answer.
        course: Filled in.
        headers: Ours.
    """
    response = found.response
    whole = found.events is None
    start = [*passed_headers(response), *headers]
    if whole:
        start.append((b"content-length", b"%d" % len(found.first)))
    course.status = response.status
    course.first_byte = time.perf_counter() - course.started
    await send({"type": "http.response.start", "status": response.status, "headers": start})
    if found.events is None:
        if found.answer is not None:
            course.usage, course.finish_reason = found.answer.usage, found.answer.finish_reason
        course.outcome = "ok" if found.answer is not None else "refused-upstream"
        await send({"type": "http.response.body", "body": found.first})
        return
    await send({"type": "http.response.body", "body": found.first, "more_body": True})
    last = await _stream(send, response, found.events, course)
    await send({"type": "http.response.body", "body": last})


async def _stream(send: Send, response: "ClientResponse", events: EventReader, course: Course) -> bytes:
    """Pass a stream on; return what comes last."""
    import aiohttp

    content = response.content
    reason = None
    try:
        while chunk := await content.readany():
            if passed := events.feed(chunk):
                await send({"type": "http.response.body", "body": passed, "more_body": True})
    except TimeoutError:
        reason = "the upstream stopped answering"
    except aiohttp.ClientError:
        reason = "the connection to the upstream was lost"
    finally:
        course.usage, course.finish_reason = events.usage, events.finish_reason
    if reason is None:
        course.outcome = "upstream-error" if events.failed else "ok"
        return events.end()
    course.outcome = "upstream-error"
    return error_event(f"{reason}; the answer is not complete", "server_error", "upstream_failed")


class Disconnected:
    """Cancels the task that answers a client as soon as the client leaves.

    Attributes:
        happened: Whether the client left.
    """

    def __init__(self, receive: Receive) -> None:
        """Watch a client whose request was read."""
        self.happened = False
        self._receive = receive
        self._task = asyncio.current_task()
        self._watch = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.happened = True
        if self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        """Watch no longer."""
        self._watch.cancel()
