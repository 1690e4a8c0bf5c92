"""``avengers-pro collect``: make records by asking every model of a pool."""

import json
import math
import tomllib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from avengers_pro.cli.console import dollars, print_table, progress_bar, tell
from avengers_pro.cli.list_prices import with_list_prices
from avengers_pro.cli.options import RECORDS_PATH, checked_parent, names
from avengers_pro.errors import AvengersProError, MissingExtraError, SettingsError

if TYPE_CHECKING:
    from avengers_pro.collection import Collected, Plan
    from avengers_pro.records.table import Floats
    from avengers_pro.routing.pool import ModelCard


_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".csv", ".csv.gz")


@click.command("collect")
@click.argument("prompts", required=False, type=RECORDS_PATH)
@click.option("--pool", type=RECORDS_PATH, required=True, help="TOML with [[models]], as the gateway's.")
@click.option("-o", "--output", type=RECORDS_PATH, help="Records to write: .jsonl, .jsonl.gz, .parquet, .csv.")
@click.option("--task", help="A task of inspect-ai instead of PROMPTS: inspect_evals/NAME, or file.py@NAME.")
@click.option("--grader", help="Of rows that name none: exact, contains, regex, choice, numeric, python-tests, judge.")
@click.option("--judge", "judge_name", metavar="MODEL", help="Model of the pool that judges; default: [judge].")
@click.option("--models", default="", metavar="A,B", help="Only these of the pool.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many prompts, from the beginning.")
@click.option("--samples", type=click.IntRange(min=1), default=1, show_default=True, help="Draws; scores are the mean.")
@click.option("--max-cost", type=click.FloatRange(min=0), metavar="USD", help="Stop before more is spent in all.")
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and stop.")
@click.option("--allow-code-execution", is_flag=True, help="Run code that models write, confined, for python-tests.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="Of sampling; default: the provider's.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Longest answer; default: the provider's.")
@click.option("--retries", type=click.IntRange(min=0), default=5, show_default=True, help="Of a call that failed.")
@click.option("--concurrency", type=click.IntRange(min=1), help="Calls of a model at once; default: it adapts.")
@click.option("--logs", type=RECORDS_PATH, metavar="DIR", help="Logs and paid answers; default: beside the output.")
@click.option("--score", metavar="SCORER", help="Which score of a task counts, if it gives several.")
@click.option("--score-scale", type=float, default=1.0, help="What a perfect score of a task is.")
@click.option("--force", is_flag=True, help="Overwrite an output that an earlier collect did not make.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    prompts: Path | None, pool: Path, output: Path | None, *, dry_run: bool, force: bool, as_json: bool, **given: Any
) -> None:
    """Ask every model of a pool the PROMPTS, grade and price the answers, and write records.

    Rerun the same command to go on after an interruption: no answer is paid twice. The logs are inspect-ai's.

    \b
    Examples:
      avengers-pro collect prompts.jsonl --pool pool.toml -o records.jsonl --dry-run
      avengers-pro collect prompts.jsonl --pool pool.toml -o records.jsonl --max-cost 5
      avengers-pro collect prompts.jsonl --pool pool.toml -o records.jsonl --samples 3 --grader numeric
      avengers-pro collect --task inspect_evals/gsm8k --pool pool.toml -o gsm8k.jsonl --limit 200
      inspect view --log-dir records.logs
    """  # noqa: D301
    if (prompts is None) == (given["task"] is None):
        raise click.UsageError("give PROMPTS or --task, one of them")
    if output is None and not dry_run:
        raise click.UsageError("-o needs the name of the records file to write")
    checked_parent(output)
    if output is not None and not output.name.endswith(_SUFFIXES):
        raise AvengersProError(f"{output}: unknown kind of file; use {', '.join(_SUFFIXES)}")
    plan = _plan(prompts, pool, output, given)
    _say_estimate(plan)
    if dry_run:
        return
    if output is None:
        return
    _check_output(output, plan.logs, force=force)
    done = _run(plan)
    _write(done, output)
    _say(done, plan, output, as_json=as_json)


def _plan(prompts: Path | None, pool: Path, output: Path | None, given: Mapping[str, Any]) -> "Plan":
    from avengers_pro.collection import Plan, read_prompts
    from avengers_pro.collection.collect import need_inspect
    from avengers_pro.collection.models import Asking
    from avengers_pro.routing.pool import read_pool

    need_inspect()
    _quieten_inspect()
    cards = read_pool(pool)
    judge = _judge(pool, cards, given["judge_name"])
    chosen = _chosen(cards, names(given["models"]), pool)
    asked = chosen if judge is None or judge in chosen else (*chosen, judge)
    priced = _priced(asked)
    rows = () if prompts is None else read_prompts(prompts, given["grader"], given["limit"])
    plan = Plan(
        cards=priced[: len(chosen)],
        logs=given["logs"] or _logs_beside(output or prompts or Path("records")),
        prompts=rows,
        task=given["task"],
        name="prompts" if prompts is None else prompts.name.split(".")[0] or "prompts",
        judge=None if judge is None else priced[asked.index(judge)],
        samples=given["samples"],
        limit=given["limit"] if prompts is None else None,
        max_cost_usd=given["max_cost"],
        allow_code_execution=given["allow_code_execution"],
        asking=Asking(given["temperature"], given["max_tokens"], given["retries"], given["concurrency"]),
        score=given["score"],
        score_scale=given["score_scale"],
    )
    plan.check()
    return plan


def _logs_beside(path: Path) -> Path:
    stem = path.name
    for suffix in (".gz", ".jsonl", ".json", ".parquet", ".csv"):
        stem = stem.removesuffix(suffix)
    return path.with_name(f"{stem}.logs")


def _chosen(cards: "tuple[ModelCard, ...]", wanted: tuple[str, ...], pool: Path) -> "tuple[ModelCard, ...]":
    known = [card.name for card in cards]
    for name in wanted:
        if name not in known:
            raise SettingsError(f"{pool}: no model {name!r}; there are {', '.join(known)}")
    return tuple(card for card in cards if not wanted or card.name in wanted)


def _priced(cards: "tuple[ModelCard, ...]") -> "tuple[ModelCard, ...]":
    """Look up the prices that the pool does not state; without genai-prices they stay unknown, which is told."""
    try:
        return with_list_prices(cards)
    except MissingExtraError as error:
        tell(str(error))
        return cards


def _judge(pool: Path, cards: "tuple[ModelCard, ...]", named: str | None) -> "ModelCard | None":
    """Return the judge: a model of the pool by its name, or the [judge] table, a card of its own or such a name."""
    from avengers_pro.routing.pool import pool_of

    table = tomllib.loads(pool.read_text(encoding="utf-8")).get("judge")
    if named is None and isinstance(table, dict) and set(table) == {"model"}:
        named = table["model"]
    if named is not None:
        return _chosen(cards, (named,), pool)[0]
    return None if table is None else pool_of([table], f"{pool}: judge")[0]


def _say_estimate(plan: "Plan") -> None:
    from avengers_pro.collection.estimate import estimate, estimate_task, total_usd
    from avengers_pro.collection.loading import prompt_lengths

    what, asked = "prompts", len(plan.prompts)
    if plan.task is None:
        found, judge = estimate(plan)
    else:
        lengths, problem = prompt_lengths(plan.task, plan.limit)
        if lengths is None:
            tell(f"{plan.task}: no estimate before it runs ({problem}); bound it with --limit and --max-cost")
            return
        what, asked = f"samples of {plan.task}", len(lengths)
        found, judge = estimate_task(plan, lengths), None
    rows = [
        [name, str(part.calls), str(part.answered), f"{part.prompt_tokens:,.0f}", f"{part.completion_tokens:,.0f}",
         dollars(part.cost_usd)]
        for name, part in (*found.items(), *([] if judge is None else [("judge, apart", judge)]))
    ]  # fmt: skip
    columns = ["model", "to ask", "answered", "prompt tokens", "answer tokens", "cost"]
    print_table(f"Estimate: {asked} {what}, {plan.samples} draws", columns, rows, to_stderr=True)
    if plan.task is not None:
        tell(
            "one call a sample is assumed, of the dataset's text alone: what the task adds (instructions, tools, "
            "turns, a grader) costs more, what an earlier run answered costs nothing; --limit and --max-cost bound it"
        )
    if any(part.assumed and part.calls for part in found.values()):
        tell("answer tokens are assumed where a model has answered nothing yet: --max-tokens each, else 500")
    total = total_usd(found, judge)
    unpriced = [name for name, part in found.items() if part.calls and math.isnan(part.cost_usd)]
    if unpriced:
        tell(f"no price is known of {', '.join(unpriced)}: what they cost will be missing in the records")
    tell(f"estimated cost: {dollars(total)}" + ("" if plan.max_cost_usd is None else f", cap ${plan.max_cost_usd:g}"))
    if plan.judge is not None and plan.judge.name in found and judge is not None:
        tell(f"{plan.judge.name} judges itself, too; judges tend to favour their own answers")


def _quieten_inspect() -> None:
    """Keep warnings about inspect-ai's own code away."""
    # Not ours to mend, and fatal to users who run Python with -W error: inspect-ai calls tenacity by an old name, and
    # leaves streams of anyio to the garbage collector.
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(inspect_ai|tenacity)\.")
    warnings.filterwarnings("ignore", category=ResourceWarning, module=r"anyio\.")


def _check_output(output: Path, logs: Path, *, force: bool) -> None:
    from avengers_pro.collection.collect import collected_into

    if output.exists() and not force and not collected_into(logs):
        raise AvengersProError(f"{output} exists, and no collect into {logs} made it; choose another, or say --force")


def _run(plan: "Plan") -> "Collected":
    from avengers_pro.collection import collect

    with progress_bar() as show:
        return collect(plan, lambda done, total, usd: show(f"asking, {dollars(usd)} spent", done, total or done + 1))


def _write(done: "Collected", output: Path) -> None:
    from avengers_pro.records import write_records

    suffixes = "".join(output.suffixes[-2:]) if output.suffix == ".gz" else output.suffix
    draft = output.with_name(f".{output.name.removesuffix(suffixes)}.part{suffixes}")
    write_records(done.harvest.records, draft)
    draft.replace(output)


def _say(done: "Collected", plan: "Plan", output: Path, *, as_json: bool) -> None:
    """Report; exit status 1 if something is left to ask.

    Raises:
        AvengersProError: Saying what stopped it, and how to go on.
    """
    harvest = done.harvest
    if as_json:
        click.echo(json.dumps(_plain(done), indent=2, ensure_ascii=False))
    else:
        rows = [
            [name, str(tally.asked), str(tally.scored), str(sum(tally.missing.values())), str(tally.unpriced),
             str(tally.cut), *_means(harvest.records.scores[:, column], harvest.records.costs[:, column])]
            for column, (name, tally) in enumerate(harvest.tallies.items())
        ]  # fmt: skip
        columns = ["model", "draws", "scored", "missing", "unpriced", "cut", "mean score", "per 1k prompts"]
        print_table(str(output), columns, rows)
    for name, tally in harvest.tallies.items():
        for reason, count in tally.missing.most_common():
            tell(f"{name}: {count} not observed: {reason}")
    if harvest.apart_calls:
        calls = ", ".join(f"{count} of {name}" for name, count in harvest.apart_calls.items())
        tell(f"calls that are in no model's cost: {calls}; judging cost {dollars(done.judge_usd)}")
    if done.unknown_costs:
        tell(f"{done.unknown_costs} answers have no known cost")
    tell(f"spent {dollars(done.spent_usd)}, with earlier runs {dollars(done.total_usd)}")
    tell(f"Next: avengers-pro inspect {output}    the answers: inspect view --log-dir {plan.logs}")
    if done.interrupted:
        raise AvengersProError(f"interrupted; {output} holds what was answered. Run the same command again to go on")
    if done.capped:
        raise AvengersProError(
            f"the cap of ${plan.max_cost_usd:g} is reached; {output} holds what was paid for. Run the same command "
            "with a higher --max-cost to go on; nothing is paid twice"
        )


def _plain(done: "Collected") -> dict[str, Any]:
    return {
        "rows": len(done.harvest.records),
        "models": {
            name: {"draws": tally.asked, "scored": tally.scored, "missing": dict(tally.missing),
                   "unpriced": tally.unpriced, "cut": tally.cut}
            for name, tally in done.harvest.tallies.items()
        },
        "apart_calls": dict(done.harvest.apart_calls),
        "spent_usd": done.spent_usd,
        "total_usd": done.total_usd,
        "judge_usd": done.judge_usd,
        "unknown_costs": done.unknown_costs,
        "capped": done.capped,
        "interrupted": done.interrupted,
    }  # fmt: skip


def _means(scores: "Floats", costs: "Floats") -> tuple[str, str]:
    """Format the mean score, and the mean cost of a thousand prompts, of what is known."""
    known, priced = scores[~np.isnan(scores)], costs[~np.isnan(costs)]
    return f"{known.mean():.3f}" if known.size else "-", dollars(1000 * priced.mean() if priced.size else None)
