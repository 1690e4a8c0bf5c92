"""Paired differences on the same queries, with intervals that a handful of differences does not fool."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from avengers_pro.evaluation.intervals import compare, draw_weights, part_weights
from avengers_pro.learning.switch import CANNOT_TELL, COST, Change, outcome_of
from avengers_pro.records.table import Floats, Records, Rows

MOST_UNOBSERVED = 0.05
"""If the difference is unknown on a larger share of the queries, the others do not speak for them."""


class Pairs:
    """What two routers got on the same n queries, and intervals of the mean difference.

    Attributes:
        flipped: (n,) True where the two chose differently.
    """

    def __init__(
        self,
        table: Records,
        flipped: NDArray[np.bool_],
        measured: Mapping[str, tuple[Floats, Floats]],
        margins: Mapping[str, float],
        seed: int,
    ) -> None:
        """Draw the bootstrap samples.

        Args:
            table: The n queries; samples are drawn within its datasets.
            flipped: (n,) True where the two chose differently.
            measured: For ``score`` and ``cost``, (n,) of A and (n,) of B; NaN = not observed.
            margins: For each of them, by how much B may be worse.
            seed: Of the samples.
        """
        self.flipped, self._measured, self._margins = flipped, measured, margins
        self._weights = draw_weights(table, seed)
        # Two imagined queries are drawn along, which B wins and loses by a whole point: where all differences seen are
        # 0, or a handful has the same sign, the sample alone would be sure of itself. Agresti and Min 2005 (Statistics
        # in Medicine 24, 729-740) add imagined pairs to matched proportions for the same reason.
        imagined = np.random.default_rng(seed).poisson(1.0, (2, len(self._weights) - 1))
        self._imagined: Floats = (imagined[0] - imagined[1]).astype(np.float64)

    def change(self, measure: str, rows: Rows | None = None) -> Change:
        """Compare the two on some rows, or on all.

        Where both chose the same model the difference is 0, even if nobody observed it. Means, and what a difference in
        cost is divided by, are those of the queries on which both were observed.
        """
        rows = np.arange(len(self.flipped)) if rows is None else rows
        a, b = (values[rows] for values in self._measured[measure])
        both = np.isfinite(a) & np.isfinite(b)
        if not both.any():
            return self._change(measure, obstacle="it is not observed for both choices on any query")
        means = float(a[both].mean()), float(b[both].mean())
        known = both | ~self.flipped[rows]
        queries, missing = int(known.sum()), 1 - float(known.mean())
        if measure == COST and not means[0] > 0:
            return self._change(measure, *means, queries=queries, obstacle="A costs nothing, nothing to divide by")
        many = missing > MOST_UNOBSERVED
        obstacle = f"on {missing:.1%} of the queries it is not observed for both choices" if many else ""
        difference = part_weights(self._weights, rows[known]) @ np.where(self.flipped[rows], b - a, 0.0)[known]
        if measure == COST:
            difference = difference / (part_weights(self._weights, rows[both]) @ a[both])
        # One imagined query is off by 1 in score; in cost by what a query costs A.
        difference[1:] += self._imagined / queries
        found = compare("B", "A", measure, difference[None], np.zeros((1, len(difference))))
        return self._change(measure, *means, found.difference, found.interval, queries, obstacle)

    def _change(
        self,
        measure: str,
        a: float | None = None,
        b: float | None = None,
        difference: float | None = None,
        interval: tuple[float, float] | None = None,
        queries: int = 0,
        obstacle: str = "",
    ) -> Change:
        margin = self._margins[measure]
        outcome = CANNOT_TELL if obstacle else outcome_of(interval, margin, lower_wins=measure == COST)
        return Change(
            measure=measure,
            a=a,
            b=b,
            difference=difference,
            interval=interval,
            margin=margin,
            queries=queries,
            outcome=outcome,
            obstacle=obstacle,
        )
