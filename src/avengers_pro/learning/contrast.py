"""Two policies on the same logged rows: how far apart their values are, and whether the log can tell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from avengers_pro.learning.off_policy import (
    ESTIMATORS,
    HEADLINE,
    Estimate,
    Logged,
    Target,
    calibrated,
    effective_size,
    mean_of,
    relative,
    row_values,
    weights,
)
from avengers_pro.learning.switch import CANNOT_TELL, COST, Change, outcome_of
from avengers_pro.records.table import Floats

LEAST_SIZE = 10.0
"""Least effective number of rows on which a policy's deviating choices were seen."""
MOST_UNSUPPORTED = 0.05
"""Largest share of the rows on which a policy may choose what had no chance to be logged."""
_MODAL = 0.5
_SURE = 2.0
"""Standard errors by which weights must fall short before that counts as missing support."""


@dataclass(frozen=True)
class Support:
    """How much of a target policy the log has seen.

    Attributes:
        rows: On which the target chooses anything.
        matched: Of them, those on which the logged choice is the target's.
        impossible: Share of the rows on which the target's choice is known to have had no chance: the logged one was
            certain and is another, or the model was never chosen at all.
        mean_weight: Mean of [target = logged] / propensity: 1 if every choice of the target had a chance, in
            expectation; less by the share of rows on which it had none.
        mean_weight_error: Its standard error.
        never: Rows by column of models that the target picks and the log never chose.
    """

    rows: int
    matched: int
    impossible: float
    mean_weight: float
    mean_weight_error: float
    never: dict[int, int]

    @property
    def unsupported(self) -> float:
        """Least share of the rows without support: what is known, or what the weights show beyond chance."""
        return max(self.impossible, 1 - self.mean_weight - _SURE * self.mean_weight_error)


