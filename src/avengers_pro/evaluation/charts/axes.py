"""The cost and score axes of a plot whose places must be known in pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avengers_pro.evaluation.charts.reading import cost_of, is_log
from avengers_pro.evaluation.charts.theme import WIDTH, grown, log_ticks, money_axis
from avengers_pro.evaluation.results import Point

if TYPE_CHECKING:
    import altair as alt

HEIGHT = 430


@dataclass(frozen=True, slots=True)
class CostScoreAxes:
    """Both axes and their place on the plot in pixels."""

    costs: tuple[float, float]
    scores: tuple[float, float]
    log: bool

    @classmethod
    def of(cls, points: Sequence[Point]) -> "CostScoreAxes":
        """Fit both axes to some points."""
        costs = [cost_of(point) for point in points]
        low, high = grown([100 * point.score_micro for point in points])
        if is_log(costs):
            left, right = (10**bound for bound in grown([math.log10(cost) for cost in costs], 0.06))
        else:
            left, right = 0.0, max(costs) * 1.06 or 1.0
        return cls((left, right), (max(low, -1.0), min(high, 101.0)), is_log(costs))

    def x(self) -> "alt.X":
        """Return the cost channel."""
        import altair as alt

        axis = money_axis(log_ticks(*self.costs) if self.log else None)
        return alt.X(
            "cost:Q",
            scale=alt.Scale(type="log" if self.log else "linear", domain=list(self.costs), nice=False),
            axis=axis,
            title=f"Cost of 1,000 queries, US dollars{' (log scale)' if self.log else ''}",
        )

    def y(self) -> "alt.Y":
        """Return the score channel."""
        import altair as alt

        scale = alt.Scale(domain=list(self.scores), nice=False, zero=False)
        return alt.Y("score:Q", scale=scale, title="Mean score, %", axis=alt.Axis(tickCount=8))

    def pixel(self, point: Point) -> tuple[float, float]:
        """Return where a point lies."""
        return self.place(cost_of(point), 100 * point.score_micro)

    def place(self, cost: float, score: float) -> tuple[float, float]:
        """Return where a cost for 1,000 queries and a score in percent lie."""
        left, x, right = (self._flat(value) for value in (self.costs[0], cost, self.costs[1]))
        low, high = self.scores
        return (x - left) / (right - left) * WIDTH, (high - score) / (high - low) * HEIGHT

    def value(self, x: float, y: float) -> tuple[float, float]:
        """Return (cost, score) of a place on the plot."""
        left, right = (self._flat(value) for value in self.costs)
        low, high = self.scores
        cost = left + x / WIDTH * (right - left)
        return (10**cost if self.log else cost), high - y / HEIGHT * (high - low)

    def _flat(self, cost: float) -> float:
        return math.log10(cost) if self.log else cost
