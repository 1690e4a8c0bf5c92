"""``avengers-pro drift`` as the shell runs it, on a simulated history in a real ledger."""

import asyncio
import json

import pytest

from avengers_pro.demo.history import Course, write_history
from avengers_pro.routing import Router


@pytest.fixture
def ledger(tmp_path, router, small):
    """A simulated history whose decisions are those of the router in the folder."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    asyncio.run(write_history(url, Router.load(router), small, Course(feedback=0.5)))
    return url


def test_a_table_says_what_was_checked_and_what_was_not(shell, ledger, router):
    done = shell("drift", "--ledger", ledger, "--router", router, "--all-routers")
    assert done.code == 0, done.err
    for check in ("novel queries", "mix of queries", "embeddings", "models in use"):
        assert check in done.out
    assert "300 requests from 2026-05-28 to 2026-06-11" in done.out
    assert "not checked: price paid: prices and names at the upstreams are in gateway.toml (--pool)" in done.out
    assert "a quiet gateway is called drifted in at most 2% of runs" in done.out


def test_json_has_every_check(shell, ledger, router):
    done = shell("drift", "--ledger", ledger, "--router", router, "--all-routers", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["requests"] == found["decided_by_this_router"] == 300
    assert {"quality", "snapshot", "mix of queries"} <= {finding["check"] for finding in found["findings"]}
    assert {"check", "value", "threshold", "verdict", "recommendation"} <= found["findings"][0].keys()


def test_another_routers_decisions_are_told_apart(shell, ledger, router):
    done = shell("drift", "--ledger", ledger, "--router", router)
    assert "0 of them decided by this router" in done.out
    assert "this router decided none of the requests" in done.out


def test_drift_is_a_failure_only_where_none_is_required(shell, ledger, router, tmp_path, small):
    prices = "\n".join(
        f'[[models]]\nname = "{name}"\ninput_price = 1000.0\noutput_price = 1000.0\n' for name in small.models
    )
    (tmp_path / "gateway.toml").write_text(prices, encoding="utf-8")
    arguments = ("drift", "--ledger", ledger, "--router", router, "--pool", "gateway.toml")
    done = shell(*arguments)
    assert done.code == 0, done.err
    assert "price paid of" in done.out
    assert "the table has changed since" in done.out
    required = shell(*arguments, "--require", "none")
    assert required.code == 1
    assert required.out == done.out
    assert "error: drift in " in required.err
    quiet = shell("drift", "--ledger", ledger, "--router", router, "--all-routers", "--require", "none")
    assert quiet.code == 0, quiet.out


def test_a_period_without_requests_is_no_drift(shell, ledger, router):
    done = shell("drift", "--ledger", ledger, "--router", router, "--since", "2027-01-01", "--require", "none")
    assert done.code == 0, done.err
    assert done.out.startswith("0 requests")


def test_what_is_missing_is_said(shell, router):
    done = shell("drift", "--ledger", "sqlite:///nowhere.db", "--router", router)
    assert (done.code, done.out) == (1, "")
    assert "does not exist" in done.err
    assert shell("drift", "--router", router).code == 2
    nowhere = shell("drift", "--ledger", "sqlite:///nowhere.db", "--router", "nothing/")
    assert nowhere.code == 1
    assert "error:" in nowhere.err
