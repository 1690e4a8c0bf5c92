"""The answer for one query."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from avengers_pro.records.table import Floats
from avengers_pro.routing.choice import expected_latency, weigh
from avengers_pro.routing.method import Estimate
from avengers_pro.routing.policy import Policy

_Z = 1.6449


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model for one query.

    Attributes:
        model: Its name.
        expected_score: In [0, 1]; NaN = nothing is known.
        low: Lower end of the 90 % interval of the expected score, from the observations near the query; NaN likewise.
        high: Upper end.
        expected_cost: US dollars; NaN = not known.
        observations: Scores behind the expectation.
        utility: What the method ranks by; -inf = no candidate.
        removed: Why it is no candidate; None = it is one.
    """

    model: str
    expected_score: float
    low: float
    high: float
    expected_cost: float
    observations: int
    utility: float
    removed: str | None = None


class Decision:
    """The chosen model, and everything behind the choice, worked out when asked for.

    Attributes:
        model: The chosen model; None = infeasible: no model meets the policy's constraints.
        policy: What was asked.
        allowed: (m,) models that the policy allows at all; None = all.
    """

    __slots__ = ("__dict__", "_estimate", "_models", "_row", "_utility", "allowed", "model", "policy")

    def __init__(
        self,
        models: tuple[str, ...],
        policy: Policy,
        estimate: Estimate,
        utility: Floats,
        allowed: np.ndarray[Any, np.dtype[np.bool_]] | None,
        row: int = 0,
    ) -> None:
        """Choose from one row of an estimate and its utilities."""
        values = utility[row]
        best = values.argmax()
        self.model = models[best] if values[best] != -np.inf else None
        self.policy = policy
        self._models, self._estimate, self._utility, self.allowed, self._row = (
            models,
            estimate,
            values,
            allowed,
            row,
        )

    @property
    def feasible(self) -> bool:
        """Whether any model meets the constraints."""
        return self.model is not None

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """All models of the pool, best first; those that are no candidates last, with the reason."""
        estimate, row = self._estimate, self._row
        score, cost = estimate.expected_score[row], estimate.expected_cost[row]
        found = [
            Candidate(
                model,
                float(score[column]),
                *wilson(float(score[column]), float(estimate.observations[row, column])),
                float(cost[column]),
                int(estimate.observations[row, column]),
                float(self._utility[column]),
                self._why_removed(column, float(score[column]), float(cost[column])),
            )
            for column, model in enumerate(self._models)
        ]
        return tuple(sorted(found, key=lambda candidate: -candidate.utility))

    def ranking(self) -> list[tuple[str, float, float]]:
        """Return name, expected score and expected cost of the models that may be chosen, best first; quick."""
        scores, costs = (
            self._estimate.expected_score[self._row].tolist(),
            self._estimate.expected_cost[self._row].tolist(),
        )
        utility = self._utility.tolist()
        order = sorted((-value, column) for column, value in enumerate(utility) if value != -np.inf)
        return [(self._models[column], scores[column], costs[column]) for _, column in order]

    def expectation(self, model: str) -> tuple[float, float]:
        """Return expected score and cost in US dollars of any model of the pool; NaN = not known."""
        column = self._models.index(model)
        estimate, row = self._estimate, self._row
        return float(estimate.expected_score[row, column]), float(estimate.expected_cost[row, column])

    def _why_removed(self, column: int, score: float, cost: float) -> str | None:
        if self._utility[column] != -np.inf:
            return None
        name, policy = self._models[column], self.policy
        if self.allowed is not None and not self.allowed[column]:
            if name in policy.exclude:
                return "excluded by the policy"
            if policy.models is not None and name not in policy.models:
                return "not among the policy's models"
            return f"not known to have {', '.join(policy.requires)}"
        return self._violation(column, score, cost) or _why_never(policy, score)

    def _violation(self, column: int, score: float, cost: float) -> str | None:
        """Say which constraint on expectations a model does not meet; None = it meets them all."""
        policy = self.policy
        if policy.min_score is not None and not score >= policy.min_score:
            return f"expected score {score:.3f} is not at least min_score {policy.min_score:g}"
        if policy.max_cost is not None and not cost <= policy.max_cost:
            return f"expected cost {_dollars(cost)} is not within max_cost ${policy.max_cost:g}"
        if policy.max_latency is not None:
            latency = float(expected_latency(self._estimate)[self._row, column])
            if not latency <= policy.max_latency:
                known = f"{latency:.0f} ms" if np.isfinite(latency) else "unknown"
                return f"expected latency {known} is not within max_latency {policy.max_latency:g} ms"
        return None

    @cached_property
    def relaxed(self) -> bool:
        """Whether no model met the constraints, so that ``on_infeasible`` chose."""
        if self.model is None or self.policy.on_infeasible == "refuse":
            return False
        strict = weigh(self._estimate, replace(self.policy, on_infeasible="refuse"), self.allowed)
        return bool((strict[self._row] == -np.inf).all())

    @property
    def chosen(self) -> Candidate | None:
        """The chosen candidate; None = infeasible."""
        return self.candidates[0] if self.feasible else None

    @property
    def clusters(self) -> tuple[int, ...]:
        """The nearest clusters, nearest first; empty for methods without clusters."""
        near = self._estimate.clusters
        return () if near is None else tuple(near[self._row].tolist())

    @property
    def novel(self) -> bool:
        """Whether the query is unlike any training row, so that the overall means decided."""
        flags = self._estimate.novel
        return flags is not None and bool(flags[self._row])

    @property
    def reason(self) -> str:
        """One sentence: why this model, or why none."""
        if self.chosen is None:
            models_by_reason: dict[str, list[str]] = {}
            for candidate in self.candidates:
                models_by_reason.setdefault(str(candidate.removed), []).append(candidate.model)
            removed = "; ".join(f"{', '.join(models)}: {reason}" for reason, models in models_by_reason.items())
            return f"infeasible: no model meets the policy ({removed})"
        best = self.chosen
        others = [candidate for candidate in self.candidates[1:] if candidate.removed is None]
        versus = f", ahead of {others[0].model}" if others else ", the only candidate"
        versus += "; the query is unlike any training row, so overall means decided" if self.novel else ""
        if self.relaxed:
            versus += f"; no model meets the policy, so the {self.policy.on_infeasible} was taken"
        return (
            f"expected score {best.expected_score:.3f} at {_dollars(best.expected_cost)} "
            f"from {best.observations} observations, {self.policy.objective}{versus}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; NaN and -inf become None."""
        return {
            "model": self.model,
            "alpha": self.policy.alpha,
            "objective": self.policy.objective,
            "reason": self.reason,
            "clusters": list(self.clusters),
            "novel": self.novel,
            "relaxed": self.relaxed,
            "candidates": [
                {
                    "model": candidate.model,
                    "expected_score": _finite(candidate.expected_score),
                    "interval": [_finite(candidate.low), _finite(candidate.high)],
                    "expected_cost": _finite(candidate.expected_cost),
                    "observations": candidate.observations,
                    "utility": _finite(candidate.utility),
                    "removed": candidate.removed,
                }
                for candidate in self.candidates
            ],
        }

    def __repr__(self) -> str:
        """The model and the reason."""
        return f"Decision({self.model!r}: {self.reason})"


def wilson(mean: float, observations: float) -> tuple[float, float]:
    """Return the 90 % Wilson score interval of a mean in [0, 1]; NaN without a mean.

    It takes the scores observed near a query for a sample of queries like it.
    """
    if np.isnan(mean):
        return mean, mean
    n, p = max(observations, 1e-9), min(max(mean, 0.0), 1.0)
    center = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z / (1 + _Z * _Z / n) * np.sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
    return max(float(center - half), 0.0), min(float(center + half), 1.0)


def _why_never(policy: Policy, score: float) -> str:
    """Say why a method itself ruled a model out."""
    if np.isnan(score):
        return "never observed near this query"
    if policy.target is not None:
        return f"{policy.objective} was not met with it on the training rows"
    return "ruled out by the method"


def _dollars(cost: float) -> str:
    return f"${cost:.6f}" if np.isfinite(cost) else "unknown cost"


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
