"""What the gateway costs beside a bare relay, LiteLLM proxy and Portkey: same upstream, same load, taken in turns.

    python benchmarks/gateway.py [--litellm BIN/litellm] [--portkey FOLDER] [--py-spy BIN/py-spy]

Needs Linux with two cores, a C compiler and wrk (Debian: ``apt-get install wrk``). LiteLLM is the command of an
environment of its own (``pip install 'litellm[proxy]==1.106.2'``), Portkey a folder in which
``npm install @portkey-ai/gateway@1.15.2`` was run; without them they are left out. Writes
benchmarks/results/gateway.{json,md}. With --py-spy it also says where the gateway's own CPU time goes.

Load and upstream share one core, the gateway has the other. What counts is requests per second of CPU time that all
processes of a gateway use: other work on the machine takes time from it, but hardly changes what a request costs.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from machine import about

ROOT = Path(__file__).parents[1]
OURS, RELAY, LITELLM, PORTKEY, DIRECT = "avengers-pro", "bare relay", "LiteLLM proxy", "Portkey", "direct"
UPSTREAM_PORT = 9190
PACE_US, EVENTS, STREAMS = 5000, 200, 32
PROMPT_CHARS, PROMPTS = 400, 512
KEY = "sk-bench"
PATH = "/v1/chat/completions"
TICK = os.sysconf("SC_CLK_TCK")

WRK_SCRIPT = """
local prompts = {}
for line in io.lines("%(prompts)s") do prompts[#prompts + 1] = line end
local sent = %(first)d
function request()
  sent = sent + 1  -- no prompt comes twice: nobody's cache helps
  local text = string.format("%%08d ", sent) .. prompts[sent %% #prompts + 1]
  return wrk.format("POST", "%(path)s", nil,
    '{"model":"%(model)s","messages":[{"role":"user","content":"' .. text .. '"}],"temperature":0.7}')
end
function init()
%(headers)s
end
function done(summary, latency)
  local errors = summary.errors
  print(string.format('RESULT {"requests": %%d, "seconds": %%.6f, "p50_us": %%d, "p99_us": %%d, "failed": %%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass
class Target:
    """Something that answers chat completions.

    Attributes:
        name: In tables.
        port: On loopback.
        model: What to ask for.
        command: Starts it; empty = it runs already.
        environment: Added to the process's.
        headers: Sent with every request.
        process: While it runs.
        runs: What was measured, one entry a round.
        answered: Requests that it has answered so far, streams included.
    """

    name: str
    port: int
    model: str = "avengers-pro"
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen | None = None
    runs: list[dict[str, dict[str, float]]] = field(default_factory=list)
    answered: int = 0

    def all_headers(self) -> dict[str, str]:
        """Return what a client sends."""
        return {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"} | self.headers


class Bench:
    """One load generator, one upstream, and the gateways between them."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.load_cpu = ["taskset", "-c", str(options.load_cpu)]
        self.gateway_cpu = ["taskset", "-c", str(options.gateway_cpu)]
        self.upstream = folder / "upstream"
        compiler = shutil.which("cc") or shutil.which("gcc") or sys.exit("a C compiler is needed")
        subprocess.run([compiler, "-O2", "-o", self.upstream, ROOT / "benchmarks" / "upstream.c"], check=True)
        self.prompts = folder / "prompts.txt"
        self.prompts.write_text("\n".join(prompts()) + "\n", encoding="utf-8")
        self.sent = 0

    @contextlib.contextmanager
    def running(self, target: Target) -> Iterator[Target]:
        """Start a target, wait until it answers, stop it at the end."""
        if not target.command:
            yield target
            return
        log = (self.folder / f"{target.port}.log").open("wb")
        target.process = subprocess.Popen(
            [*self.gateway_cpu, *target.command],
            env=os.environ | target.environment,
            stdout=log,
            stderr=log,
            cwd=self.folder,
        )
        try:
            self._wait(target)
            yield target
        finally:
            target.process.terminate()
            try:
                target.process.wait(20)
            except subprocess.TimeoutExpired:
                target.process.kill()

    def _wait(self, target: Target) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and target.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", target.port), 1):
                return
            time.sleep(0.2)
        said = (self.folder / f"{target.port}.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{target.name} did not start: {said}")

    def json(self, target: Target, connections: int, seconds: int) -> dict[str, float]:
        """Send JSON requests as fast as they are answered."""
        script = self.folder / "wrk.lua"
        headers = "\n".join(f'  wrk.headers["{name}"] = "{value}"' for name, value in target.all_headers().items())
        values = {"prompts": self.prompts, "first": self.sent, "path": PATH, "model": target.model, "headers": headers}
        script.write_text(WRK_SCRIPT % values, encoding="utf-8")
        wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
        before = cpu_seconds(target)
        done = subprocess.run(
            [*self.load_cpu, *wrk, f"http://127.0.0.1:{target.port}"], check=True, capture_output=True, text=True
        )
        used = cpu_seconds(target) - before
        result = json.loads(done.stdout.partition("RESULT ")[2])
        self.sent += result["requests"] + connections
        target.answered += result["requests"] - result["failed"]
        result["per_second"] = result["requests"] / result["seconds"]
        if used:
            result |= {"per_cpu_second": result["requests"] / used, "cpu_us": used / result["requests"] * 1e6}
            result["cpu_share"] = used / result["seconds"]
        return result

    def streams(self, target: Target, seconds: float) -> dict[str, float]:
        """Keep paced streams open."""
        text = f"{self.sent:08d} {self.prompts.read_text(encoding='utf-8').splitlines()[0]}"
        body = f'{{"model":"{target.model}","messages":[{{"role":"user","content":"{text}"}}],"stream":true}}'
        head = "".join(f"{name}: {value}\r\n" for name, value in target.all_headers().items())
        request = self.folder / "stream.http"
        request.write_text(
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}", newline=""
        )
        spread = EVENTS * PACE_US // 1000  # over the length of one, so that they neither begin nor end in step
        sizes = [target.port, STREAMS, seconds, EVENTS, spread]
        read = [self.upstream, "read", *map(str, sizes), request]
        before = cpu_seconds(target)
        done = subprocess.run([*self.load_cpu, *read], check=True, capture_output=True, text=True)
        used = cpu_seconds(target) - before
        result = json.loads(done.stdout)
        target.answered += result["whole"]
        if used and result["events"]:
            result["cpu_us_per_event"] = used / result["events"] * 1e6
        return result


def prompts() -> list[str]:
    """Return simulated questions of 400 characters with a number in front, all of which JSON takes as they are."""
    from avengers_pro.demo import sample_path
    from avengers_pro.records import read_records

    queries = read_records(sample_path()).records.queries
    joined = [" ".join(queries[row : row + 12]) for row in range(0, PROMPTS * 3, 3)]
    plain = [re.sub(r"[^ -~]|[\"\\\\]", " ", text) for text in joined]
    return [text[: PROMPT_CHARS - len("00000000 ")] for text in plain]


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def cpu_seconds(target: Target) -> float:
    """Return the CPU time that all processes of a target have used."""
    if target.process is None:
        return 0.0
    ticks = 0
    for pid in family(target.process.pid):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ticks / TICK


def resident_mib(target: Target) -> float:
    """Return the resident memory of all processes of a target."""
    kib = 0
    for pid in family(target.process.pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            kib += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return kib / 1024


# The two Python servers, each started as `gateway.py serve NAME PORT`.


def serve(name: str, port: int, folder: str) -> None:
    """Serve the gateway or the bare relay."""
    import uvicorn

    if name == OURS:
        serve_gateway(Path(folder), port)
    else:
        uvicorn.run(relay, port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False)


def serve_gateway(folder: Path, port: int) -> None:
    """Serve as ``avengers-pro serve`` does, the simulated sample's router, every model answered by the upstream."""
    from avengers_pro.gateway.app import create_app
    from avengers_pro.gateway.server import run
    from avengers_pro.gateway.settings import settings_of
    from avengers_pro.routing import Router

    models = [
        {
            "name": name,
            "base_url": f"http://127.0.0.1:{UPSTREAM_PORT}/v1",
            "input_price": 0.3 * (place + 1),
            "output_price": 1.2 * (place + 1),
        }
        for place, name in enumerate(Router.load(folder / "router").models)
    ]
    store = {"url": f"sqlite+aiosqlite:///{folder / 'ledger.db'}"}
    tables = {"models": models, "store": store, "server": {"port": port}, "logging": {"level": "warning"}}
    settings = settings_of(tables, "benchmarks/gateway.py")
    run(create_app(folder / "router", settings), settings)


_session = None


async def relay(scope, receive, send) -> None:
    """Pass a request on and its answer back, and nothing else: what this stack costs without a gateway."""
    import aiohttp

    global _session  # noqa: PLW0603
    if scope["type"] == "lifespan":
        await receive()
        _session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await _session.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    url = f"http://127.0.0.1:{UPSTREAM_PORT}{PATH}"
    async with _session.post(url, data=body, headers={"content-type": "application/json"}) as response:
        kind = response.headers["content-type"].encode()
        headers = [(b"content-type", kind)]
        if not kind.startswith(b"text/event-stream"):
            whole = await response.read()
            headers.append((b"content-length", b"%d" % len(whole)))
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            await send({"type": "http.response.body", "body": whole})
            return
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        async for chunk in response.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def targets(options: argparse.Namespace, folder: Path) -> tuple[list[Target], dict[str, str]]:
    """Return what can be measured, and why the rest cannot."""
    missing = {}
    own = [sys.executable, str(Path(__file__).resolve()), "serve"]
    found = [
        Target(DIRECT, UPSTREAM_PORT),
        Target(RELAY, 9191, command=[*own, RELAY, "9191", str(folder)]),
        Target(OURS, 9192, command=[*own, OURS, "9192", str(folder)]),
    ]
    if options.litellm:
        quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
        config = folder / "litellm.json"  # JSON is YAML
        endpoint = {"model": "openai/bench", "api_base": f"http://127.0.0.1:{UPSTREAM_PORT}/v1", "api_key": "none"}
        config.write_text(
            json.dumps(
                {
                    "model_list": [{"model_name": "bench", "litellm_params": endpoint}],
                    "general_settings": {"master_key": KEY},
                    "litellm_settings": {"telemetry": False},
                }
            )
        )
        command = [options.litellm, "--config", str(config), "--host", "127.0.0.1", "--port", "9193"]
        command += ["--telemetry", "False"]
        found.append(Target(LITELLM, 9193, "bench", command, quiet))
    else:
        missing[LITELLM] = "no --litellm given"
    if options.portkey:
        start = Path(options.portkey) / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        command = [shutil.which("node") or sys.exit("node is needed"), str(start), "--port=9194", "--headless"]
        place = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{UPSTREAM_PORT}/v1"}
        found.append(Target(PORTKEY, 9194, "bench", command, {"NODE_ENV": "production"}, place))
    else:
        missing[PORTKEY] = "no --portkey given"
    return found, missing


def versions(options: argparse.Namespace) -> dict[str, str]:
    """Return what was measured."""
    from importlib.metadata import version

    names = ("uvicorn", "uvloop", "httptools", "aiohttp", "sqlalchemy", "aiosqlite", "msgspec", "tokenizers")
    found = {name: version(name) for name in names}
    if options.litellm:
        code = "from importlib.metadata import version; print(version('litellm'))"
        run = [str(Path(options.litellm).with_name("python")), "-c", code]
        found[LITELLM] = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    if options.portkey:
        package = Path(options.portkey) / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
        node = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
        found[PORTKEY] = f"{json.loads(package.read_text())['version']} (node {node})"
    said = subprocess.run(["wrk", "-v"], check=False, capture_output=True, text=True).stdout
    return found | {"wrk": said.split()[1]}


def compare(bench: Bench, found: list[Target]) -> None:
    """Measure everything in turns, so that a busy minute of the machine hits all alike."""
    options = bench.options
    for target in found:
        bench.json(target, 32, 4)
    for number in range(options.rounds):
        for target in found:
            run = {"load": {"average": os.getloadavg()[0]}}
            run["c32"] = bench.json(target, 32, options.seconds)
            run["c1"] = bench.json(target, 1, options.seconds)
            run["sse"] = bench.streams(target, options.seconds)
            target.runs.append(run)
            print(number, target.name, json.dumps(run), flush=True)


def remember(bench: Bench, target: Target) -> list[tuple[int, float]]:
    """Return resident memory (MiB) after so many requests of a gateway that was just started."""
    done, found = 0, []
    while done < bench.options.requests:
        done += bench.json(target, 32, 1 if not found else 5)["requests"]
        found.append((done, resident_mib(target)))
        print("memory", found[-1], flush=True)
    return found


PARTS = {  # the innermost frame that names one of these files says what a moment was spent on
    "writing the ledger, event loop's share": (
        "ledger/writer.py",
        "ledger/batch.py",
        "ledger/statements.py",
        "ledger/sums.py",
        "ledger/presence.py",
        "sqlalchemy/",
        "aiosqlite/",
    ),
    "describing the request for the ledger": ("gateway/ledger/", "gateway/bookkeeping.py"),
    "embedding the prompt": ("embedding/", "wordllama/"),
    "choosing the model": ("avengers_pro/routing/",),
    "access": ("gateway/access/",),
    "reading the request": (
        "gateway/request.py",
        "gateway/controls.py",
        "gateway/asgi.py",
        "gateway/needs.py",
        "gateway/intent.py",
    ),
    "sessions and the rest of the plan": ("gateway/sessions.py", "gateway/deciding.py"),
    "metrics": ("gateway/telemetry.py", "prometheus_client/"),
    "asking the upstream, its HTTP client": ("aiohttp/", "yarl/", "multidict/"),
    "asking the upstream, fallback around it": (
        "gateway/attempt.py",
        "gateway/upstreams.py",
        "gateway/walk.py",
        "gateway/breaker.py",
        "gateway/sse.py",
    ),
    "answering the client, HTTP server": ("uvicorn/protocols/", "uvicorn/middleware/", "gateway/delivery.py"),
    "the rest of the request": ("gateway/",),
}
LEDGER_THREAD, LOOP = "writing the ledger, its own thread", "event loop and sockets"


def thread_ticks(target: Target) -> Counter:
    """Return the CPU time that each thread of a process has used."""
    found = Counter()
    for task in Path(f"/proc/{target.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found[task.name] = sum(map(int, (task / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return found


def profile(bench: Bench, target: Target) -> dict[str, float]:
    """Sample where the gateway's CPU time goes; returns shares by part.

    The kernel says how much each thread used, the samples only how the event loop's thread spent its share.
    """
    raw = bench.folder / "profile.txt"
    main = str(target.process.pid)
    before = thread_ticks(target)
    spy = [bench.options.py_spy, "record", "-p", main, "-d", "30", "-r", "100", "-t", "-F", "-f", "raw"]
    with subprocess.Popen([*bench.load_cpu, *spy, "-o", raw], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        bench.json(target, 32, 33)
    used = thread_ticks(target) - before
    counts = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if f"({main})" in stack.partition(";")[0]:
            counts[part_of(stack)] += int(count)
    loop_share = used[main] / used.total()
    shares = {name: loop_share * count / counts.total() for name, count in counts.items()}
    shares[LEDGER_THREAD] = 1 - loop_share
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def part_of(stack: str) -> str:
    """Return the part that a stack belongs to."""
    for frame in reversed(stack.split(";")):
        for name, marks in PARTS.items():
            if any(mark in frame for mark in marks):
                return name
    return LOOP


def middle(target: Target, part: str, value: str) -> float:
    """Return the median over the rounds; NaN if it was not measured."""
    found = [run[part][value] for run in target.runs if value in run[part]]
    return statistics.median(found) if found else float("nan")


def added(target: Target, direct: Target, part: str, value: str) -> float:
    """Return the median over the rounds of the difference to no gateway."""
    pairs = zip(target.runs, direct.runs, strict=True)
    return statistics.median(run[part][value] - bare[part][value] for run, bare in pairs)


def ratios(target: Target, other: Target) -> list[float]:
    """Return requests per CPU second against another gateway, round by round, smallest first."""
    pairs = zip(target.runs, other.runs, strict=True)
    return sorted(run["c32"]["per_cpu_second"] / its["c32"]["per_cpu_second"] for run, its in pairs)


def summary(found: list[Target], memory: list[tuple[int, float]]) -> dict:
    """Return the numbers that the bars are about, and those of every target."""
    direct = found[0]
    by_name = {target.name: target for target in found}
    ours = by_name[OURS]
    rows = {}
    for target in found[1:]:
        whole = [run["sse"]["whole"] / max(run["sse"]["streams"], 1) for run in target.runs]
        rows[target.name] = {
            "requests per CPU-second, c=32": middle(target, "c32", "per_cpu_second"),
            "CPU us a request, c=32": middle(target, "c32", "cpu_us"),
            "requests/s, c=32": middle(target, "c32", "per_second"),
            "failed": sum(run[part]["failed"] for run in target.runs for part in ("c32", "c1")),
            "added p50 ms, c=1": added(target, direct, "c1", "p50_us") / 1000,
            "added p99 ms, c=1": added(target, direct, "c1", "p99_us") / 1000,
            "streams delivered whole": min(whole),
            "events/s": middle(target, "sse", "events_per_second"),
            "added chunk delay p50 ms": added(target, direct, "sse", "delay_p50_us") / 1000,
            "added first byte p50 ms": added(target, direct, "sse", "first_p50_us") / 1000,
            "CPU us an event": middle(target, "sse", "cpu_us_per_event"),
            "resident MiB": target.runs[-1]["memory"]["mib"],
        }
        if not any(whole):
            for name in ("events/s", "added chunk delay p50 ms", "added first byte p50 ms"):
                rows[target.name][name] = float("nan")
    against = {
        name: {"median": statistics.median(found), "least": found[0], "most": found[-1]}
        for name, target in by_name.items()
        if name not in {OURS, DIRECT} and (found := ratios(ours, target))
    }
    return {"targets": rows, "requests per CPU-second against": against, "memory": memory}


def shown(value: float) -> str:
    """Return a number for the table."""
    return "-" if value != value else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR0124


BESIDE = (
    "The ratios say what a request costs, not what is done for it. LiteLLM checks a key, counts spend, logs, retries "
    "and runs callbacks, and translates to the formats of many providers; Portkey reads a config with each request, "
    "retries, can cache and check guardrails, and translates as well. Neither chooses a model by the prompt or waits "
    "for a durable row before it answers. A stream that a gateway refuses counts as not whole."
)


def explained(results: dict) -> str:
    """Say how it was measured."""
    return (
        f"{len(results['runs'][OURS])} rounds in turns, medians. One worker each, pinned to one core; wrk and the "
        f"upstream (an answer of 491 bytes at once) on the other. JSON: prompts of {PROMPT_CHARS} characters, none "
        f"twice. Streams: {STREAMS} at once, {EVENTS} events each, one every {PACE_US // 1000} ms. avengers-pro "
        "decides each request with the bundled embedder among 13 models and keeps its ledger (SQLite); no API key "
        "is needed to call it. *Added* is the difference to the same load without a gateway in the same round."
    )


def page(results: dict) -> str:
    """Return the results as Markdown."""
    rows, against = results["targets"], results["requests per CPU-second against"]
    ours = rows[OURS]
    memory = [mib for _, mib in results["memory"]]
    half = memory[len(memory) // 2 :]
    bars = [
        (f"requests per CPU-second against {name}", f">= {least:g}x", against[name]["median"], least, 1)
        for name, least in ((LITELLM, 25), (PORTKEY, 4))
        if name in against
    ] + [
        ("added p50 at 1 connection, ms", "<= 0.6", ours["added p50 ms, c=1"], 0.6, -1),
        ("streams delivered whole, share", "all", ours["streams delivered whole"], 1, 1),
        ("added delay of a chunk, median, ms", "<= 0.5", ours["added chunk delay p50 ms"], 0.5, -1),
        ("added time to the first byte, median, ms", "<= 1", ours["added first byte p50 ms"], 1, -1),
        (f"resident MiB after {results['memory'][-1][0]:,} requests", "<= 150", memory[-1], 150, -1),
        ("growth over the second half of them, MiB", "flat (<= 5)", half[-1] - half[0], 5, -1),
    ]
    lines = [
        "# The gateway beside others",
        "",
        f"{results['machine']}; load average {results['load']}. "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + ".",
        "",
        explained(results),
        "",
        "| bar | wanted | measured | |",
        "|---|--:|--:|---|",
    ]
    lines += [
        f"| {name} | {wanted} | {shown(value)} | {'met' if (value - bar) * sign >= 0 else '**missed**'} |"
        for name, wanted, value, bar, sign in bars
    ]
    lines += ["", "| | " + " | ".join(rows) + " |", "|---|" + "--:|" * len(rows)]
    lines += [f"| {name} | " + " | ".join(shown(row[name]) for row in rows.values()) + " |" for name in ours]
    lines += ["", "Requests per CPU-second of avengers-pro against the others, median of the rounds [least, most]: "]
    lines[-1] += "; ".join(
        f"{name} {shown(r['median'])} [{shown(r['least'])}, {shown(r['most'])}]" for name, r in against.items()
    )
    lines[-1] += "."
    lines += ["", *(f"{name} was left out: {why}." for name, why in results["missing"].items())]
    lines += [
        BESIDE,
        "",
        "Resident memory of avengers-pro, started anew, MiB after so many requests: "
        + ", ".join(f"{count:,}: {mib:.0f}" for count, mib in results["memory"][:: max(len(memory) // 10, 1)])
        + f". In its ledger after all runs: {results['ledger']}; wrk and the reader of streams counted "
        f"{results['answered']:,} whole answers.",
        "",
    ]
    if results["profile"]:
        cost = ours["CPU us a request, c=32"]
        lines += [
            "## Where the CPU time of a request goes",
            "",
            f"Sampled at 32 connections; shares of the {cost:.0f} us above.",
            "",
            "| part | share | us |",
            "|---|--:|--:|",
        ]
        lines += [f"| {name} | {share:.1%} | {share * cost:.0f} |" for name, share in results["profile"].items()]
        lines.append("")
    return "\n".join(lines)


def ledger_counts(folder: Path) -> str:
    """Return what the ledger holds."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as connection:
        query = "SELECT coalesce(outcome, 'not over'), count(*) FROM decisions GROUP BY 1 ORDER BY 2 DESC"
        return ", ".join(f"{count:,} {outcome}" for outcome, count in connection.execute(query))


def measure(bench: Bench) -> dict:
    """Run everything."""
    from avengers_pro.demo import sample_path
    from avengers_pro.records import read_records
    from avengers_pro.routing import Router

    options, folder = bench.options, bench.folder
    Router.fit(read_records(sample_path()).records).save(folder / "router")
    found, missing = targets(options, folder)
    with contextlib.ExitStack() as stack:
        for target in found:
            stack.enter_context(bench.running(target))
        compare(bench, found)
        for target in found[1:]:
            target.runs[-1]["memory"] = {"mib": resident_mib(target)}
        ours = next(target for target in found if target.name == OURS)
        shares = profile(bench, ours) if options.py_spy else {}
    with bench.running(ours):
        memory = remember(bench, ours)
    load = [run["load"]["average"] for target in found for run in target.runs]
    return summary(found, memory) | {
        "machine": about(),
        "versions": versions(options),
        "load": f"{min(load):.1f} to {max(load):.1f}",
        "missing": missing,
        "ledger": ledger_counts(folder),
        "answered": ours.answered,
        "profile": shares,
        "runs": {target.name: target.runs for target in found},
    }


def main() -> None:
    """Measure, or serve for the measurement."""
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]), sys.argv[4])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", help="its command")
    parser.add_argument("--portkey", help="the folder of its node_modules")
    parser.add_argument("--py-spy", help="its command; adds where the CPU time goes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5, help="of each run")
    parser.add_argument("--requests", type=int, default=100_000, help="until memory is read for the last time")
    parser.add_argument("--load-cpu", type=int, default=0)
    parser.add_argument("--gateway-cpu", type=int, default=1)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(options, Path(name))
        serving = [*bench.load_cpu, bench.upstream, "serve", str(UPSTREAM_PORT), str(PACE_US), str(EVENTS)]
        with subprocess.Popen(serving) as upstream:
            time.sleep(0.5)
            if upstream.poll() is not None:
                sys.exit("the upstream does not run")
            try:
                results = measure(bench)
            finally:
                upstream.terminate()
    (options.results / "gateway.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (options.results / "gateway.md").write_text(page(results), encoding="utf-8")
    print(page(results))


if __name__ == "__main__":
    main()
