"""How much of what a cluster says is believed: shrunk deviations, leave-one-out predictions, level weights.

Everything is a deviation from the models' overall means: scores S - g, costs C / gc - 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.records.table import Floats
from avengers_pro.routing.clusters import Labels
from avengers_pro.routing.levels import Levels
from avengers_pro.routing.profile import Profile

STRENGTH_BOUNDS = (2.0, 200.0)
STRENGTH_FACTOR = 0.7
STRENGTH_WITH_GAPS = 15.0
LEAST_COST_STRENGTH = 10.0


@dataclass(frozen=True, slots=True)
class Means:
    """Overall means of m models, what a router without clusters would know.

    Attributes:
        scores: (m,) g; NaN for a model never observed.
        costs: (m,) gc in US dollars; NaN for a model never priced.
    """

    scores: Floats
    costs: Floats


def overall_means(profile: Profile, levels: Levels) -> Means:
    """Read the overall means off any level: its soft counts add up to the table's."""
    start, end = levels.bounds[0]
    first = Profile(*(values[start:end] for values in profile.arrays().values())).totals()
    return Means(first.mean_score[0], first.mean_cost[0])


def deviations(scores: Floats, costs: Floats, means: Means) -> tuple[Floats, Floats]:
    """Return (n, m) score and cost deviations; NaN where not observed."""
    return scores - means.scores, _relative(costs, means.costs) - 1


def _relative(costs: Floats, mean_costs: Floats) -> Floats:
    """Divide by each model's mean; a model that costs nothing has no relative deviation: 1 where it is known."""
    ratio = np.where(np.isnan(costs), np.nan, 1.0)
    return np.divide(costs, mean_costs, out=ratio, where=np.nan_to_num(mean_costs) > 0)


def deviation_sums(profile: Profile, means: Means) -> tuple[Floats, Floats]:
    """Return (K, m) sums of the deviations in each cluster, 0 where nothing was observed."""
    scores = profile.score_sums - profile.score_counts * np.nan_to_num(means.scores)
    priced = np.nan_to_num(means.costs) > 0
    costs = np.where(priced, profile.cost_sums / np.where(priced, means.costs, 1.0) - profile.cost_counts, 0.0)
    return scores, costs


def row_centered(values: Floats) -> Floats:
    """Subtract each row's mean over what is known in it."""
    known = ~np.isnan(values)
    counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centered: Floats = values - np.where(known, values, 0.0).sum(axis=1, keepdims=True) / counts
    return centered


def prior_strengths(scores: Floats, row_weights: Floats, clusters: Labels, weights: Floats, levels: Levels) -> Floats:
    """Estimate, for each level, how many observations a cluster's deviation must outweigh.

    Method of moments on what matters for routing, the differences between models: variance within clusters over
    variance between them. Tables with gaps use one fixed strength; rows without any score say nothing.

    Args:
        scores: (n, m); NaN = not observed.
        row_weights: (n,) weight of each row.
        clusters: (n, L * p) as ``Levels.members`` gives them.
        weights: (n, L, p) likewise.
        levels: The L levels.

    Returns:
        (L,) pseudo-observations, within ``STRENGTH_BOUNDS``.
    """
    known = ~np.isnan(scores)
    full = known.all(axis=1)
    if (known.any(axis=1) & ~full).any():
        return np.full(len(levels), STRENGTH_WITH_GAPS)
    scores, row_weights, clusters, weights = scores[full], row_weights[full], clusters[full], weights[full]
    residual = row_centered(scores)
    residual = residual - np.average(residual, axis=0, weights=row_weights)
    total = float((row_weights[:, None] * residual**2).sum())
    n, p = float(row_weights.sum()), levels.per_level
    strengths = []
    for level, (start, end) in enumerate(levels.bounds):
        mine, share = clusters[:, level * p : (level + 1) * p] - start, weights[:, level] * row_weights[:, None]
        profile = Profile.of_members(residual, residual, mine, share, end - start)
        strengths.append(_strength(profile, total, n, end - start))
    return np.array(strengths)


def _strength(profile: Profile, total: float, n: float, k: int) -> float:
    counts = profile.score_counts[:, 0]
    low, high = STRENGTH_BOUNDS
    if k == 1 or n <= k:
        return high
    between = float((counts * np.nansum(profile.mean_score**2, axis=1)).sum())
    within = (total - between) / (n - k)
    typical = (n - (counts**2).sum() / n) / (k - 1)
    variance = (between / (k - 1) - within) / typical
    return high if variance <= 0 else float(np.clip(STRENGTH_FACTOR * within / variance, low, high))


def leave_one_out(
    deviation: Floats, sums: Floats, counts: Floats, clusters: Labels, weights: Floats, strength: float
) -> Floats:
    """Predict each row's deviation in one level as if the row had not been in the tables; no refit.

    Args:
        deviation: (n, m) of the rows; NaN = not observed.
        sums: (K, m) of all rows.
        counts: (K, m) of all rows.
        clusters: (n, p) of the level.
        weights: (n, p) the rows' shares in the sums.
        strength: Pseudo-observations of the prior, whose mean is 0.
    """
    known = ~np.isnan(deviation)
    own = np.where(known, deviation, 0.0)
    predicted = np.zeros_like(own)
    share = weights / weights.sum(axis=1, keepdims=True)
    for column in range(clusters.shape[1]):
        cluster, weight = clusters[:, column], weights[:, column, None]
        left = np.maximum(counts[cluster] - weight * known, 0.0)
        predicted += share[:, column, None] * (sums[cluster] - weight * own) / (left + strength)
    return predicted


def explained(deviation: Floats, predicted: Floats, row_weights: Floats) -> float:
    """Return r2 of predicted deviations over the observed cells; at most 1, negative if worse than nothing."""
    known = ~np.isnan(deviation)
    error = np.where(known, deviation - predicted, 0.0) ** 2
    total = float((row_weights[:, None] * np.where(known, deviation, 0.0) ** 2).sum())
    return 1 - float((row_weights[:, None] * error).sum()) / total if total > 0 else 0.0


def level_weights(r2: NDArray[np.float64]) -> Floats:
    """Return (L,) weights proportional to max(r2, 0) squared; all 0 if no level explains anything."""
    useful = np.maximum(r2, 0.0) ** 2
    return useful / useful.sum() if useful.sum() > 0 else np.zeros_like(useful)
