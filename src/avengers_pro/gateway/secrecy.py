"""What must not stand in ``gateway.toml``: keys and passwords. It names environment variables instead.

No message here repeats a value.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from avengers_pro.errors import SettingsError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""``${NAME}``, which stands for an environment variable."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:sk|gsk|xai|nvapi|pplx)[-_]|AIza|hf_|gh[opsu]_|github_pat_|AKIA|eyJ)[A-Za-z0-9_\-]{16,}"
)
"""How keys of the known providers, cloud keys and JSON web tokens begin."""
_RANDOM = re.compile(r"(?=[^0-9]*[0-9])(?=[^a-z]*[a-z])[A-Za-z0-9\-]{20,}")
"""Too long and too mixed for the name of a variable."""
_SECRET_WORD = re.compile(
    r"(?:.*_)?(?:api_?key|subscription_key|ssl_?password|password|passwd|secret)|"
    r"(?:(?:access|auth|bearer|api)_)?token|(?:proxy_)?authorization|cookie|sig|signature"
)
"""Names of what is a secret; of headers, keys and query parameters, with _ for -."""
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_URL_FORMS = "sqlite:///ledger.db or postgresql://user:${NAME}@host/database"


def refuse_secrets(value: Any, where: str, key: str = "") -> None:
    """Refuse a table that holds a secret anywhere.

    Args:
        value: The table, or a value in it.
        where: Its file.
        key: Its dotted key in the file; empty = the whole file.

    Raises:
        SettingsError: If something in it is, or looks like, a key or a password; names its dotted key.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_secrets_in_entry(name, inner, where, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            refuse_secrets(inner, where, f"{key}[{position}]")
    elif isinstance(value, str) and _KEY.search(value):
        raise SettingsError(f"{where}: {key} holds what looks like a key; {_advice(key)}")


def _refuse_secrets_in_entry(name: str, value: Any, where: str, key: str) -> None:
    if _KEY.search(name):
        table = key[: -len(name)].rstrip(".")
        raise SettingsError(f"{where}: {table or 'the file'} has a key name that looks like an API key; {_advice(key)}")
    if isinstance(value, str) and _is_secret(name):
        raise SettingsError(f"{where}: {key} would hold a secret; {_advice(key)}")
    refuse_secrets(value, where, key)
    if name.endswith("_env") and value is not None:
        _check_variable_name(value, where, key)
    if name == "base_url" and isinstance(value, str):
        _check_base_url(value, where, key)


def _is_secret(name: str) -> bool:
    return _SECRET_WORD.fullmatch(name.lower().replace("-", "_")) is not None


def _advice(key: str) -> str:
    """Say what to do instead."""
    if key.startswith("store."):
        return "put it into an environment variable and write ${NAME} in store.url"
    return 'put it into an environment variable and give its name: api_key_env = "NAME"'


def _check_variable_name(value: Any, where: str, key: str) -> None:
    if not isinstance(value, str):
        raise SettingsError(f"{where}: {key} must be text, the name of an environment variable")
    if not _NAME.fullmatch(value) or _RANDOM.fullmatch(value):
        raise SettingsError(
            f"{where}: {key} is not the name of an environment variable (its value is not shown: it may be the key "
            f'itself); {_advice(key)}, for example "OPENAI_API_KEY"'
        )


def _check_base_url(value: str, where: str, key: str) -> None:
    """Refuse an address that is none, or has a user, a password or a key in it."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        usable = False
    if not usable:  # and is not shown: a password may be in it
        raise SettingsError(
            f"{where}: {key} must look like http://localhost:8000/v1: http:// or https://, a host, and a port if it "
            "needs one"
        )
    parameters = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if "@" in parts.netloc or any(_is_secret(name) or name in {"key", "code"} for name in parameters):
        raise SettingsError(f"{where}: {key} has a user, a password or a key in it; {_advice(key)}")


def checked_url(url: str, where: str) -> str:
    """Return the URL of the store with its driver, its ``${NAME}`` untouched.

    Raises:
        SettingsError: If it is of no known kind, or has a literal password in it.
    """
    if VARIABLE.fullmatch(url):
        return url
    url = with_driver(url, where)
    rest, _, query = url.partition("://")[2].partition("?")
    user = re.match(r"[^:/@]*:([^@]*)@", f"{rest}?{query}")
    passwords = [user[1]] if user else []
    passwords += [value for name, value in parse_qsl(query) if _is_secret(name)]
    if any(password and not VARIABLE.fullmatch(password) for password in passwords):
        raise SettingsError(f"{where} has a password in it; {_advice('store.url')}, where the password stands")
    if "$" in VARIABLE.sub("", url):
        raise SettingsError(f"{where} has a $ that starts no ${{NAME}}, the only form that is understood")
    return url


def with_driver(url: str, where: str) -> str:
    """Return a database URL with the driver that the gateway uses.

    Raises:
        SettingsError: If it is neither SQLite nor PostgreSQL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"[a-z0-9+]+", scheme):
        raise SettingsError(f"{where} must look like {_URL_FORMS}")
    if scheme not in _DRIVERS:
        raise SettingsError(f"{where} has the scheme {scheme!r}; it must look like {_URL_FORMS}")
    if _DRIVERS[scheme].startswith("sqlite"):
        if not rest.startswith("/") or rest == "/":
            raise SettingsError(f"{where} names no file; three slashes come before it: sqlite:///ledger.db")
    else:
        rest = re.sub(r"(?<=[?&])sslmode=", "ssl=", rest)  # asyncpg's word for the option of libpq
    return f"{_DRIVERS[scheme]}://{rest}"


def filled(url: str, environ: Mapping[str, str], where: str) -> str:
    """Return a URL with the values of its ``${NAME}``, percent-encoded where they are user, password or query.

    A URL that is one variable as a whole is taken as it is.

    Raises:
        SettingsError: If a variable is not set.
    """
    end_of_user, start_of_query = url.find("@"), f"{url}?".find("?")

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if not environ.get(name):
            raise SettingsError(f"{where} names the environment variable {name}, which is not set")
        encoded = not url.startswith("sqlite") and (found.start() < end_of_user or found.start() > start_of_query)
        return quote(environ[name], safe="") if encoded else environ[name]

    return VARIABLE.sub(value, url)
