"""What the knob does: score, cost and the models chosen, from cost only to quality only."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from avengers_pro.errors import EvaluationError
from avengers_pro.evaluation.charts.reading import best_single, best_single_name, cost_of, found, is_log, priced
from avengers_pro.evaluation.charts.theme import (
    INK,
    MUTED,
    WIDTH,
    Entry,
    colours,
    grown,
    inline,
    layered,
    legend,
    log_ticks,
    money_axis,
    readable_ink,
    require_altair,
    short_names,
    shortened,
    stacked,
    titled,
)
from avengers_pro.evaluation.results import Evaluation, MethodResult, Point

if TYPE_CHECKING:
    import altair as alt

OTHERS, NOBODY = "others", "no model met the constraints"
_LEAST_SHARE = 0.02
_LEAST_ROOM = 0.055
_LETTER = 7.2
_HUES = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#999933",
    "#882255",
    "#44aa99",
    "#332288",
    "#ddcc77",
    "#aa4499",
)


def score_and_cost_by_alpha(evaluation: Evaluation) -> "alt.VConcatChart":
    """Draw score and cost against alpha, with their range over splits.

    Raises:
        MissingExtraError: If altair is not installed.
    """
    require_altair()
    rows = [row for label, result in evaluation.methods.items() for row in _rows(label, result)]
    best = best_single(evaluation)
    hue = colours(evaluation.methods)
    panels = [_panel(rows, "score", "Mean score, %", 100 * best.score_micro if best else None, hue)]
    if evaluation.records.has_costs:
        cost = cost_of(best) if best and priced([best]) else None
        panels.append(_panel(rows, "cost", "Cost of 1,000 queries, US dollars", cost, hue))
    splits = len(evaluation.splits)
    band = f" Band: lowest to highest of the {splits} splits; line: their mean." if splits > 1 else ""
    entries = [Entry(shortened(label, 50), colour) for label, colour in hue.items()]
    entries.append(
        Entry(shortened(f"best single model: {best_single_name(evaluation)}", 75), INK, dash=(5, 3), width=1)
    )
    return titled(
        stacked(*panels, legend(entries)),
        "What the knob does: score and cost by alpha" if len(panels) > 1 else "What the knob does: score by alpha",
        evaluation,
        f"alpha 0 looks at cost only, alpha 1 at quality only.{band}",
    )


def _rows(label: str, result: MethodResult) -> list[dict[str, Any]]:
    """Describe a curve; a method without the knob is the same at every alpha."""
    rows = []
    for position, point in enumerate(result.mean.curve):
        here = [split.curve[position] for split in result.splits]
        row = {"method": label, **_range("score", point, here), **_range("cost", point, here)}
        alphas = [0.0, 1.0] if point.alpha is None else [point.alpha]
        rows += [{**row, "alpha": alpha} for alpha in alphas]
    return rows


def _range(metric: str, point: Point, splits: Sequence[Point]) -> dict[str, float | None]:
    if metric == "score":
        values, mean = [100 * each.score_micro for each in splits], 100 * point.score_micro
    elif not priced([point]):
        return {"cost": None, "cost_low": None, "cost_high": None}
    else:
        values, mean = [cost_of(each) for each in priced(splits)], cost_of(point)
    return {metric: mean, f"{metric}_low": min([mean, *values]), f"{metric}_high": max([mean, *values])}


def _panel(
    rows: Sequence[dict[str, Any]], metric: str, title: str, best: float | None, hue: dict[str, str]
) -> "alt.LayerChart":
    import altair as alt

    known = [row for row in rows if row[metric] is not None]
    ends = [row[f"{metric}_{end}"] for row in known for end in ("low", "high")] + ([best] if best is not None else [])
    log = metric == "cost" and is_log(ends)
    domain = grown(ends) if metric == "score" else [0.0, max(ends) * 1.05 or 1.0]
    scale = (
        alt.Scale(type="log", domain=_log_domain(ends), nice=False)
        if log
        else alt.Scale(domain=domain, nice=False, zero=False)
    )
    axis = money_axis(log_ticks(*_log_domain(ends)) if log else None, 5) if metric == "cost" else alt.Axis(tickCount=6)
    heading = f"{title} (log)" if log else title
    x = alt.X("alpha:Q", scale=alt.Scale(domain=[0, 1]), title="alpha", axis=alt.Axis(tickCount=10))
    colour = alt.Color("method:N", scale=alt.Scale(domain=list(hue), range=list(hue.values())), legend=None)
    y, lower = (alt.Y(f"{field}:Q", scale=scale, axis=axis, title=heading) for field in (metric, f"{metric}_low"))
    form = "$,.3~r" if metric == "cost" else ".1f"
    tips = [
        alt.Tooltip("method:N", title="Method"),
        alt.Tooltip("alpha:Q", title="alpha"),
        alt.Tooltip(f"{metric}:Q", title="Mean", format=form),
        alt.Tooltip(f"{metric}_low:Q", title="Lowest split", format=form),
        alt.Tooltip(f"{metric}_high:Q", title="Highest split", format=form),
    ]
    base = inline(known).encode(x=x, color=colour)
    layers: list[alt.Chart] = [
        base.mark_area(opacity=0.15).encode(y=lower, y2=f"{metric}_high:Q"),
        base.mark_line(strokeWidth=2).encode(y=y),
        base.mark_point(filled=True, size=26, opacity=1 if len(known) <= 2 * len(hue) else 0).encode(y=y, tooltip=tips),
    ]
    if best is not None:
        rule = inline([{metric: best}]).mark_rule(color=INK, strokeDash=[5, 3], strokeWidth=1)
        layers.append(rule.encode(y=y))
    return layered(layers, WIDTH, 210)


def _log_domain(values: Sequence[float]) -> list[float]:
    low, high = grown([math.log10(value) for value in values])
    return [10**low, 10**high]


def shares_by_alpha(evaluation: Evaluation, method: str | None = None) -> "alt.VConcatChart":
    """Draw which models a method chooses at each alpha, stacked; rarely chosen ones are pooled as "others".

    Args:
        evaluation: Its numbers.
        method: A method or baseline of the evaluation; the first method if None.

    Raises:
        EvaluationError: If the evaluation has no such method.
        MissingExtraError: If altair is not installed.
    """
    require_altair()
    label = next(iter(evaluation.methods)) if method is None else method
    result = found(evaluation, label)
    if result is None:
        known = ", ".join([*evaluation.methods, *evaluation.baselines])
        raise EvaluationError(f"the evaluation has no method named {label!r}; it has {known}")
    bands = _bands(result.mean.curve)
    hue = _band_colours(list(bands))
    many = len(result.mean.curve) > 1
    rows = _share_rows(result.mean.curve, bands)
    names = short_names(bands)
    entries = [Entry(names[name], colour, shape="square", size=110) for name, colour in hue.items()]
    where = "by alpha" if many else "on test"
    pooled = f" Models that never get {_LEAST_SHARE:.0%} of the queries are pooled." if OTHERS in bands else ""
    return titled(
        stacked(_areas(rows, hue), legend(entries, columns=3)) if many else stacked(_bars(rows, hue)),
        f"Which models {shortened(label, 50)} chooses, {where}",
        evaluation,
        f"Share of test queries sent to each model.{pooled}",
    )


def _bands(curve: Sequence[Point]) -> dict[str, list[float]]:
    """Return each band's shares along a curve, the most used first; "others" and "nobody" last."""
    models = dict.fromkeys(model for point in curve for model in point.shares)
    shares = {model: [point.shares.get(model, 0.0) for point in curve] for model in models}
    big = {model: values for model, values in shares.items() if max(values) >= _LEAST_SHARE}
    bands = dict(sorted(big.items(), key=lambda band: -sum(band[1])))
    if len(big) < len(shares):
        rest = [values for model, values in shares.items() if model not in big]
        bands[OTHERS] = [sum(column) for column in zip(*rest, strict=True)]
    if any(point.unanswered for point in curve):
        bands[NOBODY] = [point.unanswered for point in curve]
    return bands


