"""Our method after fitting: expectations for queries, set to the policy that asks."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError
from avengers_pro.records.table import Floats
from avengers_pro.routing.belief import LEAST_COST_SHARE, Belief, believe
from avengers_pro.routing.calibration import Calibration, Outcomes, calibrate, restricted
from avengers_pro.routing.correction import Correction
from avengers_pro.routing.evidence import QUANTITIES, Evidence
from avengers_pro.routing.lessons import Ease, Lessons
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
        taught: What traffic added to expected scores; None = nothing.
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
    taught: Correction | None = None
    exchange: Exchange | None = None
    _subsets: dict[bytes, Calibration] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def derive(
        cls, method: "MultiResolution", scaler: FormatScaler | None, levels: Levels, evidence: Evidence
    ) -> "FittedMultiResolution":
        """Work out everything that follows from the evidence."""
        clusters, shares, square = levels.locate(evidence.sample.vectors)
        novelty = Novelty.fit(evidence.sample.vectors, square) if method.novelty else None
        shares = shares.astype(np.float64)
        belief, outcomes = believe(evidence, levels, clusters, shares)
        taught = Correction.of(evidence, levels, belief, outcomes)
        today = outcomes if taught is None else taught.applied(outcomes, clusters, shares)
        calibration = _calibrated(evidence, levels, belief, taught, today, np.ones(len(evidence.models), dtype=bool))
        return cls(method, scaler, levels, evidence, belief, outcomes, calibration, novelty, taught)

    def knowing(self, evidence: Evidence) -> "FittedMultiResolution":
        """Return the same clusters with other evidence; lessons are held against what the records now let expect."""
        changed = FittedMultiResolution.derive(self.method, self.scaler, self.levels, replace(evidence, lessons=None))
        if evidence.lessons is None:
            return changed
        return changed.taught_by(evidence.lessons.shifted(changed.rise_over(self)))

    def taught_by(self, lessons: Lessons | None) -> "FittedMultiResolution":
        """Return the same with other lessons of traffic."""
        evidence = replace(self.evidence, lessons=lessons)
        return FittedMultiResolution.derive(self.method, self.scaler, self.levels, evidence)

    def rise_over(self, before: "FittedMultiResolution") -> Floats:
        """Return (K, m) how much more the records let expect at each cluster's centre than they did before.

        0 for models that were not known before. Lessons play no part.
        """
        centers = self.levels.locate(self.levels.centroids)[:2]
        rise = np.zeros((len(self.levels.centroids), len(self.models)))
        now, then = self._by_records(*centers), before._by_records(*centers)  # noqa: SLF001
        for column, name in enumerate(self.models):
            if name in before.models:
                rise[:, column] = now[:, column] - then[:, before.models.index(name)]
        return rise

    def _by_records(self, clusters: NDArray[np.intp], shares: Floats) -> Floats:
        """Return (n, m) expected scores by the records alone, for queries as easy and hard as they are."""
        table, _ = self.belief.level_tables(self.profile, self.levels)
        expected: Floats = np.einsum("nq,nqm->nm", shares.reshape(len(shares), -1), table[clusters])
        return Ease.of(self.outcomes).adjusted(expected + self.belief.base[0])

    def lessons_of(self, vectors: Vectors, columns: NDArray[np.intp], scores: Floats, weights: Floats) -> Lessons:
        """Sum up scores of single answers.

        Args:
            vectors: (n, d) the queries, as ``Router.embed`` gives them.
            columns: (n,) the model that answered each.
            scores: (n,) in [0, 1].
            weights: (n,) how much each score counts.
        """
        rows = self.scaler.apply(vectors) if self.scaler is not None else vectors
        clusters, shares = self.levels.members(rows)
        expected = self._by_records(clusters, shares)[np.arange(len(scores)), columns]
        flat = shares.reshape(len(scores), -1) * weights[:, None]
        return Lessons.of(clusters, flat, columns, scores - expected, self.profile.score_counts.shape)

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
        """(K, 3m): what each cluster adds to expected score, dollars and observations, level weight included.

        With lessons (K, 4m): their observations come last, because they say nothing of where the records have gaps.
        """
        scores, costs = self.belief.level_tables(self.profile, self.levels)
        weights = self.belief.score_weights
        trust = weights if weights.any() else np.full(len(self.levels), 1 / len(self.levels))
        trust = np.repeat(trust, self.levels.sizes)[:, None]
        lessons = self.evidence.lessons
        if self.taught is None or lessons is None:
            return np.hstack([scores, costs, trust * self.profile.score_counts])
        observed = trust * lessons.trust * self.profile.score_counts
        return np.hstack([scores + self.taught.table, costs, observed, trust * lessons.counts])

    @cached_property
    def _base(self) -> Floats:
        scores, costs = self.belief.base
        if self.taught is None:
            return np.concatenate([scores, costs, np.zeros(len(self.models))])
        return np.concatenate([scores + self.taught.base, costs, np.zeros(2 * len(self.models))])

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
            self._subsets[key] = _calibrated(self.evidence, self.levels, self.belief, self.taught, self._today, allowed)
        return self._subsets[key]

    @cached_property
    def _today(self) -> Outcomes:
        """The sample as it would be today, by what traffic taught."""
        if self.taught is None:
            return self.outcomes
        return self.taught.applied(self.outcomes, *self.levels.members(self.evidence.sample.vectors))

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
            expected[:, 2 * m : 3 * m],
        )
        if not self.complete:
            score[self._uncovered(observations)] = np.nan
        if self.taught is not None:
            observations = observations + expected[:, 3 * m :]
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
    evidence: Evidence,
    levels: Levels,
    belief: Belief,
    taught: Correction | None,
    outcomes: Outcomes,
    allowed: NDArray[np.bool_],
) -> Calibration:
    """Calibrate for the allowed models; columns are those of the whole pool."""
    totals = _totals(evidence, levels)[allowed]
    known = totals >= LEAST_REFERENCE * totals.max()
    means = belief.means.scores if taught is None else belief.means.scores + taught.base
    scores = np.where(known, means[allowed], np.nan)
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
    belief = Belief.restore(arrays, evidence, levels)
    outcomes = Outcomes(arrays["outcomes_score"], arrays["outcomes_cost"], sample.scores, sample.costs, sample.weights)
    return FittedMultiResolution(
        method,
        restored_scaler(arrays) if method.features == "format" else None,
        levels,
        evidence,
        belief,
        outcomes,
        Calibration.restore(arrays, m),
        novelty,
        Correction.of(evidence, levels, belief, outcomes),
    )
