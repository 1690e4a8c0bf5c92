"""``avengers-pro sweep``: one parameter, many values, the same splits."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from avengers_pro.cli.console import print_table, progress_bar, tell
from avengers_pro.cli.evaluate import read_alphas
from avengers_pro.cli.options import (
    RECORDS_PATH,
    EmbeddingChoice,
    RecordsChoice,
    checked_parent,
    chosen_methods,
    config_option,
    embedding_options,
    method_options,
    names,
    records_options,
)


@click.command("sweep")
@click.argument("records", nargs=-1, required=True, type=RECORDS_PATH)
@click.option("--over", type=click.Choice(["alpha", "clusters", "top-clusters"]), required=True, help="What is varied.")
@click.option("--method", help="Default: avengers-pro over alpha, avengers-pro-paper over clusters.")
@click.option("--values", help="FROM:TO:STEP or A,B,C; default: the published ones.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How many splits.")
@click.option("--output", type=RECORDS_PATH, help="Write the table as CSV.")
@click.option("--figure", type=RECORDS_PATH, help="Write the curves with their bands as .svg, .png or .html.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@method_options
@embedding_options
@records_options
@config_option()
def command(
    records: tuple[Path, ...],
    over: str,
    method: str | None,
    values: str | None,
    seeds: int,
    *,
    output: Path | None,
    figure: Path | None,
    as_json: bool,
    score_scale: float,
    skip_bad_lines: bool,
    excluded_models: str,
    excluded_datasets: str,
    embedder: str | None,
    embedding_base_url: str | None,
    embedding_dimensions: int | None,
    max_tokens: int | None,
    no_cache: bool,
    **params: Any,
) -> None:
    """Measure a method on RECORDS at many values of one parameter; bands are 95 % query-bootstrap intervals.

    The curve is read on test: it shows how a parameter acts, it does not choose one.

    \b
    Examples:
      avengers-pro sweep records.jsonl --over alpha --figure alpha.svg
      avengers-pro sweep records.jsonl --over clusters --values 8,16,32,64 --output clusters.csv
    """  # noqa: D301
    from avengers_pro.evaluation import Protocol
    from avengers_pro.evaluation.sweep import sweep, sweep_csv
    from avengers_pro.records import seeds as first_seeds

    wanted = method or (None if over == "alpha" else "avengers-pro-paper")
    (name,) = chosen_methods([wanted] if wanted else [], params)
    checked_parent(output, figure)
    protocol = Protocol(
        seeds=first_seeds(seeds),
        excluded_models=names(excluded_models),
        excluded_datasets=names(excluded_datasets),
    )
    table = RecordsChoice(records, score_scale, skip_bad_lines).read()
    choice = EmbeddingChoice(embedder, embedding_base_url, embedding_dimensions, max_tokens, no_cache)
    with progress_bar() as show:
        loaded = choice.load(show)
        rows = sweep(
            table,
            over,
            name,
            values=None if values is None else read_alphas(values),
            protocol=protocol,
            embedder=loaded,
            params=params,
            progress=show,
        )
    if output is not None:
        output.write_text(sweep_csv(rows), encoding="utf-8")
    if figure is not None:
        from avengers_pro.evaluation.charts import save_chart
        from avengers_pro.evaluation.charts import sweep as sweep_chart

        save_chart(sweep_chart(rows, over), figure)
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        print_table(
            f"{name} over {over}",
            [over, "metric", "mean", "low", "high"],
            [[f"{row.value:g}", row.metric, *(f"{x:.6g}" for x in (row.mean, row.low, row.high))] for row in rows],
        )
    for path in (output, figure):
        if path is not None:
            tell(f"wrote {path}")
