"""Who may see the dashboard, and what keeps others from acting through it."""

import asyncio
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from dashboard_pages import PAGES, Visitor, decided, identity, over, write
from ledger_stores import needs_postgresql, postgresql_url
from live import FIRST, SECOND, eventually, make_key

from avengers_pro.gateway.ledger import upgrade

ENTRIES = [*PAGES, f"/dashboard/decisions/{identity(1)}"]
CHANGES = ["/dashboard/reload", "/dashboard/logout", "/dashboard/playground/decide", "/dashboard/playground/send"]
REQUIRED = {"access": {"required": True, "refresh": 0.05}}


@pytest.fixture
def guarded(gateway):
    """A gateway that needs keys, with an administrator's and two users' keys and a decision of each."""
    live = gateway("http://127.0.0.1:9", REQUIRED)
    keys = {name: live.key(role) for name, role in (("admin", "admin"), ("one", "user"), ("two", "user"))}
    eventually(lambda: live.app.gateway.keys.active == 3)
    write(
        live.store,
        *(
            (
                decided(n, key=keys[name][0].id, model=model, session=f"of-{name}", text=f"secret of {name}"),
                over(n, served_by=model, cost_usd=cost),
            )
            for n, name, model, cost in ((1, "one", FIRST, 0.01), (2, "two", SECOND, 0.5))
        ),
    )
    return live, keys


def logged_in(guarded, name):
    live, keys = guarded
    visitor = Visitor(live.url)
    assert visitor.log_in(keys[name][1]).status == 303
    return visitor


@pytest.mark.parametrize("path", ENTRIES)
def test_without_a_key_there_is_only_the_login(guarded, path):
    page = Visitor(guarded[0].url).ask(path)
    assert (page.status, page.headers["location"]) == (303, "/dashboard/login")
    assert page.text == ""


@pytest.mark.parametrize("path", CHANGES)
def test_without_a_key_nothing_changes(guarded, path):
    visitor = Visitor(guarded[0].url)
    token = visitor.ask("/dashboard/login").csrf
    assert visitor.ask(path, {"csrf": token}).status == 401


def test_a_wrong_key_is_refused_and_not_repeated(guarded):
    visitor = Visitor(guarded[0].url)
    page = visitor.log_in("ap-wrong-key")
    assert page.status == 403
    assert "no such API key" in page.words
    assert "wrong-key" not in page.text
    assert visitor.ask("/dashboard").status == 303


def test_the_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(guarded):
    live, keys = guarded
    visitor = Visitor(live.url)
    cookie = visitor.log_in(keys["one"][1]).headers["set-cookie"]
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/dashboard", "Max-Age="):
        assert attribute in cookie
    assert keys["one"][1] not in cookie
    assert visitor.ask("/dashboard").status == 200
    token = visitor.ask("/dashboard/playground").csrf
    forwarded = Visitor(live.url)
    form = {"csrf": forwarded.ask("/dashboard/login").csrf, "key": keys["one"][1]}
    assert "Secure" in forwarded.ask("/dashboard/login", form, x_forwarded_proto="https").headers["set-cookie"]
    assert token


def test_a_forged_or_changed_cookie_is_nobodys(guarded):
    visitor = logged_in(guarded, "one")
    (name, cookie), *_ = visitor.cookies.items()
    body, _, signature = cookie.partition(".")
    for forged in (f"{body}.{'0' * 64}", f"{body[:-2]}.{signature}", body, "", "é", f".{signature}", "a.b.c"):
        assert Visitor(visitor.url, {name: forged.encode("utf-8").decode("latin-1")}).ask("/dashboard").status == 303


def test_a_session_ends_by_logout_even_for_a_copy_of_it(guarded):
    visitor = logged_in(guarded, "one")
    copy = Visitor(visitor.url, dict(visitor.cookies))
    assert visitor.ask("/dashboard/logout", {"csrf": visitor.ask("/dashboard").csrf}).status == 303
    assert visitor.ask("/dashboard").status == 303
    assert copy.ask("/dashboard").status == 303


def test_a_session_ends_with_its_time(guarded, monkeypatch):
    visitor, late = logged_in(guarded, "one"), Visitor(guarded[0].url)
    form = {"csrf": late.ask("/dashboard/login").csrf, "key": guarded[1]["one"][1]}
    monkeypatch.setattr("avengers_pro.gateway.dashboard.login.SESSION_S", -1)
    assert late.ask("/dashboard/login", form).status == 303
    assert visitor.ask("/dashboard").status == 200
    assert late.ask("/dashboard").status == 303


