"""``avengers-pro route``: a model for one query, or for a file of queries."""

import json
import math
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import dollars, print_table, progress_bar, tell
from avengers_pro.cli.options import (
    RECORDS_PATH,
    ROUTER_FOLDER,
    EmbeddingChoice,
    alpha_of,
    checked_parent,
    engine_option,
    names,
    weight_options,
)

if TYPE_CHECKING:
    from avengers_pro.routing import Policy, Router
    from avengers_pro.routing.explanation import Explanation

CHUNK = 4096


@click.command("route")
@click.argument("router", type=ROUTER_FOLDER)
@click.argument("text", required=False)
@weight_options
@click.option("--target", type=float, metavar="T", help="Cheapest with at least T x the best single model's score.")
@click.option("--budget", type=float, metavar="USD", help="Best score at a mean of at most so much a query.")
@click.option("--confidence", type=float, default=0.9, show_default=True, help="How sure --target must be.")
@click.option("--window", type=int, metavar="N", help="Promise --target for the next N queries, not in the long run.")
@click.option("--max-cost", type=float, metavar="USD", help="Most expected cost of the query.")
@click.option("--min-score", "--min_accuracy", type=float, help="Least expected score, in [0, 1].")
@click.option("--models", default="", metavar="A,B", help="Only these models.")
@click.option("--exclude", default="", metavar="C", help="Not these models.")
@click.option("--max-latency", type=float, metavar="MS", help="Most expected milliseconds; needs latencies in records.")
@click.option("--requires", default="", metavar="A,B", help="Capabilities a model must have: tools, images, ...")
@click.option(
    "--on-infeasible",
    type=click.Choice(["refuse", "cheapest", "best"]),
    default="refuse",
    show_default=True,
    help="What to take if no model meets the constraints.",
)
@click.option("--pool", type=RECORDS_PATH, help="TOML with [[models]]: today's prices, and what models can do.")
@click.option("--explain", is_flag=True, help="Show clusters, candidates, and what other alphas would choose.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--input", "input_path", help="JSONL with 'query' or 'messages' on each line, or a dataset in parts.")
@click.option("--output", "output_path", type=RECORDS_PATH, help="JSONL of decisions, in order; of a dataset a folder.")
@engine_option
@click.option("--embedder", metavar="SPEC", help="For a router of a local model, which it does not load by itself.")
@click.option("--embedding-base-url", envvar="EMBEDDING_BASE_URL", metavar="URL", help="For a router that needs it.")
def command(
    router: Path,
    text: str | None,
    *,
    alpha: float | None,
    performance_weight: float | None,
    cost_sensitivity: float | None,
    target: float | None,
    budget: float | None,
    confidence: float,
    window: int | None,
    max_cost: float | None,
    min_score: float | None,
    models: str,
    exclude: str,
    max_latency: float | None,
    requires: str,
    on_infeasible: str,
    pool: Path | None,
    explain: bool,
    as_json: bool,
    input_path: str | None,
    output_path: Path | None,
    engine: str,
    embedder: str | None,
    embedding_base_url: str | None,
) -> None:
    """Choose a model with a fitted ROUTER for TEXT ("-" reads stdin), or for every line of --input.

    The default is --alpha 0.7. Exit status 1 if no model meets the constraints for TEXT; the answer says which
    constraint removed which model. With --input, such lines get model null.

    A dataset (a folder, a glob, a URL, Parquet), or any --input with --engine ray, is routed part by part into
    Parquet files in the folder --output; started again, the command goes on with the parts that are missing.

    \b
    Examples:
      avengers-pro route router/ "Integrate x^2 from 0 to 1." --alpha 0.5
      avengers-pro route router/ "Write a haiku." --max-cost 0.001 --explain
      avengers-pro route router/ "Write a haiku." --target 0.95
      avengers-pro route router/ --input queries.jsonl --output decisions.jsonl
      avengers-pro route router/ --input logs/ --output decisions/ --engine ray
    """  # noqa: D301
    from avengers_pro.routing import Policy, Router
    from avengers_pro.routing.pool import read_pool
    from avengers_pro.scale.parts import is_dataset

    _check_asked(text, input_path, output_path, engine, one_only=explain or as_json)
    knob = alpha_of(alpha, performance_weight, cost_sensitivity)
    policy = Policy(
        alpha=knob,
        target=target,
        budget=budget,
        confidence=confidence,
        window=window,
        min_score=min_score,
        max_cost=max_cost,
        models=names(models) or None,
        exclude=names(exclude),
        max_latency=max_latency,
        requires=names(requires),
        on_infeasible=on_infeasible,
    )
    choice = EmbeddingChoice(embedder, embedding_base_url, None, None, no_cache=False)
    if input_path is not None and (engine != "local" or is_dataset(input_path)):
        _route_dataset(router, policy, input_path, output_path, engine, choice, pool)
        return
    with progress_bar() as show:
        named = choice.load(show) if embedder is not None else None
        loaded = Router.load(router, embedder=named, options=choice.options())
        if pool is not None:
            loaded = loaded.with_pool(read_pool(pool))
    if input_path is not None:
        _route_file(loaded, policy, Path(input_path), output_path)
        return
    query = sys.stdin.read() if text == "-" else str(text)
    _route_one(loaded, policy, query, explain=explain, as_json=as_json)


