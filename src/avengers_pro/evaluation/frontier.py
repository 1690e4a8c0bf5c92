"""The cost-score frontier of a set of operating points, and what is read off it."""

from dataclasses import dataclass

import numpy as np

from avengers_pro.records.table import Floats


@dataclass(frozen=True, slots=True)
class Frontier:
    """The non-decreasing upper concave hull H of operating points; between vertices, a mixture of two.

    Attributes:
        costs: (v,) US dollars a query, ascending.
        scores: (v,) ascending; H is flat to the right of the last vertex and undefined left of the first.
    """

    costs: Floats
    scores: Floats

    @classmethod
    def of(cls, costs: Floats, scores: Floats, *, through_origin: bool = False) -> "Frontier":
        """Build H from points in any order.

        Args:
            costs: (p,) finite.
            scores: (p,) finite.
            through_origin: Add the point that answers nothing for nothing, (0, 0).
        """
        order = np.lexsort((-scores, costs))
        hull: list[tuple[float, float]] = [(0.0, 0.0)] if through_origin else []
        for cost, score in zip(costs[order].tolist(), scores[order].tolist(), strict=True):
            if hull and score <= hull[-1][1]:
                continue
            while len(hull) > 1 and _is_below(hull[-1], hull[-2], (cost, score)):
                hull.pop()
            hull.append((cost, score))
        vertices = np.array(hull)
        return cls(vertices[:, 0], vertices[:, 1])

    def score_at(self, cost: float) -> float:
        """Return H(cost); NaN left of the first vertex."""
        return float(np.interp(cost, self.costs, self.scores, left=np.nan))

    def cost_at(self, score: float) -> float:
        """Return the least cost at which H reaches a score; NaN if it never does."""
        if score > self.scores[-1]:
            return float("nan")
        return float(np.interp(score, self.scores, self.costs))

    def integral(self, low: float, high: float) -> float:
        """Integrate H from ``low`` to ``high``; nothing is counted left of the first vertex."""
        low = max(low, float(self.costs[0]))
        if high <= low:
            return 0.0
        inside = (self.costs > low) & (self.costs < high)
        x = np.concatenate([[low], self.costs[inside], [high]])
        return float(np.trapezoid(np.interp(x, self.costs, self.scores), x))


def _is_below(middle: tuple[float, float], left: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether the middle point lies on or below the line from left to right."""
    rise = (middle[1] - left[1]) * (right[0] - left[0])
    return rise <= (right[1] - left[1]) * (middle[0] - left[0])


def area_at_best(costs: Floats, scores: Floats, best_cost: float) -> float:
    """Area@B: the mean of H over costs from 0 to what the best single model costs.

    (0, 0) is added on the left; H is clipped at ``best_cost`` by interpolation. In [0, 1]; it does not depend on
    which other methods are compared. NaN if ``best_cost`` is 0.
    """
    if not best_cost > 0:
        return float("nan")
    return Frontier.of(costs, scores, through_origin=True).integral(0.0, best_cost) / best_cost


def aiq(costs: Floats, scores: Floats, lowest: float, highest: float) -> float:
    """AIQ of RouterBench (arXiv 2403.12031): the mean of H over the cost range of all methods compared."""
    if not highest > lowest:
        return float("nan")
    return Frontier.of(costs, scores).integral(lowest, highest) / (highest - lowest)


def pareto_distance(costs: Floats, scores: Floats, all_costs: Floats, all_scores: Floats) -> float:
    """Mean distance of points to the joint Pareto frontier, a step function, both axes scaled to [0, 1].

    Args:
        costs: (p,) of the method.
        scores: (p,) of the method.
        all_costs: (q,) of every method and single model compared, the method's own included.
        all_scores: (q,) likewise.
    """
    cost_range, score_range = np.ptp(all_costs) or 1.0, np.ptp(all_scores) or 1.0
    order = np.lexsort((-all_scores, all_costs))
    best = np.maximum.accumulate(all_scores[order])
    front = order[np.concatenate([[True], best[1:] > best[:-1]])]
    x, y = all_costs[front] / cost_range, all_scores[front] / score_range
    right = np.append(x[1:], max(float(x[-1]), float(all_costs.max() / cost_range)))
    below = np.append(y[0], y[:-1])
    distances = []
    for cost, score in zip(costs / cost_range, scores / score_range, strict=True):
        across = np.hypot(np.clip(cost, x, right) - cost, y - score)
        up = np.hypot(x - cost, np.clip(score, below, y) - score)
        distances.append(min(across.min(), up.min()))
    return float(np.mean(distances))
