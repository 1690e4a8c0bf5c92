"""When a change counts as proven: the rule by which one router may take another one's place."""

from collections.abc import Sequence

import msgspec

MARGIN = 0.01
"""A score may be this much lower, on its scale of 0 to 1, and still pass for not worse."""
COST_MARGIN = 0.05
"""A cost may be this share higher and still pass for not worse."""
BETTER, NOT_WORSE, WORSE, CANNOT_TELL = "better", "not worse", "worse", "cannot tell"
SCORE, COST = "score", "cost"
REQUIREMENTS = ("not-worse", "better")


class Change(msgspec.Struct, kw_only=True, frozen=True):
    """B against A in one measure.

    Attributes:
        measure: ``score``, in [0, 1], or ``cost``, in US dollars a query.
        a: Mean of A; None = nothing is known.
        b: Mean of B; None likewise.
        difference: Of scores, b - a. Of costs, b / a - 1: -0.2 = a fifth cheaper. None = nothing is known.
        interval: 95 %, of the difference; None likewise.
        margin: By which B may be worse and still pass for not worse, on the scale of the difference.
        queries: That the difference rests on.
        outcome: ``better``, ``not worse``, ``worse`` or ``cannot tell``.
        obstacle: Why it cannot be told, if that is not the width of the interval; empty = nothing stands in the way.
    """

    measure: str
    a: float | None
    b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    margin: float
    queries: int
    outcome: str
    obstacle: str = ""


def outcome_of(interval: tuple[float, float] | None, margin: float, *, lower_wins: bool = False) -> str:
    """Read an interval of a difference.

    *Better*: all of it lies on the good side of 0. *Not worse*: all of it lies on the good side of the margin.
    *Worse*: all of it lies on the bad side of 0. *Cannot tell*: anything else. The first that holds counts, so that a
    change that is surely bad but surely smaller than the margin is *not worse*: that is what a margin is for.

    Args:
        interval: Low and high end; None = nothing is known.
        margin: At least 0.
        lower_wins: Whether less is better, as for costs.
    """
    if interval is None:
        return CANNOT_TELL
    low, high = (-interval[1], -interval[0]) if lower_wins else interval
    if low > 0:
        return BETTER
    if low > -margin:
        return NOT_WORSE
    return WORSE if high < 0 else CANNOT_TELL


def unmet(changes: Sequence[Change], required: str) -> str | None:
    """Say why a requirement is not proven; None = it is.

    ``not-worse`` asks that no measure is worse by more than its margin; ``better`` asks, moreover, that one is better.

    Args:
        changes: Of the measures that count.
        required: One of ``REQUIREMENTS``.
    """
    for change in changes:
        if change.outcome not in {BETTER, NOT_WORSE}:
            return f"{required} is not proven: {sentence(change)}"
    if required == "better" and all(change.outcome != BETTER for change in changes):
        if len(changes) == 1:
            return f"better is not proven: {changes[0].measure} is not known to be better"
        return "better is not proven: neither score nor cost is known to be better"
    return None


def sentence(change: Change) -> str:
    """Return the verdict on one measure in words."""
    if change.difference is None or change.interval is None:
        return f"{change.measure}: cannot tell, {change.obstacle or 'nothing is known of it'}"
    unit = "points" if change.measure == SCORE else "%"
    low, high = (100 * end for end in change.interval)
    measured = f"{100 * change.difference:+.2f} {unit} [{low:+.2f}, {high:+.2f}]"
    margin = f"{100 * change.margin:g} {unit}"
    if change.obstacle:
        return f"{change.measure}: cannot tell, {change.obstacle} ({measured})"
    words = {
        BETTER: "B is better",
        NOT_WORSE: f"B is not worse (within {margin})",
        WORSE: "B is worse",
        CANNOT_TELL: f"cannot tell, the interval holds 0 and what is worse than {margin}",
    }
    if change.measure == COST:
        words |= {BETTER: "B is cheaper", NOT_WORSE: f"B is not dearer (within {margin})", WORSE: "B is dearer"}
    return f"{change.measure}: {words[change.outcome]}, {measured}"