@needs_postgresql
def test_a_session_is_good_at_every_gateway_of_a_ledger(gateway):
    for url in postgresql_url():
        asyncio.run(upgrade(url))
        tables = {**REQUIRED, "store": {"url": url}}
        with ThreadPoolExecutor(2) as pool:  # the first two make the secret at the same time
            first, second = pool.map(gateway, ["http://127.0.0.1:9"] * 2, [tables] * 2)
        _, secret = make_key(url)
        third = gateway("http://127.0.0.1:9", tables)
        for live in (first, second, third):
            eventually(lambda live=live: live.app.gateway.keys.active == 1)
        visitor = Visitor(first.url)
        assert visitor.log_in(secret).status == 303
        for live in (first, second, third):
            assert Visitor(live.url, dict(visitor.cookies)).ask("/dashboard").status == 200


def test_a_revoked_key_ends_its_sessions(guarded):
    from avengers_pro.gateway.access import Keys
    from avengers_pro.gateway.ledger import Ledger

    live, keys = guarded
    visitor = logged_in(guarded, "one")

    async def revoke():
        async with (
            await Ledger.open(live.store, recording=False) as ledger,
            await Keys.open(ledger.engine, refresh_s=None) as found,
        ):
            await found.revoke(keys["one"][0].id)

    asyncio.run(revoke())
    eventually(lambda: visitor.ask("/dashboard").status == 303)


def test_a_session_does_not_open_the_api(guarded):
    visitor = logged_in(guarded, "admin")
    assert visitor.ask("/v1/models").status == 401


def test_users_see_their_own_and_administrators_everything(guarded):
    one, admin = logged_in(guarded, "one"), logged_in(guarded, "admin")
    assert "1 request cost $0.0100" in one.ask("/dashboard").words
    assert "2 requests cost $0.510" in admin.ask("/dashboard").words
    for span in ("1h", "7d", "30d"):
        assert "1 request cost $0.0100" in one.ask(f"/dashboard?range={span}").words
    own = one.ask("/dashboard/decisions?key=" + guarded[1]["two"][0].id)
    assert re.findall(r"decisions/(dec_[0-9a-f]+)", own.text) == [identity(1)]
    assert len(re.findall(r"decisions/(dec_[0-9a-f]+)", admin.ask("/dashboard/decisions").text)) == 2
    assert one.ask(f"/dashboard/decisions/{identity(1)}").status == 200
    assert one.ask(f"/dashboard/decisions/{identity(2)}").status == 404
    assert admin.ask(f"/dashboard/decisions/{identity(2)}").status == 200
    for words in (identity(2), "of-two", "secret"):
        found = re.findall(r"decisions/(dec_[0-9a-f]+)", one.ask(f"/dashboard/decisions?words={words}").text)
        assert identity(2) not in found
    for path in PAGES:
        assert guarded[1]["two"][0].id not in one.ask(path).text
        assert "of-two" not in one.ask(path).text


def test_only_administrators_reload(guarded):
    one, admin = logged_in(guarded, "one"), logged_in(guarded, "admin")
    assert "Load the router" not in one.ask("/dashboard/models").words
    assert one.ask("/dashboard/reload", {"csrf": one.ask("/dashboard").csrf}).status == 403
    before = guarded[0].app.gateway.decider
    page = admin.ask("/dashboard/reload", {"csrf": admin.ask("/dashboard").csrf})
    assert "is in use." in page.words
    assert guarded[0].app.gateway.decider is not before


@pytest.mark.parametrize("path", CHANGES)
def test_changes_need_the_token_of_the_session(guarded, path):
    admin, other = logged_in(guarded, "admin"), logged_in(guarded, "admin")
    for token in ("", "0" * 64, "\u00fc", other.ask("/dashboard").csrf):
        assert admin.ask(path, {"csrf": token}).status == 403
    good = admin.ask("/dashboard").csrf
    assert admin.ask(path, {"csrf": good}, origin="https://evil.example").status == 403
    assert admin.ask(path, b'{"text":"x","alpha":1}', x_csrf_token=good[:-1]).status == 403
    assert admin.ask("/dashboard").status == 200, "still logged in"


def test_a_login_needs_the_token_of_its_page(guarded):
    live, keys = guarded
    visitor = Visitor(live.url)
    page = visitor.ask("/dashboard/login", {"csrf": "0" * 64, "key": keys["admin"][1]})
    assert page.status == 403
    assert visitor.ask("/dashboard").status == 303


