"""``avengers-pro fit``: learn a router from records."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from avengers_pro.cli.console import progress_bar, tell
from avengers_pro.cli.options import (
    METHOD_PARAMS,
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
from avengers_pro.cli.showing import print_trials

_SHARED_BY_VARIANTS = frozenset({"objective", "novelty"})


@click.command("fit")
@click.argument("records", nargs=-1, required=True, type=RECORDS_PATH)
@click.option("-o", "--output", required=True, type=RECORDS_PATH, help="Folder to write the router to.")
@click.option(
    "--method", help="avengers-pro (default), avengers-pro-paper, avengers-pro-code, avengers, knn, best-single, ..."
)
@click.option("--seed", type=SEED, default=42, show_default=True, help="Of everything random.")
@click.option(
    "--auto", is_flag=True, help="Choose features and levels by splits inside RECORDS, where that clearly pays."
)
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
    auto: bool,
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
      avengers-pro fit records.jsonl -o router/ --auto
      avengers-pro fit records.jsonl -o router/ --embedder openai:text-embedding-3-small
    """  # noqa: D301
    from avengers_pro.evaluation.auto import choose_variant
    from avengers_pro.routing import Router, build_method
    from avengers_pro.routing.methods import settable

    if output == Path():
        raise click.UsageError("-o needs the name of a folder")
    checked_parent(output)
    if auto:
        _check_auto(method, params)
    (name,) = chosen_methods([method] if method else [], params)
    given = settable(name, params)
    chosen = build_method(name, given)
    table = RecordsChoice(records, score_scale, skip_bad_lines).read()
    if excluded_models:
        table = table.exclude_models(names(excluded_models))
    if excluded_datasets:
        table = table.exclude_datasets(names(excluded_datasets))
    choice = EmbeddingChoice(embedder, embedding_base_url, embedding_dimensions, max_tokens, no_cache)
    with progress_bar() as show:
        loaded = choice.load(show)
        vectors = loaded.embed(table.queries)
        found = choose_variant(table, vectors=vectors, params=given, seed=seed, progress=show) if auto else None
    if found is not None:
        print_trials(found)
        chosen = build_method(name, found.params)
    with progress_bar() as show:
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


def _check_auto(method: str | None, params: Mapping[str, Any]) -> None:
    """Refuse settings that contradict ``--auto``.

    Raises:
        click.UsageError: Naming the setting.
    """
    if method not in {None, "avengers-pro"}:
        raise click.UsageError(f"--auto varies avengers-pro alone, not --method {method}; leave out one of the two")
    for name in METHOD_PARAMS:
        if params.get(name) is not None and name not in _SHARED_BY_VARIANTS:
            flag = f"--{name.replace('_', '-')}"
            why = "decides that by itself" if name in {"features", "levels"} else "varies avengers-pro, which has none"
            raise click.UsageError(f"--auto and {flag} contradict each other: --auto {why}; leave out one of the two")
