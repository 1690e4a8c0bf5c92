"""The tables of a report, ready to be set in HTML or Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from avengers_pro.evaluation.charts.heatmaps import dataset_columns, dataset_order
from avengers_pro.evaluation.charts.reading import best_single, best_single_name, contestants, cost_of, nearest, singles
from avengers_pro.evaluation.report.numbers import MISSING, change, dollars, knob, percent, plain, points, signed
from avengers_pro.evaluation.results import Evaluation, MethodResult, OperatingPoint, Paired

COST = "Cost of 1,000 queries"
GOALS = {
    "quality": "best quality",
    "equal": "equal quality",
    "95%": "95 % quality",
    "90%": "90 % quality",
}
METRICS = {
    "area": ("Area@B", "mean score over all budgets up to the best single model's; 0 to 1, higher is better"),
    "aiq": ("AIQ", "mean score over the cost range of everything compared; higher is better"),
    "perf_gain": ("PerfGain, %", "best score on the curve against the best single model; picked on test"),
    "perf_gain_macro": ("PerfGain, macro, %", "the same, datasets weighted equally"),
    "cost_save_100": ("CostSave@100, %", "saved at the best single model's score; picked on test; dash = not reached"),
    "cost_save_100_macro": ("CostSave@100, macro, %", "the same, datasets weighted equally"),
    "cost_save_95": ("CostSave@95, %", "saved at 95 % of that score"),
    "cost_save_95_macro": ("CostSave@95, macro, %", "the same, datasets weighted equally"),
    "cost_save_90": ("CostSave@90, %", "saved at 90 % of that score"),
    "cost_save_90_macro": ("CostSave@90, macro, %", "the same, datasets weighted equally"),
    "pareto_dist": ("ParetoDist", "mean distance to the joint Pareto frontier; lower is better"),
    "apgr": ("APGR", "recovered gap between two models; pools of two only"),
}
_PLAIN_METRICS = {"area", "aiq", "pareto_dist", "apgr"}
_GAINS = {
    "gain_at_random": ("Gain@R, %", "against a random model, at the best-quality setting; mean over datasets"),
    "gain_at_best": ("Gain@B, %", "against the best single model, at the best-quality setting; mean over datasets"),
    "gap_at_oracle": ("Gap@O, %", "missing to the oracle, at the best-quality setting; lower is better"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """Texts in rows, each as long as the header.

    Attributes:
        caption: What the table shows.
        header: Names of the columns.
        rows: Texts; the first names the row.
        words: Columns that hold words and not numbers; the first always does.
        texts: Columns that hold sentences, which need room and break anywhere.
    """

    caption: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: frozenset[int] = field(default=frozenset({0}))
    texts: frozenset[int] = field(default=frozenset())


def operating_points(evaluation: Evaluation) -> Table:
    """Return what each method does at the settings chosen on train."""
    paired = {(row.a, row.metric): row for row in evaluation.paired if row.b == "best-single"}
    rows: list[tuple[str, ...]] = []
    best = best_single(evaluation)
    if best is not None:
        label = f"best single model: {best_single_name(evaluation)}"
        rows.append((label, MISSING, MISSING, percent(best.score_micro), MISSING, dollars(cost_of(best)), MISSING))
    for label, result in evaluation.methods.items():
        for goal, name in _goals(result).items():
            point = result.mean.operating_points[goal]
            score, cost = paired.get((label, f"score at {goal}")), paired.get((label, f"cost change at {goal}"))
            rows.append(_operating_row(label, name, point, score, cost))
    return Table(
        "Operating points, chosen on train and read once on test; changes are against the best single model",
        ("Method", "Setting", "alpha", "Score, %", "Score change, points [95 %]", COST, "Cost change [95 %]"),
        rows,
        words=frozenset({0, 1}),
    )


def _goals(result: MethodResult) -> dict[str, str]:
    """Name the goals; one row is enough where all settings are the same."""
    chosen = result.mean.operating_points
    if len(chosen) > 1 and all(point == next(iter(chosen.values())) for point in chosen.values()):
        return {next(iter(chosen)): "the only one"}
    return {goal: GOALS.get(goal, goal) for goal in chosen}


def _operating_row(
    label: str, name: str, point: OperatingPoint, score: Paired | None, cost: Paired | None
) -> tuple[str, ...]:
    paid = None if point.cost_per_query is None else 1000 * point.cost_per_query
    return (
        label,
        name,
        knob(point.alpha),
        percent(point.score_micro),
        _interval(score, points) if score else MISSING,
        dollars(paid),
        _interval(cost, change) if cost else change(point.cost_change),
    )


def _interval(row: Paired, form: Callable[[float | None], str]) -> str:
    low, high = row.interval
    if form is change:
        return f"{change(row.difference)} [{points(low)}, {points(high)}]"
    return f"{form(row.difference)} [{form(low)}, {form(high)}]"


def by_dataset(evaluation: Evaluation) -> Table:
    """Return the mean score of each dataset, as in the figure, and the unweighted mean over datasets."""
    columns = dataset_columns(evaluation)
    rows = [
        (
            name,
            f"{evaluation.records.datasets.get(name, 0):,}",
            *(percent(c.by_dataset.get(name)) for c in columns.values()),
        )
        for name in dataset_order(evaluation)
    ]
    rows.append(("all, datasets weighted equally", "", *(percent(point.score_macro) for point in columns.values())))
    rows.append(("all, queries weighted equally", "", *(percent(point.score_micro) for point in columns.values())))
    return Table("Mean score by dataset, %, at the setting for best quality", ("Dataset", "Rows", *columns), rows)


def shares(evaluation: Evaluation) -> Table:
    """Return which models the first method chooses at its operating points."""
    label, result = next(iter(evaluation.methods.items()))
    goals = _goals(result)
    chosen = [nearest(result.mean.curve, result.mean.operating_points[goal].alpha) for goal in goals]
    models = sorted(
        {model for point in chosen for model in point.shares},
        key=lambda model: (-chosen[0].shares.get(model, 0.0), model),
    )
    rows = [(model, *(percent(point.shares.get(model, 0.0)) for point in chosen)) for model in models]
    if any(point.unanswered for point in chosen):
        rows.append(("no model met the constraints", *(percent(point.unanswered) for point in chosen)))
    return Table(f"Share of test queries that {label} sends to each model, %", ("Model", *goals.values()), rows)


def single_models(evaluation: Evaluation) -> Table:
    """Return score and cost of each single model."""
    rows = [
        (point.model or "", percent(point.score_micro), percent(point.score_macro), dollars(cost_of(point)))
        for point in singles(evaluation)
    ]
    return Table("Every single model on the same test queries", ("Model", "Score, %", "Score, macro, %", COST), rows)


def paired_differences(evaluation: Evaluation) -> Table:
    """Return all paired comparisons."""
    rows: list[tuple[str, ...]] = []
    for row in evaluation.paired:
        form, unit = (signed, "") if row.metric == "area" else (points, _unit(row.metric))
        between = f"{form(row.interval[0])} to {form(row.interval[1])}"
        wins = f"{row.wins} of {row.splits}"
        rows.append((row.a, row.b, _metric_name(row.metric), form(row.difference) + unit, between, _reading(row), wins))
    return Table(
        "Paired differences on the same test queries: method minus what it is compared with",
        ("Method", "Compared with", "What", "Difference", "95 % interval", "In words", "Better on splits"),
        rows,
        words=frozenset({0, 1, 2, 5}),
    )


def _unit(metric: str) -> str:
    return " %" if metric.startswith("cost") else " points"


def _metric_name(metric: str) -> str:
    if metric == "area":
        return "Area@B"
    name, _, goal = metric.partition(" at ")
    return f"{name.removesuffix(' change')}, {GOALS.get(goal, goal)}"


def _reading(row: Paired) -> str:
    low, high = row.interval
    if low <= 0 <= high:
        return "unclear"
    if row.metric.startswith("cost"):
        return "cheaper" if high < 0 else "dearer"
    return "better" if low > 0 else "worse"


def all_metrics(evaluation: Evaluation) -> Table:
    """Return every metric of every method and baseline."""
    everyone = {**evaluation.methods, **evaluation.baselines}
    rows = []
    for metric, (name, _) in METRICS.items():
        values = [result.mean.metrics.get(metric) for result in everyone.values()]
        form = plain if metric in _PLAIN_METRICS else percent
        if any(value is not None for value in values):
            rows.append((name, *(form(value) for value in values)))
    for metric, (name, _) in _GAINS.items():
        found = [result.mean.operating_points.get("quality") for result in everyone.values()]
        rows.append((name, *(percent(getattr(point, metric) if point else None) for point in found)))
    return Table(
        "The field's metrics; methods first, then baselines; mean over splits",
        ("Metric", *everyone),
        rows,
    )


def meanings(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what each metric of the table means."""
    shown = {row[0] for row in all_metrics(evaluation).rows}
    return [(name, meaning) for name, meaning in (METRICS | _GAINS).values() if name in shown]


def settings(evaluation: Evaluation) -> Table:
    """Return the parameters of methods and references."""
    rows = [
        (line.label, ", ".join(f"{key} = {value}" for key, value in line.result.params.items()) or MISSING)
        for line in contestants(evaluation)
    ]
    return Table("Parameters", ("Method", "Parameters"), rows, words=frozenset({0, 1}))


def splits(evaluation: Evaluation) -> Table:
    """Return each split and the best single model chosen on its train part."""
    rows = [(str(split.seed), f"{split.train:,}", f"{split.test:,}", split.best_single) for split in evaluation.splits]
    header = ("Seed", "Train queries", "Test queries", "Best single model on train")
    return Table("Splits", header, rows, words=frozenset({0, 3}))
