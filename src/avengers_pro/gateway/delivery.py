"""Passing an upstream's answer on: bytes as they come, nothing re-encoded."""

import asyncio
import time

from avengers_pro.gateway.asgi import Receive, Send, refuse
from avengers_pro.gateway.attempt import Usable, next_bytes
from avengers_pro.gateway.bookkeeping import REFUSED_UPSTREAM, Course
from avengers_pro.gateway.connection import BrokenError
from avengers_pro.gateway.refused import Headers, RefusedError, error_event
from avengers_pro.gateway.sse import EventReader
from avengers_pro.gateway.transcript import Transcript

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
        b"date",
        b"server",
        b"set-cookie",
        b"alt-svc",
        b"strict-transport-security",
    }
)
"""Headers that speak of the connection to the upstream, not of the answer."""
_OURS = b"x-avengers-pro-"


def passed_headers(headers: Headers) -> Headers:
    """Return the upstream's headers that belong to the answer; none that no server may send, or that are ours."""
    return [(name, value) for name, value in headers if name not in _NOT_PASSED and not name.startswith(_OURS)]


async def deliver(send: Send, found: Usable, course: Course, headers: Headers, transcript: Transcript | None) -> None:
    """Send an answer to the client, and note how it went.

    A stream whose upstream dies ends with an error event and no ``[DONE]``.

    Args:
        send: To the client.
        found: The answer.
        course: Filled in.
        headers: Ours.
        transcript: Of the answer's text; None = it is not kept.
    """
    response = found.response
    start = [*passed_headers(response.headers), *headers]
    if found.events is None:
        start.append((b"content-length", b"%d" % len(found.first)))
    course.status, course.streams = response.status, found.events is not None
    course.first_byte = time.perf_counter() - course.started
    await send({"type": "http.response.start", "status": response.status, "headers": start})
    if found.events is not None:
        await _stream(send, found, found.events, course, transcript)
        return
    if found.answer is not None:
        course.note(found.answer)
        if transcript is not None:
            transcript.whole(found.first)
    await send({"type": "http.response.body", "body": found.first})
    course.outcome = "ok" if found.answer is not None else REFUSED_UPSTREAM


async def _stream(
    send: Send, found: Usable, events: EventReader, course: Course, transcript: Transcript | None
) -> None:
    """Pass a stream on, and end it well or badly."""
    lost = await _relay(send, found, events, course, transcript)
    rest = b"" if lost else events.end()
    course.note(events)
    if not (lost or events.done or events.failed or events.finish_reason):
        lost = "the upstream ended the stream early"
    if lost is None or events.done:
        course.outcome = "upstream-error" if events.failed else "ok"
        await send({"type": "http.response.body", "body": rest})
        return
    course.outcome = "upstream-error"
    found.upstream.breaker.record(asyncio.get_running_loop().time(), ok=False)
    failure = RefusedError(502, f"{lost}; the answer is not complete", kind="server_error", code="upstream_failed")
    await break_off(send, course, failure)


async def _relay(
    send: Send, found: Usable, events: EventReader, course: Course, transcript: Transcript | None
) -> str | None:
    """Pass on what comes; return what went wrong with the upstream."""
    passed, found.first = found.first, b""  # nothing is kept that a slow reader does not need
    try:
        while True:
            if passed:
                if transcript is not None:
                    transcript.events(passed)
                await send({"type": "http.response.body", "body": passed, "more_body": True})
                course.inside = not passed.endswith(b"\n\n")
                if events.done:  # a client that leaves now has everything
                    course.outcome = "upstream-error" if events.failed else "ok"
            chunk = await _next(found)
            if isinstance(chunk, str):
                return chunk
            if not chunk:
                return None
            passed = events.feed(chunk)
    finally:
        course.note(events)


async def _next(found: Usable) -> bytes | str:
    """Return the next bytes, none at the end, or what went wrong."""
    try:
        return await next_bytes(found.upstream, found.response)
    except TimeoutError:
        return "the upstream stopped answering"
    except BrokenError:
        return "the connection to the upstream was lost"


async def break_off(send: Send, course: Course, refusal: RefusedError, headers: Headers | None = None) -> None:
    """End a request that cannot be completed: by an error, in a stream that was begun by an error event.

    Of a body that was begun nothing can be said: it stays shorter than announced, and the server hangs up.

    Args:
        send: To the client.
        course: Of the request.
        refusal: What to say.
        headers: Ours, if nothing was sent yet.
    """
    if not course.status:
        course.status = refusal.status
        await refuse(send, refusal, headers)
    elif course.streams:
        gap = b"\n\n" if course.inside else b""
        event = error_event(refusal.message, refusal.kind, refusal.code)
        await send({"type": "http.response.body", "body": gap + event})


UNWATCHED_S = 0.03
"""A request is watched from then on: shorter ones end before anything could be spared."""


class Watch:
    """Cancels the task that answers a client as soon as the client leaves, or when its time is up.

    Attributes:
        is_gone: Whether the client left.
        is_late: Whether the time was up.
    """

    def __init__(self, receive: Receive, seconds: float) -> None:
        """Watch a client whose request was read.

        Args:
            receive: From the client.
            seconds: For the answer.
        """
        self.is_gone = self.is_late = False
        self._receive, self._seconds = receive, seconds
        self._task = asyncio.current_task()
        self._watch: asyncio.Future[None] | None = None
        self._start = asyncio.get_running_loop().call_later(UNWATCHED_S, self._begin)

    def _begin(self) -> None:
        self._watch = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._seconds - UNWATCHED_S):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
            self.is_gone = True
        except TimeoutError:
            self.is_late = True
        if self._task is not None:
            self._task.cancel()

    def stop(self) -> None:
        """Watch no longer."""
        self._start.cancel()
        if self._watch is not None:
            self._watch.cancel()
