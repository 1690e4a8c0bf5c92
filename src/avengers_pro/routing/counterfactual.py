"""What would have to be different for another model to be chosen, and what each level of clusters contributed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from avengers_pro.routing.choice import choose, weigh
from avengers_pro.routing.decision import Decision
from avengers_pro.routing.multiresolution_estimate import MultiResolutionEstimate
from avengers_pro.routing.multiresolution_fitted import Exchange
from avengers_pro.routing.policy import Policy

TARGETS = np.linspace(0.5, 1.1, 121)
"""Targets that are tried: from half the best single model's score to a tenth above it, in steps of 0.005."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one level of clusters adds to the expectations of the chosen model and of the runner-up.

    Attributes:
        clusters: Size of the level.
        score_weight: How far the level is believed, of 1 over all levels; 0 = not at all.
        cost_weight: The same for costs.
        scores: Added to the expected score, by model.
        costs: Added to the expected cost in US dollars, by model.
    """

    clusters: int
    score_weight: float
    cost_weight: float
    scores: dict[str, float]
    costs: dict[str, float]


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """When a candidate that lost would win; None = never by that alone.

    Attributes:
        model: The candidate.
        alpha: From and to, the widest stretch of alpha on which it wins.
        target: From and to, among targets of 0.5 to 1.1.
        cost_factor: What its cost would have to be multiplied by, everything else being equal.
    """

    model: str
    alpha: tuple[float, float] | None
    target: tuple[float, float] | None
    cost_factor: float | None


def contributions(estimate: MultiResolutionEstimate, models: Sequence[str]) -> tuple[Contribution, ...]:
    """Say what each level added to these models' expectations of the first query."""
    fitted = estimate.fitted
    belief, levels = fitted.belief, fitted.levels
    scores, costs = belief.level_tables(fitted.profile, levels)
    p = levels.per_level
    columns = [fitted.models.index(model) for model in models]
    novel = estimate.novel is not None and bool(estimate.novel[0])
    found = []
    for level, size in enumerate(levels.sizes):
        near = estimate.members[0, level * p : (level + 1) * p]
        share = np.zeros(p) if novel else estimate.weights[0, level]
        added, dear = share @ scores[near], share @ costs[near]
        found.append(
            Contribution(
                size,
                float(belief.score_weights[level]),
                float(belief.cost_weights[level]),
                {model: float(added[column]) for model, column in zip(models, columns, strict=True)},
                {model: float(dear[column]) for model, column in zip(models, columns, strict=True)},
            )
        )
    return tuple(found)


def counterfactuals(
    decision: Decision, estimate: MultiResolutionEstimate, alphas: dict[str, tuple[float, float]]
) -> tuple[Counterfactual, ...]:
    """Say for every other candidate when it would win.

    Args:
        decision: Of the first query.
        estimate: The same query, set to the policy.
        alphas: The stretch of alpha on which each model wins.
    """
    targets = _targets(decision, estimate)
    factors = _cost_factors(decision, estimate)
    return tuple(
        Counterfactual(
            candidate.model, alphas.get(candidate.model), targets.get(candidate.model), factors.get(candidate.model)
        )
        for candidate in decision.candidates[1:]
        if candidate.removed is None
    )


def _targets(decision: Decision, estimate: MultiResolutionEstimate) -> dict[str, tuple[float, float]]:
    policy, calibration = decision.policy, estimate.fitted.calibration
    constraints = replace(policy, alpha=1.0, target=None, budget=None, on_infeasible="refuse")
    found: dict[str, tuple[float, float]] = {}
    for target in TARGETS.round(3).tolist():
        price = calibration.price_for_target(target, policy.confidence, policy.window)
        if price is None and target > 1:
            break
        model = _chosen_at(estimate, Exchange(price), constraints, decision)
        if model is not None:
            found[model] = (found.get(model, (target, target))[0], target)
    return found


def _chosen_at(estimate: MultiResolutionEstimate, exchange: Exchange, policy: Policy, decision: Decision) -> str | None:
    priced = replace(estimate, fitted=replace(estimate.fitted, exchange=exchange))
    column = int(choose(weigh(priced, policy, decision.allowed))[0])
    return None if column < 0 else estimate.fitted.models[column]


def _cost_factors(decision: Decision, estimate: MultiResolutionEstimate) -> dict[str, float]:
    price, best = estimate.price(decision.policy.alpha), decision.chosen
    if price is None or not price > 0 or best is None or decision.relaxed:
        return {}
    found = {}
    for column, model in enumerate(estimate.fitted.models):
        score, cost = float(estimate.expected_score[0, column]), float(estimate.expected_cost[0, column])
        factor = (score - best.utility) / (price * cost) if cost > 0 else 0.0
        if factor > 0:
            found[model] = factor
    return found


def widest(stretches: Sequence[tuple[float, float, str | None]]) -> dict[str, tuple[float, float]]:
    """Return each model's widest stretch of (from, to, model)."""
    found: dict[str, tuple[float, float]] = {}
    for start, end, model in stretches:
        if model is not None and (model not in found or end - start > found[model][1] - found[model][0]):
            found[model] = (start, end)
    return found
