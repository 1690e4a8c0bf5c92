"""A second router that decides beside the one in use: what it would have chosen is recorded, and nothing else."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from live import FIRST, POOL, QUESTION, SECOND, THIRD, ask, call, card, eventually, rows_of

from avengers_pro.demo.provider import Speed, create_provider, serving
from avengers_pro.errors import SettingsError
from avengers_pro.gateway.app import create_app
from avengers_pro.gateway.deciding import fingerprint_of
from avengers_pro.gateway.settings import settings_of
from avengers_pro.gateway.shadowing import check_shadow
from avengers_pro.gateway.state import Gateway
from avengers_pro.routing import Router

COLUMNS = ("shadow_router", "shadow_model", "shadow_score", "shadow_cost_usd")
NONE = dict.fromkeys(COLUMNS)
NEWCOMER = "google/gemini-2.5-pro"
"""Known to the shadow, not to the router in use."""


@pytest.fixture(scope="module")
def make(tmp_path_factory, sample, sample_vectors):
    """Return a function that fits a router on a few models of the simulated sample and saves it."""

    def fit(models, **options):
        folder = tmp_path_factory.mktemp("shadow") / "router"
        Router.fit(sample.select_models(models).take(range(0, 2000, 10)), vectors=sample_vectors[::10], **options).save(
            folder
        )
        return folder

    return fit


@pytest.fixture(scope="module")
def other(make):
    """A router that does not know FIRST, but one that the pool has not and one that the other router has not."""
    return make([SECOND, THIRD, NEWCOMER, "openai/gpt-5-chat"])


@pytest.fixture(scope="module")
def uncalibrated(make):
    """A router that can follow an alpha, and no target."""
    return make(POOL, method="avengers-pro-paper+format")


def shadow_of(row):
    return {name: row[name] for name in COLUMNS}


def rows_with(provider, names=POOL):
    return [card(name, provider) for name in names]


def test_it_records_what_the_other_router_would_have_done(gateway, provider, other, tmp_path):
    """Asked directly, the other router does and expects the same."""
    questions = [f"{QUESTION} {number * 'and more '}" for number in range(8)]
    pool = rows_with(provider, [*POOL, NEWCOMER])
    live = gateway(pool, {"shadow": {"router": str(other)}, "policy": {"alpha": 0.6}})
    answers = [live.ask(question, stream=number % 2 == 0) for number, question in enumerate(questions)]
    assert {answer.status for answer in answers} == {200}
    rows = live.rows()
    app = gateway(pool, {"store": {"url": f"sqlite:///{tmp_path}/direct.db"}, "policy": {"alpha": 0.6}}, router=other)
    for number, question in enumerate(questions):
        app.ask(question, stream=number % 2 == 0)
    direct = rows_of(f"sqlite:///{tmp_path}/direct.db")
    for row, wanted in zip(rows, direct, strict=True):
        assert row["shadow_router"] == wanted["router"] == fingerprint_of(other)
        assert row["shadow_model"] == wanted["model"]
        assert row["shadow_score"] == pytest.approx(wanted["expected_score"])
        assert row["shadow_cost_usd"] == pytest.approx(wanted["expected_cost_usd"])
        assert row["router"] != row["shadow_router"]
    assert {row["shadow_model"] for row in rows} <= {SECOND, THIRD, NEWCOMER}
    same = sum(row["model"] == row["shadow_model"] for row in rows)
    assert live.metric("shadow_decisions_total", result="same") == same
    assert live.metric("shadow_decisions_total", result="different") == len(rows) - same
    told = live.call(f"/v1/decisions/{rows[0]['id']}").json
    assert shadow_of(told) == shadow_of(rows[0])


def test_it_changes_nothing_but_the_record(gateway, provider, other):
    live = gateway(provider, {"shadow": {"router": str(other)}})
    assert live.ask().headers["x-avengers-pro-model"] == FIRST
    row = live.row()
    assert (row["model"], row["served_by"]) == (FIRST, FIRST)
    assert row["shadow_model"] != FIRST


def test_a_model_that_the_router_in_use_has_not_is_a_candidate_of_the_shadow(gateway, provider, make):
    shadow = make([NEWCOMER, "openai/gpt-5-chat"])
    live = gateway(rows_with(provider, [*POOL, NEWCOMER]), {"shadow": {"router": str(shadow)}})
    live.ask()
    assert live.row()["shadow_model"] == NEWCOMER


def test_the_same_policy_binds_both(gateway, provider, other):
    live = gateway(provider, {"shadow": {"router": str(other)}})
    live.ask(avengers_pro={"exclude": [SECOND]})
    live.ask(avengers_pro={"models": [FIRST]})
    live.ask(avengers_pro={"alpha": 0.0})
    live.ask([{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}])
    without_second, without_all, cheapest, unseen = (shadow_of(row) for row in live.rows())
    assert without_second["shadow_model"] == THIRD
    assert without_all == NONE | {"shadow_router": fingerprint_of(other)}
    assert cheapest["shadow_model"] in {SECOND, THIRD}
    assert unseen["shadow_model"] in {SECOND, THIRD}
    assert live.metric("shadow_decisions_total", result="infeasible") == 1


def test_requests_that_name_their_model_are_not_shadowed(gateway, provider, other):
    live = gateway(provider, {"shadow": {"router": str(other)}})
    live.ask(model=FIRST)
    assert shadow_of(live.row()) == NONE
    assert live.metric("shadow_decisions_total") == 0


def test_what_the_shadow_cannot_do_does_not_touch_the_request(gateway, provider, uncalibrated, caplog):
    live = gateway(provider, {"shadow": {"router": str(uncalibrated)}})
    for number in range(3):
        assert live.ask(f"{QUESTION} {number}", avengers_pro={"target": 0.9}).status == 200
    assert live.ask(QUESTION).status == 200
    *failed, well = live.rows()
    assert [shadow_of(row) for row in failed] == [NONE] * 3
    assert [row["outcome"] for row in failed] == ["ok"] * 3
    assert well["shadow_model"] in POOL
    assert live.metric("shadow_decisions_total", result="failed") == 3
    told = [record for record in caplog.records if "shadow" in record.getMessage()]
    assert len(told) == 1
    assert QUESTION not in caplog.text


def test_many_at_once_under_several_policies_each_get_their_own(gateway, provider, other):
    live = gateway(provider, {"shadow": {"router": str(other)}})
    names = [(SECOND, THIRD)[number % 2] for number in range(60)]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda name: live.ask(avengers_pro={"models": [FIRST, name]}), names))
    wanted = {answer.decision: name for answer, name in zip(answers, names, strict=True)}
    assert {row["id"]: row["shadow_model"] for row in live.rows()} == wanted


def test_what_is_over_when_the_gateway_stops_is_still_recorded(router_folder, other, tmp_path):
    """The last request's policy is new to the shadow, which takes it a moment."""
    with serving(create_provider()) as provider:
        store, tables = f"sqlite:///{tmp_path}/ledger.db", {"shadow": {"router": str(other)}}
        settings = settings_of({"models": rows_with(provider), "store": {"url": store}, **tables}, "gateway.toml")
        with serving(create_app(router_folder, settings, {})) as url:
            for alpha in (0.1, 0.2, 0.3):
                assert call(url, body=ask(avengers_pro={"alpha": alpha})).status == 200
        rows = rows_of(store, open_ones=True)
    assert [row["outcome"] for row in rows] == ["ok"] * 3
    assert all(row["shadow_model"] for row in rows)


