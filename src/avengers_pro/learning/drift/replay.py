"""What the router itself does on its training rows under the policies of the traffic: the measure of "as usual"."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import PolicyError
from avengers_pro.records.table import Floats
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.choice import choose, weigh
from avengers_pro.routing.multiresolution_estimate import MultiResolutionEstimate
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution

MOST_POLICIES = 32
"""Different policies that are replayed, the most frequent of the traffic."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Leave-one-out decisions on the s training rows kept with a router, one line for each of p policies.

    Attributes:
        shares: (p,) of the traffic, adding up to 1.
        chosen: (p, s) columns of the router's models; -1 = none.
        surprises: (s, m) observed minus expected scores; NaN = not observed.
        models: m of the router.
    """

    shares: Floats
    chosen: NDArray[np.intp]
    surprises: Floats
    models: tuple[str, ...]

    @property
    def model_shares(self) -> Floats:
        """(m,) shares of the first choices, adding up to 1."""
        counts = np.stack([np.bincount(line[line >= 0], minlength=len(self.models)) for line in self.chosen])
        totals = counts.sum(axis=1, keepdims=True)
        shares: Floats = self.shares @ np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        return shares / max(float(shares.sum()), 1e-12)

    def surprise(self, model: str) -> tuple[float, float, int]:
        """Return mean, standard error and number of the surprises on rows for which a model was chosen.

        NaN where there are fewer than two. A router that takes the best of uncertain expectations is disappointed
        by the best a little, and profiles of few rows are off: neither is drift.
        """
        column = self.models.index(model)
        values = self.surprises[:, column]
        weights = self.shares @ (self.chosen == column)
        rows = (weights > 0) & ~np.isnan(values)
        if (count := int(rows.sum())) < 2:  # noqa: PLR2004
            return np.nan, np.nan, count
        values, weights = values[rows], weights[rows] / weights[rows].sum()
        mean = float(weights @ values)
        return mean, float(np.sqrt(weights**2 @ (values - mean) ** 2)), count


def replay(router: Router, policies: Sequence[str]) -> Replay | None:
    """Decide on the router's training rows as on the traffic.

    Args:
        router: Of the method avengers-pro, at the prices of the traffic.
        policies: JSON texts as in the ledger, one a request.

    Returns:
        None if the method keeps no rows, or none of the policies can be applied.
    """
    fitted = router.fitted
    if not isinstance(fitted, FittedMultiResolution):
        return None
    clusters, weights, _ = fitted.levels.locate(fitted.evidence.sample.vectors)
    able = [None if fact.capabilities is None else frozenset(fact.capabilities) for fact in router.facts]
    found: list[tuple[int, NDArray[np.intp]]] = []
    for text, count in Counter(policies).most_common(MOST_POLICIES):
        try:
            found.append((count, _choices(fitted, policy_of(text), able, clusters, weights)))
        except PolicyError:  # of a model that this router has not, or for which it has no prices
            continue
    if not found:
        return None
    counts = np.array([count for count, _ in found], dtype=np.float64)
    surprises = fitted.outcomes.scores - fitted.outcomes.expected_score
    return Replay(counts / counts.sum(), np.stack([line for _, line in found]), surprises, router.models)


def policy_of(text: str) -> Policy:
    """Read a policy as the ledger keeps it.

    Raises:
        PolicyError: If it is none.
    """
    try:
        given: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        return Policy(**given)
    except (msgspec.DecodeError, TypeError) as error:
        raise PolicyError(f"the ledger has the policy {text!r}, which this version cannot read: {error}") from error


def _choices(
    fitted: FittedMultiResolution,
    policy: Policy,
    able: Sequence[frozenset[str] | None],
    clusters: NDArray[np.intp],
    weights: Floats,
) -> NDArray[np.intp]:
    mask = policy.allowed(fitted.models, able)
    allowed = None if mask.all() else mask
    tuned = fitted.tuned(policy, allowed)
    known = fitted.outcomes
    estimate = MultiResolutionEstimate(
        tuned, clusters, weights, known.expected_score, known.expected_cost, np.ones(known.scores.shape), None
    )
    return choose(weigh(estimate, policy, allowed))
