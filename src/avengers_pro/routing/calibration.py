"""What alpha, a target or a budget means on these records: one price of a dollar, read off leave-one-out outcomes.

Every policy without constraints is ``argmax P - price * Q`` with one global price (1 / US dollars). The path of
prices is walked on training rows with leave-one-out expectations, so its scores and costs are honest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import DamagedArtifactError
from avengers_pro.records.table import Floats

PRICES = np.concatenate([[0.0], np.logspace(-4, 3, 200)])
"""Times 1 / the models' mean cost."""
GUARD_Z = 1.0
"""Standard errors by which price 0 must beat the best single model to replace it."""
GUARD_Z_DEARER = 2.0
"""The same where price 0 costs more than the best single model."""
_MOST_KNOWN = 1024
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Training rows with leave-one-out expectations beside what happened.

    Attributes:
        expected_score: (n, m), made without the row itself.
        expected_cost: (n, m) likewise, US dollars.
        scores: (n, m) observed; NaN = not.
        costs: (n, m) observed; NaN = not.
        weights: (n,) of the rows, mean 1.
    """

    expected_score: Floats
    expected_cost: Floats
    scores: Floats
    costs: Floats
    weights: Floats


@dataclass(frozen=True)
class Calibration:
    """The path of prices for one pool, and what it did on training rows.

    Attributes:
        prices: (p,) ascending from 0, in 1 / US dollars.
        scores: (p,) mean leave-one-out score of each price's policy.
        costs: (p,) its mean cost in US dollars.
        score_squares: (p,) mean squared score.
        products: (p,) mean of its score times the reference's.
        reference: Column of the best single model.
        reference_score: Its mean.
        reference_cost: Its mean, US dollars.
        reference_square: Its mean squared score.
        rows: Training rows behind the means; with unequal weights, how many equal ones they are worth.
        guard_z: How many standard errors price 0 is above the reference, by paired differences.
        open: Whether alpha = 1 means price 0; else it means the reference itself.
        arc: (p,) position of each price on the frontier, 0 at alpha = 1 and 1 at alpha = 0.
    """

    prices: Floats
    scores: Floats
    costs: Floats
    score_squares: Floats
    products: Floats
    reference: int
    reference_score: float
    reference_cost: float
    reference_square: float
    rows: int
    guard_z: float
    open: bool
    arc: Floats
    _known: dict[float, float] = field(default_factory=dict, repr=False, compare=False)

    def arrays(self) -> dict[str, Floats]:
        """Return everything as named arrays."""
        path = np.stack([self.prices, self.scores, self.costs, self.score_squares, self.products, self.arc])
        single = (
            self.reference, self.reference_score, self.reference_cost, self.reference_square, self.rows, self.guard_z,
            self.open,
        )  # fmt: skip
        return {"calibration_path": path, "calibration_reference": np.array(single, dtype=np.float64)}

    @classmethod
    def restore(cls, arrays: Mapping[str, Floats], m: int) -> "Calibration":
        """Rebuild from ``arrays``, for a pool of m models.

        Raises:
            DamagedArtifactError: If an array is missing or has the wrong shape.
        """
        path, single = (arrays.get(f"calibration_{name}", np.empty(0)) for name in ("path", "reference"))
        if path.ndim != 2 or len(path) != 6 or single.shape != (7,) or not 0 <= single[0] < m:  # noqa: PLR2004
            raise DamagedArtifactError("the router lacks its calibration")
        prices, scores, costs, squares, products, arc = path
        reference, score, cost, square, rows, guard_z, is_open = single.tolist()
        return cls(
            prices, scores, costs, squares, products, int(reference), score, cost, square, int(rows), guard_z,
            bool(is_open), arc,
        )  # fmt: skip

    def price_at(self, alpha: float) -> float | None:
        """Return the price of an alpha; None = always the reference."""
        if alpha >= 1:
            return 0.0 if self.open else None
        price = self._known.get(alpha)
        if price is None:
            floor = self.prices[1] / 10 if len(self.prices) > 1 else 1.0
            price = float(np.exp(np.interp(1 - alpha, self.arc, np.log(np.maximum(self.prices, floor)))))
            if len(self._known) < _MOST_KNOWN:
                self._known[alpha] = price
        return price

    def price_for_target(self, share: float, confidence: float, window: int | None) -> float | None:
        """Return the price of the cheapest policy whose score is at least ``share`` of the reference's.

        Args:
            share: 0.95 = 95 % of the best single model's score.
            confidence: Probability that this holds: in the long run, or over the next ``window`` queries.
            window: Number of queries it is promised for; None = the long run.

        Returns:
            None if only the reference itself meets it.
        """
        z = NormalDist().inv_cdf(confidence) * np.sqrt(1 + (self.rows / window if window else 0.0))
        mean = self.scores - share * self.reference_score
        square = self.score_squares - 2 * share * self.products + share**2 * self.reference_square
        error = np.sqrt(np.maximum(square - mean**2, 0.0) / self.rows)
        meets = (mean - z * error >= 0) & (self.costs <= self.reference_cost)
        if not meets.any():
            return None
        return float(self.prices[np.flatnonzero(meets)[np.argmin(self.costs[meets])]])

    def price_for_budget(self, dollars: float) -> float:
        """Return the price of the best policy whose mean cost is within a budget; the largest if none is."""
        within = np.flatnonzero(self.costs <= dollars)
        return float(self.prices[within[np.argmax(self.scores[within])]] if within.size else self.prices[-1])


def calibrate(outcomes: Outcomes, mean_scores: Floats, mean_costs: Floats) -> Calibration:
    """Walk the path of prices.

    Args:
        outcomes: n training rows, m models; only observed cells can be chosen.
        mean_scores: (m,) overall means; the best is the reference.
        mean_costs: (m,) US dollars; NaN = not known.
    """
    reference = int(np.lexsort((np.nan_to_num(mean_costs, nan=np.inf), -np.nan_to_num(mean_scores, nan=-1.0)))[0])
    scale = float(np.nanmean(mean_costs)) if np.isfinite(mean_costs).any() else 0.0
    prices = PRICES / scale if scale > 0 else PRICES[:1]
    score, cost = _walk(outcomes, prices)
    mine, price = outcomes.scores[:, reference], outcomes.costs[:, reference]
    seen = ~np.isnan(mine)
    if outcomes.scores.shape[1] > 1:  # a row with one model leaves no choice and says nothing about choosing
        seen &= (~np.isnan(outcomes.scores)).sum(axis=1) > 1
    weight = outcomes.weights * seen
    total = max(float(weight.sum()), 1e-12)
    rows = max(total**2 / max(float((weight**2).sum()), 1e-12), 1.0)

    def mean(values: Floats) -> Floats:
        averaged: Floats = np.nan_to_num(values) @ weight / total
        return averaged

    scores, costs = mean(score), mean(cost)
    squares, products = mean(score**2), mean(score * np.nan_to_num(mine))
    reference_score, reference_square = float(mean(mine)), float(mean(mine**2))
    reference_cost = float(np.nan_to_num(price) @ weight / total)
    gain = scores[0] - reference_score
    gain = 0.0 if abs(gain) < _ROUNDING else gain  # the same choices, added up in another order
    error = np.sqrt(max(squares[0] - 2 * products[0] + reference_square - gain**2, 0.0) / rows)
    guard_z = float(gain / error) if error > 0 else (np.inf if gain > 0 else 0.0)
    is_open = bool(gain > 0 and guard_z >= (GUARD_Z if costs[0] <= reference_cost else GUARD_Z_DEARER))
    return Calibration(
        prices, scores, costs, squares, products, reference, reference_score, reference_cost, reference_square,
        int(rows), guard_z, is_open, _arc(scores, costs, 0 if is_open else _first_within(costs, reference_cost)),
    )  # fmt: skip


def _first_within(costs: Floats, limit: float) -> int:
    within = np.flatnonzero(costs <= limit)
    return int(within[0]) if within.size else len(costs) - 1


def _walk(outcomes: Outcomes, prices: Floats) -> tuple[Floats, Floats]:
    """Return (p, n) realised scores and costs of every price's choices; ties go to the cheaper model."""
    usable = ~np.isnan(outcomes.scores)
    known = ~np.isnan(outcomes.expected_cost)
    typical = np.where(known, outcomes.expected_cost, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    order = np.argsort(np.where(known.any(axis=0), typical, np.inf), kind="stable")
    expected = np.where(usable, np.nan_to_num(outcomes.expected_score, nan=-np.inf), -np.inf)[:, order]
    dear = np.nan_to_num(outcomes.expected_cost, nan=_dearest(outcomes.expected_cost))[:, order]
    rows = np.arange(len(expected))
    chosen = np.empty((len(prices), len(expected)), dtype=np.intp)
    for line, price in enumerate(prices):
        chosen[line] = order[(expected - price * dear).argmax(axis=1)]
    return outcomes.scores[rows, chosen], outcomes.costs[rows, chosen]


def _dearest(costs: Floats) -> float:
    return float(np.nanmax(costs)) if np.isfinite(costs).any() else 0.0


def _arc(scores: Floats, costs: Floats, start: int) -> Floats:
    """Return the cumulative length of the path from ``start``, both axes scaled to [0, 1] and made monotone."""
    if len(scores) == 1:
        return np.zeros(1)
    x = np.minimum.accumulate(costs)
    y = np.minimum.accumulate(scores)
    x, y = ((values - values.min()) / (np.ptp(values) or 1.0) for values in (x, y))
    steps = np.hypot(np.diff(x), np.diff(y))
    steps[:start] = 0.0
    length = np.concatenate([[0.0], np.cumsum(steps)])
    return length / length[-1] if length[-1] > 0 else np.linspace(0, 1, len(scores))


def restricted(outcomes: Outcomes, allowed: NDArray[np.bool_]) -> Outcomes:
    """Keep only the allowed columns."""
    return Outcomes(
        outcomes.expected_score[:, allowed],
        outcomes.expected_cost[:, allowed],
        outcomes.scores[:, allowed],
        outcomes.costs[:, allowed],
        outcomes.weights,
    )
