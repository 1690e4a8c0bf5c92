import dataclasses
import json
import re
import socket
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.embedding import load_embedder
from avengers_pro.errors import EmbeddingError, SettingsError
from avengers_pro.gateway.settings import (
    BreakerSettings,
    EmbedderSettings,
    FallbackSettings,
    Settings,
    StoreSettings,
    read_settings,
    settings_of,
)
from avengers_pro.routing import Policy

MODEL = """
[[models]]
name = "lab/large"
base_url = "https://llm.example.com/v1"
api_key_env = "LAB_KEY"
input_price = 1
output_price = 2
"""
SECRETS = (
    "sk-proj-abcdefghijklmnop0123456789",
    "sk-ant-api03-Abcdefghijklmnop_0123",
    "gsk_abcdefghijklmnopqrstuv0123",
    "hf_abcdefghijklmnopqrstuvwx0123",
    "AIzaSyA0123456789abcdefghijklmnopqrstuv",
    "xai-abcdefghijklmnopqrstuvwx0123456",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
)
UNPREFIXED_SECRETS = (
    "0123456789abcdef0123456789abcdef",
    "a1b2c3d4e5f60718293a4b5c6d7e8f90",
    "Hk3 9sd!x",
    "a-b-c-d",
    "",
)


def read(tmp_path, text):
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return read_settings(path)


def refusal(tmp_path, text):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_models_alone_make_settings_with_documented_defaults(tmp_path):
    found = read(tmp_path, MODEL)
    assert [card.name for card in found.models] == ["lab/large"]
    assert (found.server.host, found.server.port, found.server.max_body_bytes) == ("127.0.0.1", 8080, 20_000_000)
    assert (found.server.request_timeout, found.server.drain_timeout, found.server.decision_timeout) == (600, 30, 2)
    assert (found.server.headers, found.server.insecure) == (True, False)
    assert found.policy == Policy()
    assert found.presets == {}
    assert found.fallback == FallbackSettings(max_attempts=3, deadline=120.0, retry_after_max=5.0)
    assert found.breaker == BreakerSettings(
        window=30.0, min_requests=5, failure_share=0.5, cooldown=15.0, half_open_probes=1
    )
    assert (found.health.probe, found.health.interval, found.health.path) == (False, 30.0, "/models")
    assert (found.sessions.enabled, found.sessions.ttl, found.sessions.cache_ttl) == (True, 3600.0, 300.0)
    assert (found.store.url, found.store.required, found.store.log_text) == (
        "sqlite+aiosqlite:///ledger.db",
        True,
        False,
    )
    assert (found.store.retention_days, found.store.max_bytes, found.store.text_bytes) == (None, None, 16_384)
    assert (found.access.required, found.access.refresh) == (None, 5.0)
    assert (found.logging.level, found.logging.format) == ("info", "json")
    assert (found.telemetry.metrics, found.telemetry.otel, found.telemetry.service_name) == (
        True,
        False,
        "avengers-pro",
    )
    assert found.embedder.base_url is None


