"""``avengers-pro evaluate``: is routing worth it on these records?"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import dollars, percent, print_table, progress_bar, tell
from avengers_pro.cli.options import (
    METHOD_PARAMS,
    RECORDS_PATH,
    SEED,
    EmbeddingChoice,
    RecordsChoice,
    alpha_of,
    checked_parent,
    chosen_methods,
    config_option,
    embedding_options,
    method_options,
    names,
    records_options,
    weight_options,
)

if TYPE_CHECKING:
    from avengers_pro.evaluation import Evaluation
    from avengers_pro.evaluation.charts import ProfileRow
    from avengers_pro.evaluation.results import MethodResult, Point
    from avengers_pro.routing import Router


REPORTS = (".html", ".md")


def read_alphas(text: str) -> tuple[float, ...]:
    """Read ``0:1:0.02`` (from, to, step) or ``0.1,0.5,0.9``."""
    import numpy as np

    try:
        if ":" in text:
            low, high, step = (float(part) for part in text.split(":"))
            steps = math.floor((high - low) / step + 1e-9)
            return tuple(np.linspace(low, low + steps * step, steps + 1).round(6).tolist())
        return tuple(sorted(float(part) for part in text.split(",")))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise click.BadParameter(f"{text!r} is neither FROM:TO:STEP nor a list A,B,C", param_hint="--alphas") from error


@click.command("evaluate")
@click.argument("records", nargs=-1, type=RECORDS_PATH)
@click.option("--input", "input_path", type=RECORDS_PATH, help="Another way to name RECORDS.")
@click.option("--method", "methods", multiple=True, help="May be repeated; the verdict is about the first; or 'all'.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How many splits.")
@click.option("--seed", type=SEED, help="One split with this seed instead.")
@click.option("--alphas", default="0:1:0.02", show_default=True, help="FROM:TO:STEP or A,B,C.")
@click.option("--train-ratio", "--train_ratio", type=float, default=0.7, show_default=True, help="Of each dataset.")
@click.option("--min-accuracy", "--min_accuracy", type=float, help="Least expected score of a candidate.")
@click.option(
    "--dataset-exclusion-mode",
    "--dataset_exclusion_mode",
    type=click.Choice(["hard", "soft"]),
    default="hard",
    show_default=True,
    help="hard: excluded datasets are dropped; soft: they train but are not tested.",
)
@click.option(
    "--gaps",
    type=click.Choice(["exclude", "mask"]),
    default="exclude",
    show_default=True,
    help="Models not observed on every query: leave them out, or only where they were not observed.",
)
@click.option(
    "--max-router",
    "--max_router",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="As published: the best of so many selected models; for --method avengers-pro-code alone.",
)
@click.option(
    "--export-cluster", "--export_cluster", type=RECORDS_PATH, help="Also fit on all records and save a router."
)
@click.option("--output", type=RECORDS_PATH, help="Write results.json.")
@click.option("--report", type=RECORDS_PATH, help="Write report.html or report.md.")
@click.option("--figure", type=RECORDS_PATH, help="Write the frontier as .svg, .png or .html.")
@click.option("--note", default="", help="Said wherever the numbers are shown, e.g. 'simulated data'.")
@click.option("--json", "as_json", is_flag=True, help="Print results.json on stdout.")
@weight_options
@method_options
@embedding_options
@records_options
@config_option()
def command(
    records: tuple[Path, ...],
    input_path: Path | None,
    methods: tuple[str, ...],
    *,
    alpha: float | None,
    performance_weight: float | None,
    cost_sensitivity: float | None,
    export_cluster: Path | None,
    output: Path | None,
    report: Path | None,
    figure: Path | None,
    note: str,
    as_json: bool,
    score_scale: float,
    skip_bad_lines: bool,
    embedder: str | None,
    embedding_base_url: str | None,
    embedding_dimensions: int | None,
    max_tokens: int | None,
    no_cache: bool,
    **settings: Any,
) -> None:
    """Prove on held-out parts of RECORDS whether routing beats the best single model.

    Every method and baseline is fitted on the same train parts and read on the same test parts; operating points
    are chosen inside train; differences are paired and carry 95 % intervals. The last line is the verdict.

    \b
    Examples:
      avengers-pro evaluate records.jsonl
      avengers-pro evaluate records.jsonl --method all --report report.html --output results.json
      avengers-pro evaluate --input records.jsonl --performance_weight 0.7 --cost_sensitivity 0.3
    """  # noqa: D301
    from avengers_pro.evaluation import evaluate
    from avengers_pro.evaluation.protocol import usable_table
    from avengers_pro.routing import Router, build_method
    from avengers_pro.routing.methods import settable

    paths = (*records, *([input_path] if input_path else []))
    if not paths:
        raise click.UsageError("name the RECORDS to evaluate")
    checked_parent(output, report, figure, export_cluster)
    if report is not None and report.suffix not in REPORTS:
        raise click.BadParameter(f"{report} must end in {' or '.join(REPORTS)}", param_hint="--report")
    knob = alpha_of(alpha, performance_weight, cost_sensitivity)
    protocol = _protocol(settings, knob)
    chosen = chosen_methods(methods, settings, settings["max_router"])
    table = RecordsChoice(paths, score_scale, skip_bad_lines).read()
    choice = EmbeddingChoice(embedder, embedding_base_url, embedding_dimensions, max_tokens, no_cache)
    params = {name: settings[name] for name in METHOD_PARAMS}
    with progress_bar() as show:
        loaded = choice.load(show)
        vectors = loaded.embed(table.queries)
        result = evaluate(
            table,
            chosen,
            protocol=protocol,
            embedder=loaded,
            vectors=vectors,
            params=params,
            source=", ".join(path.name for path in paths),
            note=note,
            progress=show,
        )
    if output is not None:
        output.write_bytes(result.to_json())
    router = None
    if export_cluster is not None or report is not None:
        built = build_method(chosen[0], settable(chosen[0], params))
        used = usable_table(table, protocol)
        router = Router.fit(
            used.records,
            loaded,
            built,
            vectors=used.vectors_from(table, vectors),
            seed=protocol.seeds[0],
            embedder_spec=choice.spec or "static",
            options=choice.options(),
        )
    write_pictures(result, report, figure, router)
    if export_cluster is not None and router is not None:
        router.save(export_cluster)
    if as_json:
        click.echo(result.to_json(), nl=False)
    else:
        print_evaluation(result, knob)
    for path in (output, report, figure, export_cluster):
        if path is not None:
            tell(f"wrote {path}")


def _protocol(settings: dict[str, Any], knob: float | None) -> Any:
    from avengers_pro.evaluation import Protocol
    from avengers_pro.records import seeds

    alphas = read_alphas(settings["alphas"])
    return Protocol(
        seeds=seeds(settings["seeds"]) if settings["seed"] is None else (settings["seed"],),
        train_ratio=settings["train_ratio"],
        alphas=alphas if knob is None else tuple(sorted({*alphas, round(knob, 6)})),
        excluded_models=names(settings["excluded_models"]),
        excluded_datasets=names(settings["excluded_datasets"]),
        exclusion=settings["dataset_exclusion_mode"],
        gaps=settings["gaps"],
        min_score=settings["min_accuracy"],
        max_router=settings["max_router"],
    )


def write_pictures(
    result: "Evaluation", report: Path | None, figure: Path | None, router: "Router | None" = None
) -> None:
    """Write the report and the frontier figure where asked; a router adds what its clusters say of each model."""
    if figure is not None:
        from avengers_pro.evaluation.charts import frontier, save_chart

        save_chart(frontier(result), figure)
    if report is None:
        return
    from avengers_pro.evaluation.report import html_report, markdown_report

    if report.suffix == ".md":
        text = markdown_report(result, figure.name if figure is not None else None)
    else:
        text = html_report(result, profile_rows(router) if router else ())
    report.write_text(text, encoding="utf-8")


def profile_rows(router: "Router") -> "list[ProfileRow]":
    """Return what each cluster of a router says of each model; none for methods without clusters."""
    from avengers_pro.evaluation.charts import ProfileRow

    profile = router.fitted.cluster_profile
    if profile is None:
        return []
    return [
        ProfileRow(
            cluster,
            round(size),
            router.examples[cluster][0] if router.examples and router.examples[cluster] else "",
            dict(zip(router.models, profile.mean_score[cluster].tolist(), strict=True)),
        )
        for cluster, size in enumerate(profile.sizes.tolist())
    ]


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
