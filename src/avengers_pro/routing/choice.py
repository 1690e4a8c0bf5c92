"""From expectations to a choice, under a policy."""

import numpy as np
from numpy.typing import NDArray

from avengers_pro.records.table import Floats
from avengers_pro.routing.method import Estimate
from avengers_pro.routing.policy import Policy


def weigh(
    estimate: Estimate, policy: Policy, allowed: NDArray[np.bool_] | None, *, alpha: float | None = None
) -> Floats:
    """Return (n, m) utilities under the policy, -inf for what is no candidate.

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
    return utility


def choose(utility: Floats) -> NDArray[np.intp]:
    """Return (n,) the column of the largest utility, the first of equals; -1 where every one is -inf."""
    choice = utility.argmax(axis=1)
    best = utility[np.arange(len(utility)), choice]
    choice[best == -np.inf] = -1
    return np.asarray(choice)
