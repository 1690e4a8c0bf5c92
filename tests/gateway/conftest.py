"""A router fitted on the simulated sample, simulated providers, and gateways between real sockets."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from live import POOL, SERVING, Live, Separate, card

from avengers_pro.demo.provider import create_provider, serving
from avengers_pro.gateway.app import create_app
from avengers_pro.gateway.settings import settings_of
from avengers_pro.routing import Router

Upstreams = str | list[dict[str, Any]]
"""URL of a server that has all models of POOL, or rows of ``[[models]]``."""


@pytest.fixture(scope="session")
def router_folder(tmp_path_factory, sample, sample_vectors) -> Path:
    """A router that knows few models and rows, so that gateways start quickly."""
    folder = tmp_path_factory.mktemp("gateway") / "router"
    Router.fit(sample.select_models(POOL).take(range(0, 2000, 10)), vectors=sample_vectors[::10]).save(folder)
    return folder


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def provide(stack: ExitStack) -> Callable[..., str]:
    """Return a function that starts a simulated provider and returns its URL."""

    def start(**options: Any) -> str:
        return stack.enter_context(serving(create_provider(**options)))

    return start


@pytest.fixture
def provider(provide: Callable[..., str]) -> str:
    return provide()


@pytest.fixture
def gateway(router_folder: Path, tmp_path: Path, stack: ExitStack) -> Callable[..., Live]:
    """Return a function that starts a gateway with tables of gateway.toml in front of upstreams."""

    def start(
        upstreams: Upstreams,
        tables: Mapping[str, Any] | None = None,
        *,
        router: Path = router_folder,
        environ: Mapping[str, str] | None = None,
        grace_s: float = 0.0,
    ) -> Live:
        database = tmp_path / "ledger.db"
        settings = settings_of(_table(upstreams, tables, database), "gateway.toml")
        app = create_app(router, settings, environ or {})
        return Live(stack.enter_context(serving(app, grace_s=grace_s)), database, app)

    return start


@pytest.fixture
def separate_gateway(router_folder: Path, tmp_path: Path, stack: ExitStack) -> Callable[..., Separate]:
    """Return a function that starts a gateway in a process of its own, which can be measured and killed."""

    def start(upstreams: Upstreams, tables: Mapping[str, Any] | None = None, script: str = SERVING) -> Separate:
        database = tmp_path / "ledger.db"
        arguments = [str(router_folder), json.dumps(_table(upstreams, tables, database))]
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        stack.callback(_end, process)
        return Separate(Live(process.stdout.readline().strip(), database), process)

    return start


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _table(upstreams: Upstreams, tables: Mapping[str, Any] | None, database: Path) -> dict[str, Any]:
    rows = [card(name, upstreams) for name in POOL] if isinstance(upstreams, str) else upstreams
    table = {"models": rows, "policy": {"alpha": 1.0}, **(tables or {})}
    table["store"] = {"url": f"sqlite:///{database}", **table.get("store", {})}
    return table
