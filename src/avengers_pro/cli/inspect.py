"""``avengers-pro inspect``: what is in a records file or a router."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from avengers_pro.cli.console import dollars, percent, print_table, tell
from avengers_pro.cli.options import RECORDS_PATH, ROUTER_FOLDER, RecordsChoice
from avengers_pro.cli.showing import checked_report, pool_rows, print_pool, write_router_report

if TYPE_CHECKING:
    from avengers_pro.routing import Router


@click.command("inspect")
@click.argument("paths", nargs=-1, required=True, type=ROUTER_FOLDER, metavar="RECORDS|ROUTER...")
@click.option("--score-scale", type=float, default=1.0, help="What a perfect score is in the file, e.g. 100.")
@click.option("--skip-bad-lines", is_flag=True, help="Leave bad lines out, count them, list the first ten.")
@click.option("--report", type=RECORDS_PATH, help="Of a router: write a page .html, or .md with its figure beside it.")
@click.option("--no-queries", is_flag=True, help="Quote no training queries in the report.")
@click.option("--note", default="", help="Said in the report, e.g. 'simulated data'.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    paths: tuple[Path, ...],
    score_scale: float,
    *,
    skip_bad_lines: bool,
    report: Path | None,
    no_queries: bool,
    note: str,
    as_json: bool,
) -> None:
    """Say what is in records or in a router, and what would stop a good fit.

    \b
    Examples:
      avengers-pro inspect records.jsonl
      avengers-pro inspect router/ --json
      avengers-pro inspect router/ --report router.html
    """  # noqa: D301
    from avengers_pro.routing import Router

    if paths[0].is_dir():
        checked_report(report)
        router = Router.load(paths[0])
        _inspect_router(router, as_json=as_json)
        if report is not None:
            for path in write_router_report(router, report, paths[0].resolve().name, note, quoting=not no_queries):
                tell(f"wrote {path}")
    elif report is not None:
        raise click.BadParameter(
            f"{paths[0]} holds records; a report is made of a router, a folder", param_hint="--report"
        )
    else:
        _inspect_records(RecordsChoice(paths, score_scale, skip_bad_lines), as_json=as_json)


def _inspect_records(choice: RecordsChoice, *, as_json: bool) -> None:
    import msgspec

    from avengers_pro.records import summarize

    summary = summarize(choice.read())
    if as_json:
        click.echo(json.dumps(json.loads(msgspec.json.encode(summary)), indent=2))
        return
    click.echo(f"{summary.rows} queries, {len(summary.models)} models, {len(summary.datasets)} datasets")
    click.echo(f"fingerprint {summary.fingerprint[:16]}, oracle score {summary.oracle_score:.3f}\n")
    rows = [
        [m.name, percent(m.coverage), f"{m.mean_score:.3f}", percent(m.priced), dollars(m.mean_cost * 1000)]
        for m in sorted(summary.models, key=lambda m: -m.mean_score)
    ]
    print_table("Models", ["model", "scored", "mean score", "priced", "per 1k queries"], rows)
    click.echo()
    print_table("Datasets", ["dataset", "queries"], [[name, str(n)] for name, n in summary.datasets.items()])
    click.echo("\nFindings" if summary.findings else "\nNothing stands in the way of a fit.")
    for finding in summary.findings:
        click.echo(f"  - {finding}")


def _inspect_router(router: "Router", *, as_json: bool) -> None:
    import msgspec

    about = {
        "method": router.method.name,
        "params": dict(router.method.params()),
        "embedder": router.embedding.id,
        "dimension": router.embedding.dimension,
        "fingerprint": router.fingerprint,
        "seed": router.seed,
        "lineage": [msgspec.to_builtins(step) for step in router.lineage],
        "models": pool_rows(router),
        "clusters": [list(texts) for texts in router.examples],
    }
    if as_json:
        click.echo(json.dumps(about, indent=2, ensure_ascii=False))
        return
    click.echo(f"{router.method.name}, embedder {router.embedding.id}, seed {router.seed}")
    click.echo(f"fitted on records {router.fingerprint[:16]}\n")
    print_pool(router)
    profile = router.fitted.cluster_profile
    if profile is None:
        return
    click.echo()
    examples = router.examples or ((),) * len(profile.sizes)
    print_table(
        "Clusters",
        ["example query", "cluster", "size"],
        [
            [(texts[0] if texts else "-")[:100], str(cluster), f"{profile.sizes[cluster]:.0f}"]
            for cluster, texts in enumerate(examples)
        ],
    )
