"""``gateway.toml`` as values: its tables, their keys, defaults and ranges.

Keys and passwords are not in the file: it names the environment variables that hold them.
"""

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from avengers_pro.embedding import EmbeddingOptions
from avengers_pro.errors import PolicyError, SettingsError
from avengers_pro.gateway.breaker import BreakerSettings
from avengers_pro.gateway.exploring import ExploreSettings
from avengers_pro.gateway.ranges import Count, Seconds, SecondsFromZero
from avengers_pro.gateway.secrecy import checked_url, filled, refuse_secrets, with_driver
from avengers_pro.routing import Policy
from avengers_pro.routing.pool import ModelCard, pool_of
from avengers_pro.suggestion import unknown_key

OWN_MODEL_NAME = "avengers-pro"
"""What a client asks for as ``model`` to have one chosen; ``avengers-pro/<preset>`` names a preset."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[server]``: where the gateway listens, and what it bears.

    Attributes:
        host: Address to listen on; ``0.0.0.0`` = every IPv4 address of the machine.
        port: In [0, 65535]; 0 = any free one.
        max_body_bytes: Longest request body.
        max_header_bytes: All headers of a request together.
        max_headers: Number of headers of a request.
        request_timeout: Seconds for a whole request, answer included.
        drain_timeout: Seconds that running requests get when the gateway stops; 0 = none.
        reload_interval: Seconds between two looks whether there is a new router.
        decision_timeout: Seconds for choosing a model, of which slow embedders need most.
        headers: Whether answers carry ``x-avengers-pro-*`` headers.
        insecure: Allow an address others can reach without API keys.
    """

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    max_body_bytes: Count = 20_000_000
    max_header_bytes: Count = 65_536
    max_headers: Count = 100
    request_timeout: Seconds = 600.0
    drain_timeout: SecondsFromZero = 30.0
    reload_interval: Seconds = 2.0
    decision_timeout: Seconds = 2.0
    headers: bool = True
    insecure: bool = False


class FallbackSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[fallback]``: what happens when an upstream fails.

    Attributes:
        max_attempts: Upstreams tried for one request, the first included.
        deadline: Seconds for all attempts together, until the first byte of an answer.
        retry_after_max: Longest ``Retry-After``, in seconds, that is waited for; 0 = none.
    """

    max_attempts: Count = 3
    deadline: Seconds = 120.0
    retry_after_max: SecondsFromZero = 5.0


class HealthSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[health]``: whether upstreams are asked how they are.

    Attributes:
        probe: Ask every upstream regularly; otherwise only real requests show how it is.
        interval: Seconds between two probes of an upstream.
        path: What a probe fetches, after the base URL.
    """

    probe: bool = False
    interval: Seconds = 30.0
    path: Annotated[str, Meta(pattern="^/")] = "/models"


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[sessions]``: whether a conversation stays with its model.

    Attributes:
        enabled: Keep a conversation with its model.
        ttl: Seconds after the last request until a conversation is forgotten.
        cache_ttl: Seconds that a provider is expected to keep a prompt in its cache.
        max_sessions: Conversations remembered at once; the longest unused is forgotten first.
    """

    enabled: bool = True
    ttl: Seconds = 3600.0
    cache_ttl: SecondsFromZero = 300.0
    max_sessions: Count = 20_000


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[store]``: the ledger's database.

    Attributes:
        url: SQLite or PostgreSQL, with the driver in its scheme; ``${NAME}`` stands for an environment variable.
        required: Refuse a request whose decision cannot be recorded.
        spool: Folder for rows while the database is away, if it is not required; None = such rows are lost.
        log_text: Keep prompts and answers.
        text_bytes: Longest text kept; longer ones are cut.
        log_vectors: Keep what prompts were embedded to, to learn from without their text.
        redact: Regular expressions; what they match is blanked before a text is kept.
        retention_days: Age at which rows are deleted; None = never.
        max_bytes: Size of the database at which the oldest rows are deleted; None = no limit.
    """

    url: str = "sqlite+aiosqlite:///ledger.db"
    required: bool = True
    spool: Annotated[str, Meta(min_length=1)] | None = None
    log_text: bool = False
    text_bytes: Count = 16_384
    log_vectors: bool = False
    redact: tuple[str, ...] = ()
    retention_days: Annotated[float, Meta(gt=0, le=36_500)] | None = None
    max_bytes: Count | None = None

    @property
    def patterns(self) -> tuple[re.Pattern[str], ...]:
        """``redact``, compiled."""
        return tuple(re.compile(pattern) for pattern in self.redact)

    def database_url(self, environ: Mapping[str, str]) -> str:
        """Return ``url`` with the environment's values in it, a password among them: never show it.

        Values that stand for user, password or query are percent-encoded; a URL that is one variable as a
        whole is taken as it is.

        Raises:
            SettingsError: If a variable is not set, or a URL that came from one is of no known kind.
        """
        return with_driver(filled(self.url, environ, "store.url"), "store.url")


class ShadowSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[shadow]``: a router that is tried out beside the one in use.

    Attributes:
        router: Folder or URL of a router with the same embedder, whose choices are only recorded; None = there is none.
    """

    router: Annotated[str, Meta(min_length=1)] | None = None


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[access]``: whether clients need an API key.

    Attributes:
        required: Whether every client needs an API key; None = as soon as a key exists.
        refresh: Seconds until a change of the API keys is noticed.
    """

    required: bool | None = None
    refresh: Seconds = 5.0


class LoggingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[logging]``: what is written to stderr.

    Attributes:
        level: The least important level written.
        format: One JSON object a line, or text.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[telemetry]``: what other programs can measure.

    Attributes:
        metrics: Serve Prometheus metrics.
        otel: Send OpenTelemetry traces.
        service_name: The gateway's name in traces.
    """

    metrics: bool = True
    otel: bool = False
    service_name: Annotated[str, Meta(min_length=1)] = "avengers-pro"


class DashboardSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[dashboard]``: the pages for people, below ``/dashboard``.

    Attributes:
        enabled: Serve them.
        note: Shown above every page, such as "staging" or "simulated data"; empty = nothing.
    """

    enabled: bool = True
    note: Annotated[str, Meta(max_length=200)] = ""


class EmbedderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[embedder]``: where an embedder on a server answers; which one it is, the router says.

    Attributes:
        base_url: Root of an OpenAI-compatible API, up to and including ``/v1``; None = the embedder is local.
        api_key_env: Name of the environment variable that holds its key; None = no key is sent.
        timeout: Seconds for one request to the embedder.
        attempts: Tries per request, the first included.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    timeout: Seconds = 10.0
    attempts: Count = 2

    def options(self, environ: Mapping[str, str]) -> EmbeddingOptions:
        """Return what ``Router.load`` needs to reach the embedder.

        Raises:
            SettingsError: If the variable of the key is not set.
        """
        if self.api_key_env is not None and not environ.get(self.api_key_env):
            raise SettingsError(
                f"embedder.api_key_env names the environment variable {self.api_key_env}, which is not set"
            )
        key = None if self.api_key_env is None else environ[self.api_key_env]
        return EmbeddingOptions(base_url=self.base_url, api_key=key, timeout_s=self.timeout, attempts=self.attempts)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A whole ``gateway.toml``.

    Attributes:
        models: ``[[models]]``, each with at least one endpoint; prices as stated there.
        policy: ``[policy]``, for requests that ask for nothing else.
        presets: ``[presets.<name>]`` by name; each stands by itself and takes nothing from ``policy``.
    """

    models: tuple[ModelCard, ...]
    policy: Policy = Policy()
    presets: dict[str, Policy] = {}
    server: ServerSettings = ServerSettings()
    fallback: FallbackSettings = FallbackSettings()
    breaker: BreakerSettings = BreakerSettings()
    health: HealthSettings = HealthSettings()
    sessions: SessionSettings = SessionSettings()
    store: StoreSettings = StoreSettings()
    explore: ExploreSettings = ExploreSettings()
    shadow: ShadowSettings = ShadowSettings()
    access: AccessSettings = AccessSettings()
    logging: LoggingSettings = LoggingSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    dashboard: DashboardSettings = DashboardSettings()
    embedder: EmbedderSettings = EmbedderSettings()


_TABLES: dict[str, type[Any]] = {
    name: kind for name, kind in get_type_hints(Settings).items() if name not in {"models", "policy", "presets"}
}
_PRESET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def read_settings(path: str | Path) -> Settings:
    """Read a ``gateway.toml``.

    Raises:
        SettingsError: If the file cannot be read, or a key or value is wrong; names file and key.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise SettingsError(f"{path}: not TOML: {error}") from error
    return settings_of(table, str(path))


