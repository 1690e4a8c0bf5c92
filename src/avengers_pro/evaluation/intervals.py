"""Paired differences with query-bootstrap intervals."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from avengers_pro.evaluation.frontier import area_at_best
from avengers_pro.evaluation.replay import Replay
from avengers_pro.evaluation.results import Paired
from avengers_pro.records.table import Floats, Records

REPLICATES = 400

Statistic = Callable[[int, Floats], Floats]
"""(split, (b, n_test) query weights) -> (b,) values."""


def draw_weights(records: Records, seed: int = 0, replicates: int = REPLICATES) -> NDArray[np.float32]:
    """Draw how often each query appears in each bootstrap sample, within datasets.

    Returns:
        (1 + replicates, n); the first line is the real sample, all ones. The same query has the same weight in
        every split, so that overlapping splits are not counted as independent.
    """
    generator = np.random.default_rng(seed)
    weights = np.ones((1 + replicates, len(records)), dtype=np.float32)
    for code in range(len(records.dataset_names)):
        rows = np.flatnonzero(records.dataset_codes == code)
        weights[1:, rows] = generator.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=replicates)
    return weights


def part_weights(weights: NDArray[np.float32], rows: NDArray[np.intp]) -> Floats:
    """Return (b, n_test) weights of one test part, each line summing to 1."""
    mine = weights[:, rows].astype(np.float64)
    mine[mine.sum(axis=1) == 0] = 1.0  # a tiny part of which a replicate drew nothing
    mine /= mine.sum(axis=1, keepdims=True)
    return mine


def mean_statistic(values: Sequence[Floats]) -> Statistic:
    """Return the weighted mean of one (n_test,) array a split."""
    return lambda split, weights: weights @ values[split]


def area_statistic(replays: Sequence[Replay], best_costs: Sequence[Floats]) -> Statistic:
    """Return Area@B of resampled queries; the best single model's cost is resampled with them."""

    def area(split: int, weights: Floats) -> Floats:
        scores, costs = weights @ replays[split].scores.T, weights @ replays[split].costs.T
        best = weights @ best_costs[split]
        return np.array([area_at_best(*line) for line in zip(costs, scores, best, strict=True)])

    return area


def values_of(statistic: Statistic, weights: Sequence[Floats]) -> Floats:
    """Return (splits, 1 + replicates) values of a statistic."""
    return np.array([statistic(split, mine) for split, mine in enumerate(weights)])


def compare(a: str, b: str, metric: str, values_a: Floats, values_b: Floats, *, lower_wins: bool = False) -> Paired:
    """Compare two methods on the same resampled queries.

    Args:
        a: First method.
        b: Second method.
        metric: What was measured.
        values_a: (splits, 1 + replicates); column 0 is the real sample.
        values_b: Likewise.
        lower_wins: Whether less is better, as for costs.
    """
    difference = values_a - values_b
    means = difference.mean(axis=0)
    low, high = np.percentile(means[1:], [2.5, 97.5])
    real = -difference[:, 0] if lower_wins else difference[:, 0]
    return Paired(
        a=a,
        b=b,
        metric=metric,
        difference=float(means[0]),
        interval=(float(low), float(high)),
        wins=int((real > 0).sum()),
        splits=len(difference),
    )
