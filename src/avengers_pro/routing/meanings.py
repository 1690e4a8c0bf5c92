"""What a policy means for a fitted method, worked out once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import PolicyError
from avengers_pro.routing.artifact import ModelEntry
from avengers_pro.routing.method import Calibrated, FittedMethod, Method
from avengers_pro.routing.policy import Policy

MOST = 1024
"""Policies remembered."""
Meaning = tuple[NDArray[np.bool_] | None, FittedMethod]


class Meanings:
    """Policies and what they mean: the (m,) allowed models, None = all, and the method set to the objective."""

    def __init__(self, method: Method, fitted: FittedMethod, facts: Sequence[ModelEntry]) -> None:
        """Begin with nothing worked out."""
        self._method, self._fitted = method, fitted
        self._able = [None if fact.capabilities is None else frozenset(fact.capabilities) for fact in facts]
        self._known: dict[Policy, Meaning] = {}

    def knows(self, policy: Policy) -> bool:
        """Whether a policy was worked out."""
        return policy in self._known

    def of(self, policy: Policy) -> Meaning:
        """Return what a policy means.

        Raises:
            PolicyError: If it names an unknown model, leaves none, or has an objective the method knows nothing of.
        """
        found = self._known.get(policy)
        if found is None:
            found = self._work_out(policy)
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[policy] = found
        return found

    def _work_out(self, policy: Policy) -> Meaning:
        mask = policy.allowed(self._fitted.models, self._able)
        allowed = None if mask.all() else mask
        if isinstance(self._fitted, Calibrated):
            return allowed, self._fitted.tuned(policy, allowed)
        if policy.alpha is None:
            raise PolicyError(
                f"{self._method.name} has no calibration, so {policy.objective} means nothing to it; fit with "
                "--method avengers-pro, or give alpha"
            )
        return allowed, self._fitted
