"""``avengers-pro fit``: learn a router from records."""

from pathlib import Path
from typing import Any

import click

from avengers_pro.cli.console import progress_bar, tell
from avengers_pro.cli.options import (
    RECORDS_PATH,
    SEED,
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


@click.command("fit")
@click.argument("records", nargs=-1, required=True, type=RECORDS_PATH)
@click.option("-o", "--output", required=True, type=RECORDS_PATH, help="Folder to write the router to.")
@click.option(
    "--method", help="avengers-pro (default), avengers-pro-paper, avengers-pro-code, avengers, knn, best-single, ..."
)
@click.option("--seed", type=SEED, default=42, show_default=True, help="Of everything random.")
@click.option("--no-examples", is_flag=True, help="Keep no query text in the router (explain shows none then).")
@method_options
@embedding_options
@records_options
@config_option()
def command(
    records: tuple[Path, ...],
    output: Path,
    method: str | None,
    seed: int,
    *,
    no_examples: bool,
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
    """Fit a router on RECORDS (JSONL, JSONL.gz, Parquet, CSV; several files are merged) and save it.

    \b
    Examples:
      avengers-pro fit records.jsonl -o router/
      avengers-pro fit records.jsonl -o router/ --method avengers-pro-code --clusters 32
      avengers-pro fit records.jsonl -o router/ --embedder openai:text-embedding-3-small
    """  # noqa: D301
    from avengers_pro.routing import Router, build_method
    from avengers_pro.routing.methods import settable

    if output == Path():
        raise click.UsageError("-o needs the name of a folder")
    checked_parent(output)
    (name,) = chosen_methods([method] if method else [], params)
    chosen = build_method(name, settable(name, params))
    table = RecordsChoice(records, score_scale, skip_bad_lines).read()
    if excluded_models:
        table = table.exclude_models(names(excluded_models))
    if excluded_datasets:
        table = table.exclude_datasets(names(excluded_datasets))
    choice = EmbeddingChoice(embedder, embedding_base_url, embedding_dimensions, max_tokens, no_cache)
    with progress_bar() as show:
        loaded = choice.load(show)
        vectors = loaded.embed(table.queries)
        show("fitting", 1, 1)
        router = Router.fit(
            table,
            loaded,
            chosen,
            vectors=vectors,
            seed=seed,
            keep_examples=not no_examples,
            embedder_spec=choice.spec or "static",
            options=choice.options(),
        )
    router.save(output)
    unpriced = [fact.name for fact in router.facts if fact.mean_cost is None]
    if unpriced:
        tell(f"no cost is known for {', '.join(unpriced)}: they never count as cheap")
    click.echo(f"{output}: {name}, {len(router.models)} models, {len(table)} queries")
    tell(f'Next: avengers-pro route {output} "your query" --explain')
