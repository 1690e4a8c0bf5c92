"""The endpoints behind the models: what is sent to each, how many at once, and which is tried next."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from avengers_pro.errors import SettingsError
from avengers_pro.gateway.breaker import Breaker, BreakerSettings
from avengers_pro.gateway.http_client import request_head, split_url
from avengers_pro.gateway.request import ChatRequest, Fields
from avengers_pro.routing.pool import Endpoint, ModelCard

_USAGE = msgspec.Raw(b'{"include_usage":true}')
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Upstream:
    """One endpoint behind one model.

    Attributes:
        card: The model.
        endpoint: Where it answers.
        label: What logs, metrics and the ledger call it; holds no secret.
        origin: Where connections go.
        head: Of every request, up to the length of its body; holds the provider's key, never logged.
        breaker: Whether it is in use.
        in_flight: Requests it is answering.
    """

    def __init__(self, card: ModelCard, endpoint: Endpoint, breaker: Breaker, environ: Mapping[str, str]) -> None:
        """Prepare everything that is the same for each request.

        Raises:
            SettingsError: If the variable that should hold its key is not set, or a header cannot be sent.
        """
        self.card, self.endpoint, self.breaker = card, endpoint, breaker
        try:
            self.origin, self._path = split_url(endpoint.base_url)
        except ValueError as error:
            raise SettingsError(f"{card.name}: base_url {endpoint.base_url!r} is no address: {error}") from error
        self.label = f"{card.name}@{self.origin.host}:{self.origin.port}"
        _check_headers(endpoint.extra_headers, card.name)
        self._headers = {"accept-encoding": "identity"}
        self._headers |= {name.lower(): value for name, value in endpoint.extra_headers.items()}
        if endpoint.api_key_env is not None:
            key = environ.get(endpoint.api_key_env)
            if not key:
                raise SettingsError(f"{card.name}: the environment variable {endpoint.api_key_env} is not set")
            if _CONTROL.search(key):
                raise SettingsError(
                    f"{card.name}: the environment variable {endpoint.api_key_env} holds a line break or another "
                    "control character, which no header can; set it to the key alone"
                )
            self._headers["authorization"] = f"Bearer {key}"
        self.head = self.request_head("POST", "/chat/completions", {"content-type": "application/json"})
        self._name = msgspec.Raw(msgspec.json.encode(endpoint.upstream_model or card.name))
        self._extra = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in endpoint.extra_body.items()}
        self.in_flight = 0

    def request_head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """Return the head of a request for a path below the base URL, up to the length of its body."""
        base, mark, query = self._path.partition("?")
        return request_head(method, self.origin, base.rstrip("/") + path + mark + query, {**headers, **self._headers})

    def body(self, chat: ChatRequest) -> tuple[bytes, bool]:
        """Return the request as this endpoint gets it, and whether usage was asked for that the client did not want."""
        fields: Fields = {**self._extra, **chat.fields, "model": self._name}
        hide = chat.stream and not (chat.value("stream_options", _StreamOptions) or _StreamOptions()).include_usage
        if hide:
            options = chat.value("stream_options", dict[str, msgspec.Raw]) or {}
            merged = {**options, "include_usage": msgspec.Raw(b"true")}
            fields["stream_options"] = msgspec.Raw(msgspec.json.encode(merged)) if options else _USAGE
        return msgspec.json.encode(fields), hide


def _check_headers(headers: Mapping[str, str], model: str) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or _CONTROL.search(value):
            raise SettingsError(
                f"{model}: extra_headers: {name!r} cannot be sent: a name must be one word, a value without line breaks"
            )


class Upstreams:
    """All endpoints of the pool."""

    def __init__(self, cards: Sequence[ModelCard], settings: BreakerSettings, environ: Mapping[str, str]) -> None:
        """Prepare them.

        Raises:
            SettingsError: If a key's variable is not set, or a header cannot be sent.
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
