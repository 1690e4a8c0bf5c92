"""One quiet look for all figures: colours by method, titles that name the source, a legend that explains itself."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from avengers_pro.errors import MissingExtraError
from avengers_pro.evaluation.results import Evaluation

if TYPE_CHECKING:
    import altair as alt

WIDTH = 690
"""Pixels of a plot; with its axis it stays below 760."""
INK, MUTED, FAINT, GRID = "#222222", "#666666", "#949494", "#ececec"
BLACK = "#000000"
"""Of numbers on coloured cells: one of black and white always has a contrast of 4.5 to a colour."""
REFERENCES = ("knn", "dataset-label")
"""Drawn thin and dashed: what any router should be held against."""

_COLOURS = {
    "avengers-pro": "#0072b2",
    "avengers-pro-paper": "#d55e00",
    "avengers-pro-code": "#009e73",
    "avengers": "#cc79a7",
    "knn": "#4d4d4d",
    "dataset-label": "#4d4d4d",
    "oracle": INK,
    "random": INK,
    "best-single": INK,
}
_SPARE = ("#56b4e9", "#e69f00", "#332288", "#999933", "#882255", "#44aa99")
"""The palettes of Okabe and Ito, and of Tol: told apart with any colour vision."""
_DASHES = {"knn": [6, 3], "dataset-label": [2, 2]}
_FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"

_CONFIG: dict[str, Any] = {
    "font": _FONT,
    "background": "white",
    "padding": 10,
    "view": {"stroke": None},
    "title": {
        "anchor": "start",
        "frame": "bounds",
        "fontSize": 15,
        "fontWeight": 600,
        "color": INK,
        "subtitleColor": MUTED,
        "subtitleFontSize": 11.5,
        "subtitleLineHeight": 15,
        "subtitlePadding": 5,
        "offset": 12,
    },
    "axis": {
        "domain": False,
        "gridColor": GRID,
        "tickColor": FAINT,
        "labelColor": "#444444",
        "labelFontSize": 11,
        "titleColor": "#444444",
        "titleFontSize": 11.5,
        "titleFontWeight": 500,
        "titlePadding": 8,
    },
    "legend": {"labelFontSize": 11, "labelColor": "#444444", "titleFontSize": 11.5, "titleColor": "#444444"},
    "text": {"color": INK},
}


def require_altair() -> None:
    """Check that figures can be drawn and saved.

    Raises:
        MissingExtraError: If altair or vl-convert is not installed.
    """
    for module, package in (("altair", "altair"), ("vl_convert", "vl-convert-python")):
        try:
            import_module(module)
        except ImportError as error:
            raise MissingExtraError(package, "report", "drawing figures") from error


def colours(methods: Iterable[str]) -> dict[str, str]:
    """Give each method its colour, the same in every figure of an evaluation."""
    chosen: dict[str, str] = {}
    spare = 0
    for name in methods:
        if name in _COLOURS:
            chosen[name] = _COLOURS[name]
        else:
            chosen[name] = _SPARE[spare % len(_SPARE)]
            spare += 1
    return chosen


def readable_ink(colour: str) -> str:
    """Return black or white, whichever is read better on a colour ``#rrggbb`` (contrast as WCAG 2 defines it)."""
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]  # noqa: PLR2004
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return BLACK if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def dash(label: str, *, reference: bool) -> list[int]:
    """Return the dash pattern of a line; methods under test are solid."""
    return _DASHES.get(label, [4, 2]) if reference else [1, 0]


def titled(chart: "alt.VConcatChart", text: str, evaluation: Evaluation, *more: str) -> "alt.VConcatChart":
    """Head a figure with what it shows, where the numbers come from, and the note of the records."""
    return headed(chart, title_lines(text, evaluation.records.note), [basis(evaluation), *more])


def title_lines(text: str, note: str) -> list[str]:
    """Return a title, with the note as its second line if there is one."""
    return [text, f"Note: {shortened(note, 95)}"] if note else [text]


def headed(chart: "alt.VConcatChart", lines: Sequence[str], subtitle: Sequence[str]) -> "alt.VConcatChart":
    """Set title, subtitle and the look."""
    import altair as alt

    wrapped = [line for text in subtitle for line in textwrap.wrap(text, 125)]
    named: alt.VConcatChart = chart.properties(title=alt.Title(text=list(lines), subtitle=wrapped)).configure(**_CONFIG)
    return named


