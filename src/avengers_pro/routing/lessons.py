"""What scores of single answers teach a router that was fitted on records in which every model answered.

Traffic tells the score of one model a query. Adding such scores to the tables of the records would compare a model's
mean over the queries it was chosen for with the others' means over all queries, and would undo what makes complete
rows precise: that all models had the same queries. So traffic is kept apart, as residuals: score minus what the
records let expect of that model on that query. They move all models' expectations by the posterior mean of a normal
model in which the errors of any two models have the same correlation: what one model's surprise says of the query is
shared with the others, and only the rest counts for or against it. See docs/guides/learn-from-traffic.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import DamagedArtifactError
from avengers_pro.records.table import Floats
from avengers_pro.routing.calibration import Outcomes
from avengers_pro.routing.clusters import Labels
from avengers_pro.routing.method import Arrays, check_shapes

USUAL_RESEMBLANCE = 0.5
"""Correlation of two models' errors where no query was answered by two of them."""
_MOST_RESEMBLANCE = 0.95
_LEAST_SPREAD, _MOST_SLOPE = 1e-6, 5.0


@dataclass(frozen=True, slots=True)
class Lessons:
    """Sums of residuals for K clusters and m models; those of disjoint queries add up.

    Attributes:
        counts: (K, m) scores, by soft membership and age.
        sums: (K, m) of score minus what the records alone let expect, likewise.
        trust: How much a score of the records still counts, in (0, 1]; less than 1 only after a half-life.
    """

    counts: Floats
    sums: Floats
    trust: float = 1.0

    @classmethod
    def of(
        cls, clusters: Labels, shares: Floats, columns: NDArray[np.intp], residuals: Floats, shape: tuple[int, int]
    ) -> "Lessons":
        """Sum up scores of single answers.

        Args:
            clusters: (n, q) clusters of each query.
            shares: (n, q) how much of the score each cluster gets.
            columns: (n,) the model that answered.
            residuals: (n,) score minus expectation.
            shape: (K, m).
        """
        places = clusters * shape[1] + columns[:, None]
        size = shape[0] * shape[1]
        counts: Floats = np.bincount(places.ravel(), shares.ravel(), size).astype(np.float64).reshape(shape)
        weighted = (shares * residuals[:, None]).ravel()
        sums: Floats = np.bincount(places.ravel(), weighted, size).astype(np.float64).reshape(shape)
        return cls(counts, sums)

    def __add__(self, other: "Lessons") -> "Lessons":
        """Combine the lessons of disjoint queries, learnt from the same expectations."""
        return Lessons(self.counts + other.counts, self.sums + other.sums, min(self.trust, other.trust))

    def weighing(self, factor: float) -> "Lessons":
        """Count every score ``factor`` times."""
        return Lessons(self.counts * factor, self.sums * factor, self.trust)

    def aged(self, factor: float) -> "Lessons":
        """Count all that is known so far ``factor`` times, the scores of the records too."""
        return Lessons(self.counts * factor, self.sums * factor, self.trust * factor)

    def shifted(self, expected: Floats) -> "Lessons":
        """Return the same scores against expectations that rose by (K, m); NaN = by nothing."""
        return Lessons(self.counts, self.sums - self.counts * np.nan_to_num(expected), self.trust)

    @property
    def offset(self) -> float:
        """Mean residual of all scores; 0 if there are none."""
        total = float(self.counts.sum())
        return float(self.sums.sum()) / total if total > 0 else 0.0

    @property
    def centered(self) -> Floats:
        """(K, m) sums without the mean residual of all scores.

        That one says that feedback is kinder or harsher than the records' scores, which is no reason to prefer a
        model, least of all one for being asked more often.
        """
        return self.sums - self.offset * self.counts

    def arrays(self) -> Arrays:
        """Return everything as named arrays."""
        return {"lesson_counts": self.counts, "lesson_sums": self.sums, "lesson_trust": np.array([self.trust])}

    @classmethod
    def restore(cls, arrays: Arrays, shape: tuple[int, int]) -> "Lessons | None":
        """Rebuild from ``arrays``; None if there are none.

        Raises:
            DamagedArtifactError: If an array is missing, has the wrong shape, or holds impossible numbers.
        """
        names = ("lesson_counts", "lesson_sums", "lesson_trust")
        if not any(name in arrays for name in names):
            return None
        check_shapes(arrays, {"lesson_counts": shape, "lesson_sums": shape, "lesson_trust": (1,)})
        counts, sums, trust = (arrays[name] for name in names)
        if not (np.isfinite(counts).all() and (counts >= 0).all() and np.isfinite(sums).all() and 0 < trust[0] <= 1):
            raise DamagedArtifactError("what the router learnt from traffic is impossible: negative or not a number")
        return cls(counts, sums, float(trust[0]))


