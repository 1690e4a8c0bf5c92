"""``avengers-pro evaluate``: is routing worth it on these records?"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import progress_bar, tell
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
    engine_option,
    method_options,
    names,
    records_options,
    weight_options,
)
from avengers_pro.cli.showing import checked_report, print_evaluation, write_pictures

if TYPE_CHECKING:
    from avengers_pro.embedding import Embedder
    from avengers_pro.evaluation import Protocol
    from avengers_pro.records import Records
    from avengers_pro.routing import Router
    from avengers_pro.routing.method import Method


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
@click.option("--report", type=RECORDS_PATH, help="Write report.html, or report.md with its figures beside it.")
@click.option("--no-queries", is_flag=True, help="Quote no query texts in the report.")
@click.option("--figure", type=RECORDS_PATH, help="Write the frontier as .svg, .png or .html.")
@click.option("--note", default="", help="Said wherever the numbers are shown, e.g. 'simulated data'.")
@click.option("--json", "as_json", is_flag=True, help="Print results.json on stdout.")
@engine_option
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
    engine: str,
    alpha: float | None,
    performance_weight: float | None,
    cost_sensitivity: float | None,
    export_cluster: Path | None,
    output: Path | None,
    report: Path | None,
    figure: Path | None,
    no_queries: bool,
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
    from avengers_pro.evaluation.report import find_cases
    from avengers_pro.scale.engine import opened

    paths = _checked_paths(records, input_path)
    checked_parent(output, figure, export_cluster)
    checked_report(report)
    knob = alpha_of(alpha, performance_weight, cost_sensitivity)
    protocol = _protocol(settings, knob)
    chosen = chosen_methods(methods, settings, settings["max_router"])
    table = RecordsChoice(paths, score_scale, skip_bad_lines).read()
    choice = EmbeddingChoice(embedder, embedding_base_url, embedding_dimensions, max_tokens, no_cache)
    params = {name: settings[name] for name in METHOD_PARAMS}
    with opened(engine) as on, progress_bar() as show:
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
            spread=on.run,
        )
    if output is not None:
        output.write_bytes(result.to_json())
    method = _built(chosen[0], params)
    router = _fitted(table, protocol, method, loaded, vectors, choice) if export_cluster or report else None
    cases = find_cases(result, table, method, protocol, vectors) if report and not no_queries else None
    written = write_pictures(result, report, figure, router, cases=cases, quoting=not no_queries)
    if export_cluster is not None and router is not None:
        router.save(export_cluster)
    if as_json:
        click.echo(result.to_json(), nl=False)
    else:
        print_evaluation(result, knob)
    for path in (output, *written, export_cluster):
        if path is not None:
            tell(f"wrote {path}")


def _checked_paths(records: tuple[Path, ...], input_path: Path | None) -> tuple[Path, ...]:
    """Return what is to be evaluated.

    Raises:
        click.UsageError: If nothing is named.
    """
    paths = (*records, *([input_path] if input_path else []))
    if not paths:
        raise click.UsageError("name the RECORDS to evaluate")
    return paths


def _protocol(settings: dict[str, Any], knob: float | None) -> "Protocol":
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


def _built(name: str, params: dict[str, Any]) -> "Method":
    from avengers_pro.routing import build_method
    from avengers_pro.routing.methods import settable

    return build_method(name, settable(name, params))


def _fitted(
    table: "Records",
    protocol: "Protocol",
    method: "Method",
    embedder: "Embedder",
    vectors: Any,
    choice: EmbeddingChoice,
) -> "Router":
    """Fit on all the records that were evaluated."""
    from avengers_pro.evaluation.protocol import usable_table
    from avengers_pro.routing import Router

    used = usable_table(table, protocol)
    return Router.fit(
        used.records,
        embedder,
        method,
        vectors=used.vectors_from(table, vectors),
        seed=protocol.seeds[0],
        embedder_spec=choice.spec or "static",
        options=choice.options(),
    )
