"""``avengers-pro keys`` and ``avengers-pro store``: keys made in the shell let clients in."""

import json
import re
import urllib.error

import pytest

from avengers_pro.demo.provider import create_provider, serving
from cli.served import CHAT, post, served, wait_for, write_config

CONFIG = ("--config", "gateway.toml")


@pytest.fixture
def config(tmp_path):
    return write_config(tmp_path / "gateway.toml", "http://127.0.0.1:9", "[access]\nrefresh = 0.05\n")


def status(url, secret=None, model="avengers-pro"):
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    try:
        with post(f"{url}/v1/chat/completions", {**CHAT, "model": model}, headers) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_key_opens_the_gateway_within_its_limits_until_it_is_revoked(tmp_path, router, shell):
    with serving(create_provider()) as upstream:
        write_config(tmp_path / "gateway.toml", upstream, "[access]\nrefresh = 0.05\n")
        made = shell("keys", "create", "team a", "--models", "openai/gpt-5", "--rpm", 100, *CONFIG)
        assert made.code == 0, made.err
        secret = made.out.removesuffix("\n")
        assert re.fullmatch(r"ap-[\w-]{43}", secret)
        assert secret not in made.err
        key = re.search(r"key (\w{8}) for team a, role user: models openai/gpt-5; requests_per_minute 100", made.err)[1]
        with served(tmp_path, router, tmp_path / "gateway.toml") as (running, url):
            assert "keys    needed; 1 in use" in running.err
            assert "authorization: Bearer" in running.err
            assert (status(url), status(url, secret)) == (401, 200)
            assert status(url, secret, "qwen/qwen3-235b") == 403
            assert shell("keys", "revoke", key, *CONFIG).code == 0
            wait_for(lambda: status(url, secret) == 401, "the revocation")
            assert secret not in running.err
    (row,) = json.loads(shell("keys", "list", "--json", *CONFIG).out)
    assert (row["id"], row["name"], row["role"]) == (key, "team a", "user")
    assert row["revoked_at"] is not None
    assert row["limits"] == {"models": ["openai/gpt-5"], "requests_per_minute": 100}
    again = shell("keys", "revoke", key, *CONFIG)
    assert again.code == 1
    assert key in again.err


@pytest.mark.usefixtures("config")
def test_all_limits_are_kept_and_listed(shell):
    arguments = (
        "--role", "admin", "--exclude", "zhipu/glm-4.6", "--min-alpha", 0.1, "--max-alpha", 0.9, "--tpm", 5000,
        "--dollars-per-day", 1.5, "--dollars-per-month", 20,
    )  # fmt: skip
    assert shell("keys", "create", "ops", *arguments, *CONFIG).code == 0
    (row,) = json.loads(shell("keys", "list", "--json", "--store", "sqlite:///ledger.db").out)
    assert row["role"] == "admin"
    assert row["limits"] == {
        "exclude": ["zhipu/glm-4.6"],
        "min_alpha": 0.1,
        "max_alpha": 0.9,
        "tokens_per_minute": 5000,
        "dollars_per_day": 1.5,
        "dollars_per_month": 20.0,
    }
    table = shell("keys", "list", *CONFIG).out
    assert "in use" in table
    assert "dollars_per_day 1.5" in table


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("create", "a", "--models", "openai/gtp-5", *CONFIG),
            1,
            "no model 'openai/gtp-5'; did you mean 'openai/gpt-5'",
        ),
        (("create", "a", "--exclude", "x", *CONFIG), 1, "no model 'x'"),
        (("create", "a", "--min-alpha", "0.9", "--max-alpha", "0.1", *CONFIG), 1, "min_alpha 0.9 is more than"),
        (("create", "a", "--min-alpha", "2", *CONFIG), 2, "2.0 is not in the range"),
        (("create", " ", *CONFIG), 1, "printable characters"),
        (("list", "--store", "sqlite:///none.db"), 1, "does not exist"),
        (("list", "--store", "mysql://x"), 1, "mysql"),
        (("list", "--config", "none.toml"), 1, "none.toml: no such file"),
        (("revoke", "nobody00", "--store", "${NOWHERE}"), 1, "NOWHERE"),
    ],
)
@pytest.mark.usefixtures("config")
def test_what_cannot_be_is_refused(shell, arguments, code, said):
    ran = shell("keys", *arguments)
    assert ran.code == code
    assert said in ran.err
    assert ran.out == ""


@pytest.mark.usefixtures("config")
def test_upgrade_makes_the_store_and_does_nothing_twice(shell, tmp_path):
    for _ in range(2):
        assert shell("store", "upgrade", *CONFIG).code == 0
    assert shell("ledger", "export", *CONFIG).out == ""
    assert (tmp_path / "ledger.db").exists()
    (tmp_path / "text.db").write_text("this is no database, whatever its name says" * 50)
    broken = shell("store", "upgrade", "--store", "sqlite:///text.db")
    assert broken.code == 1
    assert "Traceback" not in broken.err
