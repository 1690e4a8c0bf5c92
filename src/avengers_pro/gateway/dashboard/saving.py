"""How sure the saving is: expected costs of the best single model, held against what it really cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Z = 1.6449
"""Of a 90 % interval."""
FEWEST = 30
"""Requests that the best single model must have answered itself; fewer say too little."""


@dataclass(frozen=True, slots=True)
class Saving:
    """What was saved against always using the best single model.

    Attributes:
        baseline_usd: What it would have cost on the compared requests, US dollars: as the router expects, times
            ``factor`` where that is known.
        saved_usd: That minus what they cost, US dollars.
        share: The saving over what it would have cost; None = that is nothing.
        low: Lower end of the 90 % interval; None = it cannot be told.
        high: Upper end, likewise.
        checked: Requests that it answered itself, on which its expected cost could be held against the real one.
        factor: Real over expected cost on these; None = there are too few.
    """

    baseline_usd: float
    saved_usd: float
    share: float | None
    low: float | None
    high: float | None
    checked: int
    factor: float | None


def saving(baseline_usd: float, cost_usd: float, requests: int, latest: Sequence[Any]) -> Saving:
    """Estimate the saving with its interval.

    What the best single model would have cost is the router's expectation. Where that model answered itself, the
    real cost is known: the ratio of sums, with its standard error (Cochran, Sampling Techniques, 2.11), says how far
    expectations can be trusted, and the scatter of single requests around it how far chance moves a sum of so many.

    Args:
        baseline_usd: Expected cost of the best single model on the compared requests.
        cost_usd: What these cost.
        requests: How many these are.
        latest: Rows with served_by, cost_usd, baseline_model and baseline_cost_usd.
    """
    pairs = [
        (row.baseline_cost_usd, row.cost_usd)
        for row in latest
        if row.served_by is not None and row.served_by == row.baseline_model and row.baseline_cost_usd and row.cost_usd
    ]
    n, expected = len(pairs), sum(pair[0] for pair in pairs)
    if n < FEWEST:
        return _saving(baseline_usd, cost_usd, None, n, None)
    factor = sum(pair[1] for pair in pairs) / expected
    square = sum((real - factor * guess) ** 2 for guess, real in pairs) / (n - 1)
    error = math.sqrt(n * square) / expected
    half = Z * math.sqrt((baseline_usd * error) ** 2 + requests * square)
    return _saving(factor * baseline_usd, cost_usd, half, n, factor)


def _saving(baseline: float, cost: float, half: float | None, checked: int, factor: float | None) -> Saving:
    saved = baseline - cost
    share = saved / baseline if baseline > 0 else None
    if half is None:
        return Saving(baseline, saved, share, None, None, checked, factor)
    return Saving(baseline, saved, share, saved - half, saved + half, checked, factor)
