"""``avengers-pro store``: look after the gateway's database."""

from pathlib import Path

import click

from avengers_pro.cli.console import tell
from avengers_pro.cli.gateway_options import database_url, finish, need_serve, store_options


@click.group("store")
def command() -> None:
    """Look after the gateway's database, which holds the ledger and the API keys.

    A SQLite file is made, and brought up to date, by whoever opens it first. On PostgreSQL, where other gateways may be
    at work, it is done when you say so.

    \b
    Examples:
      avengers-pro store upgrade --config gateway.toml
    """  # noqa: D301


@command.command("upgrade")
@store_options
def upgrade_store(config: Path, store: str | None) -> None:
    """Make the tables, or bring them to the schema of this version. Does nothing if they are."""
    need_serve("upgrading the store", storing_only=True)
    from avengers_pro.gateway.ledger import upgrade

    finish(upgrade(database_url(config, store)))
    tell("the store has the schema of this version")