def test_settings_cannot_be_changed(tmp_path):
    with pytest.raises(AttributeError):
        read(tmp_path, MODEL).server.port = 1


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[servr]", "gateway.toml", "did you mean 'server'"),
        ("[[model]]\nname = 'a'", "gateway.toml", "did you mean 'models'"),
        ("[server]\nprt = 1", "server", "did you mean 'port'"),
        ("[policy]\nalfa = 0.5", "policy", "did you mean 'alpha'"),
        ("[presets.fast]\nalhpa = 0.5", "presets.fast", "did you mean 'alpha'"),
        ("[fallback]\nmax_attempt = 1", "fallback", "did you mean 'max_attempts'"),
        ("[breaker]\nwindows = 1", "breaker", "did you mean 'window'"),
        ("[health]\nprobes = true", "health", "did you mean 'probe'"),
        ("[sessions]\nenable = true", "sessions", "did you mean 'enabled'"),
        ("[store]\nurls = ''", "store", "did you mean 'url'"),
        ("[access]\nrequire = true", "access", "did you mean 'required'"),
        ("[logging]\nlevels = 'info'", "logging", "did you mean 'level'"),
        ("[telemetry]\nmetric = true", "telemetry", "did you mean 'metrics'"),
        ("[embedder]\nbase_ur = ''", "embedder", "did you mean 'base_url'"),
        ("[[models]]\nname = 'b'\nbase_ulr = 'http://x'", "models[1]", "did you mean 'base_url'"),
        ("[[models]]\nname = 'b'\n[[models.endpoints]]\nwieght = 1", "models[1]", "did you mean 'weight'"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path, text, key, said):
    message = refusal(tmp_path, MODEL + text)
    assert said in message
    assert key in message
    assert "gateway.toml" in message


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[server]\nport = 70000", "server.port", "<= 65535, got 70000"),
        ("[server]\nport = '80'", "server.port", "expected `int`, got `str`"),
        ("[server]\nport = true", "server.port", "got `bool`"),
        ("[server]\nhost = ''", "server.host", "length >= 1"),
        ("[server]\nrequest_timeout = 0", "server.request_timeout", "> 0.0, got 0"),
        ("[server]\nrequest_timeout = inf", "server.request_timeout", "<= 31536000.0, got inf"),
        ("[server]\nrequest_timeout = nan", "server.request_timeout", "got nan"),
        ("[server]\ndrain_timeout = -1", "server.drain_timeout", ">= 0.0, got -1"),
        ("[server]\nmax_body_bytes = 0", "server.max_body_bytes", ">= 1, got 0"),
        ("[server]\nheaders = 1", "server.headers", "expected `bool`"),
        ("[fallback]\nmax_attempts = 0", "fallback.max_attempts", "got 0"),
        ("[fallback]\nretry_after_max = -1", "fallback.retry_after_max", "got -1"),
        ("[breaker]\nfailure_share = 1.5", "breaker.failure_share", "<= 1.0, got 1.5"),
        ("[breaker]\nfailure_share = 0", "breaker.failure_share", "got 0"),
        ("[health]\npath = 'models'", "health.path", "matching regex"),
        ("[sessions]\nttl = 'long'", "sessions.ttl", "expected `float`"),
        ("[store]\nredact = 'x'", "store.redact", "expected `array`"),
        ("[store]\nredact = ['a', 3]", "store.redact[1]", "expected `str`"),
        ("[store]\nredact = ['a', '(']", "store.redact[1]", "no regular expression"),
        ("[store]\nredact = ['a*']", "store.redact[0]", "matches even an empty text"),
        ("[store]\nretention_days = 0", "store.retention_days", "got 0"),
        ("[store]\nmax_bytes = 1.5", "store.max_bytes", "got `float`"),
        ("[access]\nrequired = 'yes'", "access.required", "expected `bool | null`"),
        ("[access]\nrefresh = 0", "access.refresh", "got 0"),
        ("[logging]\nlevel = 'loud'", "logging.level", "invalid enum value 'loud'"),
        ("[logging]\nformat = 'xml'", "logging.format", "'xml'"),
        ("[telemetry]\nservice_name = ''", "telemetry.service_name", "length >= 1"),
        ("[embedder]\nattempts = 0", "embedder.attempts", "got 0"),
        ("[embedder]\nbase_url = 'localhost:8000'", "embedder.base_url", "http://"),
        ("[policy]\nalpha = 2", "policy.alpha", "at most 1"),
        ("[policy]\nalpha = 'high'", "policy.alpha", "expected `float | null`, got `str`"),
        ("[policy]\nmodels = 'a'", "policy.models", "expected `array | null`"),
        ("[policy]\nwindow = 0", "policy.window", "at least 1"),
        ("[policy]\nexclude = [1]", "policy.exclude[0]", "expected `str`"),
        ("[policy]\nalpha = 0.5\ntarget = 0.9", "policy", "contradict"),
        ("[presets.fast]\nconfidence = 0.1", "presets.fast.confidence", "at least 0.5"),
        ("[presets.'a b']\nalpha = 0.1", "presets", "'a b'"),
        ("[presets]\nfast = 0.5", "presets.fast", "must be a table"),
        ("[store]\nurl = 'ledger.db'", "store.url", "must look like sqlite:///ledger.db"),
        ("[store]\nurl = 'mysql://host/db'", "store.url", "scheme 'mysql'"),
        ("[store]\nurl = 'sqlite://ledger.db'", "store.url", "three slashes"),
        ("[store]\nurl = 'sqlite:///'", "store.url", "names no file"),
        ("[store]\nurl = 'postgresql://u:${no-name}@h/d'", "store.url", "password"),
        ("[store]\nurl = 'postgresql://u@h/$DATABASE'", "store.url", "only form"),
        ("[[models]]\nname = 'b'", "models[1] (b)", "no endpoint"),
        ("[[models]]\nname = 'b'\nbase_url = 'ftp://x'", "models[1].base_url", "http"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://'", "models[1].base_url", "a host"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x:port'", "models[1].base_url", "a port"),
        ("[[models]]\nname = 'b'\nendpoints = 3", "models[1]", "endpoints must be tables"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x'\nweight = -1", "models[1] (b)", "weight is -1"),
        ("[[models]]\nname = 'lab/large'\nbase_url = 'http://x'", "lab/large", "given twice"),
        ("[[models]]\nname = 'avengers-pro/x'\nbase_url = 'http://x'", "models[1]", "stand for the router"),
        (
            "[[models]]\nname = 'b'\nbase_url = 'http://x'\nprice = 'unknown'\ninput_price = 1",
            "models[1] (b)",
            "contradicts",
        ),
    ],
)
def test_a_wrong_value_is_named_by_file_and_key(tmp_path, text, key, said):
    message = refusal(tmp_path, MODEL + text)
    assert message.startswith(str(tmp_path / "gateway.toml"))
    assert key in message
    assert said in message


