"""What a check measured, and what is concluded from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["drift", "no drift", "not checked"]
FALSE_ALARMS = 0.02
"""Probability with which a quiet gateway is said to have drifted, over all checks of a run together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a check found, before the checks are judged together.

    Attributes:
        check: Name of the check.
        model: The model it is about; None = all traffic.
        rows: Requests behind it.
        value: What was measured; NaN = nothing could be.
        expected: The same without drift; NaN = not known.
        threshold: From here on ``value`` matters in practice.
        beyond: Whether it does.
        p_value: Probability of as much without drift, in (0, 1]; None = a fact that needs no test.
        shown: ``value`` in words.
        limit: ``threshold`` in words.
        advice: What to do if it drifted.
        problem: Why nothing could be measured; None = it was.
    """

    check: str
    model: str | None = None
    rows: int = 0
    value: float = math.nan
    expected: float = math.nan
    threshold: float = math.nan
    beyond: bool = False
    p_value: float | None = None
    shown: str = "-"
    limit: str = "-"
    advice: str = ""
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A measurement with its verdict.

    Attributes:
        measured: What the check found.
        level: Largest p-value that counts as drift, in (0, 1); None = it was a fact, or was not checked.
        verdict: ``drift`` if the value is beyond the threshold and chance does not explain it.
    """

    measured: Measurement
    level: float | None
    verdict: Verdict

    @property
    def recommendation(self) -> str:
        """What to do; empty without drift."""
        return self.measured.advice if self.verdict == "drift" else ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; NaN becomes None."""
        measured = self.measured
        return {
            "check": measured.check,
            "model": measured.model,
            "verdict": self.verdict,
            "value": _finite(measured.value),
            "expected": _finite(measured.expected),
            "threshold": _finite(measured.threshold),
            "p_value": measured.p_value,
            "level": self.level,
            "rows": measured.rows,
            "shown": measured.shown,
            "limit": measured.limit,
            "problem": measured.problem,
            "recommendation": self.recommendation,
        }


def judge(measured: Sequence[Measurement], false_alarms: float = FALSE_ALARMS) -> tuple[Finding, ...]:
    """Decide on all checks together, so that their false alarms add up to no more than what is permitted.

    Half of the permitted share goes to the tests of all traffic, half to those of single models; within each half
    by Holm's procedure (1979), which holds whatever the dependence between the tests. A check of many models then
    does not blunt the others.

    Args:
        measured: What the checks found.
        false_alarms: Permitted probability of any false alarm, in (0, 1).

    Returns:
        A finding for each, in the same order.
    """
    levels: dict[int, float] = {}
    for of_models in (False, True):
        tested = [
            (one.p_value, place)
            for place, one in enumerate(measured)
            if one.p_value is not None and (one.model is not None) == of_models
        ]
        levels |= _holm(tested, false_alarms / 2)
    return tuple(_judged(one, levels.get(place)) for place, one in enumerate(measured))


def _holm(tested: Sequence[tuple[float, int]], share: float) -> dict[int, float]:
    """Return by place the level that each p-value is held against.

    The smallest is held against share / n, the next against share / (n - 1), and so on; from the first that is not
    below its level on, that level serves for the rest, all of which are above it.
    """
    levels: dict[int, float] = {}
    level, going = 0.0, True
    for rank, (p_value, place) in enumerate(sorted(tested)):
        if going:
            level = share / (len(tested) - rank)
            going = p_value <= level
        levels[place] = level
    return levels


def _judged(measured: Measurement, level: float | None) -> Finding:
    if measured.problem is not None:
        return Finding(measured, None, "not checked")
    by_chance = measured.p_value is not None and (level is None or measured.p_value > level)
    return Finding(measured, level, "drift" if measured.beyond and not by_chance else "no drift")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
