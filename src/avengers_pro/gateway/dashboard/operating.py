"""What the router does at every alpha, by its training rows: scores, costs, and the share of each model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.records.table import Floats
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.calibration import Calibration, Outcomes
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution

STEPS = 101
"""Alphas that are worked out, from 0 to 1."""
_Z = 1.6449


@dataclass(frozen=True, slots=True)
class Operating:
    """The operating point of one alpha, on training rows with leave-one-out expectations.

    Attributes:
        alpha: In [0, 1].
        score: Mean observed score of what is chosen.
        low: Lower end of the 90 % interval of that mean.
        high: Upper end.
        cost: Its mean observed cost in US dollars.
        shares: (m,) of the models.
    """

    alpha: float
    score: float
    low: float
    high: float
    cost: float
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Single:
    """A model by itself: mean score and mean cost in US dollars on the training records; None = not known."""

    model: str
    score: float | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class Frontier:
    """Everything that alpha can do.

    Attributes:
        models: The router's m models.
        points: By alpha, from 0 to 1; empty if the method keeps no calibration.
        singles: The models of the pool by themselves.
        best_single: The best of these.
        rows: Training rows behind the points.
    """

    models: tuple[str, ...]
    points: tuple[Operating, ...]
    singles: tuple[Single, ...]
    best_single: str
    rows: int


def frontier(router: Router, pool: Sequence[str], best_single: str) -> Frontier:
    """Work out the frontier of a router on the models of a pool.

    Args:
        router: Any.
        pool: Names of models that may be chosen.
        best_single: Of these.
    """
    facts = {fact.name: fact for fact in router.facts}
    fitted = router.fitted
    if not isinstance(fitted, FittedMultiResolution):
        singles = tuple(Single(name, facts[name].mean_score, facts[name].mean_cost) for name in pool)
        return Frontier(router.models, (), singles, best_single, 0)
    means = fitted.belief.means
    known = dict(zip(router.models, zip(means.scores.tolist(), means.costs.tolist(), strict=True), strict=True))
    singles = tuple(Single(name, *(_known(value) for value in known[name])) for name in pool)
    allowed = np.array([name in pool for name in router.models])
    choosing = Choosing(fitted, allowed)
    points = tuple(choosing.at(float(alpha)) for alpha in np.linspace(0, 1, STEPS))
    return Frontier(router.models, points, singles, best_single, choosing.calibration.rows)


class Choosing:
    """The choices of a router on its training rows, made without the rows themselves.

    Attributes:
        calibration: Of the allowed models.
        rows: (s,) which rows of the sample leave a choice.
    """

    def __init__(self, fitted: FittedMultiResolution, allowed: NDArray[np.bool_]) -> None:
        """Prepare for a pool.

        Args:
            fitted: The method.
            allowed: (m,) models of the pool.
        """
        self.calibration: Calibration = fitted.tuned(Policy(alpha=1.0), None if allowed.all() else allowed).calibration
        outcomes: Outcomes = fitted.outcomes
        seen = ~np.isnan(outcomes.scores) & allowed
        self.rows = seen[:, self.calibration.reference] & (seen.sum(axis=1) > min(1, int(allowed.sum()) - 1))
        self._scores, self._costs = outcomes.scores[self.rows], outcomes.costs[self.rows]
        self._weights = outcomes.weights[self.rows]
        self.expected = np.where(seen, np.nan_to_num(outcomes.expected_score, nan=-np.inf), -np.inf)[self.rows]
        cost = outcomes.expected_cost[self.rows]
        self.dear = np.nan_to_num(cost, nan=float(np.nanmax(cost)) if np.isfinite(cost).any() else 0.0)

    def choices(self, alpha: float) -> NDArray[np.intp]:
        """Return (rows,) columns of the models chosen at an alpha."""
        price = self.calibration.price_at(alpha)
        if price is None:
            return np.full(len(self.expected), self.calibration.reference)
        return np.asarray((self.expected - price * self.dear).argmax(axis=1))

    def at(self, alpha: float) -> Operating:
        """Return the operating point of an alpha."""
        chosen = self.choices(alpha)
        rows, weights = np.arange(len(chosen)), self._weights
        scores, costs = self._scores[rows, chosen], self._costs[rows, chosen]
        score, cost = _mean(scores, weights), _mean(costs, weights)
        error = math.sqrt(max(_mean((scores - score) ** 2, weights), 0.0) / max(self.calibration.rows, 1))
        shares = np.bincount(chosen, weights, minlength=self.expected.shape[1])
        total = float(shares.sum()) or 1.0
        return Operating(
            alpha, score, score - _Z * error, score + _Z * error, cost, tuple((shares / total).round(5).tolist())
        )


def _mean(values: Floats, weights: Floats) -> float:
    known = ~np.isnan(values)
    total = float(weights[known].sum())
    return float(values[known] @ weights[known] / total) if total else math.nan


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
