"""Who a header stands for, what a key bounds, where a gateway may listen, and the shape of a refusal."""

import asyncio
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine

from avengers_pro.errors import AvengersProError, SettingsError
from avengers_pro.gateway.access import (
    ANONYMOUS,
    Access,
    AccessDenied,
    Caller,
    Keys,
    Limits,
    bounded,
    check_binding,
)

POOL = ("lab/large", "lab/middle", "lab/small")


def caller_with(**limits):
    return Caller("k3y", "tests", "user", Limits(**limits))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Two keys, one of them revoked, and their texts; recognising needs no database any more."""

    async def make():
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('keys') / 'gateway.db'}")
        async with await Keys.open(engine) as keys:
            (_, secret), (ended, ended_secret) = await keys.create("valid"), await keys.create("ended")
            await keys.revoke(ended.id)
        await engine.dispose()
        return keys, secret.reveal(), ended_secret.reveal()

    return asyncio.run(make())


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER  {} "])
def test_a_bearer_is_recognised(known, header):
    keys, secret, _ = known
    assert Access(keys).authenticate(header.format(secret)).name == "valid"


def test_a_key_may_come_in_a_header_of_its_own(known):
    keys, secret, _ = known
    access = Access(keys)
    assert access.authenticate(None, secret).name == "valid"
    assert access.authenticate("Basic cHJveHk6cHJveHk=", secret).name == "valid"
    with pytest.raises(AccessDenied):
        access.authenticate("Bearer ap-other", secret)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "missing_api_key"),
        ("", "missing_api_key"),
        ("Bearer ", "missing_api_key"),
        ("Basic abc", "missing_api_key"),
        ("Bearer ap-wrong", "invalid_api_key"),
        ("Bearer ünïcödé \ud800", "invalid_api_key"),
    ],
)
def test_whoever_has_no_key_is_refused(known, header, code):
    for keys in (known[0], None):
        with pytest.raises(AccessDenied) as caught:
            Access(keys).authenticate(header)
        assert (caught.value.status, caught.value.code, caught.value.type) == (401, code, "invalid_request_error")
        assert (b"www-authenticate", b"Bearer") in caught.value.headers


def test_open_access_takes_strangers_for_administrators_but_honours_keys(known):
    assert Access(required=False).authenticate(None) is ANONYMOUS
    assert (ANONYMOUS.key, ANONYMOUS.role, ANONYMOUS.limits) == (None, "admin", Limits())
    keys, secret, ended = known
    access = Access(keys, required=False)
    assert access.authenticate("Bearer sk-none") is ANONYMOUS
    assert access.authenticate(f"Bearer {secret}").name == "valid"
    with pytest.raises(AccessDenied, match="revoked"):
        access.authenticate(f"Bearer {ended}")
    access.admit(ANONYMOUS, tokens=10**9, cost_usd=math.nan, now=0.0).settle(10, 1.0, 1.0)
    assert access.headers(ANONYMOUS, 0.0) == []


def test_a_refusal_has_the_shape_that_clients_know():
    error = AccessDenied("no", status=429, code="c", kind="t", param="model", retry_after=1.2, is_worth_retrying=True)
    assert isinstance(error, AvengersProError)
    assert error.body == {"error": {"message": "no", "type": "t", "param": "model", "code": "c"}}
    assert error.headers == [(b"retry-after", b"2")]
    assert AccessDenied("no", status=429, code="c").headers == [(b"x-should-retry", b"false")]


def test_the_default_alpha_moves_into_the_bounds_and_an_asked_one_does_not():
    bound = caller_with(min_alpha=0.2, max_alpha=0.5)
    assert bounded(bound, None, POOL, default_alpha=0.7).alpha == 0.5
    assert bounded(bound, None, POOL, default_alpha=0.1).alpha == 0.2
    assert bounded(bound, None, POOL, default_alpha=0.3).alpha == 0.3
    assert bounded(bound, 0.5, POOL).alpha == 0.5
    for asked in (0.51, 0.1, math.nan):
        with pytest.raises(AccessDenied, match=f"alpha {asked:g} .* 0.2 to 0.5") as caught:
            bounded(bound, asked, POOL)
        assert (caught.value.status, caught.value.param) == (403, "alpha")
    with pytest.raises(AccessDenied, match=r"alpha 0\.4 .* 0 to 0\.3"):
        bounded(caller_with(max_alpha=0.3), 0.4, POOL)
    with pytest.raises(AccessDenied, match=r"alpha 0\.4 .* 0\.6 to 1"):
        bounded(caller_with(min_alpha=0.6), 0.4, POOL)
    assert bounded(caller_with(), 1.0, POOL).alpha == 1.0


def test_another_objective_does_not_get_around_a_bound_on_alpha():
    assert bounded(caller_with(), None, POOL, objective="target").alpha is None
    with pytest.raises(AccessDenied, match="leave target out") as caught:
        bounded(caller_with(max_alpha=0.5), None, POOL, objective="target")
    assert caught.value.status == 403


def test_models_that_a_key_may_not_use_are_left_out():
    assert bounded(caller_with(), None, list(POOL)).models == POOL
    assert bounded(caller_with(models=("lab/small", "lab/large")), None, POOL).models == ("lab/large", "lab/small")
    assert bounded(caller_with(exclude=("lab/large",)), None, POOL).models == ("lab/middle", "lab/small")
    with pytest.raises(AccessDenied, match="may not use lab/large; it may use lab/small") as caught:
        bounded(caller_with(models=("lab/small",)), None, ("lab/large",))
    assert (caught.value.status, caught.value.code) == (403, "model_not_allowed")
    with pytest.raises(AccessDenied, match="lab/small is excluded"):
        bounded(caller_with(models=("lab/small",), exclude=("lab/small",)), None, POOL)


@given(
    alpha=st.none() | st.floats(0, 1),
    default=st.floats(0, 1),
    bounds=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    models=st.none() | st.lists(st.sampled_from(POOL), min_size=1).map(tuple),
    exclude=st.lists(st.sampled_from(POOL)).map(tuple),
)
def test_nobody_ever_gets_more_than_the_bounds(alpha, default, bounds, models, exclude):
    low, high = bounds
    bound = caller_with(min_alpha=low, max_alpha=high, models=models, exclude=exclude)
    allowed = set(models or POOL) - set(exclude)
    if (alpha is not None and not low <= alpha <= high) or not allowed:
        with pytest.raises(AccessDenied):
            bounded(bound, alpha, POOL, default_alpha=default)
        return
    got = bounded(bound, alpha, POOL, default_alpha=default)
    assert low <= got.alpha <= high
    assert alpha in {None, got.alpha}
    assert set(got.models) == allowed


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_a_gateway_without_keys_may_listen_where_only_this_machine_reaches_it(host):
    check_binding(host, keys_exist=False, insecure=False)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "a.example", "127.example", "localhost.example"])  # noqa: S104
def test_a_gateway_without_keys_listens_to_others_only_if_told_so(host):
    with pytest.raises(SettingsError, match=r"keys create .* 127\.0\.0\.1.* --insecure") as caught:
        check_binding(host, keys_exist=False, insecure=False)
    assert repr(host) in str(caught.value)
    check_binding(host, keys_exist=True, insecure=False)
    check_binding(host, keys_exist=False, insecure=True)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"models": ()}, "models is empty"),
        ({"models": "lab/large"}, "models must be a tuple"),
        ({"exclude": ("a", 3)}, "exclude must be a tuple"),
        ({"min_alpha": -0.1}, "min_alpha .* at least 0 and at most 1 .* got -0.1"),
        ({"max_alpha": math.nan}, "max_alpha"),
        ({"min_alpha": 0.6, "max_alpha": 0.5}, "min_alpha 0.6 is more than max_alpha 0.5"),
        ({"requests_per_minute": 0}, "requests_per_minute must be a whole number of at least 1, got 0"),
        ({"tokens_per_minute": 1.5}, "tokens_per_minute"),
        ({"tokens_per_minute": True}, "tokens_per_minute"),
        ({"dollars_per_day": -1.0}, "dollars_per_day must be a number of at least 0 .US dollars., got -1"),
        ({"dollars_per_month": math.inf}, "dollars_per_month"),
        ({"dollars_per_month": "5"}, "dollars_per_month"),
    ],
)
def test_limits_out_of_range_are_named(limits, said):
    with pytest.raises(SettingsError, match=said):
        Limits(**limits)


def test_limits_cannot_be_changed():
    with pytest.raises(AttributeError):
        Limits().dollars_per_day = 3
    assert msgspec.json.encode(Limits(dollars_per_day=3.0)) == b'{"dollars_per_day":3.0}'