def _check_asked(
    text: str | None, input_path: str | None, output_path: Path | None, engine: str, *, one_only: bool
) -> None:
    """Refuse options that contradict each other.

    Raises:
        click.UsageError: Naming them.
    """
    if (text is None) == (input_path is None):
        raise click.UsageError("give one TEXT, or --input FILE")
    if output_path is not None and input_path is None:
        raise click.UsageError("--output goes with --input")
    if input_path is not None and one_only:
        raise click.UsageError("--explain and --json are for one TEXT; --input writes JSON lines by itself")
    if engine != "local" and input_path is None:
        raise click.UsageError("--engine goes with --input")


def _route_one(router: "Router", policy: "Policy", text: str, *, explain: bool, as_json: bool) -> None:
    explanation = router.explain(text, policy) if explain else None
    decision = explanation.decision if explanation else router.route(text, policy)
    if as_json:
        click.echo(json.dumps((explanation or decision).to_dict(), indent=2, ensure_ascii=False))
    elif explanation is not None:
        _print_explanation(explanation)
    else:
        if decision.model is not None:
            click.echo(decision.model)
        tell(decision.reason)
    if not decision.feasible:
        sys.exit(1)


def _print_explanation(explanation: "Explanation") -> None:
    decision = explanation.decision
    click.echo(f"{decision.model or 'infeasible'}\n  {decision.reason}\n")
    print_table(
        "Candidates",
        ["model", "expected score", "90 % interval", "expected cost", "observations", "utility", ""],
        [
            [
                candidate.model,
                f"{candidate.expected_score:.3f}",
                f"{candidate.low:.2f} to {candidate.high:.2f}",
                dollars(candidate.expected_cost),
                str(candidate.observations),
                f"{candidate.utility:.3f}" if math.isfinite(candidate.utility) else "-",
                candidate.removed or "",
            ]
            for candidate in decision.candidates
        ],
    )
    if explanation.clusters:
        click.echo("\nNearest clusters")
    for near in explanation.clusters:
        click.echo(f"  {near.cluster} (closeness {near.closeness:.2f}, {near.size} training queries)")
        for example in near.examples:
            click.echo(f"    - {example[:110]}")
    click.echo("\nBy alpha")
    for stretch in explanation.stretches:
        click.echo(f"  {stretch.alpha_from:.3f} to {stretch.alpha_to:.3f}  {stretch.model or 'infeasible'}")
    _print_grounds(explanation)


def _print_grounds(explanation: "Explanation") -> None:
    """Print what each level of clusters added, and when others would win."""
    if explanation.contributions:
        click.echo()
        leading = list(explanation.contributions[0].scores)
        print_table(
            "What each level of clusters adds to the expected score",
            ["clusters", "believed", *leading],
            [
                [str(part.clusters), f"{part.score_weight:.2f}", *(f"{part.scores[model]:+.3f}" for model in leading)]
                for part in explanation.contributions
            ],
        )
    if explanation.counterfactuals:
        print_table(
            "When another candidate would win",
            ["model", "alpha", "target", "its cost times"],
            [
                [
                    other.model,
                    _range(other.alpha),
                    _range(other.target),
                    "-" if other.cost_factor is None else f"{other.cost_factor:.3g}",
                ]
                for other in explanation.counterfactuals
            ],
        )


def _range(ends: tuple[float, float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _route_file(router: "Router", policy: "Policy", source: Path, target: Path | None) -> None:
    """Decide chunk by chunk; the output appears under its name only when it is whole."""
    from avengers_pro.records.queries import read_queries

    checked_parent(target)
    draft = None if target is None else target.with_name(target.name + ".part")
    infeasible = total = 0
    size = source.stat().st_size if source.is_file() else 0
    with progress_bar() as show, _opened(draft) as out:
        lines = read_queries(source)
        while chunk := list(islice(lines, CHUNK)):
            decisions = router.route_many([query for query, _, _ in chunk], policy)
            for decision, (_, index, _) in zip(decisions, chunk, strict=True):
                infeasible += not decision.feasible
                best = decision.chosen
                row: dict[str, Any] = {
                    "index": index,
                    "model": decision.model,
                    "expected_score": best.expected_score if best else None,
                    "expected_cost": best.expected_cost if best and best.expected_cost == best.expected_cost else None,
                    "clusters": list(decision.clusters),
                }
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
            total += len(chunk)
            show("routing", chunk[-1][2], size)
    if draft is not None and target is not None:
        draft.replace(target)
    tell(f"{total} queries routed" + (f", {infeasible} of them infeasible (model null)" if infeasible else ""))


def _route_dataset(
    router: Path,
    policy: "Policy",
    source: str,
    target: Path | None,
    engine: str,
    choice: EmbeddingChoice,
    pool: Path | None,
) -> None:
    """Decide part by part; parts that an earlier run finished are left as they are."""
    from avengers_pro.routing.pool import read_pool
    from avengers_pro.scale import SavedRouter, opened, route_dataset

    if target is None:
        raise click.UsageError("a dataset is routed into a folder; name it with --output")
    checked_parent(target)
    cards = read_pool(pool) if pool is not None else ()
    saved = SavedRouter.read(router, choice.spec, replace(choice.options(), cache_path=None), cards)
    with progress_bar() as show, opened(engine) as found:
        done = route_dataset(saved, [source], target, policy, found, progress=show)
    before = f", {done.done_before} of them by an earlier run" if done.done_before else ""
    none = f"; {done.infeasible} of them infeasible (model null)" if done.infeasible else ""
    tell(f"{done.queries} queries routed into {done.parts} files{before}{none}")


def _opened(draft: Path | None) -> IO[str]:
    from contextlib import nullcontext

    if draft is None:
        return nullcontext(sys.stdout)  # type: ignore[return-value]  # a context manager around a text stream
    return draft.open("w", encoding="utf-8")