# Loading it


def replace(folder, other):
    for name in ("router.safetensors", "router.json"):
        shutil.copy(other / name, folder / name)


def test_a_new_shadow_in_the_folder_is_taken_up(gateway, provider, other, make, tmp_path):
    folder = shutil.copytree(other, tmp_path / "candidate")
    live = gateway(provider, {"shadow": {"router": str(folder)}, "server": {"reload_interval": 0.05}})
    live.ask()
    newer = make([THIRD])
    replace(folder, newer)

    def newest():
        live.ask()
        return shadow_of(live.rows()[-1])

    eventually(lambda: newest()["shadow_router"] == fingerprint_of(newer))
    assert newest()["shadow_model"] == THIRD


def test_a_bad_shadow_is_refused_and_both_routers_go_on(gateway, provider, other, tmp_path):
    folder = shutil.copytree(other, tmp_path / "candidate")
    live = gateway(provider, {"shadow": {"router": str(folder)}})
    (folder / "router.json").write_bytes(b"{}")
    answer = live.call("/admin/reload", method="POST")
    assert (answer.status, answer.error["code"]) == (409, "reload_refused")
    assert "shadow.router" in answer.error["message"]
    live.ask()
    assert live.row()["shadow_router"] == fingerprint_of(other)


def test_a_request_under_way_while_both_routers_change_their_embedder(gateway, provide, router_folder, make, tmp_path):
    folders = [shutil.copytree(router_folder, tmp_path / name) for name in ("router", "candidate")]
    provider = provide(speed=Speed(first_token_s=1.0))
    live = gateway(provider, {"shadow": {"router": str(folders[1])}}, router=folders[0])
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(live.ask)
        eventually(lambda: live.metric("upstream_in_flight") == 1)
        for folder in folders:
            replace(folder, make(POOL, method="avengers-pro-paper"))
        assert live.call("/admin/reload", method="POST").status == 200
        assert answer.result().status == 200
    live.ask()
    before, after = live.rows()
    assert shadow_of(before) == NONE
    assert after["shadow_model"] == after["model"]
    assert live.metric("shadow_decisions_total", result="failed") == 1


