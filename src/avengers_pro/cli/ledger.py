"""``avengers-pro ledger``: what the gateway decided, spent and saved."""

import json
import math
import re
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import dollars, print_table, progress_bar, tell
from avengers_pro.cli.gateway_options import CONFIG, database_url, finish, need_serve, read_config, store_options
from avengers_pro.cli.moments import DAY_S, Moment, since_option, until_option
from avengers_pro.cli.options import RECORDS_PATH, checked_parent

if TYPE_CHECKING:
    from avengers_pro.gateway.ledger import Filter, Ledger, Stats, Totals

_JSON_COLUMNS = ("policy", "candidates", "clusters", "attempts")
_BYTES = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SHOW_EVERY = 200


class _Size(click.ParamType):  # type: ignore[type-arg]  # likewise
    """Bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read ``500MB``, ``2GB``, ``1000000``."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", value, re.IGNORECASE)
        if found is None:
            self.fail(f"{value!r} is no size like 500MB or 2GB", param, ctx)
        unit = (found[2] or "").upper()
        return int(float(found[1]) * _BYTES["" if unit == "B" else unit])


@click.group("ledger")
def command() -> None:
    """Read and trim the ledger: a row for every request, with its decision, cost and outcome.

    \b
    Examples:
      avengers-pro ledger stats --since 7d
      avengers-pro ledger export --model openai/gpt-5 -o decisions.jsonl
      avengers-pro ledger prune --older-than 90d --dry-run
    """  # noqa: D301


@command.command("export")
@click.option("-o", "--output", type=RECORDS_PATH, help="File to write; else stdout.")
@since_option
@until_option
@click.option("--model", help="Only what this model answered.")
@store_options
def export(
    output: Path | None, since: float | None, until: float | None, model: str | None, config: Path, store: str | None
) -> None:
    """Write all rows as JSON lines, oldest first.

    Texts and vectors are there if the gateway keeps them (log_text, log_vectors). A vector is the base64 of
    little-endian float16 numbers.
    """
    need_serve("reading the ledger", storing_only=True)
    from avengers_pro.gateway.ledger import Filter

    checked_parent(output)
    url = database_url(config, store)
    draft = None if output is None else output.with_name(output.name + ".part")
    with progress_bar() as show, _opened(draft) as lines:
        rows = finish(_export(url, Filter(model=model, since=since, until=until), lines, show))
    if draft is not None and output is not None:
        draft.replace(output)
    tell(f"{rows} decisions exported")


@command.command("stats")
@since_option
@until_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
def stats(since: float | None, until: float | None, config: Path, store: str | None, *, as_json: bool) -> None:
    """Sum up what was spent and saved, by the model that answered."""
    need_serve("reading the ledger", storing_only=True)
    found = finish(_stats(database_url(config, store), since or 0.0, until))
    if as_json:
        click.echo(json.dumps(_plain(found), indent=2, ensure_ascii=False))
        return
    print_table(
        f"Requests that are over, {_range(found)}",
        ["model", "requests", "spent", "saved", "unknown cost", "errors", "fallbacks", "feedback"],
        [*(_row(name or "(none answered)", sums) for name, sums in found.models.items()), _row("all", found.total)],
    )
    click.echo(
        "\nsaved: what the best single model would have cost, less what was spent, over requests of which both are "
        f"known ({found.total.uncompared} are not)"
    )


@command.command("prune")
@click.option("--older-than", type=Moment(), metavar="TIME", help="Rows begun before: 90d, or 2026-08-01.")
@click.option("--max-bytes", type=_Size(), metavar="SIZE", help="The oldest, until the rest fits: 500MB, 2GB.")
@click.option("--dry-run", is_flag=True, help="Say how many would go, and remove none.")
@store_options
def prune(older_than: float | None, max_bytes: int | None, config: Path, store: str | None, *, dry_run: bool) -> None:
    """Remove old rows with all that belongs to them; the sums by hour stay, so stats do.

    Without --older-than and --max-bytes, what [store] says: retention_days and max_bytes.
    """
    need_serve("pruning the ledger", storing_only=True)
    if older_than is None and max_bytes is None and store is None and config.exists():
        kept = read_config(config).store
        older_than = None if kept.retention_days is None else time.time() - kept.retention_days * DAY_S
        max_bytes = kept.max_bytes
    if older_than is None and max_bytes is None:
        raise click.UsageError(f"nothing to go by: give --older-than or --max-bytes, or set them in {CONFIG} [store]")
    removed = finish(_prune(database_url(config, store), older_than, max_bytes, dry_run=dry_run))
    click.echo(f"{removed} decisions {'would be ' if dry_run else ''}removed")


def _opened(draft: Path | None) -> IO[str]:
    if draft is None:
        return nullcontext(sys.stdout)  # type: ignore[return-value]  # a context manager around a text stream
    return draft.open("w", encoding="utf-8")


async def _export(url: str, which: "Filter", lines: IO[str], show: Callable[[str, int, int], None]) -> int:
    import msgspec

    from avengers_pro.gateway.ledger import Ledger

    encode = msgspec.json.Encoder().encode
    done = 0
    async with await Ledger.open(url, recording=False) as ledger:
        expected = await _expected(ledger, which)
        async for row in ledger.export(which):
            texts = {name: msgspec.Raw(row[name].encode()) for name in _JSON_COLUMNS if row[name]}
            lines.write(encode({**row, **texts}).decode() + "\n")
            done += 1
            if done % _SHOW_EVERY == 0:
                show("exporting", done, max(done, expected))
    return done


async def _expected(ledger: "Ledger", which: "Filter") -> int:
    """Return about how many rows there are, from the sums; those that were pruned are counted with them."""
    from avengers_pro.gateway.ledger import Totals

    found = await ledger.stats(which.since or 0.0, which.until)
    return (found.total if which.model is None else found.models.get(which.model, Totals())).requests


async def _stats(url: str, since: float, until: float | None) -> "Stats":
    from avengers_pro.gateway.ledger import Ledger

    async with await Ledger.open(url, recording=False) as ledger:
        return await ledger.stats(since, until)


async def _prune(url: str, older_than: float | None, max_bytes: int | None, *, dry_run: bool) -> int:
    from avengers_pro.gateway.ledger import Ledger

    async with await Ledger.open(url, recording=False) as ledger:
        if not dry_run:
            return await ledger.prune(older_than=older_than, max_bytes=max_bytes)
        return await _prunable(ledger, older_than, max_bytes)


async def _prunable(ledger: "Ledger", older_than: float | None, max_bytes: int | None) -> int:
    """Count what pruning would remove; for a size, by the mean size of a row."""
    from avengers_pro.gateway.ledger.dialects import used_bytes

    rows = old = 0
    async for row in ledger.export():
        if row["outcome"] is not None:
            rows += 1
            old += older_than is not None and row["at"] < older_than
    if max_bytes is None:
        return old
    async with ledger.engine.connect() as connection:
        used = await used_bytes(connection)
    return max(old, math.ceil(rows * (used - max_bytes) / used) if used > max_bytes else 0)


def _row(name: str, sums: "Totals") -> list[str]:
    feedback = f"{sums.feedback_score_sum / sums.feedback:.3f} ({sums.feedback})" if sums.feedback else "-"
    counts = (sums.unpriced, sums.errors, sums.fallbacks)
    return [name, str(sums.requests), dollars(sums.cost_usd), dollars(sums.saved_usd), *map(str, counts), feedback]


def _plain(found: "Stats") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "since": found.since,
        "until": found.until if math.isfinite(found.until) else None,
        "total": asdict(found.total),
        "models": [{"model": name, **asdict(sums)} for name, sums in found.models.items()],
    }


def _range(found: "Stats") -> str:
    since = "from the beginning" if found.since <= 0 else f"since {_shown(found.since)}"
    return since if math.isinf(found.until) else f"{since}, until {_shown(found.until)}"


def _shown(at: float) -> str:
    """Return a moment in UTC; any float is one."""
    return f"{datetime.fromtimestamp(0, UTC) + timedelta(seconds=at):%Y-%m-%d %H:%M} UTC"
