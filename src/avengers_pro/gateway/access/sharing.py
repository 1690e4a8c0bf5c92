"""Keeping the limits of keys across replicas: taking leases before they are needed, giving back what is idle."""

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from math import inf

from avengers_pro.errors import StoreError
from avengers_pro.gateway.access.account import Grant, over_budget, too_fast
from avengers_pro.gateway.access.budget import Calendar
from avengers_pro.gateway.access.denied import AccessDenied
from avengers_pro.gateway.access.leases import REQUESTS, TOKENS, KeyLeases, Meter, Share
from avengers_pro.gateway.access.limits import Caller
from avengers_pro.gateway.ledger.usage import Order, Usage

INTERVAL_S = 1.0
"""Between two looks at what is to be reported, leased and given back."""
STAY_S = 15.0
_SCARCE_S = 0.25
"""After the database had no room for a request, others as large are refused for so long without asking it."""
_AWAY_S = 1.0
"""After the database failed, it is not asked for a request for so long."""
_Needs = list[tuple[Meter, int]]
_log = logging.getLogger(__name__)


class _Shared(KeyLeases):
    """The meters of one key, and who talks to the database about them."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = asyncio.Lock()


class Sharing:
    """This replica among those that share the limits of keys; made by ``open``, used within one event loop.

    Let L be a limit of dollars. What all replicas spend in its day or month is at most L, plus what requests cost
    beyond what was reserved for them. The error is on the other side: a key may be refused while up to
    (replicas - 1) x (max(L / 100, one reservation)) are held by other replicas, for at most two seconds after these
    were last used; and each replica that is killed takes what it held, at most L / 100 and its reservations, out of
    the day. Likewise all replicas together admit at most L x (1 + t) requests or tokens in any t minutes, for a limit
    of L a minute; a lease is L / 60.

    While the database is away and ``is_strict`` is False, each replica keeps the whole limit by itself: at most
    replicas x L. What was used is reported when the database is back. A report whose commit was in doubt is made
    again, so it may count twice; it never counts less.
    """

    def __init__(self, usage: Usage, *, is_strict: bool = True, interval_s: float = INTERVAL_S) -> None:
        """Set up; ``open`` also starts the reports.

        Args:
            usage: The counters.
            is_strict: Refuse what cannot be counted because the database is away.
            interval_s: Seconds between two reports.
        """
        self._usage, self._is_strict, self._interval_s = usage, is_strict, interval_s
        self._replica = secrets.token_hex(8)
        self._keys: dict[str, _Shared] = {}
        self._wake = asyncio.Event()
        self._away_until = -inf
        self._away_because = ""
        self._looking: asyncio.Task[None] | None = None
        self._stops = False

    def open(self) -> None:
        """Begin to report."""
        self._looking = asyncio.create_task(self._look(), name="shared limits")

    async def close(self) -> None:
        """Report the rest, and give everything back; the log says if that fails."""
        if self._looking is not None:  # not cancelled: nobody would know whether its last report was written
            self._stops = True
            self._wake.set()
            await self._looking
        try:
            for key, shared in self._keys.items():
                await self._report(key, shared, returning=True)
        except StoreError as error:
            _log.warning("leases were not given back, and count as used: %s", error)

    def level(self, caller: Caller, name: str, now: float) -> float:
        """Return what is used or held of the limit ``requests`` or ``tokens``, as far as is known here."""
        shared = self._keys.get(caller.key or "")
        meter = None if shared is None else shared.meters.get(name)
        return 0.0 if meter is None else meter.level(now)

    async def cover(self, caller: Caller, grant: Grant, now: float, calendar: Calendar, spent: tuple[int, int]) -> None:
        """Reserve of the shared limits what the grant reserves of this process's own count; release it if that fails.

        Nothing is waited for while this replica holds enough.

        Args:
            caller: Who calls.
            grant: To be completed.
            now: Unix seconds.
            calendar: Turned to ``now``.
            spent: What the ledger knew of the day and the month at the start, in billionths of a dollar.

        Raises:
            AccessDenied: 429, as ``Access.admit``, if the limits are used up by all replicas together.
            StoreError: If the database was needed and is away, and this one is strict.
        """
        key = caller.key or ""
        shared = self._keys.get(key)
        if shared is None:
            shared = self._keys[key] = _Shared()
        needs = shared.needs(caller.limits, grant.tokens, grant.amount, calendar, spent)
        try:
            if not _fits(needs):
                await self._obtain(caller, shared, needs, now, calendar)
        except (AccessDenied, StoreError, asyncio.CancelledError):
            grant.release()
            raise
        shared.is_active = True
        grant.share = Share(needs, now)
        if any(meter.available < meter.lease / 2 for meter, _ in needs):
            self._wake.set()

    async def _obtain(self, caller: Caller, shared: _Shared, needs: _Needs, now: float, calendar: Calendar) -> None:
        """Return when there is enough, with nothing in between."""
        async with shared.lock:
            if _fits(needs):
                return
            if not any(now < meter.scarce_until and amount >= meter.scarce_for for meter, amount in needs):
                if not await self._asked(caller, shared, needs):
                    return
                if _fits(needs):
                    return
                for meter, amount in needs:
                    if not meter.has(amount):
                        meter.scarce_until, meter.scarce_for = time.time() + _SCARCE_S, amount
            raise _refusal(caller, needs, now, calendar)

    async def _asked(self, caller: Caller, shared: _Shared, needs: _Needs) -> bool:
        """Lease; False = the database is away, and this replica goes on by itself."""
        clock = asyncio.get_running_loop().time
        if clock() < self._away_until:
            if self._is_strict:
                raise StoreError(self._away_because)
            return False
        try:
            await self._exchange(caller.key or "", shared, dict(needs), is_active=True)
        except StoreError as error:
            self._away_until, self._away_because = clock() + _AWAY_S, str(error)
            if self._is_strict:
                raise
            return False
        return True

    async def _exchange(self, key: str, shared: _Shared, needs: dict[Meter, int], *, is_active: bool) -> None:
        """Report all meters of a key, and lease; the caller holds its lock."""
        now, meters, orders = time.time(), list(shared.meters.values()), []
        for meter in meters:
            meter.turn(now)
            orders.append(_order(meter, needs.get(meter, 0), is_active=is_active))
        if not orders:
            return
        levels = await self._usage.exchange(self._replica, key, orders, now)
        for meter, order, level in zip(meters, orders, levels, strict=True):
            meter.bucket.used -= order.used
            meter.held = meter.had = level.mine
            meter.used, meter.others, meter.reported_at = level.used, level.others, now
            meter.scarce_until = -inf

    async def _report(self, key: str, shared: _Shared, *, returning: bool) -> None:
        async with shared.lock:
            await self._exchange(key, shared, {}, is_active=not returning)
            shared.settled()

    async def _look(self) -> None:
        """Report and lease until ``close``."""
        clock = asyncio.get_running_loop().time
        stays_at = pass_at = clock()
        while not self._stops:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(pass_at):
                    await self._wake.wait()
            self._wake.clear()
            is_pass = clock() >= pass_at
            try:
                if clock() >= stays_at:
                    stays_at = clock() + STAY_S
                    await self._usage.stay(self._replica)
                await self._visit(is_pass=is_pass)
            except StoreError as error:
                if clock() >= self._away_until:
                    _log.warning("the limits of keys are not shared at present: %s", error)
                self._away_until, self._away_because = clock() + _AWAY_S, str(error)
                await asyncio.sleep(self._interval_s)
            if is_pass:
                pass_at = clock() + self._interval_s

    async def _visit(self, *, is_pass: bool) -> None:
        for key, shared in list(self._keys.items()):
            meters = shared.meters.values()
            is_short = any(meter.available < meter.lease / 2 for meter in meters)
            has_left_over = is_pass and any(meter.available > 3 * meter.lease for meter in meters)
            if shared.is_active and (is_short or has_left_over):
                await self._report(key, shared, returning=False)
            elif is_pass and not shared.is_active and any(_is_idle(meter) for meter in meters):
                await self._report(key, shared, returning=True)
            if is_pass:
                shared.is_active = False


def _order(meter: Meter, needed: int, *, is_active: bool) -> Order:
    used, reserved = meter.bucket.used, float(meter.bucket.held)
    # Given back is all that is idle, or what settled requests have left over; nobody may use it from now on. The rest
    # this replica keeps: requests may use it while the database is asked.
    meter.held = min(meter.held, used + reserved + (2 * meter.lease if is_active else 0.0))
    least = max(reserved, meter.held - used) if meter.had else reserved
    total = max(least, reserved + needed)
    return Order(
        meter=meter.name,
        limit=meter.limit,
        per_minute=meter.per_minute,
        known=meter.known,
        used=used,
        had=meter.had,
        least=least,
        needed=total,
        wanted=max(total, reserved + needed + meter.lease) if is_active else least,
    )


def _is_idle(meter: Meter) -> bool:
    """Whether there is something to report or to give back."""
    return bool(meter.bucket.used) or meter.available > 0


def _fits(needs: _Needs) -> bool:
    return all(meter.has(amount) for meter, amount in needs)


def _refusal(caller: Caller, needs: _Needs, now: float, calendar: Calendar) -> AccessDenied:
    """Say which limit all replicas together have used up."""
    limits, excess = caller.limits, {REQUESTS: 0.0, TOKENS: 0.0}
    for meter, amount in needs:
        if meter.has(amount):
            continue
        if meter.name in excess:
            excess[meter.name] = max(meter.level(now) + amount - meter.limit, 0.0)
            continue
        is_day = meter.name.startswith("day")
        period, ends_s = ("day", calendar.day_ends_s) if is_day else ("month", calendar.month_ends_s)
        limit = limits.dollars_per_day if is_day else limits.dollars_per_month
        return over_budget(caller, period, limit or 0.0, round(meter.level(now)), amount, ends_s, now)
    tokens = next((amount for meter, amount in needs if meter.name == TOKENS), 0)
    return too_fast(caller, tokens, excess[REQUESTS], excess[TOKENS])