@pytest.mark.parametrize("name", ["server", "policy", "presets", "store", "breaker", "embedder"])
def test_a_value_in_place_of_a_table_is_refused(tmp_path, name):
    assert f"{name} must be a table" in refusal(tmp_path, f"{name} = 3\n{MODEL}")


def test_no_models_are_refused(tmp_path):
    assert "no [[models]]" in refusal(tmp_path, "[server]\nport = 1")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(SettingsError, match=r"no\.toml: cannot be read: No such file"):
        read_settings(tmp_path / "no.toml")
    assert "not TOML" in refusal(tmp_path, "not toml")
    assert "not TOML" in refusal(tmp_path, f"a = {'1' * 5000}")
    assert "server.port" in refusal(tmp_path, f"{MODEL}[server]\nport = {'1' * 50}")
    (tmp_path / "gateway.toml").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not TOML"):
        read_settings(tmp_path / "gateway.toml")


def test_policy_and_presets_take_every_field_of_a_policy(tmp_path):
    found = read(
        tmp_path,
        MODEL + '[policy]\ntarget = 0.95\nconfidence = 0.99\nwindow = 100\nexclude = ["x"]\n'
        '[presets.cheap]\nalpha = 0\nmax_cost = 0.01\nmodels = ["lab/large"]\n[presets."v1.5"]\nbudget = 1',
    )
    assert found.policy == Policy(target=0.95, confidence=0.99, window=100, exclude=("x",))
    assert found.presets["cheap"] == Policy(alpha=0.0, max_cost=0.01, models=("lab/large",))
    assert found.presets["v1.5"] == Policy(budget=1.0)
    assert [field.name for field in dataclasses.fields(Policy)] == re.findall(
        r"\w+", refusal(tmp_path, MODEL + "[policy]\nqqqqqq = 1").partition("known:")[2]
    )


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[[models]]\nname = 'b'\nbase_url = 'http://x'\napi_key_env = 'S'", "models[1].api_key_env"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x'\napi_key = 'S'", "models[1].api_key"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x/S/v1'", "models[1].base_url"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x'\nextra_headers = {X-My = 'Bearer S'}", "extra_headers.X-My"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x'\nextra_body = {a = [{b = 'S'}]}", "extra_body.a[0].b"),
        ("[[models]]\nname = 'b'\n[[models.endpoints]]\napi_key_env = 'S'", "models[1].endpoints[0].api_key_env"),
        ("[embedder]\napi_key_env = 'S'", "embedder.api_key_env"),
        ("[server]\nport = 'S'", "server.port"),
        ("[logging]\nlevel = 'S'", "logging.level"),
        ("[store]\nredact = ['S']", "store.redact[0]"),
        ("[store]\nurl = 'postgresql://u:S@h/d'", "store.url"),
        ("[store]\n'S' = 1", "store"),
        ("'S' = 1", "the file"),
        ("other = 'S'", "other"),
    ],
)
def test_what_looks_like_a_key_is_refused_anywhere_and_never_shown(tmp_path, secret, text, key):
    text = text.replace("S'", f"{secret}'").replace("S@", f"{secret}@").replace("/S/", f"/{secret}/")
    message = refusal(tmp_path, (text + MODEL) if text.startswith(("'", "other")) else MODEL + text)
    assert key in message
    assert "environment variable" in message
    assert secret not in message


