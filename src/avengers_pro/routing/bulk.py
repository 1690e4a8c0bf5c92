"""Decisions for many queries as columns: for batches, where an object a query would cost more than deciding."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.records.table import Floats
from avengers_pro.routing.choice import choose, weigh
from avengers_pro.routing.clusters import Labels
from avengers_pro.routing.policy import Policy
from avengers_pro.routing.queries import Queries

if TYPE_CHECKING:
    from avengers_pro.routing.router import Router

BATCH = 4096


@dataclass(frozen=True, slots=True)
class Decisions:
    """The decisions for n queries.

    Attributes:
        chosen: (n,) positions in the router's ``models``; -1 = infeasible.
        expected_score: (n,) of the chosen model; NaN = not known, or infeasible.
        expected_cost: (n,) US dollars, likewise.
        clusters: (n, p) nearest clusters, nearest first; None for methods without clusters.
    """

    chosen: Labels
    expected_score: Floats
    expected_cost: Floats
    clusters: Labels | None


def decide(router: "Router", vectors: Vectors, policy: Policy | None = None) -> Iterator[Decisions]:
    """Decide for (n, d) rows, as ``Router.embed`` makes them, in batches.

    Raises:
        PolicyError: If the policy names an unknown model.
        EmbedderMismatchError: If the rows have another length than the router's.
    """
    policy = policy or Policy()
    allowed, fitted = router._meanings.of(policy)  # noqa: SLF001  (part of the router, in a file of its own)
    for start in range(0, len(vectors), BATCH):
        estimate = fitted.estimate(Queries(router._checked(vectors[start : start + BATCH])))  # noqa: SLF001
        chosen = choose(weigh(estimate, policy, allowed))
        rows, none = np.arange(len(chosen)), chosen < 0
        score, cost = estimate.expected_score[rows, chosen], estimate.expected_cost[rows, chosen]
        yield Decisions(chosen, np.where(none, np.nan, score), np.where(none, np.nan, cost), estimate.clusters)
