"""What is believed of the evidence: strengths, level weights, transfers, and the leave-one-out expectations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.records.table import Floats
from avengers_pro.routing.calibration import Outcomes
from avengers_pro.routing.evidence import Evidence
from avengers_pro.routing.levels import Levels
from avengers_pro.routing.method import Arrays, check_shapes
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.shrinkage import (
    LEAST_COST_STRENGTH,
    Means,
    deviation_sums,
    deviations,
    explained,
    leave_one_out,
    level_weights,
    overall_means,
    prior_strengths,
    row_centered,
)
from avengers_pro.routing.transfer import Transfer, restored_transfer, sparse_models

LEAST_COST_SHARE = 0.02
"""An expected cost is never below this share of the model's mean cost."""


@dataclass(frozen=True, slots=True)
class Belief:
    """How evidence becomes expectations.

    Attributes:
        means: Overall means.
        strengths: (L,) pseudo-observations of the prior.
        score_weights: (L,) level weights of the scores.
        cost_weights: (L,) level weights of the costs.
        score_transfer: For models with few labels.
        cost_transfer: Likewise.
    """

    means: Means
    strengths: Floats
    score_weights: Floats
    cost_weights: Floats
    score_transfer: Transfer
    cost_transfer: Transfer

    @property
    def base(self) -> tuple[Floats, Floats]:
        """(m,) expected scores and US dollars where the clusters say nothing."""
        means = self.means
        return means.scores + self.score_transfer.shifts, means.costs * (1 + self.cost_transfer.shifts)

    def cost_strength(self, level: int) -> float:
        """Pseudo-observations of the prior of costs, tokens and latencies."""
        return max(float(self.strengths[level]), LEAST_COST_STRENGTH)

    def level_tables(self, profile: Profile, levels: Levels) -> tuple[Floats, Floats]:
        """Return (K, m) what each cluster adds to expected score and US dollars, level weight included."""
        sums, cost_sums = deviation_sums(profile, self.means)
        scores, costs = np.zeros_like(sums), np.zeros_like(sums)
        for level, (start, end) in enumerate(levels.bounds):
            part = slice(start, end)
            scores[part] = self.score_weights[level] * sums[part] / (profile.score_counts[part] + self.strengths[level])
            strength = self.cost_strength(level)
            costs[part] = self.cost_weights[level] * cost_sums[part] / (profile.cost_counts[part] + strength)
        scores, costs = scores @ self.score_transfer.matrix.T, costs @ self.cost_transfer.matrix.T
        return scores, costs * np.nan_to_num(self.means.costs)

    def quantity_table(self, counts: Floats, sums: Floats, levels: Levels) -> tuple[Floats, Floats]:
        """Return (m,) means of a quantity of use and (K, m) what each cluster adds; spread as costs are.

        Args:
            counts: (K, m) as in ``Usage``.
            sums: (K, m) likewise.
            levels: The clusters.
        """
        start, end = levels.bounds[0]
        known = counts[start:end].sum(axis=0)
        mean = np.divide(sums[start:end].sum(axis=0), known, out=np.full(len(known), np.nan), where=known > 0)
        table = np.nan_to_num(sums - counts * mean)
        for level, (first, last) in enumerate(levels.bounds):
            table[first:last] *= self.cost_weights[level] / (counts[first:last] + self.cost_strength(level))
        return mean, table

    def arrays(self) -> Arrays:
        """Return everything but the means, which the evidence holds."""
        found: Arrays = {
            "strengths": self.strengths,
            "score_weights": self.score_weights,
            "cost_weights": self.cost_weights,
        }
        for name, transfer in (("score_transfer", self.score_transfer), ("cost_transfer", self.cost_transfer)):
            if not (np.array_equal(transfer.matrix, np.eye(len(transfer.matrix))) and not transfer.shifts.any()):
                found |= {f"{name}_matrix": transfer.matrix, f"{name}_shifts": transfer.shifts}
        return found

    @classmethod
    def restore(cls, arrays: Arrays, evidence: Evidence, levels: Levels) -> "Belief":
        """Rebuild from ``arrays``.

        Raises:
            DamagedArtifactError: If an array is missing or has the wrong shape.
        """
        names = ("strengths", "score_weights", "cost_weights")
        check_shapes(arrays, dict.fromkeys(names, (len(levels),)))
        m = len(evidence.models)
        return cls(
            overall_means(evidence.profile, levels),
            arrays["strengths"],
            arrays["score_weights"],
            arrays["cost_weights"],
            restored_transfer(arrays, "score_transfer", m),
            restored_transfer(arrays, "cost_transfer", m),
        )


def believe(evidence: Evidence, levels: Levels, clusters: NDArray[np.intp], shares: Floats) -> tuple[Belief, Outcomes]:
    """Work out what to believe, and the sample's expectations as if no row had seen itself.

    Args:
        evidence: Sums and sample.
        levels: The L levels of clusters.
        clusters: (s, L * p) of the sample, as ``Levels.members`` gives them.
        shares: (s, L, p) likewise.
    """
    sample, profile = evidence.sample, evidence.profile
    means = overall_means(profile, levels)
    start, end = levels.bounds[0]
    sparse = sparse_models(profile.score_counts[start:end].sum(axis=0))
    strengths = prior_strengths(sample.scores[:, ~sparse], sample.weights, clusters, shares, levels)
    deviation, cost_deviation = deviations(sample.scores, sample.costs, means)
    sums, cost_sums = deviation_sums(profile, means)
    p = levels.per_level
    scores, costs, r2 = [], [], []
    for level in range(len(levels)):
        mine, share = clusters[:, level * p : (level + 1) * p], shares[:, level] * sample.weights[:, None]
        strength = float(strengths[level])
        cost_strength = max(strength, LEAST_COST_STRENGTH)
        score = leave_one_out(deviation, sums, profile.score_counts, mine, share, strength)
        cost = leave_one_out(cost_deviation, cost_sums, profile.cost_counts, mine, share, cost_strength)
        r2.append(_explained(deviation, score, cost_deviation, cost, ~sparse, sample.weights))
        scores.append(score)
        costs.append(cost)
    score_weights, cost_weights = (level_weights(np.array(found)) for found in zip(*r2, strict=True))
    predicted = np.tensordot(score_weights, np.array(scores), axes=1)
    cost_predicted = np.tensordot(cost_weights, np.array(costs), axes=1)
    belief = Belief(
        means,
        strengths,
        score_weights,
        cost_weights,
        Transfer.fit(predicted, deviation, sparse),
        Transfer.fit(cost_predicted, cost_deviation, sparse),
    )
    relative = np.maximum(1 + belief.cost_transfer.apply(cost_predicted), LEAST_COST_SHARE)
    outcomes = Outcomes(
        means.scores + belief.score_transfer.apply(predicted),
        means.costs * relative,
        sample.scores,
        sample.costs,
        sample.weights,
    )
    return belief, outcomes


def _explained(
    deviation: Floats, score: Floats, cost_deviation: Floats, cost: Floats, dense: NDArray[np.bool_], weights: Floats
) -> tuple[float, float]:
    """Return one level's r2 of score differences and of costs, over the models that are well known."""
    deviation, cost_deviation = deviation[:, dense], cost_deviation[:, dense]
    observed = np.where(np.isnan(deviation), np.nan, score[:, dense])
    centered = explained(row_centered(deviation), row_centered(observed), weights)
    return centered, explained(cost_deviation, cost[:, dense], weights)
