"""How a result changes with one setting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avengers_pro.evaluation.charts.reading import is_log
from avengers_pro.evaluation.charts.theme import (
    WIDTH,
    Entry,
    colours,
    headed,
    legend,
    require_altair,
    shortened,
    stacked,
)

if TYPE_CHECKING:
    import altair as alt

_TICKS = 14


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One metric of one method at one value of the setting.

    Attributes:
        method: Its label.
        value: Of the setting.
        metric: What was measured.
        mean: Over splits; NaN = no value.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    method: str
    value: float
    metric: str
    mean: float
    low: float
    high: float


def sweep(rows: Sequence[SweepRow], over: str, note: str = "") -> "alt.VConcatChart":
    """Draw each metric against a setting: the mean as a line, its interval as a band.

    Args:
        rows: At least one.
        over: The setting's name, for example ``clusters``.
        note: Shown in the title, for example "simulated data".

    Raises:
        MissingExtraError: If altair is not installed.
    """
    require_altair()
    hue = colours(dict.fromkeys(row.method for row in rows))
    metrics = list(dict.fromkeys(row.metric for row in rows))
    panels = [_panel([row for row in rows if row.metric == metric], metric, over, hue) for metric in metrics]
    entries = [Entry(shortened(method, 50), colour) for method, colour in hue.items()]
    title = [f"What changes with {shortened(over, 60)}"] + ([f"Note: {shortened(note, 95)}"] if note else [])
    return headed(stacked(*panels, legend(entries)), title, ["Line: mean over test splits. Band: 95 % interval."])


def _panel(rows: Sequence[SweepRow], metric: str, over: str, hue: dict[str, str]) -> "alt.LayerChart":
    import altair as alt

    known: list[dict[str, Any]] = [
        {"method": row.method, "value": row.value, "mean": row.mean, "low": row.low, "high": row.high}
        for row in rows
        if math.isfinite(row.mean)
    ]
    values = sorted({row.value for row in rows})
    axis = alt.Axis(values=values, format="~g") if len(values) <= _TICKS else alt.Axis(format="~g")
    scale = alt.Scale(type="log" if is_log(values) else "linear", nice=False, zero=False, padding=8)
    x = alt.X("value:Q", scale=scale, axis=axis, title=over)
    scale = alt.Scale(zero=False)
    y, lower = (alt.Y(f"{end}:Q", scale=scale, title=metric, axis=alt.Axis(tickCount=5)) for end in ("mean", "low"))
    colour = alt.Color("method:N", scale=alt.Scale(domain=list(hue), range=list(hue.values())), legend=None)
    tips = [
        alt.Tooltip("method:N", title="Method"),
        alt.Tooltip("value:Q", title=over),
        *(alt.Tooltip(f"{key}:Q", title=key, format=".4~g") for key in ("mean", "low", "high")),
    ]
    base = alt.Chart(alt.Data(values=known)).encode(x=x, color=colour)
    return alt.layer(
        base.mark_area(opacity=0.15).encode(y=lower, y2="high:Q"),
        base.mark_line(strokeWidth=2).encode(y=y),
        base.mark_point(filled=True, size=40, opacity=1).encode(y=y, tooltip=tips),
    ).properties(width=WIDTH, height=190)
