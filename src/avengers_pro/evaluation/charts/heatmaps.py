"""Heat maps: scores by dataset, and the profile of a router's clusters."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avengers_pro.evaluation.charts.reading import best_single, found, nearest
from avengers_pro.evaluation.charts.theme import (
    BLACK,
    INK,
    WIDTH,
    Entry,
    counted,
    distinct,
    headed,
    inline,
    layered,
    legend,
    require_altair,
    short_names,
    shortened,
    stacked,
    title_lines,
    titled,
)
from avengers_pro.evaluation.results import Evaluation, Point

if TYPE_CHECKING:
    import altair as alt

BEST = "best single"
_HATCH = "M-1,-0.2L-0.2,-1M-1,0.6L0.6,-1M-0.6,1L1,-0.6M0.2,1L1,0.2"
_LEFT_WIDTH = 285
_NUMBER_FITS = 27
_WHITE_FROM = 74
"""Score from which white is read better on the scheme's blue than black."""


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """One cluster of a fitted router.

    Attributes:
        cluster: Its number.
        size: Queries in it.
        example: One of them.
        scores: Mean score of each model, in [0, 1]; NaN = not observed.
    """

    cluster: int
    size: int
    example: str
    scores: dict[str, float]


def dataset_columns(evaluation: Evaluation) -> dict[str, Point]:
    """Return what is compared dataset by dataset: each method where train promised the best quality."""
    columns: dict[str, Point] = {}
    best = best_single(evaluation)
    if best is not None:
        columns[BEST] = best
    for label, result in evaluation.methods.items():
        columns[label] = _at_quality(evaluation, label) or result.mean.curve[0]
    for label in ("dataset-label", "oracle"):
        point = _at_quality(evaluation, label)
        if point is not None:
            columns[label] = point
    return columns


def _at_quality(evaluation: Evaluation, label: str) -> Point | None:
    result = found(evaluation, label)
    if result is None:
        return None
    goal = result.mean.operating_points.get("quality")
    return nearest(result.mean.curve, goal.alpha if goal else None)


def dataset_order(evaluation: Evaluation) -> list[str]:
    """Return the datasets, first those where the first method gains most over the best single model."""
    best, first = best_single(evaluation), _at_quality(evaluation, next(iter(evaluation.methods)))
    if best is None or first is None:
        return list(evaluation.records.datasets)
    shared = [name for name in first.by_dataset if name in best.by_dataset]
    return sorted(shared, key=lambda name: best.by_dataset[name] - first.by_dataset[name])


def by_dataset(evaluation: Evaluation) -> "alt.VConcatChart":
    """Draw the mean score in each dataset; the colour is the difference from the best single model.

    Raises:
        MissingExtraError: If altair is not installed.
    """
    require_altair()
    import altair as alt

    columns, order = dataset_columns(evaluation), dataset_order(evaluation)
    rows = _dataset_rows(evaluation, columns, order)
    known = [abs(row["change"]) for row in rows if row["change"] is not None and row["column"] != "oracle"]
    most = max(2.0, *known) if known else 2.0
    labels = list(dict.fromkeys(row["column"] for row in rows))
    padding = 6 + 13 * max((label.count("\n") for label in labels), default=0)
    x = alt.X(
        "column:N", sort=labels, title=None, axis=_top_axis(labelExpr="split(datum.label, '\\n')", labelPadding=padding)
    )
    y = alt.Y("dataset:N", sort=None, title=None, axis=_left_axis(200))
    colour = alt.Color(
        "change:Q",
        scale=alt.Scale(domain=[-most, 0, most], range=["#d98032", "#f7f7f7", "#3b83bd"], clamp=True),
        legend=alt.Legend(
            title="Points against the best single model",
            orient="bottom",
            direction="horizontal",
            gradientLength=260,
            format="+.0f",
            titleLimit=400,
        ),
    )
    base = inline(rows).encode(x=x, y=y)
    tips = [
        alt.Tooltip("whole:N", title="Dataset"),
        alt.Tooltip("full:N", title="Method"),
        alt.Tooltip("score:Q", title="Score, %", format=".1f"),
        alt.Tooltip("change:Q", title="Against the best single", format="+.1f"),
    ]
    number = base.mark_text(fontSize=11, color=BLACK).encode(text=alt.Text("score:Q", format=".1f"))
    cells = base.mark_rect(stroke="white", strokeWidth=1.5).encode(color=colour, tooltip=tips)
    plot = layered([cells, number], WIDTH - 150, 24 * len(order))
    first = shortened(next(iter(evaluation.methods)), 50)
    return titled(
        stacked(plot),
        "Where routing helps: mean score by dataset, %",
        evaluation,
        "Methods at the setting that promised the best quality on train. Sorted by what "
        f"{first} gains over the best single model; the oracle knows the answers.",
    )


def _dataset_rows(evaluation: Evaluation, columns: dict[str, Point], order: Sequence[str]) -> list[dict[str, Any]]:
    best, sizes = columns.get(BEST), evaluation.records.datasets
    rows = []
    labels = dict(
        zip(order, distinct([f"{shortened(name, 30)}  ({sizes.get(name, 0):,})" for name in order], 40), strict=True)
    )
    for name in order:
        for label, point in columns.items():
            score = point.by_dataset.get(name)
            if score is None or not math.isfinite(score):
                continue
            base = best.by_dataset.get(name) if best else None
            rows.append(
                {
                    "dataset": labels[name],
                    "column": "\n".join(textwrap.wrap(label, 15)),
                    "whole": name,
                    "full": label,
                    "score": 100 * score,
                    "change": None if base is None else 100 * (score - base),
                }
            )
    return rows


