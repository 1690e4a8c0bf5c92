"""``avengers-pro publish``: one router for all gateways, and the way back."""

import json
from typing import TYPE_CHECKING

import click

from avengers_pro.cli.console import print_table, tell
from avengers_pro.cli.options import ROUTER_FOLDER

if TYPE_CHECKING:
    from avengers_pro.routing.publishing import Version


@click.command("publish")
@click.argument("places", nargs=-1, required=True, metavar="[ROUTER] URL")
@click.option("--as", "name", metavar="NAME", help="Name of the version, instead of the router's fingerprint.")
@click.option("--use", "version", metavar="VERSION", help="Publish nothing; have this version used.")
@click.option("--list", "lists", is_flag=True, help="List the versions at URL.")
@click.option("--json", "as_json", is_flag=True, help="With --list: print JSON.")
def command(places: tuple[str, ...], name: str | None, version: str | None, *, lists: bool, as_json: bool) -> None:
    """Copy ROUTER to a folder of its own below URL, and name it in URL/current: gateways that serve URL change to it.

    URL is anything that fsspec opens (s3://, gs://, az://, file://, ...), or the path of a folder they all see. What
    was published stays, and is never overwritten: --use goes back to it.

    \b
    Examples:
      avengers-pro publish router/ s3://bucket/routers --as 2026-03-01
      avengers-pro publish --list s3://bucket/routers
      avengers-pro publish --use 2026-02-01 s3://bucket/routers
    """  # noqa: D301
    from avengers_pro.routing import publishing

    alone = lists or version is not None
    if lists and version is not None:
        raise click.UsageError("--list and --use are two things; do one after the other")
    if alone and name is not None:
        raise click.UsageError("--as names what is published; --list and --use publish nothing")
    if as_json and not lists:
        raise click.UsageError("--json belongs to --list")
    if len(places) != (1 if alone else 2):
        raise click.UsageError("give URL alone" if alone else "give ROUTER and URL")
    url = places[-1]
    if lists:
        _show(publishing.versions(url), as_json=as_json)
    elif version is not None:
        publishing.use(version, url)
        tell(f"version {version} is in use; gateways change to it within seconds")
    else:
        published = publishing.publish(ROUTER_FOLDER.convert(places[0], None, None), url, name)
        click.echo(published)
        tell("it is in use; gateways change to it within seconds")


def _show(found: "tuple[Version, ...]", *, as_json: bool) -> None:
    if as_json:
        rows = [{"version": one.name, "fingerprint": one.fingerprint, "current": one.is_current} for one in found]
        click.echo(json.dumps(rows, indent=2))
        return
    if not found:
        tell("nothing is published there; see --help")
        return
    print_table(
        "Versions",
        ["version", "fingerprint", "in use"],
        [[one.name, one.fingerprint[:12], "yes" if one.is_current else ""] for one in found],
    )
