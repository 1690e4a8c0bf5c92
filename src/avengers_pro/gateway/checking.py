"""What is wrong, or probably not meant, in settings that can be read: ``avengers-pro serve --check``."""

import ipaddress
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import urlsplit

from avengers_pro.errors import SettingsError
from avengers_pro.gateway.prices import price_sources
from avengers_pro.gateway.secrecy import VARIABLE
from avengers_pro.gateway.settings import Settings
from avengers_pro.routing import Policy
from avengers_pro.routing.pool import Endpoint


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        level: ``error`` = the gateway must not start like this.
        key: Dotted key in the file.
        message: What is wrong, and what to do about it.
    """

    level: Literal["error", "warning"]
    key: str
    message: str


class KnowsModels(Protocol):
    """What is asked of a router here."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models it chooses from."""
        ...


def check(
    settings: Settings, router: KnowsModels, *, keys_exist: bool = False, environ: Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    """Hold settings against the router, the environment and the disk; nothing is sent, nothing is written.

    Args:
        settings: As read.
        router: The router to be served.
        keys_exist: Whether an API key for clients has been made.
        environ: Environment variables; None = those of this process.

    Returns:
        Errors first, then warnings, each in the order of the file.

    Raises:
        MissingExtraError: If a price must be looked up and genai-prices is not installed.
    """
    environ = os.environ if environ is None else environ
    found = [
        *_models(settings, router.models),
        *_policies(settings, router.models),
        *_cards(settings),
        *_environment(settings, environ),
        *_clear_text(settings),
        *_access(settings, keys_exist=keys_exist),
        *_store(settings, environ),
    ]
    return tuple(sorted(found, key=lambda finding: finding.level != "error"))


def is_loopback(host: str | None) -> bool:
    """Whether an address is this machine's own, out of the reach of others."""
    if host is None or host.lower().rstrip(".") == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def _models(settings: Settings, known: tuple[str, ...]) -> Iterator[Finding]:
    given = [card.name for card in settings.models]
    for position, name in enumerate(given):
        if name not in known:
            near = get_close_matches(name, [other for other in known if other not in given], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the router knows {', '.join(known)}"
            yield Finding("warning", f"models[{position}].name", f"the router does not know {name!r}{hint}")
    if not set(given) & set(known):
        names = ", ".join(known)
        yield Finding("error", "models", f"none of them is known to the router, which chooses from {names}")
        return
    for name in known:
        if name not in given:
            yield Finding("warning", "models", f"no [[models]] for {name!r} of the router: it is never chosen")


def _policies(settings: Settings, known: tuple[str, ...]) -> Iterator[Finding]:
    presets = {f"presets.{name}": policy for name, policy in settings.presets.items()}
    for key, policy in {"policy": settings.policy, **presets}.items():
        yield from _policy(policy, key, known, {card.name for card in settings.models})


def _policy(policy: Policy, key: str, known: tuple[str, ...], given: set[str]) -> Iterator[Finding]:
    for part, names in (("models", policy.models or ()), ("exclude", policy.exclude)):
        for name in names:
            if name not in known:
                near = get_close_matches(name, known, n=1, cutoff=0.3)
                hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}"
                yield Finding("error", f"{key}.{part}", f"the router does not know {name!r}; {hint}")
    allowed = set(known if policy.models is None else policy.models) - set(policy.exclude)
    if set(known) & given and not allowed & set(known) & given:
        yield Finding("error", key, "models and exclude leave no model that the router and [[models]] both have")


def _cards(settings: Settings) -> Iterator[Finding]:
    for position, source in enumerate(price_sources(settings.models)):
        key, card = f"models[{position}]", source.card
        if source.problem is not None:
            yield Finding("error", key, f"{card.name}: {source.problem}")
        for note in source.notes:
            yield Finding("warning", key, f"{card.name}: {note}")
        if card.capabilities is None:
            yield Finding(
                "warning",
                f"{key}.capabilities",
                f"{card.name}: not stated, so only requests of plain text are routed to it; list them, as in "
                'capabilities = ["tools", "images", "json_schema"]; [] = none',
            )
        if card.context is None:
            yield Finding(
                "warning",
                f"{key}.context",
                f"{card.name}: not stated, so requests of any length are sent to it; give the most tokens that prompt "
                "and answer may have together",
            )


def _endpoints(settings: Settings) -> Iterator[tuple[str, Endpoint]]:
    """Return every endpoint with its dotted key, as in the file if the row holds the only one directly."""
    for position, card in enumerate(settings.models):
        for number, endpoint in enumerate(card.endpoints):
            inner = f".endpoints[{number}]" if len(card.endpoints) > 1 else ""
            yield f"models[{position}]{inner}", endpoint


def _environment(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Return each variable that is missing once, with the first key that names it."""
    named = [(f"{key}.api_key_env", endpoint.api_key_env) for key, endpoint in _endpoints(settings)]
    named.append(("embedder.api_key_env", settings.embedder.api_key_env))
    named += [("store.url", name) for name in VARIABLE.findall(settings.store.url)]
    first: dict[str, str] = {}
    for key, name in named:
        if name is not None:
            first.setdefault(name, key)
    for name, key in first.items():
        if not environ.get(name):
            state = "is empty" if name in environ else "is not set"
            yield Finding("error", key, f"the environment variable {name} {state}")


def _clear_text(settings: Settings) -> Iterator[Finding]:
    addresses = [(key, endpoint.base_url, endpoint.api_key_env) for key, endpoint in _endpoints(settings)]
    addresses.append(("embedder", settings.embedder.base_url or "", settings.embedder.api_key_env))
    for key, base_url, variable in addresses:
        parts = urlsplit(base_url)
        if parts.scheme == "http" and variable is not None and not is_loopback(parts.hostname):
            message = f"the key in {variable} goes to {parts.hostname} in clear text; use https://"
            yield Finding("warning", f"{key}.base_url", message)


def _access(settings: Settings, *, keys_exist: bool) -> Iterator[Finding]:
    required = settings.access.required
    if required is True and not keys_exist:
        yield Finding("warning", "access.required", "no API key exists yet, so every request is refused; make one")
    is_open = not (keys_exist if required is None else required)
    if is_open and not is_loopback(settings.server.host):
        reach = f"whoever reaches {settings.server.host}:{settings.server.port} can spend your money"
        remedy = "ask for keys (access.required = true, and make one), or listen on 127.0.0.1"
        if settings.server.insecure:
            yield Finding("warning", "server.insecure", f"{reach}: no API key is asked for")
        else:
            yield Finding("error", "server.host", f"{reach}: no API key is asked for; {remedy}, or set insecure = true")


def _store(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    if settings.store.required and settings.store.spool is not None:
        yield Finding(
            "warning", "store.spool", "not used: a decision that cannot be recorded is refused; set required = false"
        )
    try:
        url = settings.store.database_url(environ)
    except SettingsError as error:
        if all(environ.get(name) for name in VARIABLE.findall(settings.store.url)):  # else it is reported already
            yield Finding("error", "store.url", str(error))
        return
    scheme, _, rest = url.partition("://")
    path = rest.partition("?")[0][1:]
    if not scheme.startswith("sqlite"):
        return
    if path == ":memory:":
        yield Finding("warning", "store.url", "a ledger in memory is lost when the gateway stops; name a file")
    elif not path.startswith("file:"):
        yield from _sqlite_file(Path(path))


def _sqlite_file(path: Path) -> Iterator[Finding]:
    """SQLite writes the file, and files beside it."""
    folder = path.absolute().parent
    if not folder.is_dir():
        yield Finding("error", "store.url", f"the folder {folder} of the ledger does not exist; make it")
    elif path.is_dir():
        yield Finding("error", "store.url", f"{path} is a folder; name a file in it")
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("error", "store.url", f"the folder {folder} of the ledger cannot be written to")
    elif path.exists() and not os.access(path, os.W_OK):
        yield Finding("error", "store.url", f"{path} cannot be written to")
