"""Whether the mix of kinds of query has shifted: the router's training rows by cluster against the traffic's."""

import numpy as np
from numpy.typing import NDArray

from avengers_pro.learning.drift.finding import Measurement
from avengers_pro.routing.stability import population_stability

CHECK = "mix of queries"
THRESHOLD = 0.1
"""Of the index above what it is by chance: a moderate shift by custom."""
DRAWS = 999
_ADVICE = (
    "the mix of queries is no longer that of the records (the largest change: cluster {cluster}, {before:.1%} of the "
    "records, {after:.1%} of the traffic): savings and scores measured on the records no longer describe it; "
    "evaluate on a sample of the traffic, and fit again if it stays so"
)


def check_clusters(training: NDArray[np.intp], traffic: NDArray[np.intp], seed: int = 0) -> Measurement:
    """Test whether two lots of rows fall into the clusters alike.

    The index is large by chance when rows are few: its mean over random divisions of the same rows is taken off, and
    their share that reach the index is the p-value (a permutation test, exact for independent rows).

    Args:
        training: (k,) training rows by nearest cluster.
        traffic: (k,) requests likewise.
        seed: Of the divisions.
    """
    n = int(traffic.sum())
    if n == 0 or len(training) < 2:  # noqa: PLR2004
        return Measurement(
            check=CHECK,
            problem="no request was decided by this router's clusters" if n == 0 else "the router has one cluster",
        )
    found = float(population_stability(training, traffic))
    by_chance = _divided(training + traffic, n, seed)
    expected = float(by_chance.mean())
    before, after = training / training.sum(), traffic / n
    worst = int(np.abs(after - before).argmax())
    return Measurement(
        check=CHECK,
        rows=n,
        value=found - expected,
        expected=0.0,
        threshold=THRESHOLD,
        beyond=found - expected >= THRESHOLD,
        p_value=(1 + int((by_chance >= found).sum())) / (1 + DRAWS),
        shown=f"PSI {found:.3f} ({expected:.3f} by chance)",
        limit=f"{THRESHOLD:g} above chance",
        advice=_ADVICE.format(cluster=worst, before=float(before[worst]), after=float(after[worst])),
    )


def _divided(pooled: NDArray[np.intp], n: int, seed: int) -> NDArray[np.float64]:
    """Return (DRAWS,) indices of random divisions of the pooled rows into n and the others."""
    rng = np.random.default_rng(seed)
    taken = rng.multivariate_hypergeometric(pooled, n, size=DRAWS, method="marginals")
    return population_stability(pooled - taken, taken)