@pytest.mark.parametrize("secret", UNPREFIXED_SECRETS)
@pytest.mark.parametrize("table", ["[embedder]", "[[models]]\nname = 'b'\nbase_url = 'http://x'"])
def test_the_name_of_a_variable_must_be_one(tmp_path, secret, table):
    message = refusal(tmp_path, f"{MODEL}{table}\napi_key_env = {json.dumps(secret)}")
    assert "api_key_env is not the name of an environment variable" in message
    assert 'api_key_env = "NAME"' in message
    assert not secret or secret not in message


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "openai_key_2", "_K", "AZUREOPENAIKEYPRODUCTION2026"])
def test_usual_names_of_variables_pass(tmp_path, name):
    assert read(tmp_path, f"{MODEL}[embedder]\napi_key_env = '{name}'").embedder.api_key_env == name


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[[models]]\nname = 'b'\nbase_url = 'http://x'\napi_key = 'hush'", "models[1].api_key"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://me:hush@x'", "models[1].base_url"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://hush@x'", "models[1].base_url"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x/v1?key=hush'", "models[1].base_url"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x/v1?api-key=hush'", "models[1].base_url"),
        ("[[models]]\nname = 'b'\nbase_url = 'ftp://me:hush@x'", "models[1].base_url"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x'\nextra_headers = {Authorization = 'hush'}", "Authorization"),
        ("[[models]]\nname = 'b'\nbase_url = 'http://x'\nextra_headers = {x-api-key = 'hush'}", "x-api-key"),
        ("[embedder]\nbase_url = 'http://me:hush@x'", "embedder.base_url"),
        ("[store]\npassword = 'hush'", "store.password"),
        ("[store]\nurl = 'postgresql://u:hush@h/d'", "store.url"),
        ("[store]\nurl = 'postgres://u:hush/hush@h/d'", "store.url"),
        ("[store]\nurl = 'postgresql://u:${A}hush@h/d'", "store.url"),
        ("[store]\nurl = 'postgresql://u@h/d?password=hush'", "store.url"),
        ("[store]\nurl = 'u:hush@h/d'", "store.url"),
        ("[store]\nurl = 'mysql://u:hush@h/d'", "store.url"),
        ("[access]\ntoken = 'hush'", "access.token"),
    ],
)
def test_passwords_and_keys_by_their_name_are_refused_and_never_shown(tmp_path, text, key):
    message = refusal(tmp_path, MODEL + text)
    assert key in message
    assert "hush" not in message


