"""Whether a model's answers are scored as its profile expects: a test that may be looked at after every score."""

import math

import numpy as np
from numpy.typing import NDArray

from avengers_pro.learning.drift.finding import Measurement
from avengers_pro.records.table import Floats

CHECK = "quality"
TOLERANCE = 0.05
"""Mean difference between score and expectation that is let pass in any case."""
STANDARD_ERRORS = 2.0
"""Of what is known of a model from training rows, that are let pass as well."""
LEAST_TRAINING = 20
"""Training rows on which a model must have been chosen to know how far its expectations are off."""
BETS = np.geomspace(0.03, 0.95, 8)
"""Shares of the largest bet that cannot ruin; wealth is their mean."""
_WORSE = (
    "clients score it below its profile since {since}: look at its answers, evaluate it again and learn, or exclude "
    "it; if all models are off alike, feedback and records are on different scales"
)
_BETTER = "clients score it above its profile since {since}: learn, so that it is chosen where it is worth it"


def check_quality(
    differences: Floats, at: Floats, model: str, usual: tuple[float, float, int] | None = None
) -> Measurement:
    """Test whether the mean difference has left what is usual, however often one looks.

    Null hypothesis: given all before, the next difference has a mean in [low, high]. Two gamblers bet against it,
    on less than low and on more than high; their mean wealth is at most 1 in expectation at any time, so that it ever
    reaches 1 / a has probability a at most (Ville 1939; Waudby-Smith and Ramdas 2023). Bets are a fixed mixture.

    Args:
        differences: (n,) score minus expected score at decision, in [-1, 1], oldest first.
        at: (n,) Unix seconds.
        model: Its name.
        usual: Mean, standard error and number of the same differences on training rows; None = not known.
    """
    n = len(differences)
    if n == 0:
        return Measurement(check=CHECK, model=model, problem="no feedback on its answers")
    low, high = usual_range(usual)
    wealth = log_wealth(differences, low, high)
    top = int(wealth.argmax())
    mean = float(differences.mean())
    is_worse = mean < (low + high) / 2
    since = np.datetime_as_string(np.datetime64(int(at[_crossing(wealth, top)]), "s"), unit="D")
    return Measurement(
        check=CHECK,
        model=model,
        rows=n,
        value=mean,
        expected=0.0 if usual is None or math.isnan(usual[0]) else usual[0],
        threshold=low if is_worse else high,
        beyond=True,
        p_value=min(1.0, math.exp(-float(wealth[top]))),
        shown=f"{mean:+.3f}",
        limit=f"{low:+.3f} to {high:+.3f}",
        advice=(_WORSE if is_worse else _BETTER).format(since=since),
    )


def usual_range(usual: tuple[float, float, int] | None) -> tuple[float, float]:
    """Return between which means a difference is usual: about 0, and about what it is on training rows."""
    if usual is None or usual[2] < LEAST_TRAINING:
        return -2 * TOLERANCE, 2 * TOLERANCE
    mean, error, _ = usual
    slack = TOLERANCE + STANDARD_ERRORS * error
    return min(-TOLERANCE, mean - slack), max(TOLERANCE, mean + slack)


def log_wealth(differences: Floats, low: float, high: float) -> Floats:
    """Return (n,) logarithms of the wealth after each difference.

    Args:
        differences: (n,) in [-1, 1].
        low: Lower end of the null hypothesis, in (-1, 1).
        high: Upper end.
    """
    below = np.log1p(-np.outer(BETS / (1 - low), differences - low))
    above = np.log1p(np.outer(BETS / (1 + high), differences - high))
    paths = np.cumsum(np.vstack([below, above]), axis=1)
    largest = paths.max(axis=0)
    wealth: Floats = largest + np.log(np.exp(paths - largest).mean(axis=0))
    return wealth


def _crossing(wealth: Floats, top: int) -> int:
    """Return where the last rise to the top began: the lowest point before it."""
    before: NDArray[np.float64] = wealth[: top + 1]
    return int(before.argmin())
