"""Is routing worth it on these records? One plain sentence, by a rule that is written down."""

from collections import Counter
from collections.abc import Mapping, Sequence

from avengers_pro.evaluation.results import MethodResult, Paired, SplitInfo, Verdict

MARGIN = 0.005
"""To *match* the best single model, the score may be estimated at most this much lower, relatively."""
UNCLEAR = 0.02
"""If the score might still be this much higher, the verdict says that it cannot tell."""
LEAST_SAVING = 0.05
"""A saving that may be smaller than this share of the cost is not worth a router."""


def draw_verdict(
    label: str,
    methods: Mapping[str, MethodResult],
    splits: Sequence[SplitInfo],
    paired: Sequence[Paired],
    *,
    has_costs: bool,
) -> Verdict:
    """Compare a method's train-chosen operating points with the best single model on the same test queries.

    *Beats*: at the point of best quality, the 95 % interval of the score difference lies above 0.
    *Matches*: at the cheapest point of equal quality the score is not below by more than ``MARGIN``, its interval
    reaches 0, the interval of the cost change lies below -``LEAST_SAVING``, and the area is above that of the hull of
    single models, whose cheaper members any knob can reach.
    *Does not beat*: anything else.
    """
    reference = Counter(split.best_single for split in splits).most_common(1)[0][0]
    found = {row.metric: row for row in paired if row.a == label and row.b == "best-single"}
    quality, equal = found["score at quality"], found["score at equal"]
    points = methods[label].mean.operating_points
    relative = points["equal"].score_change or 0.0
    saving = found.get("cost change at equal")
    beyond = any(row.a == label and row.b == "static" and row.interval[0] > 0 for row in paired)
    cheaper = has_costs and saving is not None and saving.interval[1] < -LEAST_SAVING and beyond
    holds = relative >= -MARGIN and equal.interval[1] >= 0
    if "(oracle among" in label:
        text = f"{label} is scored by the best of several answers, which no router can return: no verdict"
        return Verdict(outcome="no verdict", method=label, reference=reference, text=text + _basis(len(splits)))
    if quality.interval[0] > 0:
        outcome = "beats"
        text = f"{label} beats the best single model ({reference}): {_points(quality)}{_cost(found, 'quality')}."
        if cheaper and holds:
            text += f" At its equal-quality setting it scores {_points(equal)}{_cost(found, 'equal')}."
    elif cheaper and holds:
        outcome = "matches"
        text = (
            f"{label} matches the best single model ({reference}): {_points(equal)}{_cost(found, 'equal')}. "
            "It does not score better."
        )
    else:
        outcome = "does not beat"
        why = "routing does not pay here" if quality.interval[1] <= UNCLEAR else "these queries are too few to tell"
        text = (
            f"{label} does not beat the best single model ({reference}); {why}. At its best "
            f"quality it scores {_points(quality)}{_cost(found, 'quality')}."
        )
    return Verdict(outcome=outcome, method=label, reference=reference, text=text + _basis(len(splits)))


def _points(row: Paired) -> str:
    low, high = (100 * value for value in row.interval)
    return f"{100 * row.difference:+.1f} points of score [{low:+.1f}, {high:+.1f}]"


def _cost(found: Mapping[str, Paired], goal: str) -> str:
    row = found.get(f"cost change at {goal}")
    if row is None:
        return ""
    change, low, high = (100 * value for value in (row.difference, row.interval[0], row.interval[1]))
    return f" at {1 + change / 100:.0%} of its cost [{1 + low / 100:.0%}, {1 + high / 100:.0%}]"


def _basis(splits: int) -> str:
    plural = "" if splits == 1 else "s"
    return f" ({splits} split{plural}; settings chosen on train; 95 % intervals by query bootstrap.)"
