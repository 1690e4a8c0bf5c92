"""How lessons of traffic change what a router expects."""

from dataclasses import dataclass, replace

import numpy as np

from avengers_pro.records.table import Floats
from avengers_pro.routing.belief import Belief
from avengers_pro.routing.calibration import Outcomes
from avengers_pro.routing.clusters import Labels
from avengers_pro.routing.evidence import Evidence
from avengers_pro.routing.lessons import posterior, resemblance
from avengers_pro.routing.levels import Levels

OVERALL_STRENGTH = 40.0
"""Scores that a model's overall mean is worth beside those in the records: it may have changed by about 0.08."""
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Correction:
    """What is added to expected scores.

    Attributes:
        base: (m,) its mean over the records' queries: for queries of which nothing is known.
        table: (K, m) what each cluster adds to that, level weight included.
    """

    base: Floats
    table: Floats

    @classmethod
    def of(cls, evidence: Evidence, levels: Levels, belief: Belief, outcomes: Outcomes) -> "Correction | None":
        """Work it out from the lessons in the evidence; None if there are none.

        A model's residuals have a part that is the same everywhere and a part in each cluster; in turns each is worked
        out on what the other leaves (backfitting), until they agree.

        Args:
            evidence: Records and lessons.
            levels: The clusters.
            belief: What the records let expect.
            outcomes: The sample with leave-one-out expectations.
        """
        lessons = evidence.lessons
        if lessons is None:
            return None
        observed, alike = evidence.profile.score_counts, resemblance(outcomes)
        level_weights = belief.score_weights if belief.score_weights.any() else np.full(len(levels), 1 / len(levels))
        weights = np.repeat(level_weights, levels.sizes)[:, None]
        strength = observed * lessons.trust + np.repeat(belief.strengths, levels.sizes)[:, None]
        counts, sums, first = lessons.counts, lessons.centered, slice(*levels.bounds[0])
        total, overall_strength = counts[None, first].sum(axis=1), observed[None, first].sum(axis=1) * lessons.trust
        overall = np.zeros((1, counts.shape[1]))
        for _ in range(_ROUNDS):
            moved = posterior(counts, sums - counts * overall, strength, alike)
            left = sums[None, first].sum(axis=1) - (weights * counts * moved).sum(axis=0)
            overall = posterior(total, left, overall_strength + OVERALL_STRENGTH, alike)
        base, table = overall[0], np.empty_like(moved)
        sizes = observed.max(axis=1)
        for weight, (start, end) in zip(level_weights, levels.bounds, strict=True):
            mean = sizes[start:end] @ moved[start:end] / sizes[start:end].sum()
            base = base + weight * mean
            table[start:end] = weight * (moved[start:end] - mean)
        return cls(base, table)

    def applied(self, outcomes: Outcomes, clusters: Labels, shares: Floats) -> Outcomes:
        """Return outcomes as they would be today: what is expected and what was observed move alike.

        Args:
            outcomes: Of s rows.
            clusters: (s, L * p) of the rows.
            shares: (s, L, p) likewise.
        """
        flat = shares.reshape(len(shares), -1)
        moved = np.einsum("nq,nqm->nm", flat, self.table[clusters]) + self.base
        return replace(outcomes, expected_score=outcomes.expected_score + moved, scores=outcomes.scores + moved)