def posterior(counts: Floats, sums: Floats, strength: Floats, resemblance: float) -> Floats:
    """Return (K, m) what the scores of each cluster say of the error of what was expected there.

    With C the matrix of ones on the diagonal and the resemblance elsewhere, an error's prior is normal with mean 0 and
    covariance D C D, D = diag(1 / sqrt(strength)), in units of the variance of one score; each score is an observation
    of the error with a noise of variance 1. This is its mean given the scores.

    Args:
        counts: (K, m) scores.
        sums: (K, m) of their residuals.
        strength: (K, m) scores that the expectation is worth, > 0.
        resemblance: Correlation of two models' errors on a query, in [0, 1).
    """
    m = counts.shape[1]
    root = np.sqrt(strength)
    together = resemblance / (1 + (m - 1) * resemblance)
    inverse = (np.eye(m) - together) / (1 - resemblance)
    precision = root[:, :, None] * inverse * root[:, None, :]
    precision[:, np.arange(m), np.arange(m)] += counts
    mean: Floats = np.linalg.solve(precision, sums[:, :, None])[:, :, 0]
    return mean


@dataclass(frozen=True, slots=True)
class Ease:
    """How much more than expected queries differ in how well all models do on them.

    Expectations are shrunk for the sake of differences between models. What all models share varies more, and what is
    missing of it would look like merit of whoever answers easy queries.

    Attributes:
        slope: Of what the models score on a query on average, on what is expected of them on average; 1 = as expected.
        centre: Mean of what is expected on average.
    """

    slope: float
    centre: float

    @classmethod
    def of(cls, outcomes: Outcomes) -> "Ease":
        """Measure it by least squares on the sample's leave-one-out expectations; slope 1 where nothing varies."""
        known = ~np.isnan(outcomes.scores - outcomes.expected_score)
        rows = known.sum(axis=1) > 1
        if not rows.any():
            return cls(1.0, 0.0)
        known, weights = known[rows], outcomes.weights[rows]
        expected, scored = (
            np.where(known, values[rows], 0.0).sum(axis=1) / known.sum(axis=1)
            for values in (outcomes.expected_score, outcomes.scores)
        )
        centre = float(np.average(expected, weights=weights))
        spread = float(weights @ (expected - centre) ** 2)
        if spread <= _LEAST_SPREAD * weights.sum():
            return cls(1.0, centre)
        return cls(float(np.clip(weights @ ((expected - centre) * scored) / spread, 1.0, _MOST_SLOPE)), centre)

    def adjusted(self, expected: Floats) -> Floats:
        """Return (n, m) expectations spread out as queries are; NaN stays."""
        known = ~np.isnan(expected)
        counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
        average: Floats = np.where(known, expected, 0.0).sum(axis=1, keepdims=True) / counts
        adjusted: Floats = expected + (self.slope - 1) * (average - self.centre)
        return adjusted


def resemblance(outcomes: Outcomes) -> float:
    """Return how alike the models' errors on one query are: their intraclass correlation over the sample, >= 0."""
    errors = outcomes.scores - outcomes.expected_score
    known = ~np.isnan(errors)
    errors = np.where(known, errors, 0.0)
    several = known.sum(axis=1)
    squares = (errors**2).sum(axis=1)
    products = errors.sum(axis=1) ** 2 - squares
    total = float(outcomes.weights @ (np.maximum(several - 1, 0) * squares))
    if total <= 0:
        return USUAL_RESEMBLANCE
    return float(np.clip(outcomes.weights @ products / total, 0.0, _MOST_RESEMBLANCE))
