"""``avengers-pro drift``: whether the traffic is still what the router was trained on."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avengers_pro.cli.console import print_table, progress_bar, tell
from avengers_pro.cli.gateway_options import database_url, finish, need_serve
from avengers_pro.cli.moments import since_option
from avengers_pro.cli.options import RECORDS_PATH, ROUTER_FOLDER, EmbeddingChoice

if TYPE_CHECKING:
    from avengers_pro.learning import Traffic
    from avengers_pro.learning.drift import Finding, Report
    from avengers_pro.routing import Router

_CHECKS = 6
"""Steps of ``find_drift`` that it tells of."""
_MOST_NAMED = 3


@click.command("drift")
@click.option(
    "--ledger", "store", required=True, metavar="URL", help="The gateway's database, such as sqlite:///ledger.db."
)
@click.option("--router", "folder", required=True, type=ROUTER_FOLDER, help="Folder or URL of the router that decides.")
@since_option
@click.option("--pool", type=RECORDS_PATH, help="gateway.toml: also check prices, and models by their upstream's name.")
@click.option(
    "--all-routers", is_flag=True, help="Count what its predecessors of the same clusters decided as its own."
)
@click.option("--require", type=click.Choice(["none"]), help="Exit with status 1 if there is drift: for cron and CI.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--embedding-base-url", envvar="EMBEDDING_BASE_URL", metavar="URL", help="For a router that needs it.")
def command(
    store: str,
    folder: Path,
    since: float | None,
    pool: Path | None,
    require: str | None,
    embedding_base_url: str | None,
    *,
    all_routers: bool,
    as_json: bool,
) -> None:
    """Check whether queries, answers and prices are still those that a router was trained for.

    Queries: how many are novel, the mix of clusters, their embeddings. Models: quality against the profile, prices,
    the model that the upstream reports. The gateway as a whole: whether it still uses several models. All tests
    together call a quiet gateway drifted in at most 2 of 100 runs.

    \b
    Examples:
      avengers-pro drift --ledger sqlite:///ledger.db --router router/ --since 7d
      avengers-pro drift --ledger sqlite:///ledger.db --router router/ --pool gateway.toml --require none
    """  # noqa: D301
    need_serve("reading the ledger", storing_only=True)
    from avengers_pro.gateway.deciding import fingerprint_of
    from avengers_pro.learning.drift import find_drift
    from avengers_pro.routing import Router
    from avengers_pro.routing.pool import read_pool

    url = database_url(folder, store)
    cards = None if pool is None else read_pool(pool)
    fingerprint = None if all_routers else fingerprint_of(folder)
    choice = EmbeddingChoice(None, embedding_base_url, None, None, no_cache=False)
    with progress_bar() as show:
        router = Router.load(folder, options=choice.options())
        traffic = finish(_read(url, router, since, show))
        steps = iter(range(_CHECKS))
        report = find_drift(
            traffic,
            router,
            fingerprint=fingerprint,
            cards=cards,
            progress=lambda what: show(f"checking {what}", next(steps, _CHECKS), _CHECKS),
        )
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(report)
    if require is not None and report.drifted:
        tell(f"error: drift in {len(report.drifted)} of {len(report.findings)} checks")
        sys.exit(1)


async def _read(url: str, router: "Router", since: float | None, show: Callable[[str, int, int], None]) -> "Traffic":
    from avengers_pro.gateway.ledger import Ledger
    from avengers_pro.learning import read_traffic

    async with await Ledger.open(url, recording=False) as ledger:
        expected = (await ledger.stats(since or 0.0, None)).total.requests
    return await read_traffic(
        url, router=router, since=since, progress=lambda done: show("reading", done, max(done, expected))
    )


def _print(report: "Report") -> None:
    own = "" if report.own == report.requests else f", {report.own} of them decided by this router"
    period = "" if not report.requests else f" from {_day(report.since)} to {_day(report.until)}"
    shown, quiet, unchecked = _sorted(report)
    print_table(
        f"{report.requests} requests{period}{own}",
        ["check", "value", "threshold", "p", "requests", "verdict"],
        [_row(finding) for finding in shown],
    )
    if quiet:
        click.echo(f"\nno drift in {quiet} other checks of single models (--json has them)")
    for (check, reason), models in unchecked.items():
        click.echo(f"not checked: {check}{_of(models)}: {reason}")
    for finding in report.drifted:
        click.echo(f"\n{_name(finding)}: {finding.recommendation}")
    verdict = f"drift in {len(report.drifted)} checks" if report.drifted else "no drift"
    click.echo(f"\n{verdict}; a quiet gateway is called drifted in at most {report.false_alarms:.0%} of runs")


def _sorted(report: "Report") -> "tuple[list[Finding], int, dict[tuple[str, str], list[str]]]":
    """Return what deserves a line, the number of quiet checks of models, and what was not checked, why, by model."""
    shown, quiet = [], 0
    unchecked: dict[tuple[str, str], list[str]] = {}
    for finding in report.findings:
        if finding.verdict == "not checked":
            measured = finding.measured
            models = unchecked.setdefault((measured.check, str(measured.problem)), [])
            models += [] if measured.model is None else [measured.model]
        elif finding.verdict == "drift" or finding.measured.model is None:
            shown.append(finding)
        else:
            quiet += 1
    return shown, quiet, unchecked


def _of(models: list[str]) -> str:
    return (
        "" if not models else f" of {', '.join(models)}" if len(models) <= _MOST_NAMED else f" of {len(models)} models"
    )


def _name(finding: "Finding") -> str:
    measured = finding.measured
    return measured.check if measured.model is None else f"{measured.check} of {measured.model}"


def _row(finding: "Finding") -> list[str]:
    measured = finding.measured
    p_value = "-" if measured.p_value is None else f"{measured.p_value:.2g}"
    return [_name(finding), measured.shown, measured.limit, p_value, str(measured.rows), finding.verdict]


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(0, UTC) + timedelta(seconds=at):%Y-%m-%d}"
