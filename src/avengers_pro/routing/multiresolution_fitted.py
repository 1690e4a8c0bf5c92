"""Our method after fitting: expectations for queries, set to the policy that asks."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import DamagedArtifactError
from avengers_pro.records.table import Floats
from avengers_pro.routing.belief import LEAST_COST_SHARE, Belief, believe
from avengers_pro.routing.calibration import Calibration, Outcomes, calibrate, restricted
from avengers_pro.routing.evidence import QUANTITIES, Evidence
from avengers_pro.routing.levels import Levels
from avengers_pro.routing.method import Arrays, check_shapes
from avengers_pro.routing.multiresolution_estimate import MultiResolutionEstimate
from avengers_pro.routing.novelty import Novelty, reference_rows
from avengers_pro.routing.policy import Policy
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.representation import FormatScaler, restored_scaler, scaler_arrays

if TYPE_CHECKING:
    from avengers_pro.routing.multiresolution import MultiResolution

LEAST_COVERAGE = 0.1
"""A model observed near a query less than this share as often as overall, beside the others, is unknown there."""
LEAST_REFERENCE = 0.5
"""The best single model is looked for among models observed at least this share as often as the most observed."""
_MOST_SUBSETS = 256


@dataclass(frozen=True, slots=True)
class Exchange:
    """A fixed price of a dollar; None = always the reference; NaN = the objective cannot be met."""

    price: float | None


@dataclass(frozen=True)
class FittedMultiResolution:
    """Evidence, what is believed of it, and the calibration.

    Attributes:
        method: The parameters.
        scaler: Of the format features; None without them.
        levels: The clusters.
        evidence: Sums by cluster and a sample of rows.
        belief: How evidence becomes expectations.
        outcomes: The sample with leave-one-out expectations.
        calibration: Of the whole pool, or of the models a policy allows.
        novelty: What is usual among training rows; None = every query is decided by the tables.
        exchange: The price that a target or a budget asks for; None = alpha decides.
    """

    method: "MultiResolution"
    scaler: FormatScaler | None
    levels: Levels
    evidence: Evidence
    belief: Belief
    outcomes: Outcomes
    calibration: Calibration
    novelty: Novelty | None
    exchange: Exchange | None = None
    _subsets: dict[bytes, Calibration] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def derive(
        cls, method: "MultiResolution", scaler: FormatScaler | None, levels: Levels, evidence: Evidence
    ) -> "FittedMultiResolution":
        """Work out everything that follows from the evidence."""
        clusters, shares, square = levels.locate(evidence.sample.vectors)
        novelty = Novelty.fit(evidence.sample.vectors, square) if method.novelty else None
        belief, outcomes = believe(evidence, levels, clusters, shares.astype(np.float64))
        calibration = _calibrated(evidence, levels, belief, outcomes, np.ones(len(evidence.models), dtype=bool))
        return cls(method, scaler, levels, evidence, belief, outcomes, calibration, novelty)

    def knowing(self, evidence: Evidence) -> "FittedMultiResolution":
        """Return the same clusters with other evidence."""
        return FittedMultiResolution.derive(self.method, self.scaler, self.levels, evidence)

    @property
    def models(self) -> tuple[str, ...]:
        """The pool."""
        return self.evidence.models

    @property
    def profile(self) -> Profile:
        """(K, m) soft sums over all levels' clusters."""
        return self.evidence.profile

    @property
    def cluster_profile(self) -> Profile:
        """What is known of each model in each cluster of the finest level."""
        start, end = self.levels.bounds[-1]
        return Profile(*(values[start:end] for values in self.profile.arrays().values()))

    @cached_property
    def _table(self) -> Floats:
        """(K, 3m): what each cluster adds to expected score, dollars and observations, level weight included."""
        scores, costs = self.belief.level_tables(self.profile, self.levels)
        weights = self.belief.score_weights
        trust = weights if weights.any() else np.full(len(self.levels), 1 / len(self.levels))
        return np.hstack([scores, costs, np.repeat(trust, self.levels.sizes)[:, None] * self.profile.score_counts])

    @cached_property
    def _base(self) -> Floats:
        return np.concatenate([*self.belief.base, np.zeros(len(self.models))])

    @cached_property
    def _least_costs(self) -> Floats:
        return LEAST_COST_SHARE * self.belief.means.costs

    @cached_property
    def complete(self) -> bool:
        """Whether every model was observed and priced on every row: no expectation can be NaN."""
        scores, costs = self.profile.score_counts, self.profile.cost_counts
        return bool((scores == scores[:, :1]).all() and (costs == scores).all())

    def arrays(self) -> Arrays:
        """Return evidence, belief, calibration and what else ``restored`` needs."""
        return {
            **(scaler_arrays(self.scaler) if self.scaler is not None else {}),
            "centroids": self.levels.centroids,
            "level_sizes": np.array(self.levels.sizes),
            "temperatures": self.levels.temperatures,
            **self.evidence.arrays(),
            **self.belief.arrays(),
            "outcomes_score": self.outcomes.expected_score,
            "outcomes_cost": self.outcomes.expected_cost,
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
        key = allowed.tobytes()
        if key not in self._subsets:
            if len(self._subsets) >= _MOST_SUBSETS:
                self._subsets.clear()
            self._subsets[key] = _calibrated(self.evidence, self.levels, self.belief, self.outcomes, allowed)
        return self._subsets[key]

    def estimate(self, queries: Queries) -> MultiResolutionEstimate:
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

    def overall(self) -> MultiResolutionEstimate:
        """Expect the overall means of a query of which nothing is known."""
        m, nowhere = len(self.models), np.zeros((1, 0), dtype=np.intp)
        known = _totals(self.evidence, self.levels)[None, :]
        score, cost = self._base[None, :m].copy(), self._base[None, m : 2 * m].copy()
        none = np.zeros((1, len(self.levels.bounds), 0))
        return MultiResolutionEstimate(self, nowhere, none, score, cost, known, np.ones(1, dtype=bool))

    @cached_property
    def _quantities(self) -> dict[str, tuple[Floats, Floats]]:
        usage = self.evidence.usage
        return {
            name: self.belief.quantity_table(usage.counts[place], usage.sums[place], self.levels)
            for place, name in enumerate(QUANTITIES)
        }

    def expected_usage(self, estimate: MultiResolutionEstimate, quantity: str) -> Floats:
        """Return (n, m) expected prompt_tokens, completion_tokens or latency_ms; NaN = not known of the model."""
        mean, table = self._quantities[quantity]
        n = len(estimate.members)
        added = np.einsum("nq,nqm->nm", estimate.weights.reshape(n, -1), table[estimate.members])
        if estimate.novel is not None:
            added[estimate.novel] = 0.0
        added += mean
        expected: Floats = np.maximum(added, LEAST_COST_SHARE * mean)
        return expected

    @cached_property
    def _least_coverage(self) -> Floats:
        overall = _totals(self.evidence, self.levels)
        least: Floats = LEAST_COVERAGE * overall / overall.max()
        return least

    def _uncovered(self, observations: Floats) -> NDArray[np.bool_]:
        """Find models that were observed elsewhere but not near a query: the mean says nothing about them here.

        Args:
            observations: (n, m) near each query.
        """
        return np.asarray(observations < self._least_coverage * observations.max(axis=1, keepdims=True))


def _totals(evidence: Evidence, levels: Levels) -> Floats:
    """Return (m,) observations of each model."""
    start, end = levels.bounds[0]
    totals: Floats = evidence.profile.score_counts[start:end].sum(axis=0)
    return totals


def _calibrated(
    evidence: Evidence, levels: Levels, belief: Belief, outcomes: Outcomes, allowed: NDArray[np.bool_]
) -> Calibration:
    """Calibrate for the allowed models; columns are those of the whole pool."""
    totals = _totals(evidence, levels)[allowed]
    known = totals >= LEAST_REFERENCE * totals.max()
    scores = np.where(known, belief.means.scores[allowed], np.nan)
    mine = outcomes if allowed.all() else restricted(outcomes, allowed)
    found = calibrate(mine, scores, belief.means.costs[allowed])
    return replace(found, reference=int(np.flatnonzero(allowed)[found.reference]))


def restored(method: "MultiResolution", models: tuple[str, ...], arrays: Arrays) -> FittedMultiResolution:
    """Rebuild from ``FittedMultiResolution.arrays``.

    Raises:
        DamagedArtifactError: If an array is missing or has the wrong shape.
    """
    sizes = tuple(int(size) for size in arrays.get("level_sizes", ()))
    if not sizes or min(sizes) < 1:
        raise DamagedArtifactError("the router has no levels")
    k, m, s = sum(sizes), len(models), len(arrays.get("sample_weights", ()))
    d = arrays.get("centroids", np.empty((0, 0))).shape[-1]
    check_shapes(
        arrays,
        {"centroids": (k, d), "temperatures": (len(sizes),), "outcomes_score": (s, m), "outcomes_cost": (s, m)},
    )
    levels = Levels(arrays["centroids"], sizes, arrays["temperatures"])
    evidence = Evidence.restore(models, arrays, k)
    sample = evidence.sample
    novelty = None
    if method.novelty and "novelty" in arrays:
        check_shapes(arrays, {"novelty": (2,)})
        novelty = Novelty(reference_rows(sample.vectors), *arrays["novelty"].tolist())
    return FittedMultiResolution(
        method,
        restored_scaler(arrays) if method.features == "format" else None,
        levels,
        evidence,
        Belief.restore(arrays, evidence, levels),
        Outcomes(arrays["outcomes_score"], arrays["outcomes_cost"], sample.scores, sample.costs, sample.weights),
        Calibration.restore(arrays, m),
        novelty,
    )
