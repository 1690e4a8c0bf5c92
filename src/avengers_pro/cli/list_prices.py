"""List prices of models that state none, looked up and told."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avengers_pro.cli.console import tell

if TYPE_CHECKING:
    from avengers_pro.routing.pool import ModelCard


def with_list_prices(cards: "Sequence[ModelCard]") -> "tuple[ModelCard, ...]":
    """Return the cards with list prices where they state none; what is found is told on stderr, and what is not.

    Raises:
        MissingExtraError: If a price must be looked up and genai-prices is not installed.
    """
    from avengers_pro.gateway.prices import price_sources

    sources = price_sources(cards)
    for source in sources:
        card = source.card
        if source.problem is not None:
            tell(f"{card.name}: {source.problem}")
        elif source.matched is not None:
            prices = f"${card.input_price:g} and ${card.output_price:g} per million tokens"
            tell(f"{card.name}: {prices}, the list price of {source.matched} ({source.origin})")
            for note in source.notes:
                tell(f"  {note}")
    return tuple(source.card for source in sources)
