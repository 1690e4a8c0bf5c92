"""Whether models cost what the pool table says, and whether the table says what providers list."""

import math
from importlib.util import find_spec

import msgspec
import numpy as np

from avengers_pro.gateway.prices import PriceSource, price_sources
from avengers_pro.learning.drift.finding import Measurement
from avengers_pro.records.table import Floats
from avengers_pro.routing.pool import ModelCard

PAID = "price paid"
LISTED = "list price"
TOLERANCE = 0.02
"""Relative difference that is let pass."""
_NO_PRICE = "no price is stated or listed for it"
_PAID = (
    "its requests were booked at {ratio:.2f} x what the table's prices give: the table has changed since; choose a "
    "--since after the change, and run models reprice if the router's costs are older"
)
_LISTED = (
    "{matched} is listed at ${listed} per million tokens of {kind}, the table says ${stated}: unless that is your "
    "contract, correct gateway.toml, and run models reprice"
)


def check_paid(card: ModelCard, costs: Floats, prompt_tokens: Floats, completion_tokens: Floats) -> Measurement:
    """Compare what a model's answers cost with its prices times their tokens.

    How many tokens came from the provider's cache is not known here: the cost must lie between that of all prompt
    tokens and of none of them cached.

    Args:
        card: Its row of the pool table, with its prices.
        costs: (n,) US dollars; NaN = unknown.
        prompt_tokens: (n,) as the upstream counted; NaN = unknown.
        completion_tokens: (n,) likewise.
    """
    known = ~np.isnan(costs) & ~np.isnan(prompt_tokens) & ~np.isnan(completion_tokens)
    rows = int(known.sum())
    prompt, completion = float(prompt_tokens[known].sum()), float(completion_tokens[known].sum())
    most = card.cost_usd(prompt, completion)
    if not rows or not most > 0:
        return Measurement(
            check=PAID, model=card.name, problem=_NO_PRICE if rows and math.isnan(most) else "no cost of its is known"
        )
    ratio = float(costs[known].sum()) / most
    least = card.cost_usd(prompt, completion, prompt) / most
    return Measurement(
        check=PAID,
        model=card.name,
        rows=rows,
        value=ratio,
        expected=1.0,
        threshold=1 + TOLERANCE if ratio > 1 else least - TOLERANCE,
        beyond=not least - TOLERANCE <= ratio <= 1 + TOLERANCE,
        shown=f"{ratio:.2f} x",
        limit=f"{least - TOLERANCE:.2f} to {1 + TOLERANCE:.2f}",
        advice=_PAID.format(ratio=ratio),
    )


def check_listed(card: ModelCard) -> Measurement:
    """Compare the prices that a table states with the list of the installed genai-prices."""
    stated = {name: getattr(card, f"{name}_price") for name in ("input", "output")}
    if None in stated.values():
        return Measurement(check=LISTED, model=card.name, problem="the table states no price; the list's is used")
    if find_spec("genai_prices") is None:
        return Measurement(check=LISTED, model=card.name, problem="genai-prices is not installed (extra serve)")
    source = _listed(card)
    if source.problem is not None:
        return Measurement(check=LISTED, model=card.name, problem="genai-prices does not list it at its endpoints")
    listed = {name: float(getattr(source.card, f"{name}_price")) for name in stated}
    changes = {name: _relative(stated[name], listed[name]) for name in stated}
    kind = max(changes, key=lambda name: changes[name])
    return Measurement(
        check=LISTED,
        model=card.name,
        value=changes[kind],
        expected=0.0,
        threshold=TOLERANCE,
        beyond=changes[kind] > TOLERANCE,
        shown=f"${stated['input']:g} / ${stated['output']:g}; listed ${listed['input']:g} / ${listed['output']:g}",
        limit=f"{TOLERANCE:.0%}",
        advice=_LISTED.format(
            matched=source.matched, listed=f"{listed[kind]:g}", kind=kind, stated=f"{stated[kind]:g}"
        ),
    )


def _listed(card: ModelCard) -> PriceSource:
    """Look a model up as if the table stated no price."""
    bare = msgspec.structs.replace(card, input_price=None, output_price=None, cached_input_price=None, price=None)
    return price_sources([bare])[0]


def _relative(stated: float, listed: float) -> float:
    """Return by what share of the listed price the stated one is off; infinite for a price where none is listed."""
    return abs(stated - listed) / listed if listed else (0.0 if stated == listed else math.inf)
