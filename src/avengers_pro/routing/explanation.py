"""Why this model: nearest clusters with example queries, and where along alpha the choice changes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from avengers_pro.routing.counterfactual import Contribution, Counterfactual
from avengers_pro.routing.decision import Decision
from avengers_pro.routing.method import Estimate
from avengers_pro.routing.profile import Profile

ALPHAS = 1001
"""Resolution of the search for switches: alpha is exact to a thousandth."""


@dataclass(frozen=True, slots=True)
class NearCluster:
    """One of the nearest clusters.

    Attributes:
        cluster: Its number.
        closeness: Inner product of query and centroid, or share of membership.
        size: Most scores that any model has in it.
        examples: Training queries near its centre.
    """

    cluster: int
    closeness: float
    size: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """The choice on a range of alpha; model None = infeasible."""

    alpha_from: float
    alpha_to: float
    model: str | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with its grounds.

    Attributes:
        decision: What was decided.
        clusters: Nearest first; empty for methods without clusters.
        stretches: What would be chosen at every other alpha, from 0 to 1.
        contributions: What each level of clusters added; empty for methods without levels.
        counterfactuals: When each other candidate would win; empty likewise.
    """

    decision: Decision
    clusters: tuple[NearCluster, ...]
    stretches: tuple[Stretch, ...]
    contributions: tuple[Contribution, ...] = ()
    counterfactuals: tuple[Counterfactual, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return self.decision.to_dict() | {
            "nearest_clusters": [
                {
                    "cluster": near.cluster,
                    "closeness": near.closeness,
                    "size": near.size,
                    "examples": list(near.examples),
                }
                for near in self.clusters
            ],
            "by_alpha": [
                {"from": stretch.alpha_from, "to": stretch.alpha_to, "model": stretch.model}
                for stretch in self.stretches
            ],
            "levels": [asdict(part) for part in self.contributions],
            "counterfactuals": [asdict(other) for other in self.counterfactuals],
        }


def stretches(chosen: list[str | None]) -> tuple[Stretch, ...]:
    """Join equal neighbours of the choices at evenly spaced alphas from 0 to 1."""
    alphas = np.linspace(0, 1, len(chosen))
    starts = [i for i, model in enumerate(chosen) if i == 0 or model != chosen[i - 1]]
    ends = [*(start - 1 for start in starts[1:]), len(chosen) - 1]
    return tuple(
        Stretch(float(alphas[start]), float(alphas[end]), chosen[start])
        for start, end in zip(starts, ends, strict=True)
    )


def near_clusters(
    estimate: Estimate, profile: Profile | None, examples: Sequence[Sequence[str]]
) -> tuple[NearCluster, ...]:
    """Describe the nearest clusters of the first query; empty for methods without clusters."""
    if estimate.clusters is None or estimate.closeness is None or profile is None:
        return ()
    sizes = profile.sizes
    return tuple(
        NearCluster(int(cluster), float(closeness), int(sizes[cluster]), tuple(examples[cluster]) if examples else ())
        for cluster, closeness in zip(estimate.clusters[0], estimate.closeness[0], strict=True)
    )
