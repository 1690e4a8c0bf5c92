"""``avengers-pro compare``: what another router would have done, before it does it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import progress_bar, tell
from avengers_pro.cli.gateway_options import CONFIG, database_url, finish, need_serve
from avengers_pro.cli.moments import since_option, until_option
from avengers_pro.cli.options import (
    RECORDS_PATH,
    ROUTER_FOLDER,
    SEED,
    EmbeddingChoice,
    RecordsChoice,
    alpha_of,
    weight_options,
)
from avengers_pro.errors import EvaluationError

if TYPE_CHECKING:
    from avengers_pro.learning.compare import Comparison
    from avengers_pro.learning.compare_traffic import TrafficComparison
    from avengers_pro.routing import Router

_MEASURES = {"both": ("score", "cost"), "score": ("score",), "cost": ("cost",)}


@click.command("compare")
@click.argument("routers", nargs=-1, required=True, type=ROUTER_FOLDER, metavar="ROUTER_A ROUTER_B")
@click.option("--records", multiple=True, type=RECORDS_PATH, help="Held-out records; several files are merged.")
@click.option("--ledger", metavar="URL", help="The gateway's database instead, such as sqlite:///ledger.db.")
@weight_options
@click.option("--target", type=float, metavar="T", help="Cheapest with at least T x the best single model's score.")
@click.option("--budget", type=float, metavar="USD", help="Best score at a mean of at most so much a query.")
@click.option("--trained-on", multiple=True, type=RECORDS_PATH, help="Training records: their queries are left out.")
@click.option("--pool", type=RECORDS_PATH, help="TOML with [[models]]: the prices to decide by.")
@since_option
@until_option
@click.option(
    "--margin",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Score, on its scale of 0 to 1, by which B may be lower and still be not worse.",
)
@click.option(
    "--cost-margin",
    type=click.FloatRange(0),
    default=0.05,
    show_default=True,
    help="Share of the cost by which B may be dearer and still be not worse.",
)
@click.option("--require", type=click.Choice(["not-worse", "better"]), help="Exit with 1 unless this is proven.")
@click.option(
    "--on",
    "measures",
    type=click.Choice(list(_MEASURES)),
    default="both",
    show_default=True,
    help="What --require looks at.",
)
@click.option(
    "--flips", type=click.IntRange(0), default=5, show_default=True, help="Queries to show of those that move."
)
@click.option("--seed", type=SEED, default=42, show_default=True, help="Of the bootstrap and of the flips shown.")
@click.option("--score-scale", type=float, default=1.0, help="What a perfect score is in the file, e.g. 100.")
@click.option("--skip-bad-lines", is_flag=True, help="Leave bad lines out, count them, list the first ten.")
@click.option("--embedding-base-url", envvar="EMBEDDING_BASE_URL", metavar="URL", help="For routers that need it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    routers: tuple[Path, ...],
    *,
    records: tuple[Path, ...],
    ledger: str | None,
    alpha: float | None,
    performance_weight: float | None,
    cost_sensitivity: float | None,
    target: float | None,
    budget: float | None,
    trained_on: tuple[Path, ...],
    pool: Path | None,
    margin: float,
    cost_margin: float,
    require: str | None,
    measures: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Say whether ROUTER_B may take the place of ROUTER_A: on held-out records, or on logged traffic.

    With --records both decide every query under one policy, and what the records say of their choices is paired. With
    --ledger the traffic of the gateway is weighed by the logged propensities; a single router is compared with the
    traffic as it was.

    The verdict is better, not worse (within the margin), worse, or cannot tell. --require makes it the exit status:
    not-worse asks that neither score nor cost is worse, better that one of them is better as well; 1 if that is not
    proven.

    \b
    Examples:
      avengers-pro compare router-a/ router-b/ --records held-out.jsonl --alpha 0.7
      avengers-pro compare router-a/ router-b/ --records held-out.jsonl --target 0.98 --require not-worse
      avengers-pro compare router-a/ router-b/ --ledger sqlite:///ledger.db --since 7d
      avengers-pro compare router-b/ --ledger sqlite:///ledger.db --json
    """  # noqa: D301
    from avengers_pro.cli.comparing import show

    knob = alpha_of(alpha, performance_weight, cost_sensitivity)
    objective = {"alpha": knob, "target": target, "budget": budget}
    _check(routers, records, ledger, objective, trained_on, since=given["since"] or given["until"])
    loaded = _load(routers, pool, given.pop("embedding_base_url"))
    margins = {"margin": margin, "cost_margin": cost_margin}
    found: Comparison | TrafficComparison
    if ledger is None:
        found = _on_records(routers, loaded, records, trained_on, objective, {**margins, **given})
    else:
        found = _on_ledger(routers, loaded, ledger, {**margins, **given})
    reason = None if require is None else _unmet(found, require, _MEASURES[measures])
    if as_json:
        click.echo(_json(found, require, reason))
    else:
        show(found)
    if reason is not None:
        tell(reason)
        sys.exit(1)
    if require is not None:
        tell(f"{require} is proven")


