"""``avengers-pro models``: see and change a router's pool without fitting it again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avengers_pro.cli.console import tell
from avengers_pro.cli.options import RECORDS_PATH, ROUTER_FOLDER, EmbeddingChoice, RecordsChoice, checked_parent
from avengers_pro.cli.showing import pool_rows, print_pool

if TYPE_CHECKING:
    from avengers_pro.routing import Router

_output = click.option("-o", "--output", required=True, type=RECORDS_PATH, help="Folder of the changed router.")


@click.group("models")
def command() -> None:
    """List a router's models; add, remove or reprice one. A change gives a new router and says so in its lineage.

    \b
    Examples:
      avengers-pro models list router/
      avengers-pro models add router/ lab/new labels.jsonl -o router-new/
      avengers-pro models reprice router/ lab/old --factor 0.5 -o router-new/
    """  # noqa: D301


@command.command("list")
@click.argument("router", type=ROUTER_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(router: Path, *, as_json: bool) -> None:
    """List the pool of ROUTER with what is known of each model."""
    from avengers_pro.routing import Router

    loaded = Router.load(router)
    if as_json:
        click.echo(json.dumps(pool_rows(loaded), indent=2, ensure_ascii=False))
    else:
        print_pool(loaded)


@command.command("add")
@click.argument("router", type=ROUTER_FOLDER)
@click.argument("model")
@click.argument("records", nargs=-1, required=True, type=RECORDS_PATH)
@_output
@click.option("--score-scale", type=float, default=1.0, help="What a perfect score is in the file, e.g. 100.")
@click.option("--skip-bad-lines", is_flag=True, help="Leave bad lines out, count them, list the first ten.")
@click.option("--embedder", metavar="SPEC", help="For a router of a local model, which it does not load by itself.")
@click.option("--embedding-base-url", envvar="EMBEDDING_BASE_URL", metavar="URL", help="For a router that needs it.")
def add(
    router: Path,
    model: str,
    records: tuple[Path, ...],
    output: Path,
    score_scale: float,
    *,
    skip_bad_lines: bool,
    embedder: str | None,
    embedding_base_url: str | None,
) -> None:
    """Add MODEL to ROUTER from its scores in RECORDS; a hundred of them are enough to begin with."""
    from avengers_pro.cli.console import progress_bar
    from avengers_pro.routing import Router

    checked_parent(output)
    table = RecordsChoice(records, score_scale, skip_bad_lines).read()
    choice = EmbeddingChoice(embedder, embedding_base_url, None, None, no_cache=False)
    with progress_bar() as show:
        named = choice.load(show) if embedder is not None else None
        changed = Router.load(router, embedder=named, options=choice.options()).add_model(model, table)
    changed.save(output)
    labels = next(fact.observations for fact in changed.facts if fact.name == model)
    click.echo(f"{output}: {model} added from {labels} scores; {len(changed.models)} models")
    if labels < 100:  # noqa: PLR2004
        tell("fewer than 100 scores: its intervals are wide; collect more before relying on alpha near 1")


@command.command("remove")
@click.argument("router", type=ROUTER_FOLDER)
@click.argument("model")
@_output
def remove(router: Path, model: str, output: Path) -> None:
    """Remove MODEL from ROUTER."""
    _change(router, output, lambda loaded: loaded.remove_model(model), f"{model} removed")


@command.command("reprice")
@click.argument("router", type=ROUTER_FOLDER)
@click.argument("model", required=False)
@_output
@click.option(
    "--input-price", type=float, metavar="USD", help="Per million prompt tokens; needs tokens in the records."
)
@click.option("--output-price", type=float, metavar="USD", help="Per million completion tokens.")
@click.option("--factor", type=float, help="New costs over old costs, instead of prices.")
@click.option("--pool", type=RECORDS_PATH, help="Take the prices of all models from a [[models]] table instead.")
def reprice(router: Path, model: str | None, output: Path, pool: Path | None, **prices: float | None) -> None:
    """Change what MODEL costs in ROUTER, or what all models of --pool cost."""
    if (model is None) == (pool is None):
        raise click.UsageError("name one MODEL, or give --pool FILE")
    if pool is not None:
        from avengers_pro.routing.pool import read_pool

        if any(value is not None for value in prices.values()):
            raise click.UsageError("--pool brings the prices; leave the other options out")
        cards = read_pool(pool)
        _change(router, output, lambda loaded: loaded.with_pool(cards), f"priced by {pool}")
        return
    named = str(model)
    _change(router, output, lambda loaded: loaded.reprice(named, **prices), f"{named} repriced")


def _change(router: Path, output: Path, change: "Callable[[Router], Router]", done: str) -> None:
    from avengers_pro.routing import Router

    checked_parent(output)
    changed = change(Router.load(router))
    changed.save(output)
    click.echo(f"{output}: {done}; {len(changed.models)} models")
