"""``avengers-pro convert``: results of other evaluation tools as records."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import print_table, progress_bar, tell
from avengers_pro.cli.list_prices import with_list_prices
from avengers_pro.cli.options import RECORDS_PATH, checked_parent
from avengers_pro.errors import AvengersProError

if TYPE_CHECKING:
    from avengers_pro.records import Records
    from avengers_pro.records.foreign import Conversion, Price, Unpriced
    from avengers_pro.routing.pool import ModelCard

_FORMATS = ("records", "table", "inspect", "lm-eval", "routerbench", "llmrouterbench")
_LISTED = 12


def _renames(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values:
        old, equals, new = value.rpartition("=")
        if not equals or not old or not new.strip():
            raise click.BadParameter(f"{value!r} is not OLD=NEW")
        if old in found:
            raise click.BadParameter(f"{old!r} is renamed twice")
        found[old] = new
    return found


@click.command("convert")
@click.argument("sources", nargs=-1, required=True, type=RECORDS_PATH, metavar="SOURCE...")
@click.option("-o", "--output", required=True, type=RECORDS_PATH, help="Records file to write; .gz is compressed.")
@click.option("--format", "source_format", type=click.Choice(_FORMATS), help="Of all sources; else looked up in each.")
@click.option(
    "--scorer", "scorers", multiple=True, metavar="NAME", help="Inspect: scorer, or scorer/key; else the first."
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="lm-eval: metric; else exact_match, acc, ...")
@click.option("--filter", "filters", multiple=True, metavar="NAME", help="lm-eval: answer filter; else the first.")
@click.option("--query-field", metavar="FIELD", help="lm-eval: key of doc; llmrouterbench: origin_query or prompt.")
@click.option("--rename", "renames", multiple=True, callback=_renames, metavar="OLD=NEW", help="A model's name.")
@click.option(
    "--price", metavar="genai|FILE", help="Price cells with tokens but no cost: list prices, or a pool table."
)
@click.option("--score-scale", type=float, default=1.0, help="What a perfect score is in the files, e.g. 100.")
@click.option("--skip-bad-lines", is_flag=True, help="Leave bad samples out, count them, list the first ten.")
@click.option("--json", "as_json", is_flag=True, help="Print the account of the conversion as JSON.")
def command(
    sources: tuple[Path, ...],
    output: Path,
    source_format: str | None,
    scorers: tuple[str, ...],
    metrics: tuple[str, ...],
    filters: tuple[str, ...],
    query_field: str | None,
    renames: dict[str, str],
    price: str | None,
    score_scale: float,
    *,
    skip_bad_lines: bool,
    as_json: bool,
) -> None:
    """Turn results of other evaluation tools into one records file.

    SOURCE is a file or a folder: Inspect logs (.eval, .json), samples_*.jsonl of lm-evaluation-harness, RouterBench
    tables (CSV, Parquet), LLMRouterBench results, or records. --scorer, --metric and --filter may be given several
    times: the first one that a task has is taken.

    \b
    Examples:
      avengers-pro convert logs/ -o records.jsonl --price genai
      avengers-pro convert results/ -o records.jsonl.gz --metric acc_norm --metric acc
      avengers-pro convert routerbench.parquet -o records.jsonl --rename gpt-4-1106-preview=openai/gpt-4
    """  # noqa: D301
    from avengers_pro.records.foreign import Options, convert, fill_costs, unpriced

    _check_output(output, sources)
    prices = None if price in {None, "genai"} else _read_prices(Path(str(price)))
    options = Options(
        score_scale=score_scale,
        skip_bad_lines=skip_bad_lines,
        scorers=scorers,
        metrics=metrics,
        filters=filters,
        query_field=query_field,
        renames=renames,
    )
    with progress_bar() as show:
        done = convert(
            *sources,
            options=options,
            source_format=source_format,
            besides=output,
            progress=lambda read, total: show("reading", read, total),
        )
    records, filled = done.records, dict[str, int]()
    if price is not None:
        prices = _list_prices(done.records) if prices is None else prices
        records, filled = fill_costs(records, prices)
    with progress_bar() as show:
        show("writing", 0, 1)
        _write(records, output)
    if as_json:
        account = _account(done, records, output, filled, unpriced(records))
        click.echo(json.dumps(account, indent=2, ensure_ascii=False))
    else:
        _tell_account(done, filled)
        _tell_unpriced(unpriced(records), price)
        datasets = len(records.dataset_names)
        click.echo(f"{output}: {len(records)} queries, {len(records.models)} models, {datasets} datasets")
    tell(f"Next: avengers-pro inspect {output}, then avengers-pro evaluate {output}")


def _check_output(output: Path, sources: Sequence[Path]) -> None:
    """Refuse what cannot be written, before any work.

    Raises:
        AvengersProError: Naming the file.
    """
    checked_parent(output)
    if output.is_dir():
        raise AvengersProError(f"{output}: is a folder; name a file, for example {output / 'records.jsonl'}")
    if not output.name.endswith((".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet", ".csv", ".csv.gz")):
        raise AvengersProError(f"{output}: unknown kind of file; use .jsonl, .jsonl.gz, .parquet, .csv or .csv.gz")
    if output.exists() and any(source.exists() and source.samefile(output) for source in sources):
        raise AvengersProError(f"{output}: is a source; write to another file")


def _write(records: "Records", output: Path) -> None:
    """Write the file whole, or leave what was there."""
    from avengers_pro.records import write_records

    draft = output.with_name(f".part-{output.name}")
    try:
        write_records(records, draft)
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)


def _read_prices(path: Path) -> "dict[str, Price]":
    """Read the prices that a pool table states."""
    from avengers_pro.routing.pool import read_pool

    return _prices_of(read_pool(path))


def _prices_of(cards: "Sequence[ModelCard]") -> "dict[str, Price]":
    from avengers_pro.records.foreign import Price

    return {
        card.name: Price(card.input_price, card.output_price)
        for card in cards
        if card.input_price is not None and card.output_price is not None
    }


def _list_prices(records: "Records") -> "dict[str, Price]":
    """Look up list prices, by name, of the models that one would help."""
    from avengers_pro.records.foreign import unpriced
    from avengers_pro.routing.pool import ModelCard

    return _prices_of(with_list_prices([ModelCard(name=each.model) for each in unpriced(records) if each.with_tokens]))


def _tell_account(done: "Conversion", filled: dict[str, int]) -> None:
    """Say on stderr what was read, left out, joined and priced."""
    files = ", ".join(f"{count} {kind}" for kind, count in done.files.items())
    gaps = int((~done.records.listed).any(axis=1).sum())
    tell(f"read {files} files: {done.samples} outcomes; {gaps} of {len(done.records)} queries lack a model")
    for dataset, by in done.scored_by[:_LISTED]:
        tell(f"  {dataset}: {by}")
    if len(done.scored_by) > _LISTED:
        tell(f"  ... and {len(done.scored_by) - _LISTED} more (--json lists all)")
    for note in done.notes:
        tell(f"{note.count} {note.what}")
        if note.examples:
            tell(f"  for example {'; '.join(note.examples)}")
    if done.skipped:
        tell(f"{done.skipped} bad samples left out; the first of them:")
        for problem in done.problems:
            tell(f"  {problem}")
    for model, count in filled.items():
        tell(f"{model}: {count} costs filled in, tokens x price (cached tokens at the full price)")


def _tell_unpriced(left: "Sequence[Unpriced]", price: str | None) -> None:
    """Say on stderr which scored cells have no cost, and what would give them one."""
    if not left:
        return
    rows = [[each.model, f"{each.cells} of {each.scored}", str(each.with_tokens)] for each in left]
    print_table("No cost is known for", ["model", "scored cells", "with tokens"], rows, to_stderr=True)
    if any(each.with_tokens for each in left):
        hint = "--price FILE.toml with [[models]] name, input_price, output_price"
        tell(f"tokens are known for some: {hint if price else f'--price genai, or {hint}'}")
    tell("what has no cost is never cheap; with no cost at all, only alpha = 1 has a meaning")


def _account(
    done: "Conversion", records: "Records", output: Path, filled: dict[str, int], left: "Sequence[Unpriced]"
) -> dict[str, Any]:
    """Return the account as JSON has it."""
    return {
        "output": str(output),
        "queries": len(records),
        "models": list(records.models),
        "datasets": list(records.dataset_names),
        "fingerprint": records.fingerprint,
        "files": done.files,
        "outcomes": done.samples,
        "scored_by": [{"dataset": dataset, "by": by} for dataset, by in done.scored_by],
        "notes": [{"what": note.what, "count": note.count, "examples": list(note.examples)} for note in done.notes],
        "skipped": done.skipped,
        "problems": list(done.problems),
        "costs_filled": filled,
        "unpriced": [
            {"model": each.model, "cells": each.cells, "scored": each.scored, "with_tokens": each.with_tokens}
            for each in left
        ],
    }
