"""Limits per minute that refill smoothly, seen from what is used: it drains at limit / 60 a second."""

HOLD_S = 20.0
"""A reservation of tokens is held for one to two of these; then it counts as used."""
SLACK = 1e-6
"""Requests or tokens by which a limit may be exceeded, for the rounding of floating point."""
_CLOCK_STEP_S = 60.0


class Bucket:
    """What was used and has not drained yet.

    While nothing exceeds the limit, at most limit x (1 + minutes) is used in any stretch of time.

    Attributes:
        used: Requests or tokens, at least 0, as of the last ``drain``.
    """

    __slots__ = ("_at_s", "used")

    def __init__(self) -> None:
        self.used = 0.0
        self._at_s = 0.0

    def drain(self, per_minute: float, now: float) -> float:
        """Let drain what drains until ``now`` (unix seconds); return what is left.

        Times a little out of order change nothing. Only a clock that was set back by more than a minute is followed,
        or a key at its limit would wait for as long as the clock was set back.
        """
        elapsed = now - self._at_s
        if elapsed > 0:
            left = self.used - elapsed * per_minute / 60
            self.used = left if left > 0 else 0.0
            self._at_s = now
        elif elapsed < -_CLOCK_STEP_S:
            self._at_s = now
        return self.used

    def give_back(self, amount: float, used_at_s: float, per_minute: float) -> None:
        """Undo a use at ``used_at_s``, except for what drained since: giving that back too would allow it twice."""
        left = amount - (self._at_s - used_at_s) * per_minute / 60
        if left > 0:
            self.used = max(0.0, self.used - min(left, amount))


class HoldingBucket(Bucket):
    """A bucket for amounts that are known only afterwards.

    A reservation is held, and does not drain, until the actual amount replaces it. Were it to drain meanwhile,
    correcting it would give back what had drained already, and reservations of much that use little could be piled up
    into a burst. But an answer that takes minutes would then block its share of the limit for minutes: what is held
    for 20 to 40 seconds counts as used, drains, and is not given back any more.
    """

    __slots__ = ("_ends_s", "_generation", "_old", "_young")

    def __init__(self) -> None:
        super().__init__()
        self._generation = 0
        self._ends_s = 0.0
        self._young = 0
        self._old = 0

    @property
    def held(self) -> int:
        """What is reserved, and neither settled nor counted as used."""
        return self._young + self._old

    def drain(self, per_minute: float, now: float) -> float:
        """Like ``Bucket.drain``; what is left includes what is held."""
        if now >= self._ends_s:
            self._turn(per_minute, now)
        return super().drain(per_minute, now) + self._young + self._old

    def hold(self, amount: int) -> int:
        """Reserve as of the last ``drain``; return what ``settle`` needs to find the reservation."""
        self._young += amount
        return self._generation

    def settle(self, held: int, generation: int, actual: int) -> None:
        """Replace a reservation by what was used, as of the last ``drain``."""
        if generation == self._generation:
            self._young -= held
        elif generation == self._generation - 1:
            self._old -= held
        else:  # counted as used in full
            actual = max(0, actual - held)
        self.used += actual

    def _turn(self, per_minute: float, now: float) -> None:
        """Count as used what was held long enough, at the moment when it was."""
        generation = int(now // HOLD_S)
        for begun in range(self._generation + 1, min(generation, self._generation + 2) + 1):
            super().drain(per_minute, begun * HOLD_S)
            self.used += self._old
            self._old, self._young = self._young, 0
        self._generation = generation
        self._ends_s = (generation + 1) * HOLD_S
