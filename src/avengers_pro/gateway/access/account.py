"""Admitting the requests of one key: all its limits at once, reserved before and settled after."""

from datetime import UTC, datetime
from math import inf, isnan

from avengers_pro.gateway.access.bucket import SLACK, Bucket, HoldingBucket
from avengers_pro.gateway.access.budget import Calendar, Spending, dollars, nano
from avengers_pro.gateway.access.denied import AccessDenied
from avengers_pro.gateway.access.leases import Share
from avengers_pro.gateway.access.limits import Caller, Limits

_RATE = "rate_limit_exceeded"
_QUOTA = "insufficient_quota"


class Account:
    """What one key has used. The limits come with each request, so the account knows none.

    Attributes:
        requests: Requests of the last minute.
        tokens: Tokens of the last minute, used and held.
        spending: Dollars of the day and month.
    """

    __slots__ = ("requests", "spending", "tokens")

    def __init__(self) -> None:
        self.requests = Bucket()
        self.tokens = HoldingBucket()
        self.spending = Spending()

    def admit(self, caller: Caller, tokens: int, cost_usd: float, now: float, calendar: Calendar) -> "Grant":
        """Reserve everything, or raise and reserve nothing; see ``Access.admit``."""
        limits, spending = caller.limits, self.spending
        if tokens < 0 or cost_usd < 0:
            raise AccessDenied(
                f"the request's size works out negative ({tokens} tokens, ${cost_usd}); check max_tokens and n",
                status=400,
                code="invalid_request",
            )
        amount = nano(cost_usd) if cost_usd < inf else _without_price(caller, cost_usd)
        spending.turn(calendar)
        if amount:  # what costs nothing cannot exceed a budget, not even a spent one
            if limits.dollars_per_day is not None and spending.day + amount > nano(limits.dollars_per_day):
                raise over_budget(caller, "day", limits.dollars_per_day, spending.day, amount, calendar.day_ends_s, now)
            if limits.dollars_per_month is not None and spending.month + amount > nano(limits.dollars_per_month):
                raise over_budget(
                    caller, "month", limits.dollars_per_month, spending.month, amount, calendar.month_ends_s, now
                )
        rpm, tpm = limits.requests_per_minute, limits.tokens_per_minute
        many = 0.0 if rpm is None else self.requests.drain(rpm, now) + 1 - rpm
        much = 0.0 if tpm is None else self.tokens.drain(tpm, now) + tokens - tpm
        if many > SLACK or much > SLACK:
            raise too_fast(caller, tokens, many, much)
        generation = 0
        if rpm is not None:
            self.requests.used += 1
        if tpm is not None:
            generation = self.tokens.hold(tokens)
        return Grant(self, limits, now, spending.reserve(amount), amount, tokens, generation)


class Grant:
    """The reservation of one request: settle or release it, once; later calls do nothing.

    A grant that is forgotten keeps its dollars reserved until the day and month end.

    Attributes:
        amount: Billionths of a dollar that are reserved.
        tokens: Tokens that are reserved.
        share: What is reserved of the limits that all replicas share; None = nothing.
    """

    __slots__ = ("_account", "_admitted_s", "_generation", "_limits", "_reserved_in", "amount", "share", "tokens")

    def __init__(
        self,
        account: Account,
        limits: Limits,
        admitted_s: float,
        reserved_in: tuple[int, int],
        amount: int,
        tokens: int,
        generation: int,
    ) -> None:
        """Note what was reserved; made by ``Access.admit``."""
        self._account: Account | None = account
        self._limits = limits
        self._admitted_s = admitted_s
        self._reserved_in = reserved_in
        self.amount = amount
        self.tokens = tokens
        self._generation = generation
        self.share: Share | None = None

    def settle(self, tokens: int | None, cost_usd: float | None, now: float) -> None:
        """Replace the reservation by what was used.

        Args:
            tokens: Prompt and completion; None, or less than 0 = not known, and the reservation stays.
            cost_usd: US dollars; None, NaN, infinite or less than 0 = not known, and the reservation stays.
            now: Unix seconds.
        """
        account = self._account
        if account is None:
            return
        self._account = None
        if self.share is not None:
            self.share.settle(tokens, cost_usd, now)
        if cost_usd is not None and 0 <= cost_usd < inf:
            account.spending.correct(nano(cost_usd) - self.amount, self._reserved_in)
        per_minute = self._limits.tokens_per_minute
        if per_minute is not None:
            account.tokens.drain(per_minute, now)
            actual = self.tokens if tokens is None or tokens < 0 else tokens
            account.tokens.settle(self.tokens, self._generation, actual)

    def release(self) -> None:
        """Undo the reservation: nothing was used."""
        account = self._account
        if account is None:
            return
        self._account = None
        if self.share is not None:
            self.share.release()
        account.spending.correct(-self.amount, self._reserved_in)
        if self._limits.tokens_per_minute is not None:
            account.tokens.settle(self.tokens, self._generation, 0)
        if self._limits.requests_per_minute is not None:
            account.requests.give_back(1, self._admitted_s, self._limits.requests_per_minute)


def _without_price(caller: Caller, cost_usd: float) -> int:
    limits = caller.limits
    if limits.dollars_per_day is None and limits.dollars_per_month is None:
        return 0
    what = "has no known price" if isnan(cost_usd) else "has no upper bound of its cost"
    raise AccessDenied(
        f"the key {caller.key} has a dollar limit, under which unpriced models are not allowed, and this request "
        f"{what}; choose a model with a price, or state its price in [[models]]",
        status=403,
        code="unpriced_model",
        param="model",
    )


def over_budget(
    caller: Caller, period: str, limit: float, spent: int, amount: int, ends_s: float, now: float
) -> AccessDenied:
    """Return the refusal of a request that does not fit into the ``day`` or ``month``; amounts in billionths."""
    fits_later = amount <= nano(limit)
    ends = datetime.fromtimestamp(ends_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    advice = f"the {period} ends at {ends}" if fits_later else "which is more than the whole limit; make it smaller"
    return AccessDenied(
        f"the key {caller.key} may spend ${limit:.8g} a {period} (UTC); ${dollars(spent):.8g} are spent or "
        f"reserved, and this request may cost ${dollars(amount):.8g}; {advice}",
        status=429,
        code=_QUOTA,
        kind=_QUOTA,
        retry_after=max(0.0, ends_s - now) if fits_later else None,
    )


def too_fast(caller: Caller, tokens: int, many: float, much: float) -> AccessDenied:
    """Return the refusal of a request that is ``many`` requests and ``much`` tokens above the limits per minute."""
    rpm, tpm = caller.limits.requests_per_minute, caller.limits.tokens_per_minute
    if tpm is not None and tokens > tpm:
        return AccessDenied(
            f"the key {caller.key} is allowed {tpm} tokens per minute, and this request alone may use {tokens}; "
            "shorten the prompt or lower max_tokens",
            status=429,
            code=_RATE,
            kind="tokens",
        )
    requests_s = many * 60 / rpm if rpm is not None else 0.0
    tokens_s = much * 60 / tpm if tpm is not None else 0.0
    limit, what, wait_s = (rpm, "requests", requests_s) if requests_s >= tokens_s else (tpm, "tokens", tokens_s)
    return AccessDenied(
        f"the key {caller.key} is allowed {limit} {what} per minute; try again in {wait_s:.3g} s",
        status=429,
        code=_RATE,
        kind=what,
        retry_after=wait_s,
        is_worth_retrying=True,
    )
