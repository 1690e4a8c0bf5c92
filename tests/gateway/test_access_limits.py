"""Limits hold whatever the order in which requests begin and end, and agree with books kept the slow way."""

import asyncio
import math
import random
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from avengers_pro.errors import StoreError
from avengers_pro.gateway.access import Access, AccessDenied, Caller, Grant, Limits

NOON = datetime(2024, 2, 28, 12, tzinfo=UTC).timestamp()
HOLD_S = 20
"""Tokens are held until the second multiple of this after their admission."""


def caller_with(key="k3y", **limits):
    return Caller(key, "tests", "user", Limits(**limits))


def admit(access, caller, *, tokens=0, cost_usd=0.0, now=NOON):
    return access.admit(caller, tokens=tokens, cost_usd=cost_usd, now=now)


def denial(*given, **size):
    with pytest.raises(AccessDenied) as caught:
        admit(*given, **size)
    return caught.value


def passes(*given, **size):
    try:
        admit(*given, **size)
    except AccessDenied:
        return False
    return True


@dataclass
class Row:
    """A request that was admitted, in books kept the slow way."""

    grant: Grant
    begun_s: float
    tokens: int
    cents: int
    ended_s: float = math.inf
    used_tokens: int = 0
    used_cents: int = 0
    was_released: bool = False

    @property
    def is_under_way(self):
        return self.ended_s == math.inf

    @property
    def committed_cents(self):
        return self.cents if self.is_under_way else self.used_cents


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "settle", "settle", "settle unknown", "release", "repeat"]),
        st.integers(0, 100),  # how long after the step before
        st.integers(0, 50),  # how much is asked for, or which of those under way ends
        st.integers(0, 12),  # tenths of the reservation that were used
    ),
    min_size=30,
    max_size=80,
)


def play(steps, caller, tempo_s, most_tenths=12):
    """Play requests; after each attempt to begin one yield time, books, what it asked for, and whether it began.

    ``drained_s`` is when the limits per minute were looked at last: to release takes no time.
    """
    access, books, now, drained_s = Access(), [], NOON, NOON
    for what, wait, number, tenths in steps:
        now += wait * tempo_s
        under_way = [row for row in books if row.is_under_way]
        if what == "admit":
            drained_s, asked = now, (number * 1000, number * 10)
            try:
                grant = admit(access, caller, tokens=asked[0], cost_usd=asked[1] / 100, now=now)
            except AccessDenied:
                yield now, books, asked, False
            else:
                yield now, books, asked, True
                books.append(Row(grant, now, *asked))
        elif what == "repeat":
            for row in books:
                if not row.is_under_way:
                    row.grant.settle(10**6, 1e6, now)
                    row.grant.release()
        elif under_way:
            row = under_way[number % len(under_way)]
            if what == "release":
                row.grant.release()
                row.ended_s, row.was_released = drained_s, True
                continue
            is_known = what == "settle"
            tenths_used = min(tenths, most_tenths) if is_known else 10
            row.used_tokens, row.used_cents = row.tokens * tenths_used // 10, row.cents * tenths_used // 10
            row.ended_s = drained_s = now
            row.grant.settle(row.used_tokens if is_known else None, row.used_cents / 100 if is_known else None, now)
    yield now, books, None, None


