"""Who calls, and whether they still may: recognising keys, admitting requests."""

from collections.abc import Mapping

from avengers_pro.gateway.access.account import Account, Grant
from avengers_pro.gateway.access.bucket import SLACK
from avengers_pro.gateway.access.budget import Calendar
from avengers_pro.gateway.access.denied import AccessDenied
from avengers_pro.gateway.access.keys import Keys
from avengers_pro.gateway.access.leases import REQUESTS, TOKENS
from avengers_pro.gateway.access.limits import ANONYMOUS, Caller
from avengers_pro.gateway.access.sharing import Sharing

_SCHEME = "bearer "


class Access:
    """The gate that every request passes: plain synchronous code of one event loop, O(1), no query.

    Requests that run in parallel cannot overspend together: what is spent and reserved never exceeds a limit, except
    by as much as requests under way use more than was reserved for them.

    Counts are this process's own; with ``sharing``, all gateways on one database keep the limits together, and
    ``cover`` must follow each ``admit``.

    Attributes:
        required: Whether a key is needed.
    """

    def __init__(self, keys: Keys | None = None, *, required: bool = True, sharing: Sharing | None = None) -> None:
        """Guard a gateway.

        Args:
            keys: The keys; None = there are none.
            required: False = who comes without a known key is an administrator: for a gateway that only this machine
                can reach (``check_binding``) and that has no keys.
            sharing: With other processes; None = there are none.
        """
        self.required = required
        self._keys = keys
        self._accounts: dict[str | None, Account] = {}
        self._calendar = Calendar()
        self._sharing = sharing
        self._known: dict[str, tuple[int, int]] = {}
        self._known_in = (0, 0)

    def authenticate(self, authorization: str | None, api_key: str | None = None) -> Caller:
        """Say who calls.

        Args:
            authorization: The header of that name, ``Bearer ap-…``; None = there is none.
            api_key: The header ``x-api-key``, the key alone; used when ``authorization`` is no bearer's.

        Raises:
            AccessDenied: 401, if a key is missing, unknown or revoked. Where none is required, only if it is revoked.
        """
        secret = api_key
        if authorization is not None and authorization[: len(_SCHEME)].lower() == _SCHEME:
            secret = authorization[len(_SCHEME) :]
        info = None if secret is None or self._keys is None else self._keys.find(secret.strip())
        if info is None:
            if not self.required:
                return ANONYMOUS
            raise _unknown(is_given=bool(secret))
        if info.revoked_at is not None:
            raise AccessDenied(
                f"the API key {info.id} was revoked at {info.revoked_at:%Y-%m-%dT%H:%M:%SZ}; ask for another one",
                status=401,
                code="invalid_api_key",
            )
        return Caller(info.id, info.name, info.role, info.limits)

    def admit(self, caller: Caller, *, tokens: int, cost_usd: float, now: float) -> Grant:
        """Reserve one request, its tokens and its dollars, all or nothing.

        Args:
            caller: Who calls.
            tokens: Most that the request may use, prompt and completion together.
            cost_usd: Most that it may cost, US dollars; NaN = no price is known.
            now: Unix seconds.

        Returns:
            The reservation, to be settled or released.

        Raises:
            AccessDenied: 429 ``rate_limit_exceeded`` with ``retry_after``, which is exact while nothing else is under
                way; 429 ``insufficient_quota`` naming the budget and when it begins anew; 403 ``unpriced_model`` for
                an unknown cost under a dollar limit; 400 for negative sizes.
        """
        calendar = self._calendar
        calendar.turn(now)
        account = self._accounts.get(caller.key)
        if account is None:
            account = self._accounts[caller.key] = Account()
        return account.admit(caller, tokens, cost_usd, now, calendar)

    async def cover(self, caller: Caller, grant: Grant, now: float) -> None:
        """Reserve what was admitted of the limits that all gateways share, too; without limits this costs nothing.

        Args:
            caller: Who calls.
            grant: From ``admit``; released if this raises.
            now: Unix seconds, as for ``admit``.

        Raises:
            AccessDenied: As ``admit``, if the gateways together have used up a limit.
            StoreError: If the database had to be asked and is away.
        """
        if self._sharing is None or not caller.limits.are_counted:
            return
        calendar, (day, month) = self._calendar, self._known.get(caller.key or "", (0, 0))
        spent = day if calendar.day == self._known_in[0] else 0, month if calendar.month == self._known_in[1] else 0
        await self._sharing.cover(caller, grant, now, calendar, spent)

    def headers(self, caller: Caller, now: float) -> list[tuple[bytes, bytes]]:
        """Return OpenAI's ``x-ratelimit-*`` headers of the limits per minute; none for limits that are not set.

        Args:
            caller: Who calls.
            now: Unix seconds.
        """
        rpm, tpm = caller.limits.requests_per_minute, caller.limits.tokens_per_minute
        if rpm is None and tpm is None:
            return []
        account = self._accounts.get(caller.key) or Account()
        headers = []
        if rpm is not None:
            headers += _headers(
                b"requests", rpm, max(account.requests.drain(rpm, now), self._level(caller, REQUESTS, now))
            )
        if tpm is not None:
            headers += _headers(b"tokens", tpm, max(account.tokens.drain(tpm, now), self._level(caller, TOKENS, now)))
        return headers

    def _level(self, caller: Caller, meter: str, now: float) -> float:
        return 0.0 if self._sharing is None else self._sharing.level(caller, meter, now)

    def restore(self, spend_day: Mapping[str, float], spend_month: Mapping[str, float], now: float) -> None:
        """Take over what the ledger knows, at the start, before anything is admitted.

        Args:
            spend_day: Key id → US dollars of requests admitted in the UTC day of ``now``.
            spend_month: Key id → US dollars of those of the UTC month, the day included.
            now: Unix seconds.

        Raises:
            StoreError: If a value is negative, infinite or NaN.
        """
        self._calendar.turn(now)
        for key in spend_day.keys() | spend_month.keys():
            spending = self._accounts.setdefault(key, Account()).spending
            spending.turn(self._calendar)
            spending.restore(spend_day.get(key, 0.0), spend_month.get(key, 0.0), key)
            self._known[key] = spending.day, spending.month
        self._known_in = self._calendar.day, self._calendar.month


def _unknown(*, is_given: bool) -> AccessDenied:
    if is_given:
        message = "no such API key; check that the whole key was copied, from 'ap-' on"
    else:
        message = "an API key is needed: send 'Authorization: Bearer ap-…' or 'x-api-key: ap-…'"
    return AccessDenied(message, status=401, code="invalid_api_key" if is_given else "missing_api_key")


def _headers(what: bytes, per_minute: int, left: float) -> list[tuple[bytes, bytes]]:
    """Limit, what remains, and how long until all of it does, as OpenAI writes it: ``120ms``, ``8.64s``, ``1m12s``."""
    reset_s = left * 60 / per_minute
    if reset_s < 1:
        reset = f"{reset_s * 1000:.0f}ms"
    elif reset_s < 60:  # noqa: PLR2004
        reset = f"{reset_s:.2f}s"
    else:
        reset = f"{reset_s // 60:.0f}m{reset_s % 60:.0f}s"
    return [
        (b"x-ratelimit-limit-" + what, b"%d" % per_minute),
        (b"x-ratelimit-remaining-" + what, b"%d" % max(0, int(per_minute - left + SLACK))),
        (b"x-ratelimit-reset-" + what, reset.encode()),
    ]
