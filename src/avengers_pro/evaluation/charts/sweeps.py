"""How a result changes with one setting."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from avengers_pro.evaluation.charts.reading import is_log
from avengers_pro.evaluation.charts.theme import (
    WIDTH,
    Entry,
    colours,
    headed,
    inline,
    layered,
    legend,
    require_altair,
    shortened,
    stacked,
    title_lines,
)
from avengers_pro.evaluation.sweep import SweepRow

if TYPE_CHECKING:
    import altair as alt

_TICKS = 14


_UNITS = {
    "score": ("Mean score, %", 100.0),
    "cost": ("Cost of 1,000 queries, US dollars", 1000.0),
    "area": ("Area@B", 1.0),
}
"""How the metrics of a sweep are called and scaled in a figure; others as they are."""


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
    title = title_lines(f"What changes with {shortened(over, 60)}", note)
    return headed(stacked(*panels, legend(entries)), title, ["Line: mean over test splits. Band: 95 % interval."])


def _panel(rows: Sequence[SweepRow], metric: str, over: str, hue: dict[str, str]) -> "alt.LayerChart":
    import altair as alt

    heading, factor = _UNITS.get(metric, (metric, 1.0))
    known: list[dict[str, Any]] = [
        {
            "method": row.method,
            "value": row.value,
            **{end: factor * getattr(row, end) for end in ("mean", "low", "high")},
        }
        for row in rows
        if math.isfinite(row.mean)
    ]
    values = sorted({row.value for row in rows})
    axis = alt.Axis(values=values, format="~g") if len(values) <= _TICKS else alt.Axis(format="~g")
    scale = alt.Scale(type="log" if is_log(values) else "linear", nice=False, zero=False, padding=8)
    x = alt.X("value:Q", scale=scale, axis=axis, title=over)
    scale = alt.Scale(zero=False)
    y, lower = (alt.Y(f"{end}:Q", scale=scale, title=heading, axis=alt.Axis(tickCount=5)) for end in ("mean", "low"))
    colour = alt.Color("method:N", scale=alt.Scale(domain=list(hue), range=list(hue.values())), legend=None)
    tips = [
        alt.Tooltip("method:N", title="Method"),
        alt.Tooltip("value:Q", title=over),
        *(alt.Tooltip(f"{key}:Q", title=key, format=".4~g") for key in ("mean", "low", "high")),
    ]
    base = inline(known).encode(x=x, color=colour)
    return layered(
        [
            base.mark_area(opacity=0.15).encode(y=lower, y2="high:Q"),
            base.mark_line(strokeWidth=2).encode(y=y),
            base.mark_point(filled=True, size=40, opacity=1).encode(y=y, tooltip=tips),
        ],
        WIDTH,
        190,
    )