def tokens_left_in(books, now, per_second):
    """Tokens used and held, worked out from the first request on."""
    uses, held = [], 0
    for row in books:
        held_until_s = (row.begun_s // HOLD_S + 2) * HOLD_S
        if row.ended_s < held_until_s:
            uses.append((row.ended_s, row.used_tokens))
        elif now < held_until_s:
            held += row.tokens
        else:
            uses.append((held_until_s, row.tokens))
            if not row.is_under_way:
                uses.append((row.ended_s, max(0, row.used_tokens - row.tokens)))
    left, at_s = 0.0, 0.0
    for used_s, amount in [*sorted(uses), (now, 0)]:
        left = max(0.0, left - (used_s - at_s) * per_second) + amount
        at_s = used_s
    return left + held


@given(STEPS)
def test_tokens_agree_with_books_worked_out_from_the_beginning(steps):
    """All numbers are exact in binary, so the two must agree to the last token."""
    for now, books, asked, began in play(steps, caller_with(tokens_per_minute=120_000), tempo_s=1 / 16):
        if asked:
            assert began == (tokens_left_in(books, now, 2000) + asked[0] <= 120_000)


@given(STEPS)
def test_no_stretch_of_time_holds_more_than_the_limits_per_minute(steps):
    """Of whatever lies within a stretch; a request that runs long counts within 40 s of its beginning."""
    caller = caller_with(requests_per_minute=12, tokens_per_minute=100_000)
    *_, (now, books, _, _) = play(steps, caller, tempo_s=0.05, most_tenths=10)
    kept = [row for row in books if not row.was_released]
    spans = [(row.begun_s, min(row.ended_s, row.begun_s + 2 * HOLD_S), row) for row in kept]
    starts = {begin for begin, _, _ in spans}
    ends = {min(end, now) for _, end, _ in spans} | starts
    for start, end in product(starts, ends):
        if start <= end:
            minutes = (end - start) / 60
            assert sum(start <= row.begun_s <= end for row in kept) <= 12 * (1 + minutes) + 1e-3
            tokens = sum(row.used_tokens for b, e, row in spans if start <= b and e <= end and not row.is_under_way)
            assert tokens <= 100_000 * (1 + minutes) + 1


@given(STEPS)
def test_dollars_agree_with_books_added_up_anew_each_time(steps):
    """Over hours, days and the end of a month, with requests that end on another day than they began."""
    caller = caller_with(dollars_per_day=12.0, dollars_per_month=25.0)

    def in_same(form, books, now):
        period = datetime.fromtimestamp(now, UTC).strftime(form)
        rows = [row for row in books if datetime.fromtimestamp(row.begun_s, UTC).strftime(form) == period]
        return sum(row.committed_cents for row in rows)

    for now, books, asked, began in play(steps, caller, tempo_s=600):
        if asked:
            fits_day = in_same("%Y-%m-%d", books, now) + asked[1] <= 1200
            fits_month = in_same("%Y-%m", books, now) + asked[1] <= 2500
            assert began == (asked[1] == 0 or (fits_day and fits_month))


@given(STEPS)
def test_no_budget_is_overspent_while_estimates_hold(steps):
    caller = caller_with(dollars_per_day=12.0, dollars_per_month=25.0)
    for _, books, _, _ in play(steps, caller, tempo_s=600, most_tenths=10):
        days, months = {}, {}
        for row in books:
            begun = datetime.fromtimestamp(row.begun_s, UTC)
            days[begun.date()] = days.get(begun.date(), 0) + row.committed_cents
            months[begun.year, begun.month] = months.get((begun.year, begun.month), 0) + row.committed_cents
        assert max(days.values(), default=0) <= 1200
        assert max(months.values(), default=0) <= 2500


def test_parallel_requests_share_one_budget():
    """A hundred tasks that each see enough money left; what ends early makes room for others."""
    access, caller, order = Access(), caller_with(dollars_per_day=1.0, tokens_per_minute=5000), random.Random(7)  # noqa: S311
    spent, refused, most = [], 0, 0.0

    async def client():
        nonlocal refused, most
        for _ in range(order.randrange(6)):
            await asyncio.sleep(0)
        try:
            grant = admit(access, caller, tokens=100, cost_usd=0.04)
        except AccessDenied:
            refused += 1
            return
        for _ in range(order.randrange(6)):
            await asyncio.sleep(0)
        spent.append(order.choice([0.04, 0.02, 0.0]))
        grant.settle(50, spent[-1], NOON)
        most = max(most, sum(spent))

    async def run():
        await asyncio.gather(*(client() for _ in range(100)))

    asyncio.run(run())
    assert most <= 1.0 + 1e-9
    assert len(spent) > 25, "money that was reserved and not spent is free again"
    assert refused == 100 - len(spent)


@pytest.mark.parametrize("seed", range(6))
def test_reserving_and_correcting_forever_leaves_no_residue(seed):
    access, caller, costs = Access(), caller_with(dollars_per_day=0.3), random.Random(seed)  # noqa: S311
    for _ in range(3000):
        one = admit(access, caller, cost_usd=costs.uniform(0, 0.1))
        other = admit(access, caller, cost_usd=costs.uniform(0, 0.2))
        one.release()
        other.settle(1, 0.0, NOON)
    for _ in range(3):
        admit(access, caller, cost_usd=0.1)
    assert denial(access, caller, cost_usd=1e-9).code == "insufficient_quota"


INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(INSTANTS, INSTANTS)
@example(datetime(2024, 2, 28, 23, 59, 59, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC))
@example(datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC))
@example(datetime(2023, 2, 28, 23, 59, 59, tzinfo=UTC), datetime(2023, 3, 1, tzinfo=UTC))
@example(datetime(2100, 2, 28, 23, 59, 59, tzinfo=UTC), datetime(2100, 3, 1, tzinfo=UTC))
@example(datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
@example(datetime(2024, 3, 5, tzinfo=UTC), datetime(2025, 3, 5, tzinfo=UTC))
@example(datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 1, 31, 23, 59, 59, 999000, tzinfo=UTC))
def test_budgets_begin_anew_with_the_utc_day_and_month(one, other):
    first, second = sorted((one, other))
    daily, monthly = caller_with("daily", dollars_per_day=1.0), caller_with("monthly", dollars_per_month=1.0)
    access = Access()
    for caller in (daily, monthly):
        admit(access, caller, cost_usd=1.0, now=first.timestamp())
    month_end = first.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    month_end += timedelta(days=monthrange(first.year, first.month)[1])
    day_end = datetime(first.year, first.month, first.day, tzinfo=UTC) + timedelta(days=1)
    for caller, end in ((daily, day_end), (monthly, month_end)):
        refusal = denial(access, caller, cost_usd=0.01, now=first.timestamp())
        assert refusal.retry_after == pytest.approx((end - first).total_seconds(), abs=1e-3)
        assert f"{end:%Y-%m-%dT%H:%M:%SZ}" in refusal.message
    assert passes(access, daily, cost_usd=1.0, now=second.timestamp()) == (first.date() != second.date())
    is_other_month = (first.year, first.month) != (second.year, second.month)
    assert passes(access, monthly, cost_usd=1.0, now=second.timestamp()) == is_other_month


