"""What an evaluation looks like on the terminal, and the pictures and reports it leaves."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import dollars, percent, print_table, tell
from avengers_pro.cli.options import checked_parent
from avengers_pro.errors import MissingExtraError

if TYPE_CHECKING:
    from avengers_pro.evaluation import Evaluation
    from avengers_pro.evaluation.auto import AutoChoice, Trial
    from avengers_pro.evaluation.charts import ProfileRow
    from avengers_pro.evaluation.report import Cases
    from avengers_pro.evaluation.results import MethodResult, Point
    from avengers_pro.routing import Router

REPORTS = (".html", ".md")


def write_pictures(
    result: "Evaluation",
    report: Path | None,
    figure: Path | None,
    router: "Router | None" = None,
    *,
    cases: "Cases | None" = None,
    quoting: bool = True,
) -> list[Path]:
    """Write the report and the frontier figure where asked.

    Args:
        result: The evaluation.
        report: Ends in .html or .md; None = none.
        figure: Of the frontier; None = none.
        router: Adds what its clusters say of each model.
        cases: Queries on which routing wins and loses.
        quoting: Whether the report may quote query texts.

    Returns:
        The files written.
    """
    written = []
    if figure is not None:
        from avengers_pro.evaluation.charts import frontier, save_chart

        save_chart(frontier(result), figure)
        written.append(figure)
    if report is None:
        return written
    from avengers_pro.evaluation.report import html_report, markdown_report

    if report.suffix == ".md":
        beside = _figures_beside(result, report)
        text = markdown_report(result, {key: path.name for key, path in beside.items()}, cases)
        written += beside.values()
    else:
        rows = profile_rows(router, quoting=quoting) if router else ()
        text = html_report(result, rows, cases)
    report.write_text(text, encoding="utf-8")
    return [*written, report]


def checked_report(report: Path | None) -> None:
    """Refuse a report of a kind we do not write, or in a folder that is not there.

    Raises:
        click.BadParameter: Then.
    """
    checked_parent(report)
    if report is not None and report.suffix not in REPORTS:
        raise click.BadParameter(f"{report} must end in {' or '.join(REPORTS)}", param_hint="--report")


def write_router_report(router: "Router", report: Path, source: str, note: str, *, quoting: bool) -> list[Path]:
    """Write what is in a router as a page, or as Markdown with a figure beside it; return the files written."""
    from avengers_pro.evaluation.charts import save_chart
    from avengers_pro.evaluation.report import router_chart, router_html, router_markdown

    if report.suffix == ".html":
        text = router_html(router, source=source, note=note, quoting=quoting)
        report.write_text(text, encoding="utf-8")
        return [report]
    figure = report.with_name(f"{report.stem}-frontier.svg")
    drawn = False
    try:
        chart = router_chart(router, note)
        if chart is not None:
            save_chart(chart, figure)
            drawn = True
    except MissingExtraError as error:
        tell(f"the report has no figure: {error}")
    path = figure.name if drawn else None
    text = router_markdown(router, figure_path=path, source=source, note=note, quoting=quoting)
    report.write_text(text, encoding="utf-8")
    return [figure, report] if drawn else [report]


def _figures_beside(result: "Evaluation", report: Path) -> dict[str, Path]:
    """Save a Markdown report's figures next to it; without the extra, say so and go on."""
    from avengers_pro.evaluation import charts

    drawings = {"frontier": charts.frontier, "datasets": charts.by_dataset, "shares": charts.shares_by_alpha}
    paths = {key: report.with_name(f"{report.stem}-{key}.svg") for key in drawings}
    try:
        for key, draw in drawings.items():
            charts.save_chart(draw(result), paths[key])
    except MissingExtraError as error:
        tell(f"the report has no figures: {error}")
        return {}
    return paths


def profile_rows(router: "Router", *, quoting: bool = True) -> "list[ProfileRow]":
    """Return what each cluster of a router says of each model; none for methods without clusters."""
    from avengers_pro.evaluation.charts import ProfileRow

    profile = router.fitted.cluster_profile
    if profile is None:
        return []
    examples = router.examples if quoting else ()
    return [
        ProfileRow(
            cluster,
            round(size),
            examples[cluster][0] if examples and examples[cluster] else "",
            dict(zip(router.models, profile.mean_score[cluster].tolist(), strict=True)),
        )
        for cluster, size in enumerate(profile.sizes.tolist())
    ]


def pool_rows(router: "Router") -> list[dict[str, Any]]:
    """Return what is known of each model, for JSON."""
    return [
        {
            "model": fact.name,
            "observations": fact.observations,
            "mean_score": fact.mean_score,
            "mean_cost": fact.mean_cost,
            "input_price": fact.input_price,
            "output_price": fact.output_price,
            "capabilities": None if fact.capabilities is None else list(fact.capabilities),
        }
        for fact in router.facts
    ]


