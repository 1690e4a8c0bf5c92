"""Does the gateway account for every request when everything fails now and then, and does its memory come back?

    python benchmarks/gateway_soak.py [--requests 10000] [--readers 200]

Starts the simulated provider with 5 % of each fault and a gateway, each in a process of its own; sends requests, half
of them streams, some clients leaving early; then compares what clients saw with the ledger, and the gateway's memory
with its start. Then so many clients that do not read a stream of 100 MB. Writes benchmarks/results/gateway_soak.md
and .json.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from machine import about

ROOT = Path(__file__).parents[1]
FAULTS = ("429", "500", "503", "hang", "hang-mid-stream", "reset", "reset-mid-stream", "malformed-json",
          "wrong-content-type", "empty-choices", "error-in-200")  # fmt: skip
SHARE = 0.05
SERVER = """
import sys, time
from pathlib import Path
from avengers_pro.demo.provider import serving
{setup}
with serving(app) as url:
    print(url, flush=True)
    sys.stdin.read()
"""
PROVIDER = """
import json
from avengers_pro.demo.provider import Fault, create_provider
plan = {"*": [Fault(fault=name, share=%s, retry_after=0.05 if name == "429" else None) for name in %r]}
long = {"*": [Fault(fault="huge-chunks", chunks=100)]}
app = create_provider(faults=plan if sys.argv[1] == "faults" else long)
"""
GATEWAY = """
from avengers_pro.gateway.app import create_app
from avengers_pro.gateway.settings import settings_of
import json
app = create_app(sys.argv[1], settings_of(json.loads(sys.argv[2]), "soak"))
"""


def started(setup: str, *arguments: str) -> tuple[subprocess.Popen, str]:
    """Start a server of its own; return it and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER.format(setup=setup), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    return process, process.stdout.readline().strip()


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def one(session, url: str, number: int) -> str:
    """Send one request; say how it ended for the client."""
    import aiohttp

    stream = number % 2 == 0
    body = {
        "model": "avengers-pro" if number % 3 else "avengers-pro@0.2",
        "messages": [{"role": "user", "content": f"Question {number}: how many primes are below {number}?"}],
        "stream": stream,
    }
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            if number % 50 == 0:
                await response.content.readany()
                return "left"
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"broken: {type(error).__name__}"
    if response.status != 200:
        return f"status {response.status}" if "error" in text else "error without a body"
    if stream and "[DONE]" not in text:
        return "cut, and said so" if '"error"' in text else "cut, and not said"
    return "ok"


async def soak(url: str, count: int, pid: int) -> tuple[Counter, float]:
    """Send all requests, 64 at a time; return how they ended and the peak memory in MiB."""
    import aiohttp

    ends: Counter = Counter()
    numbers, peak = iter(range(1, count + 1)), 0.0
    timeout = aiohttp.ClientTimeout(total=60)

    async def client(session) -> None:
        nonlocal peak
        for number in numbers:
            ends[await one(session, url, number)] += 1
            if number % 500 == 0:
                peak = max(peak, resident(pid))

    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(client(session) for _ in range(64)))
    return ends, peak


async def ledger_rows(url: str) -> Counter:
    """Count the ledger's outcomes, once every row is complete."""
    from avengers_pro.gateway.ledger import Ledger

    async with await Ledger.open(url, recording=False) as ledger:
        deadline = time.monotonic() + 30
        while True:
            outcomes: Counter = Counter()
            async for row in ledger.export():
                outcomes[row["outcome"]] += 1
            if None not in outcomes or time.monotonic() > deadline:
                return outcomes
            await asyncio.sleep(0.5)


async def slow_readers(url: str, readers: int, pid: int) -> float:
    """Open streams of 100 MB and stop reading; return by how many MiB the gateway grew."""
    before = resident(pid)
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps(
        {"model": "avengers-pro", "stream": True, "messages": [{"role": "user", "content": "A long story, please."}]}
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\n".encode()
    head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    open_now = []
    for _ in range(readers):
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(head + body)
        await reader.read(256)
        open_now.append(writer)
    await asyncio.sleep(3)
    grown = resident(pid) - before
    for writer in open_now:
        writer.transport.abort()
    return grown


def pool(provider: str, folder: Path) -> str:
    """Return the gateway's settings as JSON."""
    from avengers_pro.demo.pool import MODELS

    models = [
        {
            "name": model.name,
            "base_url": f"{provider}/v1",
            "input_price": model.input_price,
            "output_price": model.output_price,
            "first_byte_timeout": 1.0,
            "idle_timeout": 1.0,
        }
        for model in MODELS
    ]
    store = {"url": f"sqlite:///{folder}/ledger.db"}
    breaker = {"failure_share": 0.95}  # all models share the faults: leaving each alone in turn would prove nothing
    return json.dumps({"models": models, "store": store, "breaker": breaker, "fallback": {"max_attempts": 4}})


def main() -> None:
    """Run both parts."""
    from avengers_pro.demo import sample_path
    from avengers_pro.records import read_records
    from avengers_pro.routing import Router

    def option(name: str, default: int) -> int:
        return int(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else default

    count, readers = option("--requests", 10_000), option("--readers", 200)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Router.fit(read_records(sample_path()).records).save(folder / "router")
        provider, provider_url = started(PROVIDER % (SHARE, FAULTS), "faults")
        gateway, url = started(GATEWAY, str(folder / "router"), pool(provider_url, folder))
        asyncio.run(soak(url, 300, gateway.pid))
        start = resident(gateway.pid)
        began = time.perf_counter()
        ends, peak = asyncio.run(soak(url, count, gateway.pid))
        seconds = time.perf_counter() - began
        outcomes = asyncio.run(ledger_rows(f"sqlite:///{folder}/ledger.db"))
        end = resident(gateway.pid)
        plain, plain_url = started(PROVIDER % (SHARE, FAULTS), "long")
        (folder / "second").mkdir()
        other, other_url = started(GATEWAY, str(folder / "router"), pool(plain_url, folder / "second"))
        asyncio.run(soak(other_url, 6, other.pid))
        grown = asyncio.run(slow_readers(other_url, readers, other.pid))
        for process in (gateway, provider, other, plain):
            process.stdin.close()
            process.wait(30)
    found = {
        "requests": count,
        "seconds": round(seconds, 1),
        "clients saw": dict(ends.most_common()),
        "ledger rows": {str(key): value for key, value in outcomes.most_common()},
        "unaccounted": count + 300 - sum(outcomes.values()),
        "MiB at start, peak, end": [round(start, 1), round(peak, 1), round(end, 1)],
        f"MiB grown with {readers} stalled readers": round(grown, 1),
    }
    rows = [f"| {key} | {value} |" for key, value in found.items()]
    said = f"{about()}. Faults, {SHARE:.0%} each: {', '.join(FAULTS)}."
    page = "\n".join(["# The gateway under faults", "", said, "", "| what | measured |", "|---|---|", *rows, ""])
    results = ROOT / "benchmarks" / "results"
    (results / "gateway_soak.md").write_text(page, encoding="utf-8")
    (results / "gateway_soak.json").write_text(json.dumps({"machine": about(), "measured": found}, indent=1) + "\n")
    print(page)


if __name__ == "__main__":
    main()
