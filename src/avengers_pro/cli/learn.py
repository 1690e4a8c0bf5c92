"""``avengers-pro learn``: bring a router up to date with the feedback in a gateway's ledger."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avengers_pro.cli.console import dollars, percent, print_table, progress_bar, tell
from avengers_pro.cli.gateway_options import config_option, database_url, finish, need_serve
from avengers_pro.cli.moments import since_option
from avengers_pro.cli.options import RECORDS_PATH, ROUTER_FOLDER, EmbeddingChoice, RecordsChoice, checked_parent

if TYPE_CHECKING:
    from avengers_pro.learning import HalfLife, Learnt, Traffic
    from avengers_pro.routing import Router

_UNITS = {"h": 3600.0, "d": 86_400.0, "w": 604_800.0}


class _HalfLife(click.ParamType):  # type: ignore[type-arg]  # generic in new versions only
    """A number of decisions, or a time."""

    name = "half-life"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "HalfLife":
        """Read ``5000`` or ``14d``."""
        from avengers_pro.learning import HalfLife

        found = re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])?", value)
        if found is None or not float(found[1]) > 0:
            self.fail(f"{value!r} is neither a number of decisions like 5000 nor a time like 14d or 12h", param, ctx)
        number = float(found[1])
        return HalfLife(decisions=number) if found[2] is None else HalfLife(seconds=number * _UNITS[found[2]])


@click.command("learn")
@click.option("--ledger", metavar="URL", help="The gateway's database, such as sqlite:///ledger.db; else as --config.")
@config_option
@click.option(
    "--router", "folder", required=True, type=ROUTER_FOLDER, help="Folder or URL of the router to bring up to date."
)
@click.option("-o", "--output", required=True, type=RECORDS_PATH, help="Folder to write the new router to.")
@click.option(
    "--half-life",
    type=_HalfLife(),
    metavar="N|TIME",
    help="Decisions (5000) or time (14d) after which evidence halves.",
)
@since_option
@click.option("--pool", type=RECORDS_PATH, help="TOML with [[models]]: new models enter, those it lacks go.")
@click.option("--recluster", is_flag=True, help="Fit the clusters anew on --records and the traffic's queries.")
@click.option("--records", multiple=True, type=RECORDS_PATH, help="For --recluster: all records that there are.")
@click.option("--score-scale", type=float, default=1.0, help="What a perfect score is in the file, e.g. 100.")
@click.option("--skip-bad-lines", is_flag=True, help="Leave bad lines out, count them, list the first ten.")
@click.option("--embedder", metavar="SPEC", help="For a router of a local model, which it does not load by itself.")
@click.option("--embedding-base-url", envvar="EMBEDDING_BASE_URL", metavar="URL", help="For a router that needs it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    ledger: str | None,
    config: Path,
    folder: Path,
    output: Path,
    half_life: "HalfLife | None",
    since: float | None,
    pool: Path | None,
    records: tuple[Path, ...],
    score_scale: float,
    embedder: str | None,
    embedding_base_url: str | None,
    *,
    recluster: bool,
    skip_bad_lines: bool,
    as_json: bool,
) -> None:
    """Learn from the feedback that a gateway's clients gave; write a new router, the old one stays.

    The ledger must hold the vectors or texts of the queries ([store] log_vectors = true). What the router has learnt
    before is left out by itself; --since replaces that: all feedback on decisions from then on is learnt.

    \b
    Examples:
      avengers-pro learn --ledger sqlite:///ledger.db --router router/ -o router-new/
      avengers-pro learn --router router/ -o router-new/ --half-life 5000 --pool gateway.toml
      avengers-pro learn --router router/ -o router-new/ --recluster --records records.jsonl
    """  # noqa: D301
    need_serve("reading the ledger", storing_only=True)
    from avengers_pro.learning import Mark, learn
    from avengers_pro.routing import Router
    from avengers_pro.routing.pool import read_pool

    if recluster != bool(records):
        raise click.UsageError("--recluster needs --records, and --records serve --recluster alone; give both or none")
    if output == Path() or output.absolute() == folder.absolute():
        raise click.UsageError("-o needs the name of another folder than the router's, so that you can go back")
    checked_parent(output)
    url, cards = database_url(config, ledger), None if pool is None else read_pool(pool)
    table = RecordsChoice(records, score_scale, skip_bad_lines).read() if recluster else None
    choice = EmbeddingChoice(embedder, embedding_base_url, None, None, no_cache=False)
    with progress_bar() as show:
        named = choice.load(show) if embedder is not None else None
        router = Router.load(folder, embedder=named, options=choice.options())
        mark = None if recluster or since is not None else Mark.of(router)
        traffic = finish(_read(url, router, since if mark is None else mark.since, show))
        again = since is not None
        learnt = learn(router, traffic, half_life=half_life, pool=cards, records=table, again=again, progress=show)
    learnt.router.save(output)
    if as_json:
        click.echo(json.dumps({"output": str(output), **learnt.to_dict()}, indent=2, ensure_ascii=False))
    else:
        _print(output, learnt)


async def _read(url: str, router: "Router", since: float | None, show: Callable[[str, int, int], None]) -> "Traffic":
    from avengers_pro.learning import read_traffic

    return await read_traffic(
        url, router=router, since=since, progress=lambda rows: show("reading the ledger", rows, 2 * rows)
    )


def _print(output: Path, learnt: "Learnt") -> None:
    print_table(
        f"{learnt.scores} scores learnt, of {learnt.decisions} new decisions",
        ["model", "new scores", "mean", "expected", "difference", "overall before", "after"],
        [
            [
                lesson.model + _fate(lesson.model, learnt),
                str(lesson.scores),
                _number(lesson.given),
                _number(lesson.expected),
                _number(lesson.given - lesson.expected, "+.3f"),
                _number(lesson.before),
                _number(lesson.after),
            ]
            for lesson in learnt.models
        ],
    )
    print_table(
        "\nWhat would be chosen for these queries, before and after, by what the new router expects",
        ["alpha", "other model", "score before", "after", "cost before", "after"],
        [
            [
                f"{point.alpha:g}",
                percent(point.changed),
                _number(point.score_before),
                _number(point.score_after),
                dollars(point.cost_before),
                dollars(point.cost_after),
            ]
            for point in learnt.frontier
        ],
    )
    if learnt.left_out:
        tell("left out: " + "; ".join(f"{count} {reason}" for reason, count in learnt.left_out.items()))
    tell(f"all feedback together is {learnt.offset:+.3f} from what the records let expect; no model is judged by that")
    click.echo(f"\n{output}: written; see what it changes before it decides (avengers-pro compare)")


def _fate(model: str, learnt: "Learnt") -> str:
    return " (new)" if model in learnt.entered else " (gone)" if model in learnt.gone else ""


def _number(value: float, form: str = ".3f") -> str:
    return "-" if math.isnan(value) else f"{value:{form}}"
