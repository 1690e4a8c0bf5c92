"""Our method, ``avengers-pro``: shrunk soft tables at several resolutions, one global utility, calibrated policies.

Expected score and cost of a model are its overall mean plus what each level of clusters adds, believed as far as
leave-one-out predictions on the training rows bear it out. See docs/concepts/how-it-routes.md.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.calibration import Calibration, Outcomes, calibrate, restricted
from avengers_pro.routing.levels import SIZES, Levels, fit_levels
from avengers_pro.routing.method import Arrays, check_shapes, restored_profile
from avengers_pro.routing.multiresolution_estimate import MultiResolutionEstimate
from avengers_pro.routing.novelty import Novelty, reference_rows
from avengers_pro.routing.policy import Policy
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.representation import FormatScaler, restored_scaler, scaler_arrays
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

LEAST_ROWS = 40
SAMPLE_ROWS = 8192
"""Rows kept for calibration; larger tables are sampled."""
LEAST_COVERAGE = 0.1
"""A model observed near a query less than this share as often as overall, beside the others, is unknown there."""
LEAST_COST_SHARE = 0.02
"""An expected cost is never below this share of the model's mean cost."""


@dataclass(frozen=True, slots=True)
class MultiResolution:
    """The method with its parameters.

    Attributes:
        levels: Clusters of each level.
        features: ``format`` adds 22 numbers on how a text is written; ``none`` leaves the embedding alone.
        novelty: Whether queries unlike any training row are decided by the overall means: insurance, not free.
        objective: Whether training rows (``micro``) or datasets (``macro``) count the same.
    """

    levels: tuple[int, ...] = SIZES
    features: str = "format"
    objective: str = "micro"
    novelty: bool = True
    name: str = "avengers-pro"
    uses_alpha: bool = True

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        object.__setattr__(self, "levels", tuple(self.levels))
        if not self.levels or not all(size == int(size) and size >= 1 for size in self.levels):
            raise MethodError(f"levels must be numbers of clusters, at least 1, got {self.levels}")
        for value, known in ((self.features, ("format", "none")), (self.objective, ("micro", "macro"))):
            if value not in known:
                raise MethodError(f"must be {' or '.join(known)}, got {value!r}")

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedMultiResolution":
        """Rebuild from ``FittedMultiResolution.arrays``.

        Raises:
            DamagedArtifactError: If an array is missing or has the wrong shape.
        """
        sizes = tuple(int(size) for size in arrays.get("level_sizes", ()))
        k, m, s = sum(sizes), len(models), len(arrays.get("sample_weights", ()))
        d = arrays.get("centroids", np.empty((0, 0))).shape[-1]
        if not sizes or min(sizes) < 1:
            raise DamagedArtifactError("the router has no levels")
        check_shapes(
            arrays,
            {"centroids": (k, d), "sample_vectors": (s, d), "sample_weights": (s,)}
            | dict.fromkeys(("sample_scores", "sample_costs", "outcomes_score", "outcomes_cost"), (s, m))
            | dict.fromkeys(("temperatures", "strengths", "score_weights", "cost_weights"), (len(sizes),)),
        )
        levels = Levels(arrays["centroids"], sizes, arrays["temperatures"])
        profile = restored_profile(arrays, (k, m))
        sample = Sample(*(arrays[f"sample_{name}"] for name in ("vectors", "scores", "costs", "weights")))
        return FittedMultiResolution(
            models,
            self,
            restored_scaler(arrays) if self.features == "format" else None,
            levels,
            profile,
            sample,
            overall_means(profile, levels),
            arrays["strengths"],
            arrays["score_weights"],
            arrays["cost_weights"],
            Outcomes(arrays["outcomes_score"], arrays["outcomes_cost"], sample.scores, sample.costs, sample.weights),
            Calibration.restore(arrays, m),
            self._restored_novelty(arrays, sample),
        )

    def _restored_novelty(self, arrays: Arrays, sample: "Sample") -> Novelty | None:
        if not self.novelty or "novelty" not in arrays:
            return None
        check_shapes(arrays, {"novelty": (2,)})
        limit, cleared = arrays["novelty"].tolist()
        return Novelty(reference_rows(sample.vectors), limit, cleared)

    def params(self) -> Mapping[str, Any]:
        """Return the parameters as plain values."""
        return {
            "levels": list(self.levels),
            "features": self.features,
            "objective": self.objective,
            "novelty": self.novelty,
        }

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedMultiResolution":
        """Cluster at every level, sum up, and calibrate on leave-one-out predictions.

        Args:
            records: n queries x m models; gaps are left out everywhere.
            vectors: (n, d) as the method's ``features`` ask: plain rows, or rows of ``WithFormat``.
            seed: Of clusters and sample.
        """
        scaler = FormatScaler.fit(vectors) if self.features == "format" else None
        rows = scaler.apply(vectors) if scaler is not None else vectors
        sizes = self.levels if len(records) >= LEAST_ROWS else (1,)
        levels = fit_levels(rows, sizes, seed)
        row_weights = _row_weights(records, self.objective)
        clusters, shares = levels.members(rows)
        weighted = shares.reshape(len(rows), -1) * row_weights[:, None]
        profile = Profile.of_members(records.scores, records.costs, clusters, weighted, len(levels.centroids))
        kept = _sample(records, seed)
        sample = Sample(rows[kept], records.scores[kept], records.costs[kept], row_weights[kept])
        return FittedMultiResolution.derive(records.models, self, scaler, levels, profile, sample)