def _check(
    routers: tuple[Path, ...],
    records: tuple[Path, ...],
    ledger: str | None,
    objective: dict[str, float | None],
    trained_on: tuple[Path, ...],
    *,
    since: float | None,
) -> None:
    """Refuse what contradicts itself.

    Raises:
        click.UsageError: Saying what to leave out.
    """
    if bool(records) == (ledger is not None):
        raise click.UsageError("give --records FILE, or --ledger URL")
    most = 2
    if len(routers) > most or (records and len(routers) < most):
        raise click.UsageError(f"--records takes two routers, --ledger one or two; got {len(routers)}")
    if records and since is not None:
        raise click.UsageError("--since and --until go with --ledger")
    if ledger is not None:
        if trained_on:
            raise click.UsageError(
                "--trained-on goes with --records; for traffic, --since leaves out what was learnt from"
            )
        said = [f"--{name}" for name, value in objective.items() if value is not None]
        if said:
            raise click.UsageError(
                f"{said[0]} goes with --records; logged requests are decided under their own policies"
            )


def _load(folders: tuple[Path, ...], pool: Path | None, base_url: str | None) -> "list[Router]":
    from avengers_pro.routing import Router
    from avengers_pro.routing.pool import read_pool

    options = EmbeddingChoice(None, base_url, None, None, no_cache=False).options()
    with progress_bar() as draw:
        draw("loading routers", 0, 1)
        loaded = [Router.load(folder, options=options) for folder in folders]
        if pool is not None:
            cards = read_pool(pool)
            loaded = [router.with_pool(cards) for router in loaded]
    return loaded


def _on_records(
    folders: tuple[Path, ...],
    routers: "list[Router]",
    records: tuple[Path, ...],
    trained_on: tuple[Path, ...],
    objective: dict[str, float | None],
    given: dict[str, Any],
) -> "Comparison":
    from avengers_pro.learning.compare import compare_on_records
    from avengers_pro.routing import Policy

    scale, skips = given["score_scale"], given["skip_bad_lines"]
    table = RecordsChoice(records, scale, skips).read()
    names = _names(folders)
    seen = RecordsChoice(trained_on, scale, skips).read() if trained_on else None
    with progress_bar() as draw:
        draw("deciding", 0, 1)
        return compare_on_records(
            routers[0],
            routers[1],
            table,
            Policy(alpha=objective["alpha"], target=objective["target"], budget=objective["budget"]),
            names=(names[0], names[1]),
            margin=given["margin"],
            cost_margin=given["cost_margin"],
            trained_on=seen,
            seed=given["seed"],
            flips=given["flips"],
        )


def _on_ledger(
    folders: tuple[Path, ...], routers: "list[Router]", ledger: str, given: dict[str, Any]
) -> "TrafficComparison":
    need_serve("reading the ledger", storing_only=True)
    from avengers_pro.gateway.deciding import fingerprint_of
    from avengers_pro.learning.compare_traffic import compare_on_traffic
    from avengers_pro.learning.redecide import Candidate
    from avengers_pro.learning.traffic import read_traffic

    url = database_url(CONFIG, ledger)
    candidates = [
        Candidate(name, router, fingerprint_of(folder))
        for name, router, folder in zip(_names(folders), routers, folders, strict=True)
    ]
    if len({router.embedding.id for router in routers}) > 1:
        raise EvaluationError(
            f"the routers have different embedders ({', '.join(router.embedding.id for router in routers)}), and the "
            "ledger keeps vectors of one; compare each with the traffic by itself"
        )
    with progress_bar() as draw:
        draw("reading the ledger", 0, 1)
        traffic = finish(
            read_traffic(
                url,
                router=routers[-1],
                since=given["since"],
                until=given["until"],
                progress=lambda rows: draw(f"reading the ledger: {rows} requests", 0, 1),
            )
        )
        draw("deciding", 0, 1)
        return compare_on_traffic(
            traffic,
            candidates[-1],
            candidates[0] if len(candidates) > 1 else None,
            margin=given["margin"],
            cost_margin=given["cost_margin"],
        )


def _names(folders: tuple[Path, ...]) -> tuple[str, ...]:
    """Call routers by their folders, or by A and B before them if the folders have the same name."""
    names = [folder.name or str(folder) for folder in folders]
    return tuple(names) if len(set(names)) == len(names) else tuple(map(str, folders))


def _unmet(found: "Comparison | TrafficComparison", required: str, measures: tuple[str, ...]) -> str | None:
    from avengers_pro.learning.compare import Comparison
    from avengers_pro.learning.switch import unmet

    if isinstance(found, Comparison) and found.overlap.found:
        return f"{required} is not proven: a router has learnt from these records; bring held-out ones"
    return unmet([getattr(found, measure) for measure in measures], required)


def _json(found: "Comparison | TrafficComparison", required: str | None, reason: str | None) -> str:
    import msgspec

    from avengers_pro.learning.switch import sentence

    plain = msgspec.to_builtins(found)
    plain["verdict"] = [sentence(found.score), sentence(found.cost)]
    plain["requirement"] = None if required is None else {"asked": required, "proven": reason is None, "reason": reason}
    return json.dumps(plain, indent=2, ensure_ascii=False)
