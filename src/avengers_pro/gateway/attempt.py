"""One request to one upstream, until it is clear whether its answer can be used."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from avengers_pro.gateway.connection import BrokenError, Response
from avengers_pro.gateway.http_client import ConnectTimeoutError, HttpClient, NotConnectedError
from avengers_pro.gateway.request import ChatRequest
from avengers_pro.gateway.sse import MOST_HELD, Answer, EventReader, read_answer
from avengers_pro.gateway.upstreams import Upstream

_FALL_BACK = frozenset({401, 403, 408, 409, 425, 429})
"""Statuses below 500 after which another model may do better."""
_OPERATORS_FAULT = frozenset({401, 403})
_NOT_CONNECTED = frozenset({"cannot connect", "connect timeout"})
_LONGEST_ERROR = 1_048_576
_EVENT_END = re.compile(rb"\r?\n\r?\n")


@dataclass(slots=True)
class Failure:
    """Why an upstream's answer cannot be used.

    Attributes:
        upstream: Which one.
        reason: In a word or two; holds nothing the upstream said.
        status: Of its answer; None = there was none.
        retry_after: Seconds it asked to be left alone; None = it did not.
    """

    upstream: Upstream
    reason: str
    status: int | None = None
    retry_after: float | None = None

    @property
    def timed_out(self) -> bool:
        """Whether it took too long."""
        return self.reason.endswith("timeout")

    @property
    def is_free(self) -> bool:
        """Whether a provider charges nothing for it: it was never asked, or it refused."""
        return self.reason in _NOT_CONNECTED or (self.status is not None and self.status >= 400)  # noqa: PLR2004


@dataclass(slots=True)
class Usable:
    """An answer that goes to the client.

    Attributes:
        upstream: Whose.
        response: The open response.
        first: Bytes that may be sent at once: everything, but for streams.
        answer: The read answer; None for streams, and for what was passed on unread.
        events: The reader of the stream; None if it is none.
    """

    upstream: Upstream
    response: Response
    first: bytes
    answer: Answer | None = None
    events: EventReader | None = None


async def attempt(client: HttpClient, upstream: Upstream, chat: ChatRequest, deadline: float) -> Usable | Failure:
    """Ask an upstream, and wait until the first byte of an answer that can be used, or until it failed.

    Args:
        client: Of HTTP.
        upstream: Whom to ask.
        chat: What.
        deadline: Time of the loop's clock at which the first byte must be there.
    """
    body, hide = upstream.body(chat)
    endpoint, now = upstream.endpoint, asyncio.get_running_loop().time()
    until = min(deadline, now + endpoint.first_byte_timeout)
    response: Response | None = None
    found: Usable | Failure | None = None
    try:
        response = await client.ask(
            upstream.origin,
            upstream.head,
            body,
            connect_by=now + endpoint.connect_timeout,
            head_by=until,
            whole_by=now + endpoint.total_timeout,
        )
        found = await _judge(upstream, response, chat, until, hide=hide)
    except ConnectTimeoutError:
        found = Failure(upstream, "connect timeout")
    except TimeoutError:
        found = Failure(upstream, "first byte timeout" if response is None or chat.stream else "read timeout")
    except NotConnectedError:
        found = Failure(upstream, "cannot connect")
    except BrokenError as error:
        found = Failure(upstream, f"connection lost ({error})")
    finally:
        if response is not None and not isinstance(found, Usable):
            response.close()
    assert found is not None  # noqa: S101  # every way out of the block that leaves it so raises
    return found


async def _judge(
    upstream: Upstream, response: Response, chat: ChatRequest, until: float, *, hide: bool
) -> Usable | Failure:
    if response.status >= 300:  # noqa: PLR2004
        return await _refused(upstream, response)
    if chat.stream and response.header(b"content-type").startswith("text/event-stream"):
        return await _first_events(upstream, response, EventReader(hide_usage=hide), until)
    data = await next_bytes(upstream, response)
    if not response.is_whole:  # short answers come together with their heads
        data += b"".join([chunk async for chunk in _chunks(upstream, response)])
    answer = read_answer(data)
    if answer is not None and answer.failed:
        return Failure(upstream, "error in the answer", response.status)
    if answer is not None and answer.choices and not chat.stream:
        return Usable(upstream, response, data, answer)
    if answer is None:
        return Failure(upstream, "answer is no JSON")
    return Failure(upstream, "answer is no stream" if chat.stream else "answer without choices")


async def _refused(upstream: Upstream, response: Response) -> Usable | Failure:
    """Pass on what the client must mend; of everything else, a redirection among it, only the status is of interest."""
    status, wait = response.status, _seconds(response.header(b"retry-after"))
    if status < 400 or status >= 500 or status in _FALL_BACK:  # noqa: PLR2004
        return Failure(upstream, f"status {status}", status, wait)
    data = b""
    async for chunk in _chunks(upstream, response):
        data += chunk
        if len(data) > _LONGEST_ERROR:
            return Failure(upstream, f"status {status}, endless", status)
    return Usable(upstream, response, data)


async def next_bytes(upstream: Upstream, response: Response) -> bytes:
    """Return the bytes that come next, none at the end.

    Raises:
        TimeoutError: If nothing came for too long.
        BrokenError: If the connection is lost.
    """
    return await response.read(asyncio.get_running_loop().time() + upstream.endpoint.idle_timeout)


async def _chunks(upstream: Upstream, response: Response) -> AsyncIterator[bytes]:
    while chunk := await next_bytes(upstream, response):
        yield chunk


async def _first_events(upstream: Upstream, response: Response, events: EventReader, until: float) -> Usable | Failure:
    """Wait for the first bytes that can go on; what begins with an error, or ends before any choice, is no stream."""
    first = b""
    while chunk := await response.read(until):
        first += events.feed(chunk)
        if events.failed:
            return Failure(upstream, "error in the answer", response.status)
        if first and (verdict := _verdict(first)) is not None:
            return Failure(upstream, verdict) if verdict else Usable(upstream, response, first, events=events)
    return Failure(upstream, "answer without choices" if first else "empty stream")


def _verdict(first: bytes) -> str | None:
    """Judge how a stream begins: empty = well, None = that cannot be said yet, else what is wrong."""
    *whole, rest = _EVENT_END.split(first)
    verdict = "" if len(rest) > MOST_HELD else None  # an event too long to be held is passed on in pieces
    for event in whole:
        data = b"".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        if data == b"[DONE]":
            return "answer without choices" if verdict is None else verdict
        answer = read_answer(data) if data else None
        if data and answer is None:
            return "answer is no JSON"
        if answer is None or answer.choices:  # a comment says that the upstream is at work, as good as a choice
            verdict = ""
    return verdict


def _seconds(text: str) -> float | None:
    """Read Retry-After in seconds; dates are taken for none."""
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 86_400 * 7 else None


def counts_against(failure: Failure) -> bool:
    """Whether a failure says that the upstream is not well; being asked to wait does not."""
    return failure.retry_after is None


def operators_fault(failure: Failure) -> bool:
    """Whether only the operator can mend it: a wrong key, a missing permission."""
    return failure.status in _OPERATORS_FAULT