def support_of(logged: Logged, target: Target) -> Support:
    """Count what the log has seen of a target."""
    n = len(target.chosen)
    matched = target.chosen == logged.chosen
    chances = np.where(matched, 1 / logged.propensity, 0.0)
    picked, counts = np.unique(target.chosen, return_counts=True)
    never = {
        int(model): int(count)
        for model, count in zip(picked, counts, strict=True)
        if not (logged.chosen == model).any()
    }
    impossible = (~matched & (logged.propensity >= 1)) | np.isin(target.chosen, list(never))
    error = float(chances.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    return Support(n, int(matched.sum()), float(impossible.mean()), float(chances.mean()), error, never)


@dataclass(frozen=True, eq=False)
class Contrast:
    """B against A, or against the logged policy.

    Attributes:
        logged: The rows.
        b: The policy that may take over.
        a: The policy in use; None = the logged one, exploration included.
    """

    logged: Logged
    b: Target
    a: Target | None

    @cached_property
    def telling(self) -> NDArray[np.bool_]:
        """(n,) rows that tell B from A: the two choose differently.

        Of the logged policy only the drawn choice is known. With a propensity above a half that is what it prefers;
        else B differs for sure where the drawn choice, which the log may not prefer, is B's.
        """
        if self.a is not None:
            return np.asarray(self.a.chosen != self.b.chosen)
        differs = self.b.chosen != self.logged.chosen
        return np.asarray(differs != (self.logged.propensity <= _MODAL))

    @cached_property
    def sizes(self) -> tuple[float, float]:
        """Effective numbers of telling rows on which B's, and A's, choice was seen with its reward.

        Infinite for the logged policy, whose choice is always seen, and where no row tells the two apart.
        """
        if not self.telling.any():
            return math.inf, math.inf
        seen = [
            math.inf if one is None else effective_size(weights(self.logged, one)[self.telling])
            for one in (self.b, self.a)
        ]
        return seen[0], seen[1]

    def difference(self, *, as_ratio: bool = False) -> dict[str, Estimate]:
        """Return b - a, or b / a - 1, by each estimator; paired, so that what the two share does not count."""
        of_b, of_a = self._rows
        unseen = math.hypot(*self._unseen)
        found = {}
        for name in ESTIMATORS:
            base = float(of_a[name].mean()) if as_ratio else 1.0
            values = relative(of_b[name], of_a[name]) if as_ratio else of_b[name] - of_a[name]
            found[name] = mean_of(values, unseen=unseen / base if base > 0 else math.nan)
        return found

    def values(self) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
        """Return the value of B, and of A, by each estimator."""
        of_b, of_a = (
            {name: mean_of(values, unseen=unseen) for name, values in rows.items()}
            for rows, unseen in zip(self._rows, self._unseen, strict=True)
        )
        return of_b, of_a

    @cached_property
    def _rows(self) -> tuple[dict[str, Floats], dict[str, Floats]]:
        return row_values(self.logged, self.b), row_values(self.logged, self.a)

    @cached_property
    def support(self) -> tuple[Support, Support | None]:
        """What the log has seen of B, and of A; None = A is the logged policy."""
        return support_of(self.logged, self.b), None if self.a is None else support_of(self.logged, self.a)

    def change(
        self, measure: str, margin: float, *, names: tuple[str, str] = ("B", "A"), models: Sequence[str] = ()
    ) -> Change:
        """Draw the verdict of B against A from the doubly robust difference.

        Args:
            measure: ``score``, or ``cost``: then less is better, and the difference a ratio.
            margin: By how much B may be worse.
            names: What B and A are called.
            models: Names of the columns; numbers if there are none.
        """
        estimate = self.difference(as_ratio=measure == COST)[HEADLINE]
        of_b, of_a = (values[HEADLINE].value for values in self.values())
        known = math.isfinite(estimate.value) and math.isfinite(estimate.standard_error)
        obstacle = self._obstacle(names, models) if self.logged.observed.any() else f"no request has a known {measure}"
        interval = estimate.interval if known else None
        return Change(
            measure=measure,
            a=of_a if math.isfinite(of_a) else None,
            b=of_b if math.isfinite(of_b) else None,
            difference=estimate.value if known else None,
            interval=interval,
            margin=margin,
            queries=int(self.logged.observed.sum()),
            outcome=CANNOT_TELL if obstacle else outcome_of(interval, margin, lower_wins=measure == COST),
            obstacle=obstacle,
        )

    def _obstacle(self, names: tuple[str, str], models: Sequence[str]) -> str:
        """Say why the log cannot tell; empty = it can."""
        for name, support, size in zip(names, self.support, self.sizes, strict=True):
            if support is not None and support.unsupported > MOST_UNSUPPORTED:
                never = ", ".join(
                    f"{models[column] if models else column} ({count})" for column, count in support.never.items()
                )
                said = f"what {name} chooses had no chance on at least {support.unsupported:.1%} of the requests"
                return said + (f"; never tried at all: {never}" if never else "")
            if size < LEAST_SIZE:
                return (
                    f"where the two differ, what {name} chooses was seen too rarely: on an effective {size:.1f} "
                    f"requests of known outcome, of {LEAST_SIZE:g} that it takes"
                )
        return ""

    @cached_property
    def _unseen(self) -> tuple[float, float]:
        return self._unseen_of(self.b), self._unseen_of(self.a)

    def _unseen_of(self, one: Target | None) -> float:
        """Standard error from two imagined telling rows of a policy, one off each way, beside those that were seen.

        The spread of a few heavy rows understates what a few more could do; of none at all it says nothing. As in
        ``pairs``, but a row weighs here what those seen weigh (the mean by weight; the most that any row of the log
        would, if none was seen), and is off by a usual residual. 0 for the logged policy, which is always seen.
        """
        if one is None or not self.telling.any():
            return 0.0
        known, rates = self.logged.observed, self.logged.observation_rates()
        if not known.any():
            return math.inf
        residuals = (self.logged.rewards - calibrated(self.logged, self.logged.direct)[0])[known]
        seen = weights(self.logged, one)[self.telling]
        total = float(seen.sum())
        heavy = (
            float(seen @ seen) / total if total > 0 else 1 / float((self.logged.propensity * rates)[rates > 0].min())
        )
        return math.sqrt(2 * float((residuals**2).mean())) * heavy / len(known)