def _row_weights(records: Records, objective: str) -> Floats:
    """Return (n,) weights of mean 1: all the same, or such that every dataset has the same total."""
    if objective == "micro":
        return np.ones(len(records))
    sizes = np.bincount(records.dataset_codes)
    weights: Floats = len(records) / (len(sizes) * sizes[records.dataset_codes])
    return weights


def _sample(records: Records, seed: int) -> NDArray[np.intp]:
    if len(records) <= SAMPLE_ROWS:
        return np.arange(len(records))
    return np.sort(np.random.default_rng(seed).permutation(len(records))[:SAMPLE_ROWS])


@dataclass(frozen=True, slots=True)
class Sample:
    """Training rows kept with the router, for calibration: (s, d) vectors, (s, m) outcomes, (s,) weights."""

    vectors: Vectors
    scores: Floats
    costs: Floats
    weights: Floats


@dataclass(frozen=True, slots=True)
class Exchange:
    """A fixed price of a dollar; None = always the reference; NaN = the objective cannot be met."""

    price: float | None


@dataclass(frozen=True)
class FittedMultiResolution:
    """Sums by cluster, what follows from them, and the calibration.

    Attributes:
        models: The pool.
        method: The parameters.
        scaler: Of the format features; None without them.
        levels: The clusters.
        profile: (K, m) soft sums over all levels' clusters.
        sample: Rows for calibration.
        means: Overall means.
        strengths: (L,) pseudo-observations of the prior.
        score_weights: (L,) level weights of the scores.
        cost_weights: (L,) level weights of the costs.
        outcomes: The sample with leave-one-out expectations.
        calibration: Of the whole pool, or of the models a policy allows.
        novelty: What is usual among training rows; None = every query is decided by the tables.
        exchange: The price that a target or a budget asks for; None = alpha decides.
    """

    models: tuple[str, ...]
    method: MultiResolution
    scaler: FormatScaler | None
    levels: Levels
    profile: Profile
    sample: Sample
    means: Means
    strengths: Floats
    score_weights: Floats
    cost_weights: Floats
    outcomes: Outcomes
    calibration: Calibration
    novelty: Novelty | None
    exchange: Exchange | None = None

    @classmethod
    def derive(
        cls,
        models: tuple[str, ...],
        method: MultiResolution,
        scaler: FormatScaler | None,
        levels: Levels,
        profile: Profile,
        sample: Sample,
    ) -> "FittedMultiResolution":
        """Work out everything that follows from sums and sample: strengths, level weights, calibration."""
        clusters, shares, square = levels.locate(sample.vectors)
        novelty = Novelty.fit(sample.vectors, square) if method.novelty else None
        shares = shares.astype(np.float64)
        strengths = prior_strengths(sample.scores, sample.weights, clusters, shares, levels)
        means = overall_means(profile, levels)
        deviation, cost_deviation = deviations(sample.scores, sample.costs, means)
        sums, cost_sums = deviation_sums(profile, means)
        p = levels.per_level
        scores, costs, r2 = [], [], []
        for level in range(len(levels)):
            mine, share = clusters[:, level * p : (level + 1) * p], shares[:, level] * sample.weights[:, None]
            strength = strengths[level]
            cost_strength = max(strength, LEAST_COST_STRENGTH)
            score = leave_one_out(deviation, sums, profile.score_counts, mine, share, strength)
            cost = leave_one_out(cost_deviation, cost_sums, profile.cost_counts, mine, share, cost_strength)
            observed = np.where(np.isnan(deviation), np.nan, score)
            centered = explained(row_centered(deviation), row_centered(observed), sample.weights)
            r2.append((centered, explained(cost_deviation, cost, sample.weights)))
            scores.append(score)
            costs.append(cost)
        score_weights, cost_weights = (level_weights(np.array(found)) for found in zip(*r2, strict=True))
        expected = means.scores + np.tensordot(score_weights, np.array(scores), axes=1)
        dollars = _dollars(means.costs, np.tensordot(cost_weights, np.array(costs), axes=1))
        outcomes = Outcomes(expected, dollars, sample.scores, sample.costs, sample.weights)
        calibration = calibrate(outcomes, means.scores, means.costs)
        return cls(
            models, method, scaler, levels, profile, sample, means, strengths, score_weights, cost_weights,
            outcomes, calibration, novelty,
        )  # fmt: skip

    @property
    def cluster_profile(self) -> Profile:
        """What is known of each model in each cluster of the finest level."""
        start, end = self.levels.bounds[-1]
        return Profile(*(values[start:end] for values in self.profile.arrays().values()))

    @cached_property
    def _table(self) -> Floats:
        """(K, 3m): what each cluster adds to expected score, dollars and observations, level weight included."""
        sums, cost_sums = deviation_sums(self.profile, self.means)
        table = np.empty((len(sums), 3 * len(self.models)))
        trust = self.score_weights if self.score_weights.any() else np.full(len(self.levels), 1 / len(self.levels))
        for level, (start, end) in enumerate(self.levels.bounds):
            strength = self.strengths[level]
            counts, cost_counts = self.profile.score_counts[start:end], self.profile.cost_counts[start:end]
            score = sums[start:end] / (counts + strength)
            cost = cost_sums[start:end] / (cost_counts + max(strength, LEAST_COST_STRENGTH)) * self.means.costs
            parts = (self.score_weights[level] * score, self.cost_weights[level] * cost, trust[level] * counts)
            table[start:end] = np.hstack(parts)
        return table

    @cached_property
    def _base(self) -> Floats:
        return np.concatenate([self.means.scores, self.means.costs, np.zeros(len(self.models))])

    @cached_property
    def _least_costs(self) -> Floats:
        return LEAST_COST_SHARE * self.means.costs

    @cached_property
    def complete(self) -> bool:
        """Whether every model was observed and priced on every row: no expectation can be NaN."""
        scores, costs = self.profile.score_counts, self.profile.cost_counts
        return bool((scores == scores[:, :1]).all() and (costs == scores).all())

    def arrays(self) -> Arrays:
        """Return sums, sample, what was derived from them, and the calibration."""
        expected = {"outcomes_score": self.outcomes.expected_score, "outcomes_cost": self.outcomes.expected_cost}
        return {
            **(scaler_arrays(self.scaler) if self.scaler is not None else {}),
            "centroids": self.levels.centroids,
            "level_sizes": np.array(self.levels.sizes),
            "temperatures": self.levels.temperatures,
            **self.profile.arrays(),
            "sample_vectors": self.sample.vectors,
            "sample_scores": self.sample.scores,
            "sample_costs": self.sample.costs,
            "sample_weights": self.sample.weights,
            "strengths": self.strengths,
            "score_weights": self.score_weights,
            "cost_weights": self.cost_weights,
            **expected,
            **self.calibration.arrays(),
            **({} if self.novelty is None else {"novelty": np.array([self.novelty.limit, self.novelty.cleared])}),
        }

    def tuned(self, policy: Policy, allowed: NDArray[np.bool_] | None) -> "FittedMultiResolution":
        """Return itself set to a policy's objective; reference, guard and frontier are those of the allowed models."""
        calibration = self.calibration if allowed is None else self._calibrated_for(allowed)
        if policy.alpha is not None:
            return replace(self, calibration=calibration)
        price: float | None
        if policy.budget is not None:
            price = calibration.price_for_budget(policy.budget)
        else:
            share = 1.0 if policy.target is None else policy.target
            price = calibration.price_for_target(share, policy.confidence, policy.window)
            if price is None and share > 1:
                return replace(self, calibration=calibration, exchange=Exchange(math.nan))
        return replace(self, calibration=calibration, exchange=Exchange(price))

    def _calibrated_for(self, allowed: NDArray[np.bool_]) -> Calibration:
        found = calibrate(restricted(self.outcomes, allowed), self.means.scores[allowed], self.means.costs[allowed])
        return replace(found, reference=int(np.flatnonzero(allowed)[found.reference]))

    def estimate(self, queries: Queries) -> "MultiResolutionEstimate":
        """Add up what the levels say of each query."""
        rows = self.scaler.apply(queries.vectors) if self.scaler is not None else queries.vectors
        clusters, weights, square = self.levels.locate(rows)
        expected = np.einsum("nq,nqm->nm", weights.reshape(len(rows), -1), self._table[clusters])
        novel = None if self.novelty is None else self.novelty.flags(rows, square)
        if novel is not None:
            expected[novel, : 2 * len(self.models)] = 0.0
        expected += self._base
        m = len(self.models)
        score, cost, observations = (
            expected[:, :m],
            np.maximum(expected[:, m : 2 * m], self._least_costs),
            expected[:, 2 * m :],
        )
        if not self.complete:
            score[self._uncovered(observations)] = np.nan
        return MultiResolutionEstimate(self, clusters, weights, score, cost, observations, novel)

    @cached_property
    def _least_coverage(self) -> Floats:
        start, end = self.levels.bounds[0]
        overall = self.profile.score_counts[start:end].sum(axis=0)
        least: Floats = LEAST_COVERAGE * overall / overall.max()
        return least

    def _uncovered(self, observations: Floats) -> NDArray[np.bool_]:
        """Find models that were observed elsewhere but not near a query: the mean says nothing about them here.

        Args:
            observations: (n, m) near each query.
        """
        return np.asarray(observations < self._least_coverage * observations.max(axis=1, keepdims=True))


def _dollars(mean_costs: Floats, relative: Floats) -> Floats:
    dollars: Floats = np.maximum(mean_costs * (1 + relative), LEAST_COST_SHARE * mean_costs)
    return dollars