def _band_colours(bands: Sequence[str]) -> dict[str, str]:
    greys = {OTHERS: "#bdbdbd", NOBODY: "#4d4d4d"}
    return {name: greys.get(name, _HUES[position % len(_HUES)]) for position, name in enumerate(bands)}


def _share_rows(curve: Sequence[Point], bands: dict[str, list[float]]) -> list[dict[str, Any]]:
    rows = []
    for position, point in enumerate(curve):
        top = 0.0
        for rank, (name, shares) in enumerate(bands.items()):
            share = shares[position]
            rows.append(
                {"model": name, "rank": rank, "alpha": point.alpha, "share": share, "low": top, "high": top + share}
            )
            top += share
    return rows


def _areas(rows: Sequence[dict[str, Any]], hue: dict[str, str]) -> "alt.LayerChart":
    import altair as alt

    high = max(1.0, *(round(row["high"], 4) for row in rows))
    axis = alt.Axis(tickCount=10)
    x = alt.X("alpha:Q", scale=alt.Scale(nice=False), axis=axis, title="alpha (0 = cost only, 1 = quality only)")
    y = alt.Y("low:Q", scale=alt.Scale(domain=[0, high]), axis=alt.Axis(format=".0%"), title="Share of queries")
    colour = alt.Color("model:N", scale=alt.Scale(domain=list(hue), range=list(hue.values())), legend=None)
    tips = [
        alt.Tooltip("model:N", title="Model"),
        alt.Tooltip("share:Q", title="Share", format=".1%"),
        alt.Tooltip("alpha:Q", title="alpha"),
    ]
    base = inline(list(rows)).encode(x=x, y=y, y2="high:Q", color=colour)
    names = inline(_band_names(rows, hue)).mark_text(fontSize=11, fontWeight=600, align="center")
    return layered(
        [
            base.mark_area(opacity=1, stroke="white", strokeWidth=0.8),
            base.mark_bar(opacity=0, width=12).encode(tooltip=tips),
            names.encode(x=x, y=alt.Y("middle:Q"), text="text:N", color=alt.Color("ink:N", scale=None)),
        ],
        WIDTH,
        320,
    )


