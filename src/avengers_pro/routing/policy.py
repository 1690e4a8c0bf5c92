"""What the caller wants, and the choice that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import PolicyError
from avengers_pro.records.table import Floats
from avengers_pro.routing.method import Estimate

DEFAULT_ALPHA = 0.7
"""The trade-off of the published quick start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One trade-off and hard constraints, given with each request.

    Attributes:
        alpha: In [0, 1]; 1 = quality only, 0 = cost only.
        min_score: Least expected score, in [0, 1]; a model below it, or of unknown score, is no candidate.
        max_cost: Most expected cost of the query, in US dollars; a model above it, or of unknown cost, is none.
        models: Only these; None = the whole pool.
        exclude: Not these.
    """

    alpha: float = DEFAULT_ALPHA
    min_score: float | None = None
    max_cost: float | None = None
    models: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        if not 0 <= self.alpha <= 1:
            raise PolicyError(f"alpha must lie in [0, 1] (1 = quality only, 0 = cost only), got {self.alpha:g}")
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise PolicyError(f"min_score must lie in [0, 1], got {self.min_score:g}")
        if self.max_cost is not None and not self.max_cost >= 0:
            raise PolicyError(f"max_cost must be US dollars, 0 or more, got {self.max_cost:g}")
        object.__setattr__(self, "models", None if self.models is None else tuple(self.models))
        object.__setattr__(self, "exclude", tuple(self.exclude))

    def allowed(self, pool: Sequence[str]) -> NDArray[np.bool_]:
        """Return (m,) True for the models of the pool that may be chosen at all.

        Raises:
            PolicyError: If a name is not in the pool, or nothing is left.
        """
        for name in (*(self.models or ()), *self.exclude):
            if name not in pool:
                near = get_close_matches(name, pool, n=1, cutoff=0.3)
                hint = f"did you mean {near[0]!r}?" if near else f"the pool is {', '.join(pool)}"
                raise PolicyError(f"no model is named {name!r}; {hint}")
        allowed = np.array([(self.models is None or name in self.models) and name not in self.exclude for name in pool])
        if not allowed.any():
            raise PolicyError("models and exclude leave no model to choose from")
        return allowed

    @property
    def limits_outcome(self) -> bool:
        """Whether expected score or cost can remove a candidate."""
        return self.min_score is not None or self.max_cost is not None


def weigh(estimate: Estimate, policy: Policy, allowed: NDArray[np.bool_] | None) -> Floats:
    """Return (n, m) utilities under the policy, -inf for what is no candidate.

    Args:
        estimate: What to expect of m models on n queries.
        policy: Trade-off and constraints.
        allowed: (m,) or (n, m) models that may be chosen; None = all.
    """
    utility = estimate.utility(policy.alpha)
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
