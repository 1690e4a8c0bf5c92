"""Exploration: now and then a model that is expected to be nearly as good goes first, so that all are heard of.

A router that always sends its favourite learns nothing of the others. The probability of each first choice is known
exactly and goes into the ledger, so that what was observed can be weighed back (inverse propensity).
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from avengers_pro.routing import Policy

Ranked = tuple[str, float, float]
"""A model with its expected score and its expected cost in US dollars; NaN = not known."""


class ExploreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``[explore]``: how often another model than the best-ranked one goes first, to learn from it.

    Attributes:
        rate: Share of routed requests, in [0, 1], whose first choice is drawn; 0 = none.
        within: Expected score that a drawn model may lack of the best-ranked one's; with ``target`` it may lack none.
        max_extra_cost: US dollars that it may be expected to cost more on this request; with ``budget`` none.
    """

    rate: Annotated[float, Meta(ge=0, le=1)] = 0.0
    within: Annotated[float, Meta(ge=0, le=1)] = 0.05
    max_extra_cost: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.001


def explore(
    ranking: Sequence[Ranked], settings: ExploreSettings, policy: Policy, chance: float
) -> tuple[list[Ranked], float]:
    """Draw who goes first: with probability ``rate`` one of the near-ties, each alike, else the best-ranked one.

    Args:
        ranking: Models that may be chosen, best first; at least one. All meet the policy's constraints.
        settings: How often, and how far from the best-ranked one.
        policy: A target and a budget hold on average over requests, so what is drawn may not fall short of them.
        chance: Uniform in [0, 1); it decides everything.

    Returns:
        The ranking with the drawn model in front, the others in their order; and the probability with which that
        one was to come first: (1 - rate) if it is the best-ranked, plus rate / n if it is one of the n near-ties.
    """
    _, score, cost = ranking[0]
    least = score - (settings.within if policy.target is None else 0.0)
    most = cost + (settings.max_extra_cost if policy.budget is None else 0.0)
    near = [0, *(place for place, (_, s, c) in enumerate(ranking) if place and s >= least and c <= most)]
    if len(near) == 1:
        return list(ranking), 1.0
    each = settings.rate / len(near)
    drawn = near[min(int(chance / each), len(near) - 1)] if chance < settings.rate else 0
    others = [one for place, one in enumerate(ranking) if place != drawn]
    return [ranking[drawn], *others], each if drawn else 1.0 - settings.rate + each
