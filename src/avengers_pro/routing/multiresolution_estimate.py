"""What our method expects of the models on a batch of queries, and how it weighs score against cost."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avengers_pro.records.table import Floats

if TYPE_CHECKING:
    from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution


@dataclass(frozen=True)
class MultiResolutionEstimate:
    """Expected scores and costs of n queries.

    Attributes:
        fitted: What they come from.
        members: (n, L * p) clusters of each query, over all levels.
        weights: (n, L, p) shares of membership.
        expected_score: (n, m). expected_cost: (n, m) US dollars.
        observations: (n, m) the level-weighted mean count of the clusters a query belongs to.
        novel: (n,) queries decided by the overall means; None = none of them.
    """

    fitted: "FittedMultiResolution"
    members: NDArray[np.intp]
    weights: Floats
    expected_score: Floats
    expected_cost: Floats
    observations: Floats
    novel: NDArray[np.bool_] | None

    @cached_property
    def _order(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and places of the finest level's clusters, nearest first."""
        order = (-self.weights[:, -1]).argsort(axis=1, kind="stable")
        return np.arange(len(order))[:, None], order

    @cached_property
    def clusters(self) -> NDArray[np.intp]:
        """(n, p) nearest clusters of the finest level, nearest first."""
        start, _ = self.fitted.levels.bounds[-1]
        p = self.fitted.levels.per_level
        return self.members[:, -p:][self._order] - start

    @cached_property
    def expected_latency(self) -> Floats:
        """(n, m) milliseconds; NaN = not known of the model."""
        return self.expected_usage("latency_ms")

    def expected_usage(self, quantity: str) -> Floats:
        """Return (n, m) expected ``prompt_tokens``, ``completion_tokens`` or ``latency_ms``; NaN = not known."""
        return self.fitted.expected_usage(self, quantity)

    def at_cost(self, expected_cost: Floats) -> "MultiResolutionEstimate":
        """Return the same with other (n, m) expected costs."""
        return MultiResolutionEstimate(
            self.fitted, self.members, self.weights, self.expected_score, expected_cost, self.observations, self.novel
        )

    @property
    def closeness(self) -> Floats:
        """(n, p) shares of membership in them."""
        return self.weights[:, -1][self._order]

    def price(self, alpha: float | None) -> float | None:
        """Return what a dollar counts in score: of alpha, or of the target or budget the router is set to.

        None = always the best single model; NaN = the objective cannot be met.
        """
        fitted = self.fitted
        if fitted.exchange is not None:
            return fitted.exchange.price
        return fitted.calibration.price_at(1.0 if alpha is None else alpha)

    def utility(self, alpha: float) -> Floats:
        """Return (n, m) expected score minus the price of alpha times expected cost; -inf for unknown models.

        Where the best single model is to be kept, the others come after it, by expected score.
        """
        fitted, price = self.fitted, self.price(alpha)
        if price is None:  # the reference; the others only where a constraint rules it out
            others = self.expected_score - 2.0
            others[:, fitted.calibration.reference] += 2.0
            return np.where(np.isnan(others), -np.inf, others)
        if math.isnan(price):
            return np.full(self.expected_score.shape, -np.inf)
        utility = self.expected_score - price * self.expected_cost
        return utility if fitted.complete else _with_gaps(utility, self.expected_score, self.expected_cost, price)


def _with_gaps(utility: Floats, expected_score: Floats, expected_cost: Floats, price: float) -> Floats:
    """Fill in NaN: an unpriced model is as dear as the dearest, a model of which nothing is known gets -inf."""
    unpriced = np.isnan(expected_cost)
    if unpriced.any():
        dearest = np.nanmax(expected_cost) if not unpriced.all() else 0.0
        utility = np.where(unpriced, expected_score - price * dearest, utility)
    return np.where(np.isnan(utility), -np.inf, utility)