def test_a_request_counts_on_the_day_on_which_it_began():
    access, caller = Access(), caller_with(dollars_per_day=1.0, dollars_per_month=2.0)
    late = admit(access, caller, cost_usd=1.0, now=NOON)
    tomorrow = NOON + 86400
    assert denial(access, caller, cost_usd=1.01, now=tomorrow).retry_after is None
    other = admit(access, caller, cost_usd=0.6, now=tomorrow)
    late.settle(1, 0.1, tomorrow)
    assert denial(access, caller, cost_usd=0.5, now=tomorrow).message.count("a day") == 1
    other.settle(1, 0.4, tomorrow)
    admit(access, caller, cost_usd=0.6, now=tomorrow)  # the month: 0.1 + 0.4 + 0.6
    assert passes(access, caller, cost_usd=0.9, now=tomorrow + 3600 * 13 + 86400) is True  # March has its own


@given(
    sizes=st.lists(st.integers(1, 1000), min_size=30, max_size=40),
    rpm=st.integers(1, 20),
    tpm=st.integers(1000, 5000),
    pause_s=st.floats(0, 2),
)
def test_who_waits_as_long_as_told_is_admitted_and_nobody_much_earlier(sizes, rpm, tpm, pause_s):
    access, caller, now, waits = Access(), caller_with(requests_per_minute=rpm, tokens_per_minute=tpm), NOON, 0
    for tokens in sizes:
        now += pause_s
        try:
            grant = admit(access, caller, tokens=tokens, now=now)
        except AccessDenied as refusal:
            waits += 1
            if refusal.retry_after > 0.01:
                denial(access, caller, tokens=tokens, now=now + refusal.retry_after - 0.01)
            now += refusal.retry_after + 0.001
            grant = admit(access, caller, tokens=tokens, now=now)
        grant.settle(None, None, now)
    assert waits or pause_s


