"""The pool table, ``[[models]]`` in TOML: what a model can do, what it costs, and where it answers.

The same table serves re-pricing a router, collecting records and the gateway.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from avengers_pro.errors import SettingsError
from avengers_pro.suggestion import unknown_key

Capability = Literal["tools", "images", "audio", "json_schema", "logprobs", "n"]


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One OpenAI-compatible endpoint behind a model.

    Attributes:
        base_url: Up to and without ``/chat/completions``.
        upstream_model: The provider's name of the model; None = the model's own name.
        api_key_env: Name of the environment variable that holds the key; None = no key is sent.
        weight: Share of the requests, relative to the model's other endpoints; > 0.
        extra_body: Added to every request body, unless the client gave the field.
        extra_headers: Added to every request.
        connect_timeout: Seconds until connected.
        first_byte_timeout: Seconds from the request to the first byte of the answer.
        idle_timeout: Seconds between bytes.
        total_timeout: Seconds for the whole answer.
        max_concurrency: Requests in flight at once.
    """

    base_url: str
    upstream_model: str | None = None
    api_key_env: str | None = None
    weight: float = 1.0
    extra_body: dict[str, Any] = {}
    extra_headers: dict[str, str] = {}
    connect_timeout: float = 5.0
    first_byte_timeout: float = 60.0
    idle_timeout: float = 60.0
    total_timeout: float = 600.0
    max_concurrency: int = 256


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of the pool table.

    Attributes:
        name: As in the router.
        input_price: US dollars per million prompt tokens; None = not stated.
        output_price: US dollars per million completion tokens; None = not stated.
        cached_input_price: US dollars per million prompt tokens read from the provider's cache; None = input_price.
        price: ``unknown`` states that nobody knows; such a model never counts as free.
        context: Most tokens of prompt and answer together; None = not stated, any length is tried.
        capabilities: What it can do beside text; None = not stated.
        endpoints: Where it answers; empty for uses that call nothing.
    """

    name: str
    input_price: float | None = None
    output_price: float | None = None
    cached_input_price: float | None = None
    price: Literal["unknown"] | None = None
    context: int | None = None
    capabilities: tuple[Capability, ...] | None = None
    endpoints: tuple[Endpoint, ...] = ()

    def cost_usd(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0.0) -> float:
        """Price of one call in US dollars; NaN if a price is not stated."""
        if self.input_price is None or self.output_price is None:
            return float("nan")
        cached_price = self.input_price if self.cached_input_price is None else self.cached_input_price
        fresh = (prompt_tokens - cached_tokens) * self.input_price
        return (fresh + cached_tokens * cached_price + completion_tokens * self.output_price) / 1e6


def read_pool(path: str | Path) -> tuple[ModelCard, ...]:
    """Read the ``[[models]]`` of a TOML file; other tables in it are left alone.

    Raises:
        SettingsError: If the file cannot be read, has no models, or a key or value is wrong; names file and key.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    return pool_of(table.get("models", []), str(path))


def pool_of(rows: Sequence[Any], where: str) -> tuple[ModelCard, ...]:
    """Check the rows of a ``[[models]]`` table.

    A row may hold the keys of its only endpoint directly.

    Raises:
        SettingsError: If a key or value is wrong, a name comes twice, or there is no row.
    """
    if not isinstance(rows, list) or not rows:
        raise SettingsError(f"{where}: no [[models]]; each model of the pool needs one, with its name")
    cards = tuple(_card(row, f"{where}: models[{position}]") for position, row in enumerate(rows))
    names = [card.name for card in cards]
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"{where}: the model {name!r} is given twice; give one model several endpoints instead")
    return cards


def _card(row: Any, where: str) -> ModelCard:
    if not isinstance(row, dict):
        raise SettingsError(f"{where}: a table is needed, got {row!r}")
    own = {key: value for key, value in row.items() if key not in Endpoint.__struct_fields__}
    direct = {key: value for key, value in row.items() if key in Endpoint.__struct_fields__}
    if direct:
        if "endpoints" in own:
            raise SettingsError(f"{where}: {', '.join(direct)} stand beside endpoints; put them into one of those")
        own["endpoints"] = [direct]
    known = (*ModelCard.__struct_fields__, *Endpoint.__struct_fields__)
    unknown_key(own, known, where)
    endpoints = own.get("endpoints", [])
    if not isinstance(endpoints, list):
        raise SettingsError(f"{where}: endpoints must be a list of tables, got {endpoints!r}")
    for endpoint in endpoints:
        if isinstance(endpoint, dict):
            unknown_key(endpoint, Endpoint.__struct_fields__, f"{where}: endpoints")
    try:
        card = msgspec.convert(own, ModelCard)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where} ({row.get('name', 'without a name')}): {error}") from error
    if not card.name.isprintable() or not card.name.strip():
        raise SettingsError(f"{where}: a name must be printable, got {card.name!r}")
    _check(card, f"{where} ({card.name})")
    return card


def _check(card: ModelCard, where: str) -> None:
    for name in ("input_price", "output_price", "cached_input_price"):
        value = getattr(card, name)
        if value is not None and not 0 <= value < float("inf"):
            raise SettingsError(f"{where}: {name} is {value}; US dollars per million tokens are needed, at least 0")
    if card.context is not None and card.context < 1:
        raise SettingsError(f"{where}: context is {card.context}; a number of tokens is needed")
    for endpoint in card.endpoints:
        if not endpoint.base_url.startswith(("http://", "https://")):
            raise SettingsError(f"{where}: base_url is {endpoint.base_url!r}; it must start with http:// or https://")
        for name in ("weight", "connect_timeout", "first_byte_timeout", "idle_timeout", "total_timeout"):
            if not 0 < getattr(endpoint, name) < float("inf"):
                raise SettingsError(f"{where}: {name} is {getattr(endpoint, name)}; it must be more than 0")
        if endpoint.max_concurrency < 1:
            raise SettingsError(f"{where}: max_concurrency is {endpoint.max_concurrency}; it must be at least 1")
