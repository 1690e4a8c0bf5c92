"""What an evaluation report says in plain words."""

from avengers_pro.evaluation.charts.reading import best_single, cost_of
from avengers_pro.evaluation.charts.theme import shortened
from avengers_pro.evaluation.intervals import REPLICATES
from avengers_pro.evaluation.operating import FOLDS
from avengers_pro.evaluation.report.numbers import change, dollars, percent, points
from avengers_pro.evaluation.results import Evaluation, OperatingPoint, Paired
from avengers_pro.evaluation.verdict import LEAST_SAVING, MARGIN

COST_OR_SCORE = (
    "Each line is one method at every setting of its knob, alpha. A router is worth its trouble where its line lies "
    "above the best single model, or to the left of it at the same height."
)
SAVES = (
    "Each setting was chosen by cross-validation inside the train part and read once on the test part, so these are "
    "forecasts for queries like these. Best quality: the alpha with the best score on train. Equal, 95 % and 90 % "
    "quality: the cheapest alpha that kept this share of the best single model's score on train. A change whose "
    "interval contains 0 may be chance."
)
KNOB = "Read it to choose alpha: how much score each step towards cheaper costs, and where the curve is flat."
DATASETS = (
    "Blue cells gain on the best single model, orange cells lose. Gains that come from one or two datasets will not "
    "carry over to traffic that lacks them."
)
SHARES = "Where one model has nearly all queries, the setting is hardly routing at all."
CLUSTERS = "A row in which another model is best than in its neighbours is what makes routing possible."
PAIRED = (
    "Both sides answer the same queries, the method at the setting named. Area@B differences are on its 0 to 1 scale. "
    "Unclear: the interval contains 0."
)
METRICS = (
    "Metrics of the whole curve as the literature defines them. PerfGain and CostSave pick their point on test, which "
    "flatters every method: use them to compare methods, not to promise savings. The oracle knows the answers, "
    "dataset-label is told each query's dataset, and static mixes single models blindly."
)
VERDICT = (
    "Verdict: a method beats the best single model if the interval of the score difference at its best-quality setting "
    f"lies above 0. It matches if at its equal-quality setting the score is at most {100 * MARGIN:g} % lower, the "
    f"interval reaches 0, and the interval of the saving lies above {LEAST_SAVING:.0%}. Otherwise it does not beat it."
)


