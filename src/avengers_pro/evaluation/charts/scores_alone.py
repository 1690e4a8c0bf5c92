"""Scores of everything compared, for records without costs."""

import math
from typing import TYPE_CHECKING, Any

from avengers_pro.evaluation.charts.reading import best_single, singles
from avengers_pro.evaluation.charts.theme import (
    INK,
    MUTED,
    WIDTH,
    Entry,
    colours,
    distinct,
    grown,
    inline,
    layered,
    legend,
    shortened,
    stacked,
    titled,
)
from avengers_pro.evaluation.results import Evaluation

if TYPE_CHECKING:
    import altair as alt

_WIDTH = WIDTH - 190
_METHOD, _BASELINE, _MODEL = "method", "baseline", "single model"


def scores_alone(evaluation: Evaluation) -> "alt.VConcatChart":
    """Draw a dot for the best score of each method, baseline and single model, with its range over splits."""
    import altair as alt

    rows = sorted(_rows(evaluation), key=lambda row: -row["score"])
    names = distinct([row["name"] for row in rows], 44)
    rows = [{**row, "name": name} for row, name in zip(rows, names, strict=True)]
    order = [row["name"] for row in rows]
    domain = grown([row[key] for row in rows for key in ("low", "high")])
    scale = alt.Scale(domain=domain, nice=False, zero=False)
    x, lower = (alt.X(f"{field}:Q", title="Mean score, %", scale=scale) for field in ("score", "low"))
    axis = alt.Axis(labelLimit=230, grid=True, ticks=False, title=None)
    base = inline(rows).encode(y=alt.Y("name:N", sort=order, axis=axis))
    tips = [
        alt.Tooltip("full:N", title="What"),
        alt.Tooltip("score:Q", title="Score, %", format=".1f"),
        alt.Tooltip("low:Q", title="Lowest split", format=".1f"),
        alt.Tooltip("high:Q", title="Highest split", format=".1f"),
    ]
    colour = alt.Color("colour:N", scale=None)
    layers: list[alt.Chart] = [
        base.mark_rule(strokeWidth=1.6, opacity=0.6).encode(x=lower, x2="high:Q", color=colour),
        base.mark_point(filled=True, size=65, opacity=1).encode(x=x, color=colour, tooltip=tips),
    ]
    best = best_single(evaluation)
    if best is not None:
        line = inline([{"score": 100 * best.score_micro}])
        layers.insert(0, line.mark_rule(color=INK, strokeWidth=0.6, opacity=0.55).encode(x=x))
    plot = layered(layers, _WIDTH, 20 * len(rows))
    return titled(
        stacked(plot, legend(_entries(evaluation), width=_WIDTH)),
        "Scores of methods, baselines and single models",
        evaluation,
        "These records have no costs, so only scores can be compared. Bar: lowest to highest split.",
    )


def _rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    hue = colours(evaluation.methods)
    rows = []
    for label, result in {**evaluation.baselines, **evaluation.methods}.items():
        if label == "static":
            continue
        kind = _METHOD if label in evaluation.methods else _BASELINE
        scores = [100 * max(point.score_micro for point in split.curve) for split in result.splits]
        mean = 100 * max(point.score_micro for point in result.mean.curve)
        rows.append(_row(label, kind, hue.get(label, INK), mean, scores))
    static = evaluation.baselines.get("static")
    for single in singles(evaluation):
        scores = [
            100 * point.score_micro
            for split in (static.splits if static else [])
            for point in split.curve
            if point.model == single.model and math.isfinite(point.score_micro)
        ]
        rows.append(_row(single.model or "", _MODEL, "#8c8c8c", 100 * single.score_micro, scores))
    return rows


def _row(name: str, kind: str, colour: str, score: float, splits: list[float]) -> dict[str, Any]:
    return {
        "name": name if kind == _MODEL else f"{shortened(name, 30)}  ({kind})",
        "full": name,
        "colour": colour,
        "score": score,
        "low": min([score, *splits]),
        "high": max([score, *splits]),
    }


def _entries(evaluation: Evaluation) -> list[Entry]:
    hue = colours(evaluation.methods)
    return [
        *(Entry(shortened(label, 40), colour, shape="circle", size=65) for label, colour in hue.items()),
        Entry("baseline", INK, shape="circle", size=65),
        Entry("single model", "#8c8c8c", shape="circle", size=65),
        Entry("best single model, on train", MUTED, width=0.8),
    ]
