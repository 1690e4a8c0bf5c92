"""A model of which no score is known yet: what is assumed of it, believed as next to nothing."""

import numpy as np

from avengers_pro.records.table import Floats
from avengers_pro.routing.evidence import QUANTITIES, Evidence, Sample, Usage
from avengers_pro.routing.levels import Levels
from avengers_pro.routing.profile import Profile

BELIEVED = 0.4
"""Scores that an assumption counts as, over all queries together: it rounds to none."""


def assumed(evidence: Evidence, levels: Levels, name: str, score: float, cost: float) -> Evidence:
    """Return the evidence of a model that has none: the same score and cost everywhere, and the others' tokens.

    How it differs between kinds of query is left to ``Transfer``: as the other models do on average.

    Args:
        evidence: What is known of the other models.
        levels: The clusters.
        name: Of the new model.
        score: Assumed mean, in [0, 1].
        cost: Assumed mean in US dollars; NaN = not known.
    """
    sizes = evidence.profile.score_counts.max(axis=1)
    start, end = levels.bounds[0]
    counts = (BELIEVED * sizes / sizes[start:end].sum())[:, None]
    priced = counts if np.isfinite(cost) else np.zeros_like(counts)
    profile = Profile(counts, counts * score, priced, np.nan_to_num(priced * cost))
    return Evidence((name,), profile, _usual_tokens(evidence.usage, counts), _no_rows(evidence.sample))


def mean_tokens(evidence: Evidence, levels: Levels) -> tuple[float, float] | None:
    """Return the mean tokens of prompt and answer over all models and queries; None = they are not known."""
    start, end = levels.bounds[0]
    counts, sums = (values[:2, start:end].sum(axis=(1, 2)) for values in (evidence.usage.counts, evidence.usage.sums))
    return None if not counts.all() else (float(sums[0] / counts[0]), float(sums[1] / counts[1]))


def _usual_tokens(usage: Usage, counts: Floats) -> Usage:
    """Return the other models' mean tokens in each cluster; how fast a model is says nothing about another."""
    known = usage.counts.sum(axis=2)
    means = np.divide(usage.sums.sum(axis=2), known, out=np.zeros_like(known), where=known > 0)
    means[QUANTITIES.index("latency_ms")] = known[QUANTITIES.index("latency_ms")] = 0.0
    mine = np.where(known > 0, counts[:, 0], 0.0)[:, :, None]
    return Usage(mine, mine * means[:, :, None])


def _no_rows(sample: Sample) -> Sample:
    none = np.empty((0, 1))
    return Sample(sample.keys[:0], sample.vectors[:0], none, none, np.empty(0), np.empty((2, 0, 1)))