def basis(evaluation: Evaluation) -> str:
    """Say in one line which records and splits the numbers rest on."""
    records, splits = evaluation.records, len(evaluation.splits)
    tested = f"mean of {splits} test splits" if splits > 1 else "one test split"
    return (
        f"{shortened(records.source, 60)}: {records.rows:,} queries, {len(records.models)} models, "
        f"{counted(len(records.datasets), 'dataset')}; {tested}."
    )


def counted(count: int, noun: str) -> str:
    """Return ``1 dataset`` or ``2 datasets``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shortened(text: str, length: int) -> str:
    """Return a text on one line, cut at a length."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def short_names(models: Iterable[str], length: int = 30) -> dict[str, str]:
    """Drop the provider in ``provider/name`` where the rest is still unique."""
    models = list(models)
    tails = [model.rsplit("/", 1)[-1] or model for model in models]
    chosen = [tail if tails.count(tail) == 1 else model for model, tail in zip(models, tails, strict=True)]
    return dict(zip(models, distinct(chosen, length), strict=True))


def distinct(names: Sequence[str], length: int) -> list[str]:
    """Shorten names; those that would become the same are numbered."""
    short: list[str] = []
    for name in names:
        cut, number = shortened(name, length), 1
        while cut in short:
            number += 1
            cut = f"{shortened(name, length - 4)} ({number})"
        short.append(cut)
    return short


def grown(values: Sequence[float], share: float = 0.05) -> list[float]:
    """Return the range of some values with room on both sides."""
    low, high = min(values), max(values)
    room = (high - low) * share or abs(high) * share or 1.0
    return [low - room, high + room]


def money_axis(values: Sequence[float] | None = None, count: int = 8) -> "alt.Axis":
    """Return an axis in dollars and cents, with ticks at these values or at about so many."""
    import altair as alt

    form = "datum.value === 0 ? '$0' : format(datum.value, datum.value < 1 && datum.value >= 0.01 ? '$.2f' : '$,~r')"
    return alt.Axis(labelExpr=form, tickCount=count) if values is None else alt.Axis(labelExpr=form, values=values)


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5 in each decade of a range; over many decades, 1 alone."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) < 6 else (1,)  # noqa: PLR2004 - five decades
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def inline(rows: Sequence[dict[str, Any]]) -> "alt.Chart":
    """Start a chart of rows that travel inside the figure."""
    import altair as alt

    return alt.Chart(alt.InlineData(values=list(rows)))


def layered(layers: "Sequence[alt.Chart]", width: float, height: float) -> "alt.LayerChart":
    """Draw layers over each other, the first at the back."""
    import altair as alt

    return alt.LayerChart(layer=list(layers), width=width, height=height)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the legend: how a thing is drawn, and what it is."""

    text: str
    colour: str
    dash: tuple[int, ...] = ()
    shape: str = ""
    filled: bool = True
    width: float = 2.2
    size: float = 60


def legend(entries: Sequence[Entry], columns: int = 2, width: float = WIDTH) -> "alt.LayerChart":
    """Draw a legend below a plot, in columns, at fixed pixels."""
    import altair as alt

    lines = -(-len(entries) // columns)
    step = width / columns
    layers: list[alt.Chart] = []
    for position, entry in enumerate(entries):
        x, y = (position // lines) * step, (position % lines) * 17 + 9
        row = {"x": x, "end": x + 26, "middle": x + 13, "text_x": x + 34, "y": y, "text": entry.text}
        base = inline([row]).encode(y=alt.Y("y:Q", scale=None, axis=None))
        at = alt.X("middle:Q", scale=None, axis=None)
        if entry.shape:
            mark = base.mark_point(
                shape=entry.shape, filled=entry.filled, color=entry.colour, size=entry.size, opacity=1, strokeWidth=1.8
            )
            layers.append(mark.encode(x=at))
        else:
            rule = base.mark_rule(color=entry.colour, strokeWidth=entry.width, strokeDash=list(entry.dash) or [1, 0])
            layers.append(rule.encode(x=alt.X("x:Q", scale=None, axis=None), x2="end:Q"))
        text = base.mark_text(align="left", baseline="middle", fontSize=11, color="#444444", limit=step - 42)
        layers.append(text.encode(x=alt.X("text_x:Q", scale=None, axis=None), text="text:N"))
    return layered(layers, width, lines * 17)


def stacked(*parts: "alt.Chart | alt.LayerChart | alt.FacetChart", spacing: int = 14) -> "alt.VConcatChart":
    """Put plots and legend below each other, aligned at their left axes."""
    import altair as alt

    return alt.VConcatChart(vconcat=list(parts), spacing=spacing)
