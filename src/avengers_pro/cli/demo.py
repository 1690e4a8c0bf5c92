"""``avengers-pro demo``: data, fit, proof and routed queries, offline, on simulated records."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from avengers_pro.cli.console import progress_bar
from avengers_pro.cli.options import RECORDS_PATH
from avengers_pro.cli.showing import print_evaluation, write_pictures
from avengers_pro.errors import MissingExtraError

if TYPE_CHECKING:
    from avengers_pro.evaluation import Evaluation
    from avengers_pro.routing import Router

NOTE = "simulated data"
SHOWN = ("sim-aime", "sim-livecodebench", "sim-simpleqa", "sim-gpqa", "sim-arena-hard")
"""One new query of each of these kinds is routed."""


@click.command("demo")
@click.option(
    "--output",
    type=RECORDS_PATH,
    default=Path("avengers-pro-demo"),
    show_default=True,
    help="Folder for router, results, report and figure.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="How many splits prove it.")
def command(output: Path, seeds: int) -> None:
    """Tell the story in a minute, offline, without a key: data, fit, proof, routed queries.

    The data is simulated: margins are published accuracies and costs of 13 models, queries are generated.

    \b
    Example:
      avengers-pro demo
    """  # noqa: D301
    from avengers_pro.demo import sample_path
    from avengers_pro.evaluation import Protocol, evaluate
    from avengers_pro.records import read_records
    from avengers_pro.records import seeds as first_seeds
    from avengers_pro.routing import DEFAULT_METHOD, Policy, Router

    output.mkdir(parents=True, exist_ok=True)
    records = read_records(sample_path()).records
    click.echo(
        f"1. Data ({NOTE}): {len(records)} queries x {len(records.models)} models from "
        f"{len(records.dataset_names)} datasets; accuracies and prices follow published tables "
        "(LLMRouterBench, arXiv 2601.07206).\n"
    )
    with progress_bar() as show:
        show("embedding", 0, 1)
        router = Router.fit(records)
        result = evaluate(
            records,
            [DEFAULT_METHOD, "avengers-pro-paper", "avengers-pro-code"],
            protocol=Protocol(seeds=first_seeds(seeds)),
            source="sample pool",
            note=NOTE,
            progress=show,
        )
    router.save(output / "router")
    click.echo(f"2. Fit: {router!r}, saved to {output / 'router'}\n")
    click.echo(f"3. Proof on held-out parts ({NOTE})\n")
    print_evaluation(result)
    click.echo("\n4. Five queries, routed at alpha 0.5\n")
    for text in _new_queries():
        decision = router.route(text, Policy(alpha=0.5))
        click.echo(f"   {' '.join(text.split())[:150]}\n     -> {decision.model}: {decision.reason}")
    _finish(output, result, router)


def _new_queries() -> list[str]:
    """Return generated queries of the sample's kinds that are not in the sample."""
    from avengers_pro.demo.generate import generate

    first: dict[str, str] = {}
    for row in generate(rows=200, seed=7):
        first.setdefault(row["dataset"], row["query"])
    return [first[name] for name in SHOWN]


def _finish(output: Path, result: "Evaluation", router: "Router") -> None:
    from avengers_pro.demo import sample_path

    (output / "results.json").write_bytes(result.to_json())
    click.echo("\n5. Written")
    click.echo(f"   {output / 'results.json'}")
    try:
        write_pictures(result, output / "report.html", output / "frontier.svg", router)
    except MissingExtraError as error:
        click.echo(f"   no report and no figure: {error}")
    else:
        click.echo(f"   {output / 'report.html'}\n   {output / 'frontier.svg'}")
    click.echo(
        "\nNext\n"
        f'   avengers-pro route {output / "router"} "your query" --explain\n'
        f"   avengers-pro inspect {sample_path()}\n"
        "   avengers-pro evaluate your-records.jsonl --report report.html"
    )
