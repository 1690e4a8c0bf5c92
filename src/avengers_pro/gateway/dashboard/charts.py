"""The charts of the dashboard as Vega-Lite specifications without data.

The page puts in its rows where a chart names a data set, its models and their colours where a text says
``$models`` and ``$colours`` alone in a list, and the look of the theme.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

_HEIGHT = 220
_TALL = 380
_MONEY = "datum.value === 0 ? '$0' : format(datum.value, datum.value < 0.01 ? '$.1~e' : '$,.3~r')"


def charts() -> dict[str, dict[str, Any]]:
    """Return every chart by name.

    Raises:
        ImportError: If altair is not installed.
    """
    made: dict[str, alt.Chart | alt.LayerChart] = {
        "spend": _over_time("cost", "US dollars"),
        "requests": _over_time("requests", "Requests"),
        "frontier": _frontier(),
        "clusters": _clusters(),
    }
    return {
        name: {key: part for key, part in chart.to_dict().items() if key != "$schema"} for name, chart in made.items()
    }


def _colour(title: str | None = None) -> "alt.Color":
    import altair as alt

    scale: Any = {"domain": ["$models"], "range": ["$colours"]}
    columns = alt.ExprRef("width < 480 ? 1 : 3")  # on a narrow screen names of models would be cut off
    legend = alt.Legend(orient="bottom", columns=columns, title=title, labelLimit=260, symbolType="square")
    return alt.Color("model:N", scale=scale, legend=legend)


def _over_time(field: str, title: str) -> "alt.Chart":
    """Bars that add up to the total, a colour for each model."""
    import altair as alt

    axis = alt.Axis(labelExpr=_MONEY, tickCount=5) if field == "cost" else alt.Axis(tickCount=5, tickMinStep=1)
    # The end of a bar comes with the row, because the step depends on the range.
    bars: alt.Chart = (
        alt.Chart(alt.NamedData(name="rows"))
        .mark_bar(orient="vertical", stroke="$page", strokeWidth=0.5)
        .encode(
            x=alt.X("start:T", title=None, scale=alt.Scale(nice=False), axis=alt.Axis(tickCount=6, labelOverlap=True)),
            x2="end:T",
            y=alt.Y(f"{field}:Q", stack="zero", title=title, axis=axis),
            color=_colour(),
            tooltip=[
                alt.Tooltip("start:T", title="From", format="%b %d, %H:%M"),
                alt.Tooltip("model:N", title="Model"),
                alt.Tooltip("requests:Q", title="Requests", format=","),
                alt.Tooltip("cost:Q", title="US dollars", format=".4~r"),
            ],
        )
        .properties(width="container", height=_HEIGHT)
    )
    return bars


def _frontier() -> "alt.LayerChart":
    """The router's curve, the single models, the point that alpha picks, and where the traffic is."""
    import altair as alt

    cost: Any = alt.X(
        "cost:Q",
        title="US dollars for 1,000 queries (log scale)",
        scale=alt.Scale(type="log", nice=False, padding=24),
        axis=alt.Axis(labelExpr=_MONEY, tickCount=6, labelOverlap=True),
    )
    value = alt.Y("score:Q", title="Mean score", scale=alt.Scale(zero=False, padding=16), axis=alt.Axis(format="%"))
    tips = [
        alt.Tooltip("label:N", title="Point"),
        alt.Tooltip("cost:Q", title="US dollars for 1,000", format=".3~r"),
        alt.Tooltip("score:Q", title="Score", format=".1%"),
    ]

    def layer(name: str) -> "alt.Chart":
        return alt.Chart(alt.NamedData(name=name)).encode(x=cost, y=value, tooltip=tips)

    curve = layer("curve").mark_line(strokeWidth=3, color="$router").encode(order="order:Q")
    models = layer("models").mark_point(filled=True, size=70, color="$quiet", opacity=1)
    name: dict[str, Any] = {"align": "left", "fontSize": 11, "limit": 170, "color": "$quiet"}
    names = layer("models").mark_text(dx=8, dy=-1, **name).encode(text="short:N")
    under = layer("models").mark_text(dx=8, dy=12, **name).encode(text="under:N")
    now = layer("now").mark_point(shape="diamond", size=190, filled=True, color="$now", opacity=1)
    now_names = layer("now").mark_text(align="left", dx=11, dy=10, fontSize=11, fontWeight=600, limit=200, color="$now")
    chosen = layer("chosen").mark_point(size=260, strokeWidth=3, color="$router", filled=False, opacity=1)
    layers = [curve, models, names, under, now, now_names.encode(text="short:N"), chosen]
    return alt.LayerChart(layer=layers, width="container", height=_TALL)


def _clusters() -> "alt.Chart":
    """A circle for each kind of query, placed by meaning, as large as its traffic, coloured by the model chosen."""
    import altair as alt

    circles: alt.Chart = (
        alt.Chart(alt.NamedData(name="clusters"))
        .mark_circle(opacity=0.85, stroke="$page", strokeWidth=1, cursor="pointer")
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(zero=False, padding=20)),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False, padding=20)),
            size=alt.Size("size:Q", scale=alt.Scale(range=[30, 1100], zero=True), legend=None),
            color=_colour(),
            tooltip=[
                alt.Tooltip("cluster:Q", title="Kind of query"),
                alt.Tooltip("model:N", title="Chosen"),
                alt.Tooltip("traffic:Q", title="Requests", format=","),
                alt.Tooltip("rows:Q", title="Training queries", format=",.0f"),
                alt.Tooltip("example:N", title="For example"),
            ],
        )
        .properties(width="container", height=460)
    )
    return circles
