"""Prices that the configuration does not state, from the data bundled with genai-prices. Nothing goes online."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

import msgspec

from avengers_pro.errors import MissingExtraError, SettingsError
from avengers_pro.routing.pool import ModelCard

_PRICES = ("input_price", "output_price", "cached_input_price")
_REMEDY = 'state input_price and output_price, in US dollars per million tokens, or price = "unknown"'


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSource:
    """Where the price of a model comes from.

    Attributes:
        card: The model, with the prices found.
        origin: ``config``, ``genai-prices <version>`` or ``unknown`` (as stated); None = there is no price.
        matched: What genai-prices calls it, ``provider: model``; None = it was not asked, or knows no such model.
        notes: Where a call can cost something else than these prices say.
        problem: Why there is no price, and the remedy; None = there is one, or ``unknown`` is stated.
    """

    card: ModelCard
    origin: str | None
    matched: str | None = None
    notes: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """One entry of the price list: prices in US dollars per million tokens."""

    matched: str
    input_price: float
    output_price: float
    cached_input_price: float | None
    notes: tuple[str, ...]

    def costs_as(self, other: "_Listed | None") -> bool:
        return other is not None and all(getattr(self, name) == getattr(other, name) for name in _PRICES)


def priced(cards: Sequence[ModelCard], where: str = "pool") -> tuple[ModelCard, ...]:
    """Return the cards with prices: their own, else those of the list price of their endpoint's provider.

    Args:
        cards: Rows of the pool table.
        where: Their file, for messages.

    Raises:
        SettingsError: If a model has no price and does not state that; names every such model, and the remedy.
        MissingExtraError: If a price must be looked up and genai-prices is not installed.
    """
    sources = price_sources(cards)
    problems = [
        f"{where}: models[{position}] ({source.card.name}): {source.problem}"
        for position, source in enumerate(sources)
        if source.problem is not None
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    return tuple(source.card for source in sources)


def price_sources(cards: Sequence[ModelCard]) -> tuple[PriceSource, ...]:
    """Return where the price of each model comes from, in the order of the cards.

    A model with both prices stated keeps them, and pays ``input_price`` for cached tokens unless it states that
    price as well. An endpoint whose host genai-prices does not know has no list price, whatever its model is
    called: the same weights cost something else elsewhere.

    Raises:
        MissingExtraError: If a price must be looked up and genai-prices is not installed.
    """
    return tuple(_source(card) for card in cards)


def _source(card: ModelCard) -> PriceSource:
    if card.price == "unknown":
        return PriceSource(card=card, origin="unknown")
    if card.input_price is not None and card.output_price is not None:
        return PriceSource(card=card, origin="config")
    if find_spec("genai_prices") is None:
        raise MissingExtraError("genai-prices", "serve", f"the price of {card.name!r}, which states none,")
    return _looked_up(card, f"genai-prices {version('genai-prices')}")


def _looked_up(card: ModelCard, origin: str) -> PriceSource:
    asked = [(endpoint.upstream_model or card.name, endpoint.base_url) for endpoint in card.endpoints]
    found = [_listed(card, model, base_url) for model, base_url in asked] or [_listed_by_name(card)]
    listed = next((entry for entry in found if entry is not None), None)
    if listed is None:
        places = " or ".join(f"{model!r} at {urlsplit(base_url).hostname}" for model, base_url in asked)
        return PriceSource(
            card=card, origin=None, problem=f"{origin} has no price of {places or repr(card.name)}; {_REMEDY}"
        )
    stated = [name for name in _PRICES if getattr(card, name) is not None]
    notes = [f"{name} is the configuration's" for name in stated]
    if not all(listed.costs_as(entry) for entry in found):
        notes.append(f"its endpoints differ in price, or have none listed; that of {listed.matched} is used for all")
    prices = {name: getattr(listed, name) for name in _PRICES if name not in stated}
    return PriceSource(
        card=msgspec.structs.replace(card, **prices),
        origin=origin,
        matched=listed.matched,
        notes=(*notes, *listed.notes),
    )


def _listed_by_name(card: ModelCard) -> _Listed | None:
    """Look up a model without endpoint: ``provider/model``, or a name that tells its provider."""
    provider, _, model = card.name.partition("/")
    return (_listed(card, model, provider=provider) if model else None) or _listed(card, card.name)


def _listed(card: ModelCard, model: str, base_url: str | None = None, *, provider: str | None = None) -> _Listed | None:
    """Look up a model in the bundled list; None if it is not there, or has no price per token there.

    Where the price changes with the time of day, the dearest is taken: it holds until the process ends.
    """
    from genai_prices import Usage, calc_price

    nothing = Usage(input_tokens=0, output_tokens=0)
    place: Any = {"provider_id": provider} if base_url is None else {"provider_api_url": base_url}
    today = datetime.now(UTC)
    try:
        hours = [
            calc_price(nothing, model, genai_request_timestamp=today.replace(hour=hour), **place) for hour in range(24)
        ]
    except LookupError:
        return None
    dearest = max((hour.model_price for hour in hours), key=_sum)
    input_price, output_price = _lowest_tier(dearest.input_mtok), _lowest_tier(dearest.output_mtok)
    if input_price is None or output_price is None:
        return None
    return _Listed(
        matched=f"{hours[0].provider.id}: {hours[0].model.id}",
        input_price=input_price,
        output_price=output_price,
        cached_input_price=_lowest_tier(dearest.cache_read_mtok),
        notes=tuple(
            _notes(dearest, card.context, varies=any(_sum(hour.model_price) != _sum(dearest) for hour in hours))
        ),
    )


def _sum(price: Any) -> float:
    return (_lowest_tier(price.input_mtok) or 0.0) + (_lowest_tier(price.output_mtok) or 0.0)


def _lowest_tier(price: Any) -> float | None:
    """Return a price in US dollars per million tokens; of prices by length of the prompt, that of a short one."""
    return None if price is None else float(getattr(price, "base", price))


def _notes(price: Any, context: int | None, *, varies: bool) -> list[str]:
    """Say where a call costs something else; prompts longer than the context do not happen."""
    notes = []
    tiers = getattr(price.input_mtok, "tiers", None) or getattr(price.output_mtok, "tiers", None)
    if tiers and (context is None or context > tiers[0].start):
        notes.append(f"prompts of more than {tiers[0].start} tokens have another price; that of shorter ones is used")
    write_price, input_price = _lowest_tier(getattr(price, "cache_write_mtok", None)), _lowest_tier(price.input_mtok)
    if write_price is not None and input_price is not None and write_price > input_price:
        notes.append(
            f"tokens written to the provider's cache cost ${write_price:g} per million; they are counted at input_price"
        )
    if getattr(price, "requests_kcount", None):
        notes.append("the provider's fee per request is not counted")
    if varies:
        notes.append("the price changes with the time of day; the dearest is used")
    return notes
