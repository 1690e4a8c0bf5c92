"""From cards of the pool to inspect-ai's models, whose answers are kept and counted."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avengers_pro.collection.answers import Answers, as_json, digest
from avengers_pro.collection.keeping import Keeper
from avengers_pro.collection.spending import Spending
from avengers_pro.errors import SettingsError
from avengers_pro.routing.pool import Endpoint, ModelCard

if TYPE_CHECKING:
    from inspect_ai.model import Model

MODEL, JUDGE = "model", "judge"
_NO_KEY = "no-key"  # inspect insists on one; servers that need none do not look at it


@dataclass(frozen=True, slots=True)
class Asking:
    """How every model is asked.

    Attributes:
        temperature: Of sampling; None = the provider's.
        max_tokens: Longest answer; None = the provider's.
        retries: How often a failed call is tried again, with growing pauses.
        concurrency: Most calls of one model at once; None = inspect adapts, up to the endpoint's ``max_concurrency``.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    retries: int = 5
    concurrency: int | None = None


def endpoint_of(card: ModelCard) -> Endpoint | None:
    """Return where a card is asked: its endpoint of the largest weight; None = wherever inspect asks that name."""
    return max(card.endpoints, key=lambda endpoint: endpoint.weight, default=None)


def settings_of(card: ModelCard, asking: Asking) -> str:
    """Digest what decides a card's answers, apart from the prompt; prices, keys and timeouts do not."""
    endpoint = endpoint_of(card)
    where: Any = card.name
    if endpoint is not None:
        where = (endpoint.base_url, endpoint.upstream_model or card.name, endpoint.extra_body, endpoint.extra_headers)
    return as_json([where, asking.temperature, asking.max_tokens])


def asked_of(settings: str, turns: Sequence[Any]) -> str:
    """Digest a question: settings and messages."""
    return digest([settings, turns])


def inspect_names(cards: Sequence[ModelCard]) -> dict[str, str]:
    """Return the name that inspect's logs give each card, which tells them apart: {card: name}."""
    found: dict[str, str] = {}
    for card in cards:
        endpoint = endpoint_of(card)
        if endpoint is None:
            found[card.name] = card.name
            continue
        service = re.sub(r"[^A-Za-z0-9_.]+", "-", card.name)
        name = f"openai-api/{service}/{endpoint.upstream_model or card.name}"
        while name in found.values():
            service += "-"
            name = f"openai-api/{service}/{endpoint.upstream_model or card.name}"
        found[card.name] = name
    return found


def build_model(
    card: ModelCard,
    name: str,
    *,
    asking: Asking,
    answers: Answers,
    spending: Spending,
    role: str = MODEL,
    environment: Mapping[str, str] = os.environ,
) -> "Model":
    """Make a model that answers what it has answered before from the store, and is paid for the rest.

    Args:
        card: Row of the pool.
        name: Its name in inspect, see `inspect_names`.
        asking: How.
        answers: Where answers are kept.
        spending: Where they are booked.
        role: ``model`` or ``judge``; kept apart.
        environment: Where keys are.

    Raises:
        SettingsError: If its key is missing, or inspect has no provider for it.
    """
    from inspect_ai._util.error import PrerequisiteError  # not exported, yet what users would see a trace of
    from inspect_ai.model import GenerateConfig, get_model

    endpoint = endpoint_of(card)
    where: dict[str, Any] = {}
    config: dict[str, Any] = {"temperature": asking.temperature, "max_tokens": asking.max_tokens}
    config |= {"max_retries": asking.retries, **_concurrency(asking, endpoint)}
    if endpoint is not None:
        # The OpenAI client's own retries would multiply inspect's.
        where = {"base_url": endpoint.base_url, "api_key": _key(card, endpoint, environment), "max_retries": 0}
        config |= {"extra_body": endpoint.extra_body or None, "extra_headers": endpoint.extra_headers or None}
        config["attempt_timeout"] = max(1, round(endpoint.total_timeout))
    try:
        model = get_model(name, config=GenerateConfig(**config), memoize=False, **where)
    except (ValueError, ImportError, PrerequisiteError) as error:
        raise SettingsError(
            f"model {card.name!r}: inspect-ai cannot ask it: {_plain(error)}; give it a base_url, or a name such as "
            "openai/gpt-5 or anthropic/claude-sonnet-4-0 that inspect knows"
        ) from error
    keeper = Keeper(card, role, settings_of(card, asking), answers, spending, asking.max_tokens)
    # Wrapped in place, so that whatever provider it is keeps its other traits.
    model.api.generate = keeper.around(model.api.generate)  # type: ignore[method-assign]
    return model


def _plain(error: Exception) -> str:
    """Return an error of inspect on one line, without its colours."""
    from rich.text import Text

    return " ".join(Text.from_markup(str(error)).plain.removeprefix("ERROR:").split()).rstrip(".")


def _concurrency(asking: Asking, endpoint: Endpoint | None) -> dict[str, Any]:
    most = endpoint.max_concurrency if endpoint is not None else None
    if asking.concurrency is not None:
        return {"max_connections": asking.concurrency if most is None else min(asking.concurrency, most)}
    return {} if most is None else {"adaptive_connections": most if most < 100 else None}  # noqa: PLR2004  # inspect's own


def _key(card: ModelCard, endpoint: Endpoint, environment: Mapping[str, str]) -> str:
    if endpoint.api_key_env is None:
        return _NO_KEY
    key = environment.get(endpoint.api_key_env)
    if not key:
        raise SettingsError(f"model {card.name!r}: the environment has no {endpoint.api_key_env}; set it to the key")
    return key
