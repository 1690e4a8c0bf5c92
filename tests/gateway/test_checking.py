import os
from dataclasses import dataclass

import pytest

from avengers_pro.gateway.checking import check, is_loopback
from avengers_pro.gateway.settings import settings_of


@dataclass
class Router:
    """As much of a router as a check needs."""

    models: tuple[str, ...]


MODEL = {
    "name": "a",
    "base_url": "http://127.0.0.1:1/v1",
    "input_price": 1,
    "output_price": 1,
    "context": 1000,
    "capabilities": [],
}


def findings(tables=None, models=("a",), *, model=None, more=(), keys_exist=False, environ=None):
    rows = [{**MODEL, **(model or {})}, *({**MODEL, **row} for row in more)]
    found = settings_of({"models": rows, **(tables or {})}, "gateway.toml")
    checked = check(found, Router(tuple(models)), keys_exist=keys_exist, environ=environ or {})
    return [(finding.level, finding.key, finding.message) for finding in checked]


def only(found):
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_nothing_to_find():
    assert findings() == []


def test_a_model_the_router_does_not_know_is_named_with_the_nearest():
    found = findings(models=["a", "lab/large"], more=[{"name": "lab/larg"}])
    assert found[0][:2] == ("warning", "models[1].name")
    assert "did you mean 'lab/large'" in found[0][2]
    assert found[1] == ("warning", "models", "no [[models]] for 'lab/large' of the router: it is never chosen")


def test_no_model_in_common_is_an_error():
    level, key, message = findings(models=["x", "y"])[0]
    assert (level, key) == ("error", "models")
    assert "chooses from x, y" in message


@pytest.mark.parametrize(
    ("tables", "key", "said"),
    [
        ({"policy": {"exclude": ["b1"]}}, "policy.exclude", "did you mean 'b'"),
        ({"presets": {"p": {"models": ["zzz", "a"]}}}, "presets.p.models", "it knows a, b"),
        ({"presets": {"p": {"models": ["b"]}}}, "presets.p", "leave no model"),
        ({"policy": {"exclude": ["a"]}}, "policy", "leave no model"),
        ({"policy": {"models": []}}, "policy", "leave no model"),
    ],
)
def test_policies_must_leave_a_model_that_is_there(tables, key, said):
    errors = [finding for finding in findings(tables, models=["a", "b"]) if finding[0] == "error"]
    assert only(errors)[1] == key
    assert said in only(errors)[2]


def test_a_missing_price_and_what_a_price_leaves_out():
    level, key, message = only(findings(model={"input_price": None}))
    assert (level, key) == ("error", "models[0]")
    assert "a: genai-prices" in message
    assert 'price = "unknown"' in message
    openai = {"base_url": "https://api.openai.com/v1", "upstream_model": "gpt-4.1", "input_price": None}
    assert only(findings(model=openai))[:2] == ("warning", "models[0]")


def test_what_is_not_stated_of_a_model_is_told():
    found = findings(model={"capabilities": None, "context": None})
    assert [finding[:2] for finding in found] == [
        ("warning", "models[0].capabilities"),
        ("warning", "models[0].context"),
    ]
    assert "plain text" in found[0][2]


def test_variables_that_are_not_set_are_errors_once_each():
    tables = {"embedder": {"api_key_env": "EMBED"}, "store": {"url": "postgresql://u:${PASSWORD}@h/d"}}
    more = [{"name": "b", "api_key_env": "LAB"}]
    found = findings(tables, ["a", "b"], model={"api_key_env": "LAB"}, more=more, environ={"EMBED": ""})
    assert found == [
        ("error", "models[0].api_key_env", "the environment variable LAB is not set"),
        ("error", "embedder.api_key_env", "the environment variable EMBED is empty"),
        ("error", "store.url", "the environment variable PASSWORD is not set"),
    ]
    environ = {"LAB": "x", "EMBED": "x", "PASSWORD": "x"}
    assert findings(tables, ["a", "b"], model={"api_key_env": "LAB"}, more=more, environ=environ) == []


def test_the_environment_of_the_process_is_the_default(monkeypatch):
    found = settings_of({"models": [{**MODEL, "api_key_env": "A_KEY_FOR_THIS_TEST"}]}, "F")
    assert "A_KEY_FOR_THIS_TEST" in only(check(found, Router(("a",)))).message
    monkeypatch.setenv("A_KEY_FOR_THIS_TEST", "x")
    assert check(found, Router(("a",))) == ()


