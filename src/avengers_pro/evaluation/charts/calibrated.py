"""What a fitted router expects to score and to cost, read off its own training records."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from avengers_pro.evaluation.charts.axes import HEIGHT, CostScoreAxes
from avengers_pro.evaluation.charts.labels import Spot, place
from avengers_pro.evaluation.charts.theme import (
    INK,
    WIDTH,
    Entry,
    headed,
    inline,
    layered,
    legend,
    require_altair,
    short_names,
    stacked,
    title_lines,
)
from avengers_pro.evaluation.results import Point

if TYPE_CHECKING:
    import altair as alt

_CURVE, _MODEL = "#0072b2", "#7f7f7f"
CostAndScore = tuple[float, float]
"""US dollars a query, mean score in [0, 1]."""


def calibrated(
    curve: Mapping[float, CostAndScore], models: Mapping[str, CostAndScore], reference: str, note: str = ""
) -> "alt.VConcatChart":
    """Draw cost against score: the router at each alpha, and every single model.

    Args:
        curve: By alpha, ascending.
        models: By name; those with a known cost and score.
        reference: The best single model, to be marked.
        note: Shown in the title, for example "simulated data".

    Raises:
        MissingExtraError: If altair is not installed.
    """
    require_altair()
    points = {name: _point(*where) for name, where in models.items()}
    line = [_point(*where) for where in curve.values()]
    axes = CostScoreAxes.of([*line, *points.values()])
    plot = layered([*_curve(curve, axes), *_models(points, reference, axes)], WIDTH, HEIGHT)
    entries = [
        Entry("the router, from cost only (alpha 0) to quality only (alpha 1)", _CURVE),
        Entry("single model", _MODEL, shape="circle", size=48),
        Entry("best single model", INK, shape="circle", filled=False, size=110),
    ]
    return headed(
        stacked(plot, legend(entries, columns=1)),
        title_lines("What the router expects: score against cost", note),
        ["Up and to the left is better. Each training query was expected without itself; no query here is held out."],
    )


def _point(cost_usd: float, score: float) -> Point:
    return Point(
        alpha=None, score_micro=score, score_macro=score, cost_per_query=cost_usd, cost_total=None, shares={},
        by_dataset={},
    )  # fmt: skip


def _curve(curve: Mapping[float, CostAndScore], axes: CostScoreAxes) -> "list[alt.Chart]":
    import altair as alt

    rows = [
        {"setting": f"alpha {alpha:.2f}", "alpha": alpha, "cost": 1000 * cost, "score": 100 * score}
        for alpha, (cost, score) in curve.items()
    ]
    base = inline(rows).encode(x=axes.x(), y=axes.y())
    tips = [alt.Tooltip("setting:N", title="Setting"), *_tips()]
    return [
        base.mark_line(color=_CURVE, strokeWidth=2.4, clip=True).encode(order="alpha:Q"),
        base.mark_point(filled=True, color=_CURVE, size=30, opacity=1).encode(tooltip=tips),
    ]


def _tips() -> "list[alt.Tooltip]":
    import altair as alt

    return [
        alt.Tooltip("score:Q", title="Score, %", format=".1f"),
        alt.Tooltip("cost:Q", title="Cost of 1,000 queries", format="$,.3~r"),
    ]


def _models(points: Mapping[str, Point], reference: str, axes: CostScoreAxes) -> "list[alt.Chart]":
    import altair as alt

    short = short_names(points)
    order = sorted(points, key=lambda name: (name != reference, -points[name].score_micro))
    rows = [_row(name, points[name]) for name in order]
    tips = [alt.Tooltip("name:N", title="Model"), *_tips()]
    base = inline(rows).encode(x=axes.x(), y=axes.y(), tooltip=tips)
    layers = [base.mark_point(filled=True, color=_MODEL, size=48, opacity=1)]
    if reference in points:
        best = inline([_row(reference, points[reference])]).encode(x=axes.x(), y=axes.y())
        layers.append(best.mark_point(color=INK, size=130, strokeWidth=2, opacity=1))
    spots = [Spot(*axes.pixel(points[name]), short[name], needed=name == reference) for name in order]
    return layers + _names(spots, axes)


def _row(name: str, point: Point) -> dict[str, Any]:
    return {"name": name, "cost": 1000 * (point.cost_per_query or 0.0), "score": 100 * point.score_micro}


def _names(spots: Sequence[Spot], axes: CostScoreAxes) -> "list[alt.Chart]":
    layers = []
    for label in place(spots, [], WIDTH, HEIGHT):
        cost, score = axes.value(label.x, label.y)
        text = inline([{"cost": cost, "score": score, "text": label.text}]).encode(
            x=axes.x(), y=axes.y(), text="text:N"
        )
        style: dict[str, Any] = {"align": label.align, "baseline": "middle", "fontSize": 10.5, "color": "#333333"}
        layers.append(text.mark_text(**style))
    return layers