def test_refusals_say_which_limit_and_when_to_come_back():
    access, caller = Access(), caller_with(requests_per_minute=2, tokens_per_minute=1000)
    admit(access, caller, tokens=10).settle(10, None, NOON)
    admit(access, caller, tokens=10).settle(10, None, NOON)
    refusal = denial(access, caller, tokens=10)
    assert (refusal.status, refusal.code, refusal.type) == (429, "rate_limit_exceeded", "requests")
    assert refusal.retry_after == 30
    assert refusal.headers == [(b"retry-after", b"30")]
    assert "k3y is allowed 2 requests per minute; try again in 30 s" in refusal.message

    refusal = denial(access, caller, tokens=1001)
    assert (refusal.status, refusal.code, refusal.type) == (429, "rate_limit_exceeded", "tokens")
    assert refusal.retry_after is None
    assert (b"x-should-retry", b"false") in refusal.headers
    assert "1000 tokens per minute, and this request alone may use 1001" in refusal.message

    thirsty = caller_with("other", tokens_per_minute=600)
    admit(access, thirsty, tokens=600).settle(600, None, NOON)
    refusal = denial(access, thirsty, tokens=60)
    assert (refusal.type, refusal.retry_after) == ("tokens", pytest.approx(6))

    poor = caller_with("poor", dollars_per_day=2.5, dollars_per_month=3)
    admit(access, poor, cost_usd=2.25)
    refusal = denial(access, poor, cost_usd=0.5)
    assert (refusal.status, refusal.code, refusal.type) == (429, "insufficient_quota", "insufficient_quota")
    assert refusal.retry_after == 12 * 3600
    assert (b"x-should-retry", b"false") in refusal.headers
    assert refusal.message == (
        "the key poor may spend $2.5 a day (UTC); $2.25 are spent or reserved, and this request may cost $0.5; "
        "the day ends at 2024-02-29T00:00:00Z"
    )
    refusal = denial(access, poor, cost_usd=3.5)
    assert refusal.retry_after is None
    assert "more than the whole limit" in refusal.message
    refusal = denial(access, caller_with("month", dollars_per_month=1), cost_usd=1.5)
    assert "$1 a month" in refusal.message


def test_a_refused_request_uses_nothing():
    access = Access()
    everything = {"requests_per_minute": 2, "tokens_per_minute": 100, "dollars_per_day": 1, "dollars_per_month": 1}
    caller = caller_with(**everything)
    for _ in range(5):
        denial(access, caller, tokens=1, cost_usd=1.01)
        denial(access, caller, tokens=101, cost_usd=0.01)
        denial(access, caller, tokens=1, cost_usd=math.nan)
    admit(access, caller, tokens=100, cost_usd=1.0)


def test_what_costs_nothing_passes_a_spent_budget():
    access, caller = Access(), caller_with(dollars_per_day=0.0)
    admit(access, caller, cost_usd=0.0)
    assert denial(access, caller, cost_usd=0.01).code == "insufficient_quota"


def test_what_is_released_was_never_used():
    access = Access()
    caller = caller_with(requests_per_minute=1, tokens_per_minute=10, dollars_per_day=1.0, dollars_per_month=1.0)
    for _ in range(5):
        admit(access, caller, tokens=10, cost_usd=1.0).release()


def test_a_release_does_not_give_back_what_drained_meanwhile():
    """Or sixty requests that are released late would allow sixty more at once, and none of them was waited for."""
    access, caller = Access(), caller_with(requests_per_minute=60)
    early = [admit(access, caller) for _ in range(60)]
    for _ in range(30):
        admit(access, caller, now=NOON + 30)
    for grant in early:
        grant.release()
    denial(access, caller, now=NOON + 30)

    other = caller_with("other", requests_per_minute=60)
    early = admit(access, other)
    admit(access, other, now=NOON + 30)
    early.release()
    assert (b"x-ratelimit-remaining-requests", b"59") in access.headers(other, NOON + 30)


def test_an_unknown_cost_is_refused_only_where_dollars_are_limited():
    access = Access()
    for limits in ({"dollars_per_day": 5.0}, {"dollars_per_month": 5.0}):
        for cost_usd in (math.nan, math.inf):
            refusal = denial(access, caller_with(**limits), cost_usd=cost_usd)
            assert (refusal.status, refusal.code) == (403, "unpriced_model")
            assert "unpriced models are not allowed" in refusal.message
    free = caller_with(requests_per_minute=2)
    admit(access, free, cost_usd=math.nan).settle(10, math.nan, NOON)
    admit(access, free, cost_usd=math.nan).settle(10, 3.0, NOON)


def test_negative_sizes_cannot_make_room():
    access, caller = Access(), caller_with(tokens_per_minute=100, dollars_per_day=1.0)
    for size in ({"tokens": -1000}, {"cost_usd": -5.0}):
        assert denial(access, caller, **size).status == 400
    admit(access, caller, tokens=100, cost_usd=1.0).settle(-1000, -5.0, NOON)
    assert denial(access, caller, tokens=1).code == "rate_limit_exceeded"
    assert denial(access, caller, cost_usd=0.01).code == "insufficient_quota"


