"""When an upstream that fails is left alone, and when it is tried again."""

from collections import deque
from typing import Literal

import msgspec

from avengers_pro.gateway.ranges import Count, Seconds, Share

State = Literal["closed", "open", "half-open"]


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[breaker]``: when a failing upstream is left alone.

    Attributes:
        window: Seconds over which an upstream's failures are counted.
        min_requests: Fewer requests than this in the window prove nothing.
        failure_share: Share of failures, in (0, 1], from which on the upstream is left alone.
        cooldown: Seconds until an upstream left alone is tried again.
        half_open_probes: Requests let through to try it then.
    """

    window: Seconds = 30.0
    min_requests: Count = 5
    failure_share: Share = 0.5
    cooldown: Seconds = 15.0
    half_open_probes: Count = 1


class Breaker:
    """Counts an upstream's failures over a rolling window; opens, and after a while lets a probe through.

    Times are seconds of a monotonic clock, given by the caller.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        """Begin closed."""
        self._settings = settings
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._opened: float | None = None
        self._probes = 0
        self._not_before = 0.0

    def state(self, now: float) -> State:
        """Return closed (in use), open (left alone) or half-open (being tried)."""
        if now < self._not_before:
            return "open"
        if self._opened is None:
            return "closed"
        return "half-open" if now - self._opened >= self._settings.cooldown else "open"

    def allow(self, now: float) -> bool:
        """Whether a request may go there; in half-open, it is counted as a probe and must be recorded."""
        state = self.state(now)
        if state == "half-open" and self._probes < self._settings.half_open_probes:
            self._probes += 1
            return True
        return state == "closed"

    def rest(self, until: float) -> None:
        """Leave it alone until then, as its Retry-After asks."""
        self._not_before = max(self._not_before, until)

    def resting(self, now: float) -> float:
        """Seconds until it asked to be used again; 0 = now."""
        return max(self._not_before - now, 0.0)

    def trip(self, now: float) -> None:
        """Open at once: nothing will come of trying before an operator has looked."""
        self._opened, self._probes = now, 0

    def forget(self) -> None:
        """Take back a probe that came to nothing by no fault of the upstream."""
        self._probes = max(self._probes - 1, 0)

    def record(self, now: float, *, ok: bool) -> None:
        """Note how a request ended; while open, what was under way before says nothing new."""
        if self._opened is not None:
            if now - self._opened < self._settings.cooldown:
                return
            if ok:
                self._opened, self._failures = None, 0
                self._outcomes.clear()
            else:
                self._opened = now
            self._probes = 0
            return
        horizon = now - self._settings.window
        outcomes = self._outcomes
        while outcomes and outcomes[0][0] < horizon:
            self._failures -= not outcomes.popleft()[1]
        outcomes.append((now, ok))
        self._failures += not ok
        enough = len(outcomes) >= self._settings.min_requests
        if not ok and enough and self._failures >= self._settings.failure_share * len(outcomes):
            self.trip(now)