@given(
    password=st.text("abcdefghijklmnopqrstuvwxyzABCDEFG0123456789!#%&*+-.;<=>^_|~", min_size=3, max_size=20),
    scheme=st.sampled_from(["postgresql", "postgres", "postgresql+asyncpg", "mysql", ""]),
)
def test_no_literal_password_of_a_store_is_taken_or_shown(password, scheme):
    url = f"{scheme}://QQQ:{password}@ZZZ/YYY"
    with pytest.raises(SettingsError) as caught:
        settings_of({"store": {"url": url}, "models": [{"name": "X", "base_url": "http://X"}]}, "F")
    assert f"{password}@" not in str(caught.value)
    assert "QQQ" not in str(caught.value)


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("sqlite:///ledger.db", "sqlite+aiosqlite:///ledger.db"),
        ("sqlite:////var/lib/ledger.db", "sqlite+aiosqlite:////var/lib/ledger.db"),
        ("sqlite+aiosqlite:///a.db", "sqlite+aiosqlite:///a.db"),
        ("postgresql://u@h:5432/d", "postgresql+asyncpg://u@h:5432/d"),
        ("postgres://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
        ("postgresql://u:${PASSWORD}@h/d", "postgresql+asyncpg://u:${PASSWORD}@h/d"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg://h/d"),
        ("${DATABASE_URL}", "${DATABASE_URL}"),
    ],
)
def test_the_url_of_a_store_gets_its_driver(tmp_path, given_url, url):
    assert read(tmp_path, f"{MODEL}[store]\nurl = '{given_url}'").store.url == url


@pytest.mark.parametrize(
    ("url", "environ", "expanded"),
    [
        ("sqlite+aiosqlite:///a.db", {}, "sqlite+aiosqlite:///a.db"),
        ("sqlite+aiosqlite:///${DIR}/a@b.db", {"DIR": "/var/x y"}, "sqlite+aiosqlite:////var/x y/a@b.db"),
        (
            "postgresql+asyncpg://${U}:${P}@${H}/d",
            {"U": "me", "P": "p@s/s:w?", "H": "db.internal:5433"},
            "postgresql+asyncpg://me:p%40s%2Fs%3Aw%3F@db.internal:5433/d",
        ),
        ("postgresql+asyncpg://h/d?password=${P}", {"P": "a&b"}, "postgresql+asyncpg://h/d?password=a%26b"),
        ("${URL}", {"URL": "postgres://u:p%40@h/d"}, "postgresql+asyncpg://u:p%40@h/d"),
    ],
)
def test_variables_in_the_url_of_a_store_are_filled(url, environ, expanded):
    assert StoreSettings(url=url).database_url(environ) == expanded


def test_a_password_survives_the_way_into_the_database_library():
    from sqlalchemy import make_url

    password = "p@s/s:w?#%"  # noqa: S105
    url = make_url(StoreSettings(url="postgresql+asyncpg://u:${P}@h/d").database_url({"P": password}))
    assert (url.username, url.password, url.host, url.database) == ("u", password, "h", "d")


@pytest.mark.parametrize("environ", [{}, {"P": ""}])
def test_a_variable_that_is_not_set_is_named(environ):
    with pytest.raises(SettingsError, match=r"store\.url .*variable P, which is not set"):
        StoreSettings(url="postgresql+asyncpg://u:${P}@h/d").database_url(environ)


def test_a_bad_url_from_the_environment_is_not_shown():
    with pytest.raises(SettingsError, match=r"store\.url") as caught:
        StoreSettings(url="${URL}").database_url({"URL": "mysql://u:hush@h/d"})
    assert "hush" not in str(caught.value)


def test_settings_hold_no_password(tmp_path, monkeypatch):
    monkeypatch.setenv("P", "hush")
    monkeypatch.setenv("LAB_KEY", "hush")
    assert "hush" not in repr(read(tmp_path, MODEL + "[store]\nurl = 'postgresql://u:${P}@h/d'"))


