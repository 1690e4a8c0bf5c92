"""What goes on beside the requests."""

import time

from live import FIRST, SECOND, call, card, eventually

from avengers_pro.demo.provider import Fault, create_provider, serving


def test_probes_find_an_upstream_that_has_gone_and_one_that_is_back(gateway, stack):
    first = stack.enter_context(serving(create_provider()))
    with serving(create_provider()) as second:
        port = int(second.rpartition(":")[2])
        rows = [card(FIRST, second), card(SECOND, first)]
        health = {"probe": True, "interval": 0.05}
        breaker = {"min_requests": 2, "window": 5, "cooldown": 0.1}
        live = gateway(rows, {"health": health, "breaker": breaker})
        label = f"{FIRST}@127.0.0.1:{port}"
        assert live.metric("upstream_open", upstream=label) == 0
    eventually(lambda: live.metric("upstream_open", upstream=label) == 1)
    assert live.ask().headers["x-avengers-pro-model"] == SECOND
    with serving(create_provider(), port=port):
        eventually(lambda: live.metric("upstream_open", upstream=label) == 0)


def test_a_probe_carries_the_key_and_asks_for_the_models(gateway, provide):
    url = provide(api_key="sk-upstream")
    rows = [card(FIRST, url, api_key_env="UPSTREAM_KEY"), card(SECOND, url)]
    health = {"probe": True, "interval": 0.05}
    gateway(rows, {"health": health}, environ={"UPSTREAM_KEY": "sk-upstream"})
    asked = eventually(lambda: [r for r in call(url, "/requests").json if r["path"] == "/v1/models"])
    keys = eventually(
        lambda: {r["headers"].get("authorization") for r in call(url, "/requests").json} & {"Bearer sk-upstream"}
    )
    assert asked
    assert keys


def test_old_decisions_are_pruned(gateway, provider):
    """A fortieth of a second is kept, and the ledger is pruned when the gateway starts."""
    with_rows = gateway(provider)
    assert with_rows.ask().status == 200
    assert len(with_rows.rows()) == 1
    deadline = time.time() + 0.05
    while time.time() < deadline:
        pass
    again = gateway(provider, {"store": {"retention_days": 0.05 / 86_400}})
    eventually(lambda: not again.rows())


def test_a_failing_probe_is_survived(gateway, provide):
    url = provide(faults={"*": [Fault(fault="500")]})
    live = gateway(url, {"health": {"probe": True, "interval": 0.02}})
    assert live.ask().status == 500
    assert live.call("/healthz").status == 200