def settings_of(table: Mapping[str, Any], where: str) -> Settings:
    """Check the tables of a ``gateway.toml``.

    Args:
        table: As TOML gives it.
        where: Its file, for messages.

    Raises:
        SettingsError: If a key or value is wrong, or a secret stands in it; names file and key, shows no secret.
    """
    refuse_secrets(table, where)
    unknown_key(table, Settings.__struct_fields__, where)
    tables = {name: _table(table.get(name, {}), kind, where, name) for name, kind in _TABLES.items()}
    tables["store"] = _checked_store(tables["store"], where)
    return Settings(
        models=_models(table.get("models"), where),
        policy=_policy(table.get("policy", {}), where, "policy"),
        presets=_presets(table.get("presets", {}), where),
        **tables,
    )


def _table(given: Any, kind: type[Any], where: str, key: str) -> Any:
    _check_table(given, where, key)
    unknown_key(given, kind.__struct_fields__, f"{where}: {key}")
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise _explained(error, given, f"{where}: {key}") from error


def _check_table(given: Any, where: str, key: str) -> None:
    if not isinstance(given, dict):
        raise SettingsError(f"{where}: {key} must be a table: [{key}] on a line of its own, its keys below")


def _explained(error: msgspec.ValidationError, given: Any, where: str) -> SettingsError:
    """Name the key of an error; show the value if it is a number, for a text may be a misplaced secret."""
    message, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`")
    value = given.get(re.split(r"[.\[]", path.lstrip("."))[0]) if isinstance(given, dict) else given
    got = f", got {value!r}" if isinstance(value, int | float) and "got" not in message else ""
    return SettingsError(f"{where}{path}: {message[0].lower()}{message[1:]}{got}")


def _checked_store(store: StoreSettings, where: str) -> StoreSettings:
    for position, pattern in enumerate(store.redact):
        key = f"{where}: store.redact[{position}]"
        try:
            matches_nothing = re.compile(pattern).search("") is not None
        except re.error as error:
            raise SettingsError(f"{key} is no regular expression: {error}") from error
        if matches_nothing:
            raise SettingsError(f"{key} matches even an empty text, that is, everywhere; make it more specific")
    return msgspec.structs.replace(store, url=checked_url(store.url, f"{where}: store.url"))


def _models(rows: Any, where: str) -> tuple[ModelCard, ...]:
    for position, row in enumerate(rows if isinstance(rows, list) else ()):
        if isinstance(row, dict) and not isinstance(row.get("endpoints", []), list):
            raise SettingsError(f"{where}: models[{position}]: endpoints must be tables: [[models.endpoints]]")
    cards = pool_of(rows, where)
    for position, card in enumerate(cards):
        key = f"{where}: models[{position}] ({card.name})"
        if not card.endpoints:
            raise SettingsError(f'{key}: no endpoint; say where it answers: base_url = "https://..."')
        if card.name.partition("/")[0] == OWN_MODEL_NAME:
            raise SettingsError(f"{key}: name: {OWN_MODEL_NAME} and {OWN_MODEL_NAME}/... stand for the router itself")
        if card.price == "unknown" and (card.input_price, card.output_price) != (None, None):
            raise SettingsError(f'{key}: price = "unknown" contradicts the prices stated; drop one of them')
    return cards


def _presets(given: Any, where: str) -> dict[str, Policy]:
    _check_table(given, where, "presets")
    for name in given:
        if not _PRESET_NAME.fullmatch(name):
            raise SettingsError(f"{where}: presets: the name {name!r} may have only letters, digits and . _ -")
    return {name: _policy(preset, where, f"presets.{name}") for name, preset in given.items()}


def _policy(given: Any, where: str, key: str) -> Policy:
    _check_table(given, where, key)
    unknown_key(given, [field.name for field in dataclasses.fields(Policy)], f"{where}: {key}")
    hints = get_type_hints(Policy)
    values = {}
    for name, value in given.items():
        try:
            values[name] = msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            raise _explained(error, value, f"{where}: {key}.{name}") from error
    try:
        return Policy(**values)
    except PolicyError as error:
        raise SettingsError(f"{where}: {_culprit(values, key)}: {error}") from error


def _culprit(values: Mapping[str, Any], key: str) -> str:
    """Return the dotted key of the value that is wrong by itself; the table's if only together they are."""
    for name, value in values.items():
        try:
            Policy(**{name: value})
        except PolicyError:
            return f"{key}.{name}"
    return key