def found(router_folder, shadow, names=POOL, **tables):
    settings = settings_of(
        {"models": rows_with("http://127.0.0.1:1", names), "shadow": {"router": str(shadow)}, **tables}, "F"
    )
    return [(each.level, each.key, each.message) for each in check_shadow(settings, Router.load(router_folder))]


def test_a_shadow_of_another_embedder_is_refused_with_the_reason(router_folder, make):
    other = make(POOL, method="avengers-pro-paper")
    ((level, key, message),) = found(router_folder, other)
    assert (level, key) == ("error", "shadow.router")
    assert "fitted with the embedder" in message
    assert "(256-d)" in message
    assert "(278-d)" in message


def test_a_shadow_that_cannot_serve_is_an_error(router_folder, other, uncalibrated, tmp_path):
    assert "router.json" in found(router_folder, tmp_path / "nowhere")[0][2]
    assert "knows none of [[models]]" in found(router_folder, other, [FIRST])[0][2]
    message = found(router_folder, uncalibrated, policy={"target": 0.9})[0][2]
    assert "means nothing" in message


def test_a_model_that_the_shadow_can_never_choose_is_told(router_folder, other):
    ((level, key, message),) = found(router_folder, other)
    assert (level, key) == ("warning", "shadow.router")
    assert f"no [[models]] for {NEWCOMER}, openai/gpt-5-chat:" in message
    assert found(router_folder, router_folder) == []


def test_a_gateway_with_a_bad_shadow_does_not_start(router_folder, tmp_path, make):
    settings = settings_of(
        {
            "models": rows_with("http://127.0.0.1:1"),
            "shadow": {"router": str(make(POOL, method="avengers-pro-paper"))},
            "store": {"url": f"sqlite:///{tmp_path}/ledger.db"},
        },
        "gateway.toml",
    )
    with pytest.raises(SettingsError, match=r"shadow\.router: .*embedder"):
        asyncio.run(Gateway(router_folder, settings, {}).start())