def key_figures(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Return what a reader in a hurry needs, as (name, number, what it means)."""
    best, same = best_single(evaluation), _point(evaluation, "quality") == _point(evaluation, "equal")
    if best is None:
        return []
    priced = f"{dollars(cost_of(best))} for 1,000 queries" if evaluation.records.has_costs else "costs not recorded"
    figures = [("Best single model", f"{percent(best.score_micro)} %", f"score; {priced}")]
    for goal, name in (("quality", "Routed for best quality"), ("equal", "Routed for equal quality")):
        point = _point(evaluation, goal)
        score, cost = _paired(evaluation, f"score at {goal}"), _paired(evaluation, f"cost change at {goal}")
        if point is None or score is None or (goal == "equal" and (cost is None or same)):
            continue
        paid = "" if point.cost_per_query is None else f"; {dollars(1000 * point.cost_per_query)} for 1,000 queries"
        if goal == "quality" or cost is None:
            more = "" if cost is None else f", {change(cost.difference)}"
            figures.append(
                (name, f"{points(score.difference)} points", f"{percent(point.score_micro)} % score{paid}{more}")
            )
        else:
            more = f"{percent(point.score_micro)} % score, {points(score.difference)} points{paid}"
            figures.append((name, f"{change(cost.difference)} cost", more))
    return figures


def bill(evaluation: Evaluation) -> list[str]:
    """Say what becomes of a bill of 100 dollars; nothing without costs."""
    lines = []
    for goal, aim in (("equal", "keep its score"), ("quality", "score as high as it can")):
        cost, score = _paired(evaluation, f"cost change at {goal}"), _paired(evaluation, f"score at {goal}")
        if (
            cost is None
            or score is None
            or (goal == "quality" and _point(evaluation, "equal") == _point(evaluation, goal))
        ):
            continue
        least, most = (_rest(end) for end in cost.interval)
        lines.append(
            f"Of every $100 that {evaluation.verdict.reference} would cost, routing set to {aim} pays "
            f"{_rest(cost.difference)} [{least} to {most}]; the score changes by {points(score.difference)} points "
            f"[{points(score.interval[0])} to {points(score.interval[1])}]."
        )
    return lines


def _rest(relative: float) -> str:
    return f"${100 * (1 + relative):.0f}"


def _point(evaluation: Evaluation, goal: str) -> OperatingPoint | None:
    return evaluation.methods[evaluation.verdict.method].mean.operating_points.get(goal)


def _paired(evaluation: Evaluation, metric: str) -> Paired | None:
    rows = (row for row in evaluation.paired if row.b == "best-single" and row.a == evaluation.verdict.method)
    return next((row for row in rows if row.metric == metric), None)


def records_facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what was evaluated, as names and values."""
    records = evaluation.records
    facts = [("Records", records.source)]
    if records.note:
        facts.append(("Note", records.note))
    facts += [
        ("Queries", f"{records.rows:,} used; {records.duplicates:,} repeated texts dropped before splitting"),
        ("Models", f"{len(records.models)}: {', '.join(records.models)}"),
        ("Models left out", "; ".join(f"{name} ({why})" for name, why in records.left_out.items()) or "none"),
        ("Datasets", ", ".join(f"{name} ({rows:,})" for name, rows in records.datasets.items())),
        ("Datasets left out of the test", ", ".join(records.excluded_datasets) or "none"),
        ("Costs", "as recorded, in US dollars" if records.has_costs else "not recorded; only scores are compared"),
        ("Embedder", records.embedder),
        ("Fingerprint of the table", f"SHA-256 {records.fingerprint}"),
    ]
    return facts


def protocol_facts(evaluation: Evaluation) -> list[str]:
    """Return how it was measured."""
    records, splits = evaluation.records, evaluation.splits
    seeds = ", ".join(str(split.seed) for split in splits)
    return [
        f"Splits: {len(splits)} at random (seeds {seeds}), stratified by dataset, {records.train_ratio:.0%} train.",
        "Every method and baseline sees the same splits and the same vectors.",
        "The best single model is chosen on train, as a user would have to choose it.",
        f"Operating points are chosen inside train by {FOLDS}-fold cross-validation; none is picked on test.",
        f"Intervals: 95 %, from {REPLICATES} resamples of the queries within datasets, paired, averaged over splits.",
        VERDICT,
    ]


def limits(evaluation: Evaluation) -> list[str]:
    """Return what the numbers do not say."""
    said = [
        "They hold for queries like the recorded ones. Other traffic needs its own records.",
        "Splits of the same records overlap: the bands over splits are not confidence intervals, the intervals are.",
        "The intervals leave out that a model may answer otherwise next time: each query was answered once by each.",
        "Several comparisons are shown; now and then one of twenty intervals misses by chance alone.",
        "Costs are those of the records. Prices change, and lost prompt caches and router latency are not counted.",
        "Scores are only as good as their grading.",
    ]
    if evaluation.records.note:
        said.insert(0, f"The records carry this note: {evaluation.records.note}.".replace("..", "."))
    if not evaluation.records.has_costs:
        said.append("Without costs only quality can be asked for; nothing is said about savings.")
    unanswered = {
        label: max(point.unanswered for point in result.mean.curve) for label, result in evaluation.methods.items()
    }
    for label, share in unanswered.items():
        if share:
            said.append(
                f"{label} finds no allowed model for up to {share:.1%} of the queries; they score 0 and cost 0."
            )
    return said


def headline(evaluation: Evaluation) -> str:
    """Return the verdict in a few words."""
    verdict = evaluation.verdict
    method = shortened(verdict.method, 60)
    if verdict.outcome == "no verdict":
        return f"No verdict on {method}"
    return f"{method} {verdict.outcome} the best single model"
