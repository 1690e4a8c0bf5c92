"""A replica's part of the limits that all replicas on one database share: counted here, leased from the database.

A meter is one limit of one key. The database knows how much of it is used and how much each replica holds; the sum
never exceeds the limit. A replica admits a request out of what it holds, without asking anybody, and asks for more
before that is used up. What it does not use for a second it gives back.
"""

import time
from datetime import date
from math import inf

from avengers_pro.gateway.access.bucket import SLACK, HoldingBucket
from avengers_pro.gateway.access.budget import Calendar, nano
from avengers_pro.gateway.access.limits import Limits

LEASE_S = 1.0
"""A lease of a limit per minute is what flows back in so many seconds."""
LEASE_SHARE = 0.01
"""A lease of dollars is this share of the limit."""
REQUESTS, TOKENS = "requests", "tokens"


class Meter:
    """One limit of one key, as this replica sees it; amounts are requests, tokens or billionths of a dollar.

    Attributes:
        name: ``requests``, ``tokens``, ``day 2026-01-31`` or ``month 2026-01``.
        limit: Of all replicas together.
        per_minute: What drains of the use; 0 = nothing does.
        known: What was used before anybody counted.
        lease: What is taken at once, beyond what a request needs.
        held: What this replica may use, from the last report on; what it has used since is part of it.
        had: Lease of this replica as the database lists it.
        bucket: What was used since the last report, and what is reserved.
        used: By all replicas, at the last report.
        others: Held by the other replicas then.
        reported_at: When that was, Unix seconds.
        scarce_until: Until when it is pointless to ask for as much as ``scarce_for``, Unix seconds.
        scarce_for: What there was too little room for.
    """

    __slots__ = (
        *("bucket", "had", "held", "known", "lease", "limit", "name", "others", "per_minute", "reported_at"),
        *("scarce_for", "scarce_until", "used"),
    )

    def __init__(self, name: str, limit: float, per_minute: float, known: float = 0.0) -> None:
        self.name, self.limit, self.per_minute, self.known = name, limit, per_minute, known
        self.lease = per_minute * LEASE_S / 60 if per_minute else float(int(limit * LEASE_SHARE))
        self.held = self.had = 0.0
        self.used, self.others, self.reported_at = known, 0.0, 0.0
        self.bucket = HoldingBucket()
        self.scarce_until, self.scarce_for = -inf, inf

    @property
    def available(self) -> float:
        """What may be used or reserved without asking."""
        return self.held - self.bucket.used - self.bucket.held

    def level(self, now: float) -> float:
        """Return what is used by all, held by others, and used or reserved here, as far as is known."""
        drained = max(0.0, now - self.reported_at) * self.per_minute / 60
        return max(0.0, self.used - drained) + self.others + self.bucket.used + self.bucket.held

    def has(self, amount: float) -> bool:
        """Whether so much may be used or reserved without asking; nothing always may."""
        return amount <= self.available + SLACK or not amount

    def turn(self, now: float) -> None:
        """Count as used the tokens that have been reserved for long; dollars stay reserved."""
        if self.name == TOKENS:
            self.bucket.drain(0.0, now)


class Share:
    """What one request has reserved of its key's meters; settled or released once, by its ``Grant``."""

    __slots__ = ("_admitted_s", "_reserved")

    def __init__(self, needs: "list[tuple[Meter, int]]", now: float) -> None:
        """Reserve; a request counts as used at once."""
        self._admitted_s = now
        self._reserved: list[tuple[Meter, int, int]] = []
        for meter, amount in needs:
            if meter.name == REQUESTS:
                meter.bucket.used += amount
                generation = 0
            else:
                meter.turn(now)
                generation = meter.bucket.hold(amount)
            self._reserved.append((meter, amount, generation))

    def settle(self, tokens: int | None, cost_usd: float | None, now: float) -> None:
        """Replace the reservations by what was used; see ``Grant.settle``."""
        cost = nano(cost_usd) if cost_usd is not None and 0 <= cost_usd < inf else None
        for meter, amount, generation in self._reserved:
            if meter.name == REQUESTS:
                continue
            meter.turn(now)
            actual = tokens if meter.name == TOKENS else cost
            meter.bucket.settle(amount, generation, amount if actual is None or actual < 0 else actual)

    def release(self) -> None:
        """Undo the reservations, except for what has drained since: nothing was used."""
        drained_s = max(0.0, time.time() - self._admitted_s)
        for meter, amount, generation in self._reserved:
            if meter.name == REQUESTS:
                meter.bucket.used -= max(0.0, amount - drained_s * meter.per_minute / 60)
            else:
                meter.bucket.settle(amount, generation, 0)


class KeyLeases:
    """The meters of one key.

    Attributes:
        is_active: Whether a request was admitted since the last look.
        meters: In use; those of days that are over stay until they are reported.
    """

    def __init__(self) -> None:
        self.is_active = False
        self.meters: dict[str, Meter] = {}
        self._day = self._month = 0
        self._names = ("", "")

    def needs(
        self, limits: Limits, tokens: int, amount: int, calendar: Calendar, spent: tuple[int, int]
    ) -> list[tuple[Meter, int]]:
        """Return what a request needs of each limit.

        Args:
            limits: Of the key.
            tokens: Most that the request may use.
            amount: Most that it may cost, in billionths of a dollar.
            calendar: Turned to the present.
            spent: What the ledger knew, at the start, of the day's and month's spending, in billionths.
        """
        found = []
        if limits.requests_per_minute is not None:
            found.append((self._meter(REQUESTS, limits.requests_per_minute, limits.requests_per_minute), 1))
        if limits.tokens_per_minute is not None:
            found.append((self._meter(TOKENS, limits.tokens_per_minute, limits.tokens_per_minute), tokens))
        day, month = self._periods(calendar)
        if limits.dollars_per_day is not None:
            found.append((self._meter(day, nano(limits.dollars_per_day), 0.0, spent[0]), amount))
        if limits.dollars_per_month is not None:
            found.append((self._meter(month, nano(limits.dollars_per_month), 0.0, spent[1]), amount))
        return found

    def _periods(self, calendar: Calendar) -> tuple[str, str]:
        if calendar.day != self._day:
            self._day = calendar.day
            today = date.fromordinal(calendar.day)
            self._names = f"day {today:%Y-%m-%d}", f"month {today:%Y-%m}"
        return self._names

    def _meter(self, name: str, limit: float, per_minute: float, known: float = 0.0) -> Meter:
        meter = self.meters.get(name)
        if meter is None:
            meter = self.meters[name] = Meter(name, limit, per_minute, known)
        return meter

    def settled(self) -> None:
        """Forget the meters that have nothing left to report; they are made anew when they are needed."""
        self.meters = {
            name: meter for name, meter in self.meters.items() if meter.had or meter.bucket.used or meter.bucket.held
        }