def _band_names(rows: Sequence[dict[str, Any]], hue: dict[str, str]) -> list[dict[str, Any]]:
    """Write a band's name where it has most room, if it fits inside."""
    names = short_names(hue)
    labels = []
    for model, colour in hue.items():
        band = [row for row in rows if row["model"] == model]
        reach = _LETTER * len(names[model]) / 2 / WIDTH * (band[-1]["alpha"] - band[0]["alpha"])
        room, at, middle = max(_room(band, row["alpha"], reach) for row in band)
        if room >= _LEAST_ROOM:
            labels.append({"alpha": at, "middle": middle, "text": names[model], "ink": readable_ink(colour)})
    return labels


def _room(band: Sequence[dict[str, Any]], at: float, reach: float) -> tuple[float, float, float]:
    """Return the height that is free around an alpha, that alpha, and the middle of the free height."""
    if at - reach < band[0]["alpha"] or at + reach > band[-1]["alpha"]:
        return -1.0, at, 0.0
    here = [row for row in band if abs(row["alpha"] - at) <= reach]
    low, high = max(row["low"] for row in here), min(row["high"] for row in here)
    return high - low, at, (low + high) / 2


def _bars(rows: Sequence[dict[str, Any]], hue: dict[str, str]) -> "alt.LayerChart":
    import altair as alt

    names = short_names(dict.fromkeys(row["model"] for row in rows))
    named = [{**row, "name": names[row["model"]]} for row in rows]
    y = alt.Y("name:N", sort=[names[model] for model in hue], title=None, axis=alt.Axis(labelLimit=180, ticks=False))
    x = alt.X("share:Q", axis=alt.Axis(format=".0%"), title="Share of queries", scale=alt.Scale(zero=True))
    colour = alt.Color("model:N", scale=alt.Scale(domain=list(hue), range=list(hue.values())), legend=None)
    base = inline(named).encode(x=x, y=y)
    number = base.mark_text(align="left", dx=5, fontSize=11, color=MUTED).encode(text=alt.Text("share:Q", format=".1%"))
    return layered([base.mark_bar(height=14).encode(color=colour), number], WIDTH - 190, 22 * len(rows))
