"""The share of queries unlike any training row, against what the router's own limit lets through."""

import math

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.learning.drift.finding import Measurement
from avengers_pro.routing.novelty import QUANTILE, REFERENCE_ROWS, Novelty

CHECK = "novel queries"
MARGIN = 0.02
"""Share of novel queries, above the usual one, from which on they matter."""
FEW_ROWS_WORTH = 4
"""Rows that were used to set the limit tell about it only so well: four of them count as one fresh row."""
_ADVICE = (
    "queries came in that no training row is like, and overall means decide them: evaluate the pool on some of them, "
    "and learn or fit again"
)


def usual_novelty(novelty: Novelty, rows: Vectors) -> tuple[float, float]:
    """Return how many training rows lie beyond the limit of novelty, and of how many.

    The rows that set the limit are left out where there are as many others: to these the limit is as foreign as it is
    to traffic. The short cut that saves routing most searches is left out too, so that the share is rather too large.

    Args:
        novelty: What is usual among training rows.
        rows: (s, d) training rows kept with the router, from which its reference was taken.
    """
    others = np.delete(rows, np.s_[:: -(-len(rows) // REFERENCE_ROWS)], axis=0)
    if len(others) < len(novelty.reference):
        r = len(novelty.reference)
        return math.ceil((1 - QUANTILE) * r) / FEW_ROWS_WORTH, r / FEW_ROWS_WORTH
    flags = novelty.flags(others, np.full(len(others), np.inf))
    return (0.0 if flags is None else float(flags.sum())), float(len(others))


def check_novel(novel: NDArray[np.bool_], usual: tuple[float, float]) -> Measurement:
    """Test whether more queries are novel than chance explains.

    What share of fresh rows of the same kind lies beyond a fixed limit is known only from some rows; given c of N,
    their number among n is taken as beta-binomial with Beta(c + 1, N - c), on the safe side of Fisher's exact test.

    Args:
        novel: (n,) flags of the decisions.
        usual: c and N, as ``usual_novelty`` returns them.
    """
    n, found = len(novel), int(novel.sum())
    if n == 0:
        return Measurement(check=CHECK, problem="no request was decided on its text by this router")
    beyond, rows = usual
    share, expected = found / n, beyond / rows
    return Measurement(
        check=CHECK,
        rows=n,
        value=share,
        expected=expected,
        threshold=expected + MARGIN,
        beyond=share >= expected + MARGIN,
        p_value=beta_binomial_tail(found, n, beyond + 1, rows - beyond),
        shown=f"{share:.1%} ({expected:.1%} of training rows)",
        limit=f"{expected + MARGIN:.1%}",
        advice=_ADVICE,
    )


def beta_binomial_tail(least: int, n: int, a: float, b: float) -> float:
    """Return P(X >= least) of a beta-binomial X: n draws whose probability is itself drawn from Beta(a, b).

    Args:
        least: In [0, n].
        n: Draws.
        a: More than 0.
        b: More than 0.
    """
    j = np.arange(n)
    steps = np.log(n - j) + np.log(a + j) - np.log(j + 1) - np.log(b + n - j - 1)
    first = math.lgamma(n + b) - math.lgamma(n + a + b) + math.lgamma(a + b) - math.lgamma(b)
    logs = first + np.concatenate([[0.0], np.cumsum(steps)])
    return min(1.0, float(np.exp(logs[least:]).sum()))
