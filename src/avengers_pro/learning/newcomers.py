"""Models that came to the pool or left it since the router was fitted."""

import math
from collections.abc import Sequence

import numpy as np

from avengers_pro.errors import LearningError
from avengers_pro.records.table import Floats
from avengers_pro.routing import Router, change
from avengers_pro.routing.pool import ModelCard

_LEAST_MODELS = 3
"""Priced models that it takes to see how scores go with costs."""


def with_pool_of(router: Router, cards: Sequence[ModelCard]) -> tuple[Router, tuple[str, ...], tuple[str, ...]]:
    """Let the models of a pool table enter, and those it does not have go.

    A model without any score is expected to do as well as the router's models do at its cost: the mean score read off
    a line through the models' mean scores over the logarithm of their mean costs, kept within what the models reach;
    on each kind of query as much better or worse as they are there on average. That is a guess: it counts as
    no score, its interval is as wide as can be, and a few dozen real scores outweigh it.

    Args:
        router: To change.
        cards: The pool there is now.

    Returns:
        The router, the names that entered, and the names that went.

    Raises:
        LearningError: If no model of the router is in the table.
        MethodError: If the router's method cannot change without its records.
    """
    names = {card.name for card in cards}
    gone = tuple(name for name in router.models if name not in names)
    new = [card for card in cards if card.name not in router.models]
    if len(gone) == len(router.models):
        raise LearningError(f"the pool has none of the router's models, {', '.join(router.models)}")
    for name in gone:
        router = router.remove_model(name)
    known = router
    for card in new:
        cost = _expected_cost(known, card)
        router = change.enter_model(router, card, score=_expected_score(known, cost), cost=cost)
    return router, tuple(card.name for card in new), gone


def _expected_score(router: Router, cost: float) -> float:
    """Return the mean score that the router's models suggest for one of this mean cost in US dollars."""
    known = [fact for fact in router.facts if fact.mean_score is not None]
    scores = np.array([fact.mean_score for fact in known], dtype=np.float64)
    costs = np.array([math.nan if fact.mean_cost is None else fact.mean_cost for fact in known], dtype=np.float64)
    priced = costs > 0
    if not cost > 0 or priced.sum() < _LEAST_MODELS or np.ptp(costs[priced]) == 0:
        return float(scores.mean())
    slope, start = np.polyfit(np.log(costs[priced]), scores[priced], 1)
    return float(np.clip(start + slope * math.log(cost), scores.min(), scores.max()))


def _expected_cost(router: Router, card: ModelCard) -> float:
    """Return the mean US dollars of a query: by the tokens the router's models take, or in proportion to prices.

    NaN if neither is known.
    """
    tokens = change.tokens_of(router)
    if tokens is not None:
        return card.cost_usd(*tokens)
    if card.input_price is None or card.output_price is None:
        return math.nan
    ratios: Floats = np.array(
        [
            fact.mean_cost / (fact.input_price + fact.output_price)
            for fact in router.facts
            if fact.mean_cost is not None
            and fact.input_price is not None
            and fact.output_price is not None
            and fact.input_price + fact.output_price > 0
        ]
    )
    return float(ratios.mean() * (card.input_price + card.output_price)) if ratios.size else math.nan
