"""``avengers-pro keys``: the API keys of the gateway's clients."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from avengers_pro.cli.console import print_table, tell
from avengers_pro.cli.gateway_options import database_url, finish, need_serve, read_config, store_options
from avengers_pro.cli.options import names
from avengers_pro.errors import AvengersProError, SettingsError

if TYPE_CHECKING:
    from avengers_pro.gateway.access import KeyInfo, Keys, Limits, Secret

_ALPHA = click.FloatRange(0, 1)
_COUNT = click.IntRange(min=1)
_DOLLARS = click.FloatRange(min=0)


@click.group("keys")
def command() -> None:
    """Make, list and revoke the API keys of the gateway's clients. As soon as one exists, every client needs one.

    A running gateway notices within [access] refresh seconds; whether keys are needed at all is settled when it starts.

    \b
    Examples:
      avengers-pro keys create team-a --dollars-per-month 50 --models openai/gpt-5,qwen/qwen3-235b
      avengers-pro keys list
      avengers-pro keys revoke k3v9x2ab
    """  # noqa: D301


@command.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(["user", "admin"]), default="user", show_default=True, help="What it may do.")
@click.option("--models", default="", metavar="A,B", help="Only these models.")
@click.option("--exclude", default="", metavar="C", help="Not these models.")
@click.option("--min-alpha", type=_ALPHA, help="Least alpha that may be asked for.")
@click.option("--max-alpha", type=_ALPHA, help="Most alpha that may be asked for.")
@click.option("--rpm", type=_COUNT, metavar="N", help="Requests a minute.")
@click.option("--tpm", type=_COUNT, metavar="N", help="Tokens a minute, prompt and answer together.")
@click.option("--dollars-per-day", type=_DOLLARS, metavar="USD", help="US dollars in a UTC day.")
@click.option("--dollars-per-month", type=_DOLLARS, metavar="USD", help="US dollars in a UTC month.")
@store_options
def create(
    name: str,
    role: Literal["user", "admin"],
    models: str,
    exclude: str,
    rpm: int | None,
    tpm: int | None,
    config: Path,
    store: str | None,
    **bounds: float | None,
) -> None:
    """Make a key called NAME. The secret goes to stdout, once; it is stored nowhere."""
    need_serve("making a key", storing_only=True)
    from avengers_pro.gateway.access import Limits

    allowed, excluded = names(models), names(exclude)
    if store is None and (allowed or excluded):
        _check_models((*allowed, *excluded), config)
    limits = Limits(
        models=tuple(allowed) or None,
        exclude=tuple(excluded),
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        **bounds,
    )
    info, secret = finish(_create(database_url(config, store), name, role, limits))
    click.echo(secret.reveal())
    tell(f"key {info.id} for {info.name}, role {info.role}: {_limits(info)}")
    tell("Its secret, on stdout, is shown only now: keep it. A client sends it as Authorization: Bearer ap-...")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
def list_keys(config: Path, store: str | None, *, as_json: bool) -> None:
    """List all keys, the revoked ones too. Their secrets are not known."""
    need_serve("listing keys", storing_only=True)
    found = finish(_list(database_url(config, store)))
    if as_json:
        click.echo(json.dumps([_plain(info) for info in found], indent=2, ensure_ascii=False))
        return
    rows = [[info.id, info.name, info.role, _day(info.created_at), _state(info), _limits(info)] for info in found]
    print_table("Keys", ["key", "name", "role", "made", "state", "limits"], rows)


@command.command("revoke")
@click.argument("key")
@store_options
def revoke(key: str, config: Path, store: str | None) -> None:
    """End the key with the id KEY for good; requests under way finish."""
    need_serve("revoking a key", storing_only=True)
    if not finish(_revoke(database_url(config, store), key)):
        raise AvengersProError(f"no key has the id {key!r} that is not revoked already; see: avengers-pro keys list")
    tell(f"key {key} revoked")


async def _create(url: str, name: str, role: Literal["user", "admin"], limits: "Limits") -> "tuple[KeyInfo, Secret]":
    from avengers_pro.gateway.ledger import upgrade

    if url.startswith("sqlite"):
        await upgrade(url)  # the first key may come before the first start
    async with _keys(url) as keys:
        return await keys.create(name, role, limits)


async def _list(url: str) -> "tuple[KeyInfo, ...]":
    async with _keys(url) as keys:
        return await keys.list()


async def _revoke(url: str, key: str) -> bool:
    async with _keys(url) as keys:
        return await keys.revoke(key)


@asynccontextmanager
async def _keys(url: str) -> "AsyncIterator[Keys]":
    from avengers_pro.gateway.access import Keys
    from avengers_pro.gateway.ledger import Ledger

    async with (
        await Ledger.open(url, recording=False) as ledger,
        await Keys.open(ledger.engine, refresh_s=None) as keys,
    ):
        yield keys


def _check_models(given: Sequence[str], config: Path) -> None:
    """Refuse a name that no model of the gateway has: such a key could use nothing, or more than was meant."""
    known = [card.name for card in read_config(config).models]
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise SettingsError(f"{config} has no model {name!r}; {hint}")


def _plain(info: "KeyInfo") -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(info)
    return plain


def _limits(info: "KeyInfo") -> str:
    given = _plain(info)["limits"]
    shown = [f"{name} {','.join(value) if isinstance(value, list | tuple) else value}" for name, value in given.items()]
    return "; ".join(shown) or "no limits"


def _state(info: "KeyInfo") -> str:
    return "in use" if info.revoked_at is None else f"revoked {_day(info.revoked_at)}"


def _day(time: datetime) -> str:
    return f"{time:%Y-%m-%d}"