def test_without_keys_the_dashboard_is_open_but_changes_need_a_token(gateway):
    visitor = Visitor(gateway("http://127.0.0.1:9").url)
    assert visitor.ask("/dashboard/reload", {"csrf": ""}).status == 403
    token = visitor.ask("/dashboard").text and visitor.ask("/dashboard/models").csrf
    assert visitor.ask("/dashboard/reload", {"csrf": token}).status == 200
    assert visitor.ask("/dashboard/login").headers["location"] == "/dashboard"


def test_without_keys_names_of_other_machines_are_refused(gateway):
    """A page elsewhere could give this machine a name of its own, and read the dashboard through it."""
    live = gateway("http://127.0.0.1:9")
    for path in (*PAGES, "/dashboard/login"):
        page = Visitor(live.url).ask(path, host="evil.example:8080")
        assert page.status == 403
        assert "make a key" in page.words
    assert Visitor(live.url).ask("/dashboard", host="localhost:1").status == 200
    assert Visitor(live.url).ask("/dashboard", host="[::1]:1").status == 200


def test_the_first_key_closes_the_dashboard(gateway):
    live = gateway("http://127.0.0.1:9", {"access": {"refresh": 0.05}})
    visitor = Visitor(live.url)
    assert visitor.ask("/dashboard").status == 200
    live.key("admin")
    eventually(lambda: visitor.ask("/dashboard").status == 303)


def test_every_answer_forbids_foreign_scripts_and_frames(guarded):
    visitor = logged_in(guarded, "admin")
    for path in (*ENTRIES, "/dashboard/login", "/dashboard/decisions/none", "/dashboard/static/none"):
        headers = visitor.ask(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_pages_with_numbers_are_not_kept_by_caches(guarded):
    visitor = logged_in(guarded, "one")
    for path in ENTRIES:
        assert visitor.ask(path).headers["cache-control"] == "no-store"


def test_the_playground_decides_and_records_nothing(gateway, provider):
    live = gateway(provider)
    visitor = Visitor(live.url)
    token = visitor.ask("/dashboard/playground").csrf

    def decide(**trial):
        page = visitor.ask("/dashboard/playground/decide", json.dumps(trial).encode(), x_csrf_token=token)
        return page.status, json.loads(page.text)

    status, found = decide(text="What is a prime?", alpha=1.0)
    assert (status, found["model"]) == (200, found["candidates"][0]["model"])
    status, other = decide(text="What is a prime?", alpha=1.0, exclude=[found["model"]])
    assert (status, other["model"] != found["model"]) == (200, True)
    assert {each["model"]: each["removed"] for each in other["candidates"]}[found["model"]] is not None
    status, refused = decide(text="What is a prime?", alpha=1.0, max_cost=0)
    assert status == 422
    assert "infeasible" in refused["error"]["message"]
    for wrong in (
        {"text": "", "alpha": 1.0},
        {"text": "x", "alpha": 2.0},
        {"text": "x", "alpha": 0.5, "exclude": ["no"]},
    ):
        assert decide(**wrong)[0] == 400
    assert live.rows() == []


def test_the_playground_sends_as_the_visitors_key(gateway, provider):
    live = gateway(provider, REQUIRED)
    info, secret = live.key("user", requests_per_minute=1)
    eventually(lambda: live.app.gateway.keys.active == 1)
    visitor = Visitor(live.url)
    visitor.log_in(secret)
    token = visitor.ask("/dashboard/playground").csrf
    body = json.dumps({"text": "What is a prime?", "alpha": 0.5}).encode()
    page = visitor.ask("/dashboard/playground/send", body, x_csrf_token=token)
    found = json.loads(page.text)
    row = live.row()
    assert page.status == 200
    assert (row["id"], row["key"], row["outcome"]) == (found["decision"], info.id, "ok")
    assert found["model"] == row["served_by"]
    again = visitor.ask("/dashboard/playground/send", body, x_csrf_token=token)
    assert again.status == 429
    assert "requests per minute" in json.loads(again.text)["error"]["message"]


def test_a_provider_that_fails_is_told(gateway):
    live = gateway("http://127.0.0.1:9")
    visitor = Visitor(live.url)
    token = visitor.ask("/dashboard/playground").csrf
    body = json.dumps({"text": "What is a prime?", "alpha": 0.5}).encode()
    started = time.monotonic()
    page = visitor.ask("/dashboard/playground/send", body, x_csrf_token=token)
    assert page.status in {502, 503}
    assert json.loads(page.text)["error"]["message"]
    assert time.monotonic() - started < 30
