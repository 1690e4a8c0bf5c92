"""Web pages of others must not use a gateway that asks for no key."""

import pytest
from live import CHAT, ask, call, card, eventually

EVIL = "https://evil.example"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"origin": EVIL},
        {"origin": "null"},
        {"host": "evil.example"},
        {"host": "evil.example:8080"},
        {"host": "[::1"},
        {"host": "localhost.evil.example"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", [CHAT, "/v1/route", "/admin/reload", "/v1/models"])
def test_a_foreign_page_is_refused_everywhere(gateway, provider, headers, path):
    live = gateway([card("openai/gpt-5", provider)])
    body = None if path == "/v1/models" else ask()
    answer = call(live.url, path, body, **{name.replace("-", "_"): value for name, value in headers.items()})
    assert (answer.status, answer.error["code"]) == (403, "cross_site")
    assert live.rows() == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:9", "sec-fetch-site": "same-site"},
        {"host": "localhost"},
        {"host": "[::1]:80"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
def test_this_machine_is_welcome(gateway, provider, headers):
    assert gateway([card("openai/gpt-5", provider)]).ask(headers=headers).status == 200


def test_whoever_has_a_key_may_come_from_anywhere(gateway, provider):
    live = gateway([card("openai/gpt-5", provider)], {"access": {"required": True, "refresh": 0.05}})
    _, key = live.key()
    headers = {"authorization": f"Bearer {key}", "origin": EVIL, "host": "llm.example"}
    assert eventually(lambda: live.ask(headers=headers).status == 200)


def test_the_operator_may_say_that_something_else_checks(gateway, provider):
    live = gateway([card("openai/gpt-5", provider)], {"server": {"insecure": True}})
    assert live.ask(headers={"origin": EVIL, "host": "llm.example"}).status == 200


def test_training_queries_and_totals_are_for_administrators(gateway, provider):
    live = gateway([card("openai/gpt-5", provider)], {"access": {"required": True, "refresh": 0.05}})
    keys = {role: live.key(role)[1] for role in ("user", "admin")}
    seen = {}
    for role, key in keys.items():
        answer = eventually(
            lambda key=key: found if (found := live.call("/v1/route", ask(), x_api_key=key)).status == 200 else None
        )
        seen[role] = ["examples" in near for near in answer.json["nearest_clusters"]]
        assert live.call("/metrics", x_api_key=key).status == (200 if role == "admin" else 403)
    assert set(seen["user"]) == {False}
    assert set(seen["admin"]) == {True}
