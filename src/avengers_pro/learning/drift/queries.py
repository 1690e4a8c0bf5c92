"""Which cluster each request fell into, and whether it was novel, for the router that is looked at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.learning.traffic import Traffic
from avengers_pro.routing import Router
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.router import BATCH


@dataclass(frozen=True, slots=True)
class Placed:
    """n requests in a router's space.

    Attributes:
        cluster: (n,) nearest cluster; -1 = not known.
        novel: (n,) flags; False where the cluster is not known.
    """

    cluster: NDArray[np.intp]
    novel: NDArray[np.bool_]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n,) whether the cluster is known."""
        return self.cluster >= 0


def placed(traffic: Traffic, router: Router, fingerprint: str | None) -> Placed:
    """Take what the ledger says of requests that this router decided, and work out the rest where vectors were kept.

    Args:
        traffic: n requests.
        router: The one that is looked at.
        fingerprint: Of its folder; None = it decided all of them.
    """
    n = len(traffic)
    cluster = np.full(n, -1, dtype=np.intp)
    novel = np.zeros(n, dtype=np.bool_)
    profile = router.fitted.cluster_profile
    k = 0 if profile is None else len(profile.sizes)
    for row, (near, author) in enumerate(zip(traffic.clusters, traffic.routers, strict=True)):
        if near and near[0] < k and (fingerprint is None or author == fingerprint):
            cluster[row], novel[row] = near[0], traffic.novel[row]
    vectors = traffic.vectors
    if vectors is None or vectors.shape[1] != router.embedding.dimension:
        return Placed(cluster, novel)
    found = np.flatnonzero(~np.isnan(vectors[:, 0]))
    unplaced = found[cluster[found] < 0]
    for start in range(0, len(unplaced), BATCH):
        rows = unplaced[start : start + BATCH]
        estimate = router.fitted.estimate(Queries(vectors[rows]))
        if estimate.clusters is not None:
            cluster[rows] = estimate.clusters[:, 0]
        if estimate.novel is not None:
            novel[rows] = estimate.novel
    return Placed(cluster, novel)
