"""What a policy would have earned on traffic that another, randomised one decided: IPS, SNIPS and doubly robust.

For row i: ``a`` is the logged choice, drawn with the known probability ``p(a)``; ``t`` what the target policy, which is
deterministic, chooses; ``r`` the reward, observed with probability ``rho(a)``, which is estimated by the share of rows
with that choice whose reward is known; ``q`` a direct model of the reward, unknown to neither. With
``w = [t = a] [r is observed] / (p(a) rho(a))``:

    IPS    mean(w r)                                    Horvitz and Thompson 1952
    SNIPS  sum(w r) / sum(w)                            Swaminathan and Joachims 2015
    DR     mean(q(t) + w (r - q(a)))                    Dudik, Langford and Li 2011, arXiv 1103.4601

Nothing is clipped: a weight is at most 1 / (smallest propensity x smallest rho), and where few rows carry the weight,
``effective_size`` says so.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import EvaluationError
from avengers_pro.records.table import Floats

ESTIMATORS = ("ips", "snips", "dr")
HEADLINE = "dr"
"""The one that verdicts rest on: unbiased as IPS is, with the smallest spread of the three where rows are few."""
Choices = NDArray[np.intp]
_Z = NormalDist().inv_cdf(0.975)
_FOLDS = 5
_PARAMETERS = 2
"""Of the line that calibrates a direct model."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and how sure it is.

    Attributes:
        value: The estimate; NaN = no row says anything of it.
        standard_error: Of it, asymptotically, rows being independent.
    """

    value: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by the normal distribution."""
        half = _Z * self.standard_error
        return self.value - half, self.value + half


@dataclass(frozen=True, eq=False)
class Logged:
    """n decisions of a randomised policy, and what came of them.

    Attributes:
        chosen: (n,) column of the choice, at least 0.
        propensity: (n,) probability in (0, 1] with which it was chosen.
        rewards: (n,) NaN = not observed.
        direct: (n,) reward that the direct model predicts of the choice; NaN = it does not know it.
    """

    chosen: Choices
    propensity: Floats
    rewards: Floats
    direct: Floats

    def __post_init__(self) -> None:
        """Check shapes and ranges once.

        Raises:
            EvaluationError: If lengths differ, or a propensity is no probability of what has happened.
        """
        lengths = {len(values) for values in (self.chosen, self.propensity, self.rewards, self.direct)}
        if len(lengths) > 1:
            raise EvaluationError(f"logged columns have different lengths: {sorted(lengths)}")
        bad = ~((self.propensity > 0) & (self.propensity <= 1))
        if bad.any():
            row = int(np.argmax(bad))
            raise EvaluationError(f"row {row}: propensity {self.propensity[row]} is not in (0, 1]")
        if (self.chosen < 0).any():
            raise EvaluationError(f"row {int(np.argmax(self.chosen < 0))}: no choice was logged; leave such rows out")

    @property
    def observed(self) -> NDArray[np.bool_]:
        """(n,) True where the reward is known."""
        return np.isfinite(self.rewards)

    def observation_rates(self) -> Floats:
        """Return (n,) share of the rows with the same choice whose reward is known."""
        size = int(self.chosen.max(initial=-1)) + 1
        known = np.bincount(self.chosen, self.observed, minlength=size)
        rates = known / np.maximum(np.bincount(self.chosen, minlength=size), 1)
        return np.asarray(rates[self.chosen])


@dataclass(frozen=True, eq=False)
class Target:
    """What a deterministic policy chooses on the same n rows.

    Attributes:
        chosen: (n,) columns as in ``Logged``; a choice that was never logged has a column of its own.
        direct: (n,) reward that the direct model predicts of the choice; NaN = it does not know it.
    """

    chosen: Choices
    direct: Floats


def weights(logged: Logged, target: Target | None) -> Floats:
    """Return (n,) w of the module's head; of the logged policy itself if there is no target."""
    rates = logged.observation_rates()
    matches = logged.observed if target is None else logged.observed & (target.chosen == logged.chosen)
    propensity = logged.propensity if target is not None else np.ones(len(rates))
    return np.divide(matches, propensity * rates, out=np.zeros(len(rates)), where=rates > 0)


def effective_size(of: Floats) -> float:
    """Return Kish's effective sample size of (n,) weights: as many equal ones would be as uncertain. 0 without any."""
    total, squares = float(of.sum()), float((of**2).sum())
    return total * total / squares if squares > 0 else 0.0


def row_values(logged: Logged, target: Target | None) -> dict[str, Floats]:
    """Return, for each estimator, (n,) values whose mean is the estimate and whose spread is its uncertainty.

    For SNIPS these are its linearisation. All NaN where the weights are all 0.

    Args:
        logged: The rows; the direct model is calibrated on them, by cross-fitting.
        target: The policy to be judged; None = the logged one, exploration included.
    """
    w = weights(logged, target)
    rewards = np.where(logged.observed, logged.rewards, 0.0)
    total = float(w.sum())
    nothing = np.full(len(w), np.nan)
    if not total > 0:
        return dict.fromkeys(ESTIMATORS, nothing)
    ratio = float(w @ rewards) / total
    at_logged, at_target = calibrated(logged, logged.direct if target is None else target.direct)
    return {
        "ips": w * rewards,
        "snips": ratio + len(w) / total * w * (rewards - ratio),
        "dr": at_target + w * (rewards - at_logged),
    }


def calibrated(logged: Logged, direct: Floats) -> tuple[Floats, Floats]:
    """Bring the direct model to the scale of the rewards: (n,) predictions for the logged choice and for ``direct``.

    A line fitted to the observed rows of other folds, so that no row's reward is in its own prediction: feedback need
    not be on the scale of expected scores. What the direct model does not know gets the mean of the observed rewards;
    all is NaN if there is none.
    """
    n = len(logged.rewards)
    fold = np.arange(n) % _FOLDS
    here, there = np.full(n, np.nan), np.full(n, np.nan)
    if not logged.observed.any():
        return here, there
    for one in range(_FOLDS):
        inside, known = fold == one, logged.observed & (fold != one)
        usable = known & np.isfinite(logged.direct)
        x, y = logged.direct[usable], logged.rewards[usable]
        slope = 0.0
        if usable.sum() > _PARAMETERS and (spread := float(x.var())) > 0:
            slope = float(((x - x.mean()) * (y - y.mean())).mean()) / spread
        mean = float(logged.rewards[known if known.any() else logged.observed].mean())
        level = float(y.mean() - slope * x.mean()) if usable.any() else mean
        for values, found in ((logged.direct, here), (direct, there)):
            predicted = level + slope * values[inside]
            found[inside] = np.where(np.isfinite(predicted), predicted, mean)
    return here, there


def mean_of(values: Floats, *, unseen: float = 0.0) -> Estimate:
    """Return the mean of (n,) row values with its standard error.

    Args:
        values: Of one estimator, or differences of two policies'.
        unseen: Standard error of what the sample may have missed, added in quadrature.
    """
    n = len(values)
    if n < 2 or not np.isfinite(values).all():  # noqa: PLR2004
        return Estimate(math.nan, math.nan)
    return Estimate(float(values.mean()), math.hypot(float(values.std(ddof=1)) / math.sqrt(n), unseen))


def relative(b: Floats, a: Floats) -> Floats:
    """Return (n,) values whose mean is mean(b) / mean(a) - 1, by the delta method; NaN if a's mean is not positive."""
    base = float(a.mean())
    if not base > 0:
        return np.full(len(a), np.nan)
    ratio = float(b.mean()) / base
    return np.asarray(ratio - 1 + (b - ratio * a) / base)
