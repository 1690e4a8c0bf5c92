"""Fallback: upstreams are tried in the order of the decision until one gives an answer that can be used."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from avengers_pro.gateway.attempt import Failure, Usable, attempt, counts_against, operators_fault
from avengers_pro.gateway.refused import RefusedError
from avengers_pro.gateway.request import ChatRequest
from avengers_pro.gateway.settings import FallbackSettings
from avengers_pro.gateway.upstreams import Upstream, Upstreams

if TYPE_CHECKING:
    from avengers_pro.gateway.http_client import HttpClient

_CLOCK_S = 0.002
"""Timers may be a tick of the loop's clock, 1 ms, early: an upstream would still be left alone, and after that not."""


@dataclass(slots=True)
class Walk:
    """What was tried for one request.

    Attributes:
        asked: Attempts begun.
        failures: Those that came to nothing, in order.
        skipped: Models that were passed over because nothing of theirs could take a request.
    """

    asked: int = 0
    failures: list[Failure] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def fallbacks(self) -> int:
        """Attempts after the first."""
        return max(self.asked - 1, 0)

    @property
    def may_cost(self) -> bool:
        """Whether a provider may charge for an attempt, answered or not."""
        return self.asked > sum(failure.is_free for failure in self.failures)


class Walker:
    """Tries upstreams, within attempts and time."""

    def __init__(self, client: "HttpClient", upstreams: Upstreams, settings: FallbackSettings) -> None:
        """Use these upstreams."""
        self._client, self._upstreams, self._settings = client, upstreams, settings

    async def answer(self, chat: ChatRequest, models: Sequence[str], walk: Walk) -> Usable:
        """Return the first answer that can be used.

        The upstream's ``in_flight`` is counted up; whoever gets the answer calls ``release``.

        Args:
            chat: The request.
            models: Best first.
            walk: Notes what was tried.

        Raises:
            RefusedError: If nobody answered; with the status of the last upstream's answer where that is its fault.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.deadline
        while True:
            before = len(walk.failures)
            for upstream, probes in self._candidates(models, walk):
                walk.asked += 1
                found = await self._try(upstream, chat, deadline, probes=probes)
                if isinstance(found, Usable):
                    return found
                walk.failures.append(found)
                if len(walk.failures) >= self._settings.max_attempts or loop.time() >= deadline:
                    break
            pause = self._pause(models, walk, walk.failures[before:])
            if pause is None or loop.time() + pause >= deadline:
                raise nobody_answered(walk, self._soonest(models))
            await asyncio.sleep(pause + _CLOCK_S)

    def _candidates(self, models: Sequence[str], walk: Walk) -> Iterator[tuple[Upstream, bool]]:
        """Yield the upstreams that can take a request, and whether it is a probe of one that was left alone."""
        clock = asyncio.get_running_loop().time
        for model in models:
            usable = False
            for upstream in self._upstreams.of(model):
                if upstream.in_flight < upstream.endpoint.max_concurrency and upstream.breaker.allow(now := clock()):
                    usable = True
                    yield upstream, upstream.breaker.state(now) == "half-open"
            if not usable:
                walk.skipped.append(model)

    async def _try(self, upstream: Upstream, chat: ChatRequest, deadline: float, *, probes: bool) -> Usable | Failure:
        upstream.in_flight += 1
        found = None
        try:
            found = await attempt(self._client, upstream, chat, deadline)
        finally:
            if not isinstance(found, Usable):
                upstream.in_flight -= 1
            if found is None and probes:  # the client left: that says nothing about the upstream
                upstream.breaker.forget()
        now = asyncio.get_running_loop().time()
        if isinstance(found, Usable):
            upstream.breaker.record(now, ok=True)
            return found
        if found.retry_after is not None:
            upstream.breaker.rest(now + found.retry_after)
        if operators_fault(found):
            upstream.breaker.trip(now)
        elif counts_against(found):
            upstream.breaker.record(now, ok=False)
        elif probes:
            upstream.breaker.forget()
        return found

    def _pause(self, models: Sequence[str], walk: Walk, latest: Sequence[Failure]) -> float | None:
        """Return how long to wait before another round, if an upstream asked for no more than is allowed.

        One of the ``latest`` round may have asked for a time that is over by now, or for none.
        """
        if len(walk.failures) >= self._settings.max_attempts:
            return None
        now = asyncio.get_running_loop().time()
        waits = self._rests(models)
        waits += [one.upstream.breaker.resting(now) for one in latest if one.retry_after is not None]
        waits = [wait for wait in waits if wait <= self._settings.retry_after_max]
        return min(waits, default=None)

    def _rests(self, models: Sequence[str]) -> list[float]:
        now = asyncio.get_running_loop().time()
        every = [upstream.breaker.resting(now) for model in models for upstream in self._upstreams.of(model)]
        return [wait for wait in every if wait > 0]

    def _soonest(self, models: Sequence[str]) -> float:
        return min(self._rests(models), default=1.0)


def release(found: Usable) -> None:
    """Give an upstream's place back, and close the response if it is still open."""
    found.upstream.in_flight -= 1
    found.response.close()


def nobody_answered(walk: Walk, retry_after: float) -> RefusedError:
    """Say that no upstream answered, and what came of each attempt."""
    seconds = str(max(round(retry_after), 1)).encode()
    if not walk.failures:
        return RefusedError(
            503,
            f"no upstream can take a request now ({', '.join(dict.fromkeys(walk.skipped))}): too busy, or failing and "
            f"left alone; try again in {seconds.decode()} s",
            kind="server_error",
            code="no_upstream",
            headers=[(b"retry-after", seconds)],
        )
    last = walk.failures[-1]
    tried = "; ".join(f"{failure.upstream.label}: {failure.reason}" for failure in walk.failures)
    status = 504 if last.timed_out else 502
    headers = []
    if last.status is not None and (last.status == 429 or 500 <= last.status < 600):  # noqa: PLR2004
        status = last.status
        headers = [(b"retry-after", seconds)] if last.retry_after is not None else []
    return RefusedError(
        status, f"no upstream answered ({tried})", kind="server_error", code="upstream_failed", headers=headers
    )
