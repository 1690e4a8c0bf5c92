"""``avengers-pro fit``: learn a router from records."""

from collections.abc import Mapping
from dataclasses import replace
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
    checked_parent,
    chosen_methods,
    config_option,
    embedding_options,
    engine_option,
    method_options,
    names,
    records_options,
)
from avengers_pro.cli.showing import print_trials

if TYPE_CHECKING:
    from avengers_pro.routing import Router
    from avengers_pro.routing.method import Method
    from avengers_pro.scale.reading import ReadingChoice

_SHARED_BY_VARIANTS = frozenset({"objective", "novelty"})


@click.command("fit")
@click.argument("records", nargs=-1, required=True)
@click.option("-o", "--output", required=True, type=RECORDS_PATH, help="Folder to write the router to.")
@click.option(
    "--method", help="avengers-pro (default), avengers-pro-paper, avengers-pro-code, avengers, knn, best-single, ..."
)
@click.option("--seed", type=SEED, default=42, show_default=True, help="Of everything random.")
@click.option(
    "--auto", is_flag=True, help="Choose features and levels by splits inside RECORDS, where that clearly pays."
)
@click.option("--no-examples", is_flag=True, help="Keep no query text in the router (explain shows none then).")
@engine_option
@method_options
@embedding_options
@records_options
@config_option()
def command(
    records: tuple[str, ...],
    output: Path,
    method: str | None,
    seed: int,
    *,
    engine: str,
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

    RECORDS can also be a dataset in parts (a folder, a glob, a URL, Parquet with a row a query), which is read in
    blocks, with any --engine; a query that is repeated then counts where it first stands.

    \b
    Examples:
      avengers-pro fit records.jsonl -o router/
      avengers-pro fit records.jsonl -o router/ --method avengers-pro-code --clusters 32
      avengers-pro fit records.jsonl -o router/ --auto
      avengers-pro fit records.jsonl -o router/ --embedder openai:text-embedding-3-small
      avengers-pro fit logs/ -o router/ --engine ray
    """  # noqa: D301
    from avengers_pro.evaluation.auto import choose_variant
    from avengers_pro.routing import Router, build_method
    from avengers_pro.routing.methods import settable
    from avengers_pro.scale.parts import is_dataset
    from avengers_pro.scale.reading import ReadingChoice

    if output == Path():
        raise click.UsageError("-o needs the name of a folder")
    checked_parent(output)
    if auto:
        _check_auto(method, params)
    (name,) = chosen_methods([method] if method else [], params)
    given = settable(name, params)
    chosen = build_method(name, given)
    choice = EmbeddingChoice(embedder, embedding_base_url, embedding_dimensions, max_tokens, no_cache)
    if engine != "local" or any(map(is_dataset, records)):
        if auto:
            raise click.UsageError("--auto compares on one table in memory; leave it out for a dataset in parts")
        reading = ReadingChoice(score_scale, skip_bad_lines, names(excluded_models), names(excluded_datasets))
        router = _fit_dataset(records, chosen, engine, choice, reading, seed, keep_examples=not no_examples)
        _save(router, output, name, dict(router.lineage[0].detail)["queries"])
        return
    table = RecordsChoice(tuple(map(Path, records)), score_scale, skip_bad_lines).read()
    if excluded_models:
        table = table.exclude_models(names(excluded_models))
    if excluded_datasets:
        table = table.exclude_datasets(names(excluded_datasets))
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
    _save(router, output, name, len(table))


def _save(router: "Router", output: Path, name: str, queries: object) -> None:
    router.save(output)
    unpriced = [fact.name for fact in router.facts if fact.mean_cost is None]
    if unpriced:
        tell(f"no cost is known for {', '.join(unpriced)}: they never count as cheap")
    click.echo(f"{output}: {name}, {len(router.models)} models, {queries} queries")
    tell(f'Next: avengers-pro route {output} "your query" --explain')


def _fit_dataset(
    paths: tuple[str, ...],
    method: "Method",
    engine: str,
    choice: EmbeddingChoice,
    reading: "ReadingChoice",
    seed: int,
    *,
    keep_examples: bool,
) -> "Router":
    """Fit part by part and say what was left out."""
    from avengers_pro.scale import fit_dataset, opened

    with progress_bar() as show, opened(engine) as found:
        done = fit_dataset(
            paths,
            method,
            found,
            embedder=choice.spec or "static",
            options=replace(choice.options(), cache_path=None),
            seed=seed,
            keep_examples=keep_examples,
            reading=reading,
            progress=show,
        )
    if done.skipped:
        tell(f"{done.skipped} bad lines left out; the first of them:")
        for problem in done.problems:
            tell(f"  {problem}")
    if done.repeats:
        tell(f"{done.repeats} of {done.rows} rows repeat an earlier query and do not count")
    return done.router


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