def _top_axis(**more: Any) -> "alt.Axis":
    import altair as alt

    axis: dict[str, Any] = {"orient": "top", "labelAngle": 0, "ticks": False, "labelPadding": 6, "grid": False}
    return alt.Axis(**{**axis, **more})


def _left_axis(limit: int) -> "alt.Axis":
    import altair as alt

    return alt.Axis(labelLimit=limit, ticks=False, labelPadding=6, grid=False)


def profile(clusters: Sequence[ProfileRow], note: str = "", most: int | None = None) -> "alt.VConcatChart":
    """Draw each model's mean score in each cluster of a router; what was not observed is hatched, not 0.

    Args:
        clusters: Of a fitted router.
        note: Shown in the title, for example "simulated data".
        most: Draw the largest clusters, no more than so many; None = all.

    Raises:
        MissingExtraError: If altair is not installed.
    """
    require_altair()
    import altair as alt

    models = _by_mean(clusters)
    names = short_names(models)
    width = min(46.0, (WIDTH - _LEFT_WIDTH + 40) / max(len(models), 1))
    ordered = sorted(clusters, key=lambda row: (-row.size, row.cluster))[:most]
    shown = counted(len(clusters), "cluster")
    if len(ordered) < len(clusters):
        shown = f"The {len(ordered)} largest of {shown}"
    rows = [cell for row in ordered for cell in _cells(row, models)]
    x = alt.X(
        "name:N",
        sort=list(names.values()),
        title=None,
        axis=_top_axis(labelAngle=-45 if width >= _NUMBER_FITS else -60, labelAlign="left", labelLimit=190),
    )
    y = alt.Y("label:N", sort=None, title=None, axis=_left_axis(_LEFT_WIDTH))
    seen = [{**cell, "name": names[cell["model"]]} for cell in rows if cell["score"] is not None]
    unseen = [{**cell, "name": names[cell["model"]]} for cell in rows if cell["score"] is None]
    layers = _seen_layers(seen, x, y, numbers=width >= _NUMBER_FITS)
    if unseen:
        layers += _unseen_layers(unseen, x, y, min(width, 18.0))
    plot = layered(layers, width * len(models), 18 * len(ordered))
    entries = [Entry("best model of the cluster", INK, shape="square", filled=False, size=110)]
    if unseen:
        entries.append(Entry("not observed", "#9a9a9a", shape=_HATCH, filled=False, size=110))
    return headed(
        stacked(plot, legend(entries, width=width * len(models))),
        title_lines("What the router learned: mean score of each model in each cluster, %", note),
        [
            f"{shown}, the largest first; models by their mean over all queries.",
            "Left: number of the cluster, its size, an example query.",
        ],
    )


def _by_mean(clusters: Sequence[ProfileRow]) -> list[str]:
    """Return the models, best mean score over their observed clusters first, clusters weighted by size."""
    models = dict.fromkeys(model for row in clusters for model in row.scores)
    means = {}
    for model in models:
        seen = [(row.size, row.scores[model]) for row in clusters if math.isfinite(row.scores.get(model, math.nan))]
        total = sum(size for size, _ in seen)
        means[model] = sum(size * score for size, score in seen) / total if total else -1.0
    return sorted(models, key=lambda model: -means[model])


def _cells(row: ProfileRow, models: Sequence[str]) -> list[dict[str, Any]]:
    best = max((score for score in row.scores.values() if math.isfinite(score)), default=math.nan)
    cells = []
    for model in models:
        score = row.scores.get(model, math.nan)
        cells.append(
            {
                "label": f"#{row.cluster} · n = {row.size:,} · {shortened(row.example, 32)}",
                "example": shortened(row.example, 300),
                "model": model,
                "score": 100 * score if math.isfinite(score) else None,
                "best": score == best,
            }
        )
    return cells


def _tips(*, seen: bool) -> "list[alt.Tooltip]":
    import altair as alt

    score = [alt.Tooltip("score:Q", title="Mean score, %", format=".1f")] if seen else []
    return [alt.Tooltip("model:N", title="Model"), *score, alt.Tooltip("example:N", title="Example query")]


def _seen_layers(rows: list[dict[str, Any]], x: "alt.X", y: "alt.Y", *, numbers: bool) -> "list[alt.Chart]":
    import altair as alt

    scale = alt.Scale(domain=[0, 100], scheme="blues")
    colour = alt.Color("score:Q", scale=scale, legend=None)
    base = inline(rows).encode(x=x, y=y)
    layers: list[alt.Chart] = [
        base.mark_rect(stroke="white", strokeWidth=1).encode(color=colour, tooltip=_tips(seen=True)),
        base.mark_rect(filled=False, stroke=INK, strokeWidth=1.6).transform_filter("datum.best"),
    ]
    if numbers:
        ink = alt.when(f"datum.score > {_WHITE_FROM}").then(alt.value("white")).otherwise(alt.value(BLACK))
        layers.append(base.mark_text(fontSize=10).encode(text=alt.Text("score:Q", format=".0f"), color=ink))
    return layers


def _unseen_layers(rows: list[dict[str, Any]], x: "alt.X", y: "alt.Y", side: float) -> "list[alt.Chart]":

    base = inline(rows).encode(x=x, y=y)
    return [
        base.mark_rect(color="#f0f0f0", stroke="white", strokeWidth=1).encode(tooltip=_tips(seen=False)),
        base.mark_point(shape=_HATCH, filled=False, color="#9a9a9a", strokeWidth=1, opacity=1, size=0.6 * side**2),
    ]