def test_the_embedder_gets_its_key_from_the_environment():
    found = EmbedderSettings(base_url="http://localhost:8000/v1", api_key_env="EMBED")
    assert found.options({"EMBED": "hush"}).api_key == "hush"
    assert found.options({"EMBED": "hush"}).base_url == "http://localhost:8000/v1"
    assert "hush" not in repr(found.options({"EMBED": "hush"}))
    assert EmbedderSettings(base_url="http://x").options({}).api_key is None
    with pytest.raises(SettingsError, match=r"embedder\.api_key_env .*EMBED, which is not set"):
        found.options({})


def test_a_slow_embedder_is_given_up_as_the_settings_say():
    """A server that accepts and never answers: one try of a fifth of a second, not six of a minute."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        found = EmbedderSettings(base_url=f"http://127.0.0.1:{port}/v1", timeout=0.2, attempts=1)
        embedder = load_embedder("openai:some-model", found.options({}))
        with pytest.raises(EmbeddingError, match=r"attempts: 1"):
            embedder.embed(["hello"])


def test_patterns_to_redact_are_compiled(tmp_path):
    found = read(tmp_path, MODEL + "[store]\nredact = ['sk-[A-Za-z0-9]{20,}', '(?i)secret-\\d+']")
    assert [bool(pattern.search("a SECRET-12")) for pattern in found.store.patterns] == [False, True]


seconds = st.floats(0.001, 31_536_000, allow_subnormal=False)
counts = st.integers(1, 2**53)
names = st.text("aZ0 _-./:äß€\"\\'#$[]{}=,", min_size=1, max_size=12)
TABLES = {
    "server": {
        "host": names,
        "port": st.integers(0, 65535),
        "request_timeout": seconds,
        "drain_timeout": seconds | st.just(0.0),
        "max_headers": counts,
        "headers": st.booleans(),
    },
    "fallback": {"max_attempts": counts, "deadline": seconds, "retry_after_max": seconds | st.just(0.0)},
    "breaker": {"window": seconds, "failure_share": st.floats(0.01, 1), "min_requests": counts},
    "sessions": {"enabled": st.booleans(), "ttl": seconds, "max_sessions": counts},
    "store": {"required": st.booleans(), "retention_days": st.floats(0.1, 36_500), "max_bytes": counts},
    "access": {"required": st.booleans(), "refresh": seconds},
    "logging": {"level": st.sampled_from(["debug", "info", "warning", "error"]), "format": st.sampled_from(["json"])},
    "telemetry": {"otel": st.booleans(), "service_name": names},
    "policy": {
        "target": st.floats(0, 10),
        "confidence": st.floats(0.51, 0.99),
        "window": counts,
        "min_score": st.floats(0, 1),
        "exclude": st.lists(names, max_size=3),
    },
}


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | list) else repr(value)


@settings(max_examples=60)
@given(st.fixed_dictionaries({}, optional={k: st.fixed_dictionaries({}, optional=v) for k, v in TABLES.items()}))
def test_what_is_written_is_what_is_read(tmp_path_factory, tables):
    lines = [f"[{name}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in keys.items()) for name, keys in tables.items()]
    found = read(tmp_path_factory.mktemp("toml"), "\n".join(lines) + MODEL)
    for name, keys in tables.items():
        for key, value in keys.items():
            expected = tuple(value) if isinstance(value, list) else value
            assert getattr(getattr(found, name), key) == expected
    assert isinstance(found, Settings)


def test_every_number_has_both_bounds():
    """Infinity and absurd values are refused: no key takes 1e300."""
    model = {"name": "X", "base_url": "http://X"}
    checked = count()
    for name, kind in Settings.__annotations__.items():
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            continue
        for key in kind.__struct_fields__:
            if isinstance(getattr(kind(), key), int | float) and not isinstance(getattr(kind(), key), bool):
                with pytest.raises(SettingsError, match=rf"F: {name}\.{key}"):
                    settings_of({name: {key: 1e300}, "models": [model]}, "F")
                next(checked)
    assert next(checked) > 15
