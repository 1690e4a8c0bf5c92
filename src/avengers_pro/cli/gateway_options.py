"""What the verbs around the gateway share: its file, its database, and the extra that brings its libraries."""

import os
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from avengers_pro.cli.options import RECORDS_PATH
from avengers_pro.errors import AvengersProError, MissingExtraError

if TYPE_CHECKING:
    from avengers_pro.gateway.settings import Settings

Result = TypeVar("Result")
Decorated = Callable[..., Any]
CONFIG = Path("gateway.toml")
_SERVING = {
    "uvicorn": "uvicorn",
    "httptools": "uvicorn[standard]",
    "starlette": "starlette",
    "aiohttp": "aiohttp",
    "sqlalchemy": "sqlalchemy",
    "aiosqlite": "aiosqlite",
    "alembic": "alembic",
    "prometheus_client": "prometheus-client",
}
_STORING = ("sqlalchemy", "aiosqlite", "alembic")

config_option = click.option(
    "--config",
    type=RECORDS_PATH,
    default=CONFIG,
    show_default=True,
    help="The gateway's settings.",
)


def store_options(command: Decorated) -> Decorated:
    """Add ``--config FILE`` and ``--store URL``."""
    store = click.option("--store", metavar="URL", help="The database itself, such as sqlite:///ledger.db.")
    return config_option(store(command))


def need_serve(purpose: str, *, storing_only: bool = False) -> None:
    """Refuse early, and in words, if a library is missing.

    Raises:
        MissingExtraError: Naming the first one, and the extra that brings it.
    """
    for module in _STORING if storing_only else _SERVING:
        if find_spec(module) is None:
            raise MissingExtraError(_SERVING[module], "serve", purpose)


def read_config(config: Path) -> "Settings":
    """Read the gateway's settings.

    Raises:
        AvengersProError: If the file is not there; says what to give instead.
        SettingsError: If it is wrong.
    """
    from avengers_pro.gateway.settings import read_settings

    if not config.exists():
        raise AvengersProError(f"{config}: no such file; name the gateway's settings with --config FILE")
    return read_settings(config)


def database_url(config: Path, store: str | None) -> str:
    """Return the URL of the database, a password in it perhaps: never show it.

    Args:
        config: The gateway's settings.
        store: The URL itself, which goes before them; ``${NAME}`` in it stands for an environment variable.

    Raises:
        AvengersProError: If there is neither, or they are wrong.
    """
    from avengers_pro.gateway.settings import StoreSettings

    if store is not None:
        return StoreSettings(url=store).database_url(os.environ)
    if not config.exists():
        raise AvengersProError(
            f"{config}: no such file; name the gateway's settings with --config FILE, or the database with --store URL"
        )
    return read_config(config).store.database_url(os.environ)


def finish(work: Coroutine[Any, Any, Result]) -> Result:
    """Run something asynchronous to its end."""
    import asyncio

    return asyncio.run(work)
