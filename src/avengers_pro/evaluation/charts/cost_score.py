"""Score against cost: what routing adds to the models it chooses from."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from avengers_pro.evaluation.charts.axes import HEIGHT, CostScoreAxes
from avengers_pro.evaluation.charts.labels import Spot, place
from avengers_pro.evaluation.charts.reading import (
    Contestant,
    best_single,
    best_single_name,
    contestants,
    cost_of,
    found,
    priced,
    singles,
    undominated,
)
from avengers_pro.evaluation.charts.scores_alone import scores_alone
from avengers_pro.evaluation.charts.theme import (
    FAINT,
    INK,
    MUTED,
    WIDTH,
    Entry,
    colours,
    counted,
    dash,
    inline,
    layered,
    legend,
    require_altair,
    short_names,
    shortened,
    stacked,
    titled,
)
from avengers_pro.evaluation.frontier import Frontier
from avengers_pro.evaluation.results import Evaluation, Point

if TYPE_CHECKING:
    import altair as alt

_MODEL = "#7f7f7f"
_STEP = 5.0
"""Pixels between the points by which a curve keeps names away."""
_SHAPES = {"oracle": "diamond", "random": "cross"}


def frontier(evaluation: Evaluation) -> "alt.VConcatChart":
    """Draw cost against score: a line for each method, a mark for each single model.

    Without costs, the scores alone are drawn, with their range over splits.

    Raises:
        MissingExtraError: If altair is not installed.
    """
    require_altair()
    if not _everything(evaluation):
        return scores_alone(evaluation)
    scales = CostScoreAxes.of(_everything(evaluation))
    hue = colours(evaluation.methods)
    lines = contestants(evaluation)
    layers = [*_best_lines(evaluation, scales), *_hull(evaluation, scales)]
    for line in lines:
        layers += _curve(line, scales, hue.get(line.label, MUTED))
    layers += [*_marks(evaluation, scales), *_names(evaluation, lines, scales)]

    plot = layered(layers, WIDTH, HEIGHT)
    gaps = len(evaluation.records.models) - len(priced(singles(evaluation)))
    left_out = [f"Not shown: {counted(gaps, 'model')} with gaps in the records."] if gaps else []
    return titled(
        stacked(plot, legend(_entries(lines, hue))),
        "What routing adds: score against cost",
        evaluation,
        "Up and to the left is better. Each line is one method, from cost only (alpha 0) to quality only (alpha 1).",
        *left_out,
    )


def _everything(evaluation: Evaluation) -> list[Point]:
    points = [point for line in contestants(evaluation) for point in priced(line.result.mean.curve)]
    points += priced(singles(evaluation))
    for label in ("oracle", "random", "best-single"):
        result = found(evaluation, label)
        points += priced(result.mean.curve) if result else []
    return points


def _rows(points: Sequence[Point], name: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "alpha": "no knob" if point.alpha is None else f"{point.alpha:g}",
            "cost": cost_of(point),
            "score": 100 * point.score_micro,
        }
        for point in points
    ]


def _chart(rows: Sequence[dict[str, Any]], scales: CostScoreAxes) -> "alt.Chart":

    return inline(list(rows)).encode(x=scales.x(), y=scales.y())


def _hover(*, knob: bool) -> "list[alt.Tooltip]":
    import altair as alt

    tips = [
        alt.Tooltip("name:N", title="Method" if knob else "Model"),
        alt.Tooltip("score:Q", title="Score, %", format=".1f"),
        alt.Tooltip("cost:Q", title="Cost of 1,000 queries", format="$,.3~r"),
    ]
    return [*tips, alt.Tooltip("alpha:N", title="alpha")] if knob else tips


def _curve(line: Contestant, scales: CostScoreAxes, colour: str) -> "list[alt.Chart]":
    points = priced(line.result.mean.curve)
    best = undominated(points)
    rows, width = _rows(best, line.label), 1.3 if line.reference else 2.4
    path = _chart(rows, scales).mark_line(
        color=colour, strokeWidth=width, strokeDash=dash(line.label, reference=line.reference), clip=True
    )
    dots = _chart(_rows(points, line.label), scales).encode(tooltip=_hover(knob=True))
    if len(points) == 1:
        return [dots.mark_point(filled=True, color=colour, size=90, opacity=1, shape=_lone_shape(line))]
    faint = 0.06 if line.reference else 0.25
    return [dots.mark_point(filled=True, color=colour, size=22, opacity=faint), path]


def _lone_shape(line: Contestant) -> str:
    return "triangle-up" if line.reference and line.label == "dataset-label" else "square"


def _hull(evaluation: Evaluation, scales: CostScoreAxes) -> "list[alt.Chart]":
    """Draw what mixing two single models blindly would give."""
    mixtures = _mixtures(priced(singles(evaluation)), scales, 3)
    rows = [{"cost": cost, "score": score} for cost, score in mixtures]
    return [_chart(rows, scales).mark_line(color=FAINT, strokeWidth=1.2)]


def _mixtures(points: Sequence[Point], scales: CostScoreAxes, step: int) -> list[tuple[float, float]]:
    """Return the hull every few pixels: on a log axis a straight mixture is a curve."""
    if not points:
        return []
    hull = Frontier.of(
        np.array([cost_of(point) for point in points]), np.array([100 * point.score_micro for point in points])
    )
    across = [scales.value(float(x), 0.0)[0] for x in range(0, WIDTH + 1, step)]
    costs = [cost for cost in across if hull.costs[0] < cost < hull.costs[-1]]
    return [(cost, hull.score_at(cost)) for cost in sorted({*costs, *hull.costs.tolist()})]


def _best_lines(evaluation: Evaluation, scales: CostScoreAxes) -> "list[alt.Chart]":

    best = best_single(evaluation)
    if best is None or not priced([best]):
        return []
    base = inline(_rows([best], ""))
    return [
        base.mark_rule(color=INK, strokeWidth=0.6, opacity=0.55).encode(x=scales.x()),
        base.mark_rule(color=INK, strokeWidth=0.6, opacity=0.55).encode(y=scales.y()),
    ]


def _marks(evaluation: Evaluation, scales: CostScoreAxes) -> "list[alt.Chart]":
    models = [row for point in priced(singles(evaluation)) for row in _rows([point], point.model or "")]
    layers = [_chart(models, scales).mark_point(filled=True, color=_MODEL, size=48, opacity=0.9)]
    best = best_single(evaluation)
    if best is not None and priced([best]):
        rows = _rows([best], best_single_name(evaluation))
        layers.append(_chart(rows, scales).mark_point(color=INK, size=130, strokeWidth=2, opacity=1))
    layers = [layer.encode(tooltip=_hover(knob=False)) for layer in layers]
    for label, shape in _SHAPES.items():
        result = found(evaluation, label)
        rows = _rows(priced(result.mean.curve), label) if result else []
        mark = _chart(rows, scales).mark_point(shape=shape, filled=True, color=INK, size=80, opacity=1)
        layers.append(mark.encode(tooltip=_hover(knob=True)))
    return layers


def _names(evaluation: Evaluation, lines: Sequence[Contestant], scales: CostScoreAxes) -> "list[alt.Chart]":
    """Write the names of the best single model, oracle, random and as many models as fit, hull first."""
    labels = place(_spots(evaluation, scales), _covered(evaluation, lines, scales), WIDTH, HEIGHT)
    layers = []
    for align in ("left", "right", "center"):
        rows = []
        for label in labels:
            if label.align == align:
                cost, score = scales.value(label.x, label.y)
                rows.append({"cost": cost, "score": score, "text": label.text})
        if rows:
            text = _chart(rows, scales).encode(text="text:N")
            style: dict[str, Any] = {"align": align, "baseline": "middle", "fontSize": 10.5}
            layers.append(text.mark_text(**style, stroke="white", strokeWidth=3, opacity=0.8))
            layers.append(text.mark_text(**style, color="#333333"))
    return layers


def _covered(
    evaluation: Evaluation, lines: Sequence[Contestant], scales: CostScoreAxes
) -> list[tuple[float, float, float]]:
    """Return pixels along curves, and along hull and hairlines, which matter less."""
    pixels: list[tuple[float, float, float]] = []
    for line in lines:
        corners = [scales.pixel(point) for point in undominated(priced(line.result.mean.curve))]
        for (left, top), (right, bottom) in pairwise(corners):
            steps = 2 + int(max(abs(right - left), abs(bottom - top)) / _STEP)
            between = zip(
                np.linspace(left, right, steps).tolist(), np.linspace(top, bottom, steps).tolist(), strict=True
            )
            pixels += [(x, y, 1.0) for x, y in between]
    points, best = priced(singles(evaluation)), best_single(evaluation)
    step = int(_STEP)
    pixels += [(*scales.place(*mixture), 0.3) for mixture in _mixtures(points, scales, step)]
    if best is not None and priced([best]):
        x, y = scales.pixel(best)
        pixels += [(float(at), y, 0.1) for at in range(0, WIDTH, step)]
        pixels += [(x, float(at), 0.1) for at in range(0, HEIGHT, step)]
    return pixels


def _spots(evaluation: Evaluation, scales: CostScoreAxes) -> list[Spot]:
    points = priced(singles(evaluation))
    names = short_names(point.model or "" for point in points)
    best = best_single(evaluation)
    reference = evaluation.verdict.reference
    agreed = {split.best_single for split in evaluation.splits} == {reference}
    spots = []
    if best is not None and priced([best]):
        text = f"best single: {shortened(reference.rsplit('/', 1)[-1], 44)}" if agreed else "best single"
        spots.append(Spot(*scales.pixel(best), text, needed=True))
    for label in _SHAPES:
        result = found(evaluation, label)
        spots += [
            Spot(*scales.pixel(point), label, needed=True) for point in priced(result.mean.curve if result else [])
        ]
    hull = undominated(points)
    rest = [point for point in points if point not in hull]
    for point in [*reversed(hull), *rest]:
        if not (agreed and point.model == reference):
            spots.append(Spot(*scales.pixel(point), names[point.model or ""]))
    return spots


def _entries(lines: Sequence[Contestant], hue: dict[str, str]) -> list[Entry]:
    told = {
        "knn": "knn: plain nearest neighbours (reference)",
        "dataset-label": "dataset-label: is told the dataset (reference)",
    }
    entries = []
    for line in lines:
        alone = len(line.result.mean.curve) == 1
        entries.append(
            Entry(
                told.get(line.label, line.label) if line.reference else line.label,
                hue.get(line.label, MUTED),
                dash=tuple(dash(line.label, reference=line.reference)),
                shape=_lone_shape(line) if alone else "",
                width=1.3 if line.reference else 2.4,
            )
        )
    return [
        *entries,
        Entry("faint: settings that another one beats", FAINT, shape="circle", size=26),
        Entry("best single model, chosen on train", INK, shape="circle", filled=False, size=110),
        Entry("single model; point at it for its numbers", _MODEL, shape="circle", size=48),
        Entry("mixing two single models blindly", FAINT, width=1.2),
        Entry("oracle: knows which answer will be best", INK, shape="diamond", size=80),
        Entry("random: any model with equal chance", INK, shape="cross", size=80),
    ]
