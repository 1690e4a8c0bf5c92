"""``avengers-pro demo``: data, fit, proof and routed queries, offline, on simulated records; or a gateway to try."""

import signal
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import progress_bar, tell
from avengers_pro.cli.gateway_options import finish, need_serve
from avengers_pro.cli.options import RECORDS_PATH
from avengers_pro.cli.showing import print_evaluation, write_pictures
from avengers_pro.errors import ArtifactError, MissingExtraError

if TYPE_CHECKING:
    from avengers_pro.evaluation import Evaluation
    from avengers_pro.evaluation.report import Cases
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
@click.option("--serve", is_flag=True, help="Serve a gateway whose models and clients are simulated, until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Of --serve; 0 = any.")
@click.option(
    "--requests-per-second",
    type=click.FloatRange(0, 200),
    default=3.0,
    show_default=True,
    help="Simulated requests through the gateway of --serve, with feedback.",
)
def command(output: Path, seeds: int, port: int, requests_per_second: float, *, serve: bool) -> None:
    """Tell the story in a minute, offline, without a key: data, fit, proof, routed queries.

    The data is simulated: margins are published accuracies and costs of 13 models, queries are generated.

    \b
    Examples:
      avengers-pro demo
      avengers-pro demo --serve
    """  # noqa: D301
    if serve:
        _serve(output, port, requests_per_second)
        return
    from avengers_pro.demo import sample_path
    from avengers_pro.embedding.static import StaticEmbedder
    from avengers_pro.evaluation import Protocol, evaluate
    from avengers_pro.evaluation.report import find_cases
    from avengers_pro.records import read_records
    from avengers_pro.records import seeds as first_seeds
    from avengers_pro.routing import DEFAULT_METHOD, Policy, Router, build_method

    output.mkdir(parents=True, exist_ok=True)
    records = read_records(sample_path()).records
    click.echo(
        f"1. Data ({NOTE}): {len(records)} queries x {len(records.models)} models from "
        f"{len(records.dataset_names)} datasets; accuracies and prices follow published tables "
        "(LLMRouterBench, arXiv 2601.07206).\n"
    )
    with progress_bar() as show:
        show("embedding", 0, 1)
        embedder, protocol = StaticEmbedder(), Protocol(seeds=first_seeds(seeds))
        vectors = embedder.embed(records.queries)
        router = Router.fit(records, vectors=vectors)
        result = evaluate(
            records,
            [DEFAULT_METHOD, "avengers-pro-paper", "avengers-pro-code"],
            protocol=protocol,
            embedder=embedder,
            vectors=vectors,
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
    cases = find_cases(result, records, build_method(DEFAULT_METHOD), protocol, vectors)
    _finish(output, result, router, cases)


def _new_queries() -> list[str]:
    """Return generated queries of the sample's kinds that are not in the sample."""
    from avengers_pro.demo.generate import generate

    first: dict[str, str] = {}
    for row in generate(rows=200, seed=7):
        first.setdefault(row["dataset"], row["query"])
    return [first[name] for name in SHOWN]


def _finish(output: Path, result: "Evaluation", router: "Router", cases: "Cases | None") -> None:
    from avengers_pro.demo import sample_path

    (output / "results.json").write_bytes(result.to_json())
    click.echo("\n5. Written")
    click.echo(f"   {output / 'results.json'}")
    try:
        write_pictures(result, output / "report.html", output / "frontier.svg", router, cases=cases)
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


def _serve(output: Path, port: int, requests_per_second: float) -> None:
    """Serve the demo's router in front of the simulated provider, with simulated clients, until told to stop."""
    need_serve("serving")
    from avengers_pro.demo.live import live_gateway
    from avengers_pro.demo.traffic import Traffic, send_traffic
    from avengers_pro.gateway.logs import set_up_logging
    from avengers_pro.gateway.settings import LoggingSettings

    output.mkdir(parents=True, exist_ok=True)
    _fit_if_needed(output / "router")
    set_up_logging(LoggingSettings(level="warning", format="text"))
    traffic = Traffic()
    with live_gateway(output / "router", output / "ledger.db", port) as url:
        _show_gateway(url, output, requests_per_second)
        finish(_until_told(send_traffic(url, requests_per_second, traffic)))
    tell(f"stopped; {traffic.answered} of {traffic.sent} simulated requests answered, {traffic.rated} rated")


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """Work until SIGINT or SIGTERM."""
    import asyncio

    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows, where Ctrl-C ends it by itself
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def _fit_if_needed(folder: Path) -> None:
    """Fit the demo's router, unless an earlier demo has."""
    from avengers_pro.demo import sample_path
    from avengers_pro.records import read_records
    from avengers_pro.routing import Router

    try:
        Router.load(folder)
    except ArtifactError:
        tell("fitting the demo's router, once, on simulated records")
        Router.fit(read_records(sample_path()).records).save(folder)


def _show_gateway(url: str, output: Path, requests_per_second: float) -> None:
    body = '{"model": "avengers-pro", "messages": [{"role": "user", "content": "Sum the first hundred primes."}]}'
    click.echo(
        f"base_url  {url}/v1\n\n"
        "Everything here is simulated: models, answers, prices paid, and the clients that send about "
        f"{requests_per_second:g} requests a second. Nothing leaves this machine.\n\n"
        f"curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'\n\n"
        "from openai import OpenAI\n"
        f'client = OpenAI(base_url="{url}/v1", api_key="none-needed")\n'
        'question = [{"role": "user", "content": "Sum the first hundred primes."}]\n'
        'answer = client.chat.completions.with_raw_response.create(model="avengers-pro", messages=question)\n'
        'print(answer.headers["x-avengers-pro-model"], answer.headers["x-avengers-pro-expected-cost"])\n'
        "print(answer.parse().choices[0].message.content)\n\n"
        f"Dashboard {url}/dashboard\n"
        f"Metrics   {url}/metrics\n"
        f"Ledger    avengers-pro ledger stats --store sqlite:///{output / 'ledger.db'}\n"
        "Ctrl-C stops it."
    )
