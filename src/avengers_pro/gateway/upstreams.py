"""The endpoints behind the models: what is sent to each, how many at once, and which is tried next."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from avengers_pro.errors import SettingsError
from avengers_pro.gateway.breaker import Breaker
from avengers_pro.gateway.request import ChatRequest, Fields
from avengers_pro.gateway.settings import BreakerSettings
from avengers_pro.routing.pool import Endpoint, ModelCard

if TYPE_CHECKING:
    from aiohttp import ClientTimeout

_USAGE = msgspec.Raw(b'{"include_usage":true}')


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Upstream:
    """One endpoint behind one model.

    Attributes:
        card: The model.
        endpoint: Where it answers.
        label: What logs, metrics and the ledger call it; holds no secret.
        url: Of chat completions.
        headers: Sent with every request, the provider's key among them; never logged.
        breaker: Whether it is in use.
        in_flight: Requests it is answering.
    """

    def __init__(self, card: ModelCard, endpoint: Endpoint, breaker: Breaker, environ: Mapping[str, str]) -> None:
        """Prepare everything that is the same for each request.

        Raises:
            SettingsError: If the variable that should hold its key is not set.
        """
        from yarl import URL

        self.card, self.endpoint, self.breaker = card, endpoint, breaker
        base = URL(endpoint.base_url)
        self.url = base.with_path(base.path.rstrip("/") + "/chat/completions").with_query(base.query)
        self.label = f"{card.name}@{base.host}:{base.port}"
        self.headers = {"content-type": "application/json", "accept-encoding": "identity", **endpoint.extra_headers}
        if endpoint.api_key_env is not None:
            key = environ.get(endpoint.api_key_env)
            if not key:
                raise SettingsError(f"{card.name}: the environment variable {endpoint.api_key_env} is not set")
            self.headers["authorization"] = f"Bearer {key}"
        self._name = msgspec.Raw(msgspec.json.encode(endpoint.upstream_model or card.name))
        self._extra = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in endpoint.extra_body.items()}
        self.in_flight = 0

    def timeout(self) -> "ClientTimeout":
        """Return the limits that the client library watches over."""
        from aiohttp import ClientTimeout

        mine = self.endpoint
        return ClientTimeout(total=mine.total_timeout, sock_connect=mine.connect_timeout, sock_read=mine.idle_timeout)

    def body(self, chat: ChatRequest) -> tuple[bytes, bool]:
        """Return the request as this endpoint gets it, and whether usage was asked for that the client did not want."""
        fields: Fields = {**self._extra, **chat.fields, "model": self._name}
        hide = chat.stream and not (chat.value("stream_options", _StreamOptions) or _StreamOptions()).include_usage
        if hide:
            options = chat.value("stream_options", dict[str, msgspec.Raw]) or {}
            merged = {**options, "include_usage": msgspec.Raw(b"true")}
            fields["stream_options"] = msgspec.Raw(msgspec.json.encode(merged)) if options else _USAGE
        return msgspec.json.encode(fields), hide


class Upstreams:
    """All endpoints of the pool."""

    def __init__(self, cards: Sequence[ModelCard], settings: BreakerSettings, environ: Mapping[str, str]) -> None:
        """Prepare them.

        Raises:
            SettingsError: If a key's variable is not set.
        """
        self._by_model = {
            card.name: [Upstream(card, endpoint, Breaker(settings), environ) for endpoint in card.endpoints]
            for card in cards
        }
        self._random = random.Random()  # noqa: S311  # spreads load, guards nothing

    def __iter__(self) -> Iterator[Upstream]:
        """All of them."""
        return (upstream for group in self._by_model.values() for upstream in group)

    def of(self, model: str) -> list[Upstream]:
        """Return a model's endpoints in the order in which to try them this time: at random, by weight."""
        group = self._by_model[model]
        if len(group) == 1:
            return group
        return sorted(group, key=lambda upstream: -(self._random.random() ** (1 / upstream.endpoint.weight)))