def test_an_actual_beyond_the_reservation_counts_in_full():
    access, caller = Access(), caller_with(tokens_per_minute=600, dollars_per_day=1.0)
    admit(access, caller, tokens=10, cost_usd=0.1).settle(1200, 1.5, NOON)
    assert denial(access, caller, tokens=60).retry_after == pytest.approx(66)
    assert "$1.5 are spent" in denial(access, caller, tokens=1, cost_usd=0.01).message


def test_long_answers_do_not_block_their_share_for_as_long_as_they_take():
    """One after the other, five minutes each, as large as the limit allows."""
    access, caller, now = Access(), caller_with(tokens_per_minute=60_000), NOON
    for _ in range(3):
        grant = admit(access, caller, tokens=60_000, now=now)
        assert not passes(access, caller, tokens=30_000, now=now + 19)
        assert passes(access, caller, tokens=30_000, now=now + 75)
        now += 300
        grant.settle(60_000, None, now)


def test_a_clock_that_is_set_gives_nothing_away_and_locks_nobody_out():
    access, caller = Access(), caller_with(requests_per_minute=60, dollars_per_day=1.0)
    for _ in range(60):
        admit(access, caller)
    for now in (NOON - 1, NOON, NOON - 5, NOON):
        denial(access, caller, now=now)
    hour_ago = NOON - 3600
    denial(access, caller, now=hour_ago)
    admit(access, caller, now=hour_ago + 1.01)

    admit(access, caller, cost_usd=1.0, now=NOON + 10)
    for now in (NOON - 86400, NOON - 40 * 86400, NOON):
        assert denial(access, caller, cost_usd=0.01, now=now).code == "insufficient_quota"


def test_what_the_ledger_knows_counts_after_a_restart():
    access, now = Access(), NOON
    access.restore({"a": 0.75}, {"a": 2.0, "b": 5.0}, now)
    day, month = {"dollars_per_day": 1.0}, {"dollars_per_month": 5.0}
    assert not passes(access, caller_with("a", **day), cost_usd=0.26)
    assert passes(access, caller_with("a", **day), cost_usd=0.25)
    assert passes(access, caller_with("a", **month), cost_usd=2.75)
    assert not passes(access, caller_with("b", **month), cost_usd=0.01)
    assert passes(access, caller_with("b", **day), cost_usd=1.0)
    assert passes(access, caller_with("a", **day), cost_usd=1.0, now=now + 86400)
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(StoreError, match="the key a spent"):
            access.restore({"a": wrong}, {}, now)


def test_keys_have_limits_of_their_own():
    access = Access()
    admit(access, caller_with("a", requests_per_minute=1))
    admit(access, caller_with("b", requests_per_minute=1))
    assert denial(access, caller_with("a", requests_per_minute=1)).message.startswith("the key a ")


def test_headers_tell_what_remains():
    access, caller = Access(), caller_with(requests_per_minute=60, tokens_per_minute=6000)
    assert dict(access.headers(caller, NOON))[b"x-ratelimit-remaining-requests"] == b"60"
    grant = admit(access, caller, tokens=900)
    assert access.headers(caller, NOON) == [
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-reset-requests", b"1.00s"),
        (b"x-ratelimit-limit-tokens", b"6000"),
        (b"x-ratelimit-remaining-tokens", b"5100"),
        (b"x-ratelimit-reset-tokens", b"9.00s"),
    ]
    grant.settle(12, 0.0, NOON + 0.5)
    after = dict(access.headers(caller, NOON + 0.5))
    assert after[b"x-ratelimit-remaining-requests"] == b"59"
    assert after[b"x-ratelimit-reset-requests"] == b"500ms"
    assert after[b"x-ratelimit-remaining-tokens"] == b"5988"
    admit(access, caller, tokens=10, now=NOON + 0.5).settle(9000, 0.0, NOON + 0.5)
    after = dict(access.headers(caller, NOON + 0.5))
    assert after[b"x-ratelimit-remaining-tokens"] == b"0"
    assert after[b"x-ratelimit-reset-tokens"] == b"1m30s"
    assert [name for name, _ in access.headers(caller_with("t", tokens_per_minute=5), NOON)] == [
        b"x-ratelimit-limit-tokens",
        b"x-ratelimit-remaining-tokens",
        b"x-ratelimit-reset-tokens",
    ]
