"""From expectations to a choice, under a policy."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import PolicyError
from avengers_pro.records.table import Floats
from avengers_pro.routing.method import Estimate
from avengers_pro.routing.policy import Policy


def weigh(
    estimate: Estimate, policy: Policy, allowed: NDArray[np.bool_] | None, *, alpha: float | None = None
) -> Floats:
    """Return (n, m) utilities under the policy, -inf for what is no candidate.

    Where nothing is left and the policy allows it, the allowed models are weighed by cost or score alone.

    Args:
        estimate: What to expect of m models on n queries.
        policy: Trade-off and constraints.
        allowed: (m,) or (n, m) models that may be chosen; None = all.
        alpha: Another alpha than the policy's.
    """
    knob = policy.alpha if alpha is None else alpha
    utility = estimate.utility(1.0 if knob is None else knob)
    if allowed is not None:
        utility = np.where(allowed, utility, -np.inf)
    if policy.min_score is not None:
        utility = np.where(estimate.expected_score >= policy.min_score, utility, -np.inf)
    if policy.max_cost is not None:
        utility = np.where(estimate.expected_cost <= policy.max_cost, utility, -np.inf)
    if policy.max_latency is not None:
        utility = np.where(expected_latency(estimate) <= policy.max_latency, utility, -np.inf)
    return utility if policy.on_infeasible == "refuse" else _relaxed(utility, estimate, policy, allowed)


def _relaxed(utility: Floats, estimate: Estimate, policy: Policy, allowed: NDArray[np.bool_] | None) -> Floats:
    """Where no model is left, weigh the allowed ones by what the policy takes instead."""
    none = (utility == -np.inf).all(axis=1)
    if not none.any():
        return utility
    instead = estimate.expected_score if policy.on_infeasible == "best" else -estimate.expected_cost
    instead = np.where(np.isnan(instead), -np.inf, instead)
    return np.where(none[:, None], instead if allowed is None else np.where(allowed, instead, -np.inf), utility)


@runtime_checkable
class Timed(Protocol):
    """An estimate that knows latencies."""

    @property
    def expected_latency(self) -> Floats:
        """(n, m) milliseconds; NaN = not known of the model."""
        ...


def expected_latency(estimate: Estimate) -> Floats:
    """Return (n, m) milliseconds.

    Raises:
        PolicyError: If the method keeps no latencies.
    """
    if not isinstance(estimate, Timed):
        raise PolicyError("this method keeps no latencies, so max_latency means nothing to it; fit avengers-pro")
    return estimate.expected_latency


def choose(utility: Floats) -> NDArray[np.intp]:
    """Return (n,) the column of the largest utility, the first of equals; -1 where every one is -inf."""
    choice = utility.argmax(axis=1)
    best = utility[np.arange(len(utility)), choice]
    choice[best == -np.inf] = -1
    return np.asarray(choice)
