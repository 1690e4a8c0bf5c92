"""One request to one upstream, until it is clear whether its answer can be used."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avengers_pro.gateway.request import ChatRequest
from avengers_pro.gateway.sse import Answer, EventReader, read_answer
from avengers_pro.gateway.upstreams import Upstream

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

_FALL_BACK = frozenset({401, 403, 408, 409, 425, 429})
"""Statuses below 500 after which another model may do better."""
_OPERATORS_FAULT = frozenset({401, 403})
_LONGEST_ERROR = 1_048_576


@dataclass(slots=True)
class Failure:
    """Why an upstream's answer cannot be used.

    Attributes:
        upstream: Which one.
        reason: In a word or two; holds nothing the upstream said.
        status: Of its answer; None = there was none.
        body: Of its answer, passed on if nobody else answers.
        content_type: Likewise.
        retry_after: Seconds it asked to be left alone; None = it did not.
    """

    upstream: Upstream
    reason: str
    status: int | None = None
    body: bytes = b""
    content_type: str = "application/json"
    retry_after: float | None = None

    @property
    def timed_out(self) -> bool:
        """Whether it took too long."""
        return self.reason.endswith("timeout")


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
    response: "ClientResponse"
    first: bytes
    answer: Answer | None = None
    events: EventReader | None = None


async def attempt(session: "ClientSession", upstream: Upstream, chat: ChatRequest, deadline: float) -> Usable | Failure:
    """Ask an upstream, and wait until the first byte of an answer that can be used, or until it failed.

    Args:
        session: Of the HTTP client.
        upstream: Whom to ask.
        chat: What.
        deadline: Time of the loop's clock at which the first byte must be there.
    """
    import aiohttp

    body, hide = upstream.body(chat)
    loop = asyncio.get_running_loop()
    until = min(deadline, loop.time() + upstream.endpoint.first_byte_timeout)
    response: ClientResponse | None = None
    found: Usable | Failure
    try:
        if chat.stream:
            async with asyncio.timeout_at(until):
                response = await session.post(
                    upstream.url, data=body, headers=upstream.headers, timeout=upstream.timeout(), allow_redirects=False
                )
                found = await _judge(upstream, response, chat, hide=hide)
        else:
            async with asyncio.timeout_at(until):
                response = await session.post(
                    upstream.url, data=body, headers=upstream.headers, timeout=upstream.timeout(), allow_redirects=False
                )
            found = await _judge(upstream, response, chat, hide=hide)
    except aiohttp.ConnectionTimeoutError:
        found = Failure(upstream, "connect timeout")
    except TimeoutError:
        found = Failure(upstream, "first byte timeout" if response is None or chat.stream else "read timeout")
    except aiohttp.ClientConnectorError:
        found = Failure(upstream, "cannot connect")
    except aiohttp.ClientError as error:
        found = Failure(upstream, f"connection lost ({type(error).__name__})")
    except BaseException:
        if response is not None:
            response.close()
        raise
    if isinstance(found, Failure) and response is not None:
        response.close()
    return found


async def _judge(upstream: Upstream, response: "ClientResponse", chat: ChatRequest, *, hide: bool) -> Usable | Failure:
    if response.status >= 400:  # noqa: PLR2004
        return await _refused(upstream, response)
    kind = response.headers.get("content-type", "")
    if chat.stream and kind.startswith("text/event-stream"):
        return await _first_events(upstream, response, EventReader(hide_usage=hide))
    data = await response.read()
    answer = read_answer(data)
    if answer is not None and answer.failed:
        return Failure(upstream, "error in the answer", response.status, data)
    if answer is not None and answer.choices and not chat.stream:
        return Usable(upstream, response, data, answer)
    if answer is None:
        return Failure(upstream, "answer is no JSON")
    return Failure(upstream, "answer is no stream" if chat.stream else "answer without choices")


async def _refused(upstream: Upstream, response: "ClientResponse") -> Usable | Failure:
    data = await response.content.read(_LONGEST_ERROR)
    status = response.status
    if status not in _FALL_BACK and status < 500:  # noqa: PLR2004
        return Usable(upstream, response, data)
    return Failure(
        upstream,
        f"status {status}",
        status,
        data,
        response.headers.get("content-type", "application/json"),
        _seconds(response.headers.get("retry-after")),
    )


async def _first_events(upstream: Upstream, response: "ClientResponse", events: EventReader) -> Usable | Failure:
    """Wait for the first bytes that can go on; an error that comes first is no stream."""
    while chunk := await response.content.readany():
        first = events.feed(chunk)
        if events.failed:
            return Failure(upstream, "error in the answer", response.status, _error_of(first))
        if first:
            if _begins_badly(first):
                return Failure(upstream, "answer is no JSON")
            return Usable(upstream, response, first, events=events)
    return Failure(upstream, "empty stream")


def _begins_badly(first: bytes) -> bool:
    """Whether the first event with data holds no JSON."""
    for line in first.splitlines():
        if line.startswith(b"data:"):
            data = line[5:].strip()
            return data != b"[DONE]" and read_answer(data) is None
    return False


def _error_of(first: bytes) -> bytes:
    return next((line[5:].strip() for line in first.splitlines() if line.startswith(b"data:")), b"")


def _seconds(text: str | None) -> float | None:
    """Read Retry-After in seconds; dates are taken for none."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and 0 <= value < 86_400 * 7 else None


def counts_against(failure: Failure) -> bool:
    """Whether a failure says that the upstream is not well; being asked to wait does not."""
    return failure.retry_after is None


def operators_fault(failure: Failure) -> bool:
    """Whether only the operator can mend it: a wrong key, a missing permission."""
    return failure.status in _OPERATORS_FAULT