def print_pool(router: "Router") -> None:
    """Print a router's models, best first."""
    rows = [
        [
            fact.name,
            str(fact.observations),
            "unknown" if fact.mean_score is None else f"{fact.mean_score:.3f}",
            dollars(None if fact.mean_cost is None else fact.mean_cost * 1000),
            "not stated" if fact.capabilities is None else ", ".join(fact.capabilities) or "text",
        ]
        for fact in sorted(router.facts, key=lambda fact: -(fact.mean_score or 0.0))
    ]
    print_table("Pool", ["model", "observations", "mean score", "per 1k queries", "can do"], rows)


def print_evaluation(result: "Evaluation", alpha: float | None = None) -> None:
    """Print what was compared, the tables and, last, the verdict."""
    about = result.records
    shown = f" ({about.note})" if about.note else ""
    click.echo(
        f"{about.source}{shown}: {about.rows} queries, {len(about.models)} models, {len(about.datasets)} datasets, "
        f"{len(result.splits)} splits of {about.train_ratio:.0%} train"
    )
    if about.duplicates:
        click.echo(f"{about.duplicates} repeated query texts dropped before splitting")
    if about.left_out:
        shown = ", ".join(list(about.left_out)[:5]) + (", ..." if len(about.left_out) > 5 else "")  # noqa: PLR2004
        click.echo(f"left out, not observed on every query (--gaps mask keeps them): {len(about.left_out)}: {shown}")
    click.echo()
    everyone = {**result.methods, **result.baselines}
    print_table(
        "Operating points chosen inside train, read on test (change against the best single model)",
        ["method", "setting", "alpha", "score", "change", "per 1k queries", "change"],
        [row for label, found in everyone.items() for row in _operating_rows(label, found)],
    )
    if alpha is not None:
        click.echo()
        print_table(
            f"At alpha {alpha:g} (a point of the curve, not chosen)",
            ["method", "score", "macro", "per 1k queries"],
            [_alpha_row(label, found, alpha) for label, found in result.methods.items()],
        )
    click.echo()
    print_table(
        "The whole curve (best point picked on test, as the literature does; means over queries)",
        ["method", "area", "PerfGain", "CostSave@100", "@95", "@90", "AIQ", "ParetoDist"],
        [_curve_row(label, found) for label, found in everyone.items()],
    )
    click.echo(f"\n{result.verdict.text}")


def _operating_rows(label: str, found: "MethodResult") -> list[list[str]]:
    return [
        [
            label,
            goal,
            "-" if point.alpha is None else f"{point.alpha:.2f}",
            f"{point.score_micro:.4f}",
            percent(point.score_change, signed=True),
            dollars(None if point.cost_per_query is None else point.cost_per_query * 1000),
            percent(point.cost_change, signed=True),
        ]
        for goal, point in found.mean.operating_points.items()
        if goal == "quality" or point.alpha is not None
    ]


def _alpha_row(label: str, found: "MethodResult", alpha: float) -> list[str]:
    def distance(point: "Point") -> float:
        return abs(point.alpha - alpha) if point.alpha is not None else 0.0

    point = min(found.mean.curve, key=distance)
    cost = None if point.cost_per_query is None else point.cost_per_query * 1000
    return [label, f"{point.score_micro:.4f}", f"{point.score_macro:.4f}", dollars(cost)]


def _curve_row(label: str, found: "MethodResult") -> list[str]:
    metrics = found.mean.metrics
    area, aiq, distance = metrics["area"], metrics["aiq"], metrics["pareto_dist"]
    return [
        label,
        "-" if area is None else f"{100 * area:.2f}",
        percent(metrics["perf_gain"], signed=True),
        *(percent(metrics[f"cost_save_{target}"]) for target in (100, 95, 90)),
        "-" if aiq is None else f"{aiq:.3f}",
        "-" if distance is None else f"{distance:.3f}",
    ]


def print_trials(found: "AutoChoice") -> None:
    """Say on stderr what ``fit --auto`` tried, what it chose and why."""
    if found.tried:
        print_table(
            f"Tried on {found.splits} splits of {found.rows} queries, {found.models} complete models (area x 100)",
            ["variant", "levels", "area", "difference", "std. error", "won"],
            [
                [
                    trial.name,
                    ",".join(map(str, trial.params["levels"])),
                    f"{100 * trial.area:.2f}",
                    *(("", "", "") if trial is found.tried[0] else _against_defaults(trial)),
                ]
                for trial in found.tried
            ],
            to_stderr=True,
        )
    tell(f"auto: {found.reason}")


def _against_defaults(trial: "Trial") -> tuple[str, ...]:
    return f"{100 * trial.difference:+z.2f}", f"{100 * trial.standard_error:.2f}", str(trial.wins)