@pytest.mark.parametrize(
    ("host", "secret_sent", "told"),
    [("llm.example.com", True, True), ("llm.example.com", False, False), ("127.0.0.1", True, False)],
)
def test_a_key_in_clear_text_is_told(host, secret_sent, told):
    endpoint = {"base_url": f"http://{host}/v1", "api_key_env": "LAB" if secret_sent else None}
    for found, key in (
        (findings(model=endpoint, environ={"LAB": "x"}), "models[0].base_url"),
        (findings({"embedder": endpoint}, environ={"LAB": "x"}), "embedder.base_url"),
    ):
        assert [finding[:2] for finding in found] == ([("warning", key)] if told else [])
    https = {**endpoint, "base_url": f"https://{host}/v1"}
    assert findings(model=https, environ={"LAB": "x"}) == []


def test_the_endpoint_is_named_where_there_are_several():
    endpoints = [{"base_url": "http://localhost/v1"}, {"base_url": "http://far.example/v1", "api_key_env": "LAB"}]
    row = {key: value for key, value in MODEL.items() if key != "base_url"} | {"endpoints": endpoints}
    found = check(settings_of({"models": [row]}, "F"), Router(("a",)), environ={})
    assert [finding.key for finding in found] == [
        "models[0].endpoints[1].api_key_env",
        "models[0].endpoints[1].base_url",
    ]


@pytest.mark.parametrize(
    ("server", "access", "keys_exist", "expected"),
    [
        ({"host": "127.0.0.1"}, {}, False, []),
        ({"host": "0.0.0.0"}, {}, True, []),  # noqa: S104
        ({"host": "0.0.0.0"}, {}, False, [("error", "server.host")]),  # noqa: S104
        ({"host": "::"}, {}, False, [("error", "server.host")]),
        ({"host": "gateway.internal"}, {}, False, [("error", "server.host")]),
        ({"host": "0.0.0.0"}, {"required": False}, True, [("error", "server.host")]),  # noqa: S104
        ({"host": "0.0.0.0", "insecure": True}, {}, False, [("warning", "server.insecure")]),  # noqa: S104
        ({"host": "0.0.0.0"}, {"required": True}, False, [("warning", "access.required")]),  # noqa: S104
        ({"host": "0.0.0.0"}, {"required": True}, True, []),  # noqa: S104
    ],
)
def test_an_address_others_reach_needs_keys(server, access, keys_exist, expected):
    found = findings({"server": server, "access": access}, keys_exist=keys_exist)
    assert [finding[:2] for finding in found] == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        (None, False),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected


def test_the_ledger_must_be_writable(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for url, said in (
        (f"sqlite:///{tmp_path}/none/ledger.db", "does not exist"),
        (f"sqlite:///{tmp_path}/file/ledger.db", "does not exist"),
        (f"sqlite:///{tmp_path}/folder", "is a folder"),
        ("sqlite:///none/ledger.db", str(tmp_path / "none")),
    ):
        level, key, message = only(findings({"store": {"url": url}}))
        assert (level, key) == ("error", "store.url")
        assert said in message
    assert findings({"store": {"url": f"sqlite:///{tmp_path}/ledger.db?timeout=5"}}) == []
    assert list((tmp_path / "folder").iterdir()) == []  # a check writes nothing


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_ledger_without_permission(tmp_path, what):
    (tmp_path / "own").mkdir()
    path = tmp_path / "own" / "ledger.db"
    path.touch()
    (path if what == "file" else path.parent).chmod(0o500)
    message = only(findings({"store": {"url": f"sqlite:///{path}"}}))[2]
    (path if what == "file" else path.parent).chmod(0o700)
    assert "cannot be written to" in message


def test_a_ledger_in_memory_is_told():
    assert only(findings({"store": {"url": "sqlite:///:memory:"}}))[:2] == ("warning", "store.url")


def test_a_bad_url_from_the_environment_is_an_error_without_its_password():
    level, key, message = only(findings({"store": {"url": "${URL}"}}, environ={"URL": "mysql://u:hush@h/d"}))
    assert (level, key) == ("error", "store.url")
    assert "hush" not in message


def test_errors_come_first():
    found = findings({"store": {"url": "sqlite:///none/x.db"}}, model={"context": None})
    assert [finding[0] for finding in found] == ["error", "warning"]
