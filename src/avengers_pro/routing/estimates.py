"""Estimates that are plain tables: expectations worked out, or a choice that does not depend on alpha."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.profile import Profile


@dataclass(frozen=True)
class TableEstimate:
    """Expectations already worked out, (n, m) each; the utility weighs score against cost.

    ``alpha * score / score_range - (1 - alpha) * cost / cost_range``, the ranges being those of the models'
    means: one price of a dollar for all queries.
    """

    expected_score: Floats
    expected_cost: Floats
    observations: Floats
    means: Profile
    clusters: NDArray[np.intp] | None = None
    closeness: Floats | None = None
    novel: NDArray[np.bool_] | None = None

    def utility(self, alpha: float) -> Floats:
        """Return (n, m); -inf for a model of which nothing is known; an unpriced model is as dear as the dearest."""
        cost = self.means.mean_cost[0]
        dearest = np.nanmax(cost) if np.isfinite(cost).any() else 0.0
        price = (1 - alpha) / (_range(cost) or 1.0)
        utility = (alpha / (_range(self.means.mean_score[0]) or 1.0)) * self.expected_score
        utility = utility - price * np.where(np.isnan(self.expected_cost), dearest, self.expected_cost)
        return np.where(np.isnan(utility), -np.inf, utility)


def _range(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.ptp(known)) if known.size else 0.0


@dataclass(frozen=True)
class FixedEstimate:
    """Expectations, and a choice that does not depend on alpha."""

    table: TableEstimate
    preference: Floats
    clusters: NDArray[np.intp] | None = None
    closeness: Floats | None = None
    novel: NDArray[np.bool_] | None = None

    @property
    def expected_score(self) -> Floats:
        """(n, m) mean scores."""
        return self.table.expected_score

    @property
    def expected_cost(self) -> Floats:
        """(n, m) mean costs."""
        return self.table.expected_cost

    @property
    def observations(self) -> Floats:
        """(n, m) scores behind them."""
        return self.table.observations

    def utility(self, alpha: float) -> Floats:  # noqa: ARG002
        """Return the (n, m) preference, whatever alpha is."""
        return self.preference


def totals(records: Records, weights: Floats | None = None) -> Profile:
    """Sum up all rows as one cluster, each with its (n,) weight if any."""
    one = np.zeros(len(records), dtype=np.intp)
    if weights is None:
        return Profile.of(records.scores, records.costs, one, 1)
    return Profile.of_members(records.scores, records.costs, one[:, None], weights[:, None], 1)


def everywhere(means: Profile, n: int) -> TableEstimate:
    """Expect the same means on n queries."""
    m = means.score_counts.shape[1]
    score, cost, counts = (
        np.broadcast_to(values, (n, m)) for values in (means.mean_score, means.mean_cost, means.score_counts)
    )
    return TableEstimate(score, cost, counts, means)
