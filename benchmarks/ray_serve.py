"""What Ray Serve's proxy adds to the gateway: the same load on ``serve`` with workers and on Ray Serve, in turns.

    python benchmarks/ray_serve.py [--rounds 3] [--seconds 5]

Needs Linux, Ray, a C compiler and wrk. Upstream, load and gateway share all cores, so requests per second say little by
themselves; requests per second of CPU time that all processes of a gateway use (with Ray: its own daemons, its proxy
and the replicas) say what a request costs. Ray is measured with HAProxy in front (RAY_SERVE_ENABLE_HA_PROXY=1) and with
its own proxy. The upstream answers at once. Every ledger is a SQLite file of its own.
Writes benchmarks/results/ray_serve.{json,md}.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gateway import EVENTS, PACE_US, UPSTREAM_PORT, Bench, Target, resident_mib
from machine import about

ROOT = Path(__file__).parents[1]
ON_RAY = ["--engine", "ray-serve", "--replicas"]
MEASURES = {
    "per_second": "requests/s, 32 connections",
    "per_cpu_second": "requests/CPU-second, 32 connections",
    "p50_ms": "p50, ms, 1 connection",
    "events_cpu_us": "CPU, us an event, 32 streams",
    "resident_mib": "resident, MiB",
}


def targets(folder: Path) -> list[Target]:
    """Return the gateways, not running."""
    found = []
    for name, more, haproxy in (
        ("workers 1", ["--workers", "1"], "0"),
        ("workers 2", ["--workers", "2"], "0"),
        ("Ray, HAProxy, 1", [*ON_RAY, "1"], "1"),
        ("Ray, HAProxy, 2", [*ON_RAY, "2"], "1"),
        ("Ray, own proxy, 1", [*ON_RAY, "1"], "0"),
        ("Ray, own proxy, 2", [*ON_RAY, "2"], "0"),
    ):
        port = free_port()
        config = folder / f"{port}.toml"
        config.write_text(settings(folder, port), encoding="utf-8")
        command = [sys.executable, "-m", "avengers_pro", "serve", str(folder / "router"), "--config", str(config)]
        environment = {
            "RAY_SERVE_ENABLE_HA_PROXY": haproxy,
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        }
        found.append(Target(name, port, command=[*command, *more], environment=environment))
    return found


def settings(folder: Path, port: int) -> str:
    """Return gateway.toml: the simulated sample's pool, every model answered by the upstream."""
    from avengers_pro.demo.pool import MODELS

    tables = [f'[server]\nport = {port}\n[store]\nurl = "sqlite:///{folder}/{port}.db"\n[logging]\nlevel = "warning"\n']
    for model in MODELS:
        prices = f"input_price = {model.input_price}\noutput_price = {model.output_price}\n"
        url = f"http://127.0.0.1:{UPSTREAM_PORT}/v1"
        tables.append(f'[[models]]\nname = "{model.name}"\nbase_url = "{url}"\n{prices}')
    return "\n".join(tables)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def measured(bench: Bench, target: Target) -> dict[str, float]:
    """Measure one gateway once; it is started for it, and stopped."""
    with bench.running(target):
        ready(bench, target)
        bench.json(target, 32, 2)
        many, one = bench.json(target, 32, bench.options.seconds), bench.json(target, 1, bench.options.seconds)
        streams = bench.streams(target, bench.options.seconds)
        failed = many["failed"] + one["failed"]
        found = {
            "per_second": many["per_second"],
            "per_cpu_second": many["per_cpu_second"],
            "p50_ms": one["p50_us"] / 1000,
            "events_cpu_us": streams["cpu_us_per_event"],
            "resident_mib": resident_mib(target),
            "failed": failed,
            "load_average": os.getloadavg()[0],
        }
    print(target.name, json.dumps(found), flush=True)
    return found


def ready(bench: Bench, target: Target) -> None:
    """Wait until all have been started: Ray's proxy listens before its replicas are there."""
    log, end = bench.folder / f"{target.port}.log", time.monotonic() + 120
    while "Avengers-Pro on" not in log.read_text(errors="replace"):
        if time.monotonic() > end:
            raise RuntimeError(f"{target.name} did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def page(runs: dict[str, list[dict[str, float]]], rounds: int) -> str:
    """Return the results as Markdown: medians over the rounds, and ratios of them."""
    from importlib.metadata import version

    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in MEASURES} for name, found in runs.items()
    }
    names = list(medians)
    lines = [
        "# Ray Serve beside the gateway's own server",
        "",
        f"{about()}, ray {version('ray')}. Medians of {rounds} rounds in turns; load and upstream on the same cores.",
        "",
        f"| what | {' | '.join(names)} |",
        f"|---|{'--:|' * len(names)}",
    ]
    for key, what in MEASURES.items():
        lines.append(f"| {what} | {' | '.join(f'{medians[name][key]:,.1f}' for name in names)} |")
    lines += ["", f"| to workers, as many | {' | '.join(names[2:])} |", f"|---|{'--:|' * len(names[2:])}"]
    for key, what in MEASURES.items():
        ratios = [medians[name][key] / medians[names[place % 2]][key] for place, name in enumerate(names[2:])]
        lines.append(f"| {what} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    failed = sum(run["failed"] for found in runs.values() for run in found)
    return "\n".join([*lines, "", f"Requests that failed: {failed}.", ""])


def main() -> None:
    """Measure."""
    from avengers_pro.demo import sample_path
    from avengers_pro.records import read_records
    from avengers_pro.routing import Router

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each run")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    options.load_cpu = options.gateway_cpu = f"0-{(os.cpu_count() or 1) - 1}"
    runs: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(options, Path(name))
        Router.fit(read_records(sample_path()).records).save(bench.folder / "router")
        serving = [bench.upstream, "serve", str(UPSTREAM_PORT), str(PACE_US), str(EVENTS)]
        with subprocess.Popen(serving) as upstream:
            try:
                gateways = targets(bench.folder)
                for _ in range(options.rounds):
                    for target in gateways:
                        runs.setdefault(target.name, []).append(measured(bench, target))
            finally:
                upstream.terminate()
    (options.results / "ray_serve.json").write_text(json.dumps({"machine": about(), "runs": runs}, indent=1) + "\n")
    (options.results / "ray_serve.md").write_text(page(runs, options.rounds), encoding="utf-8")
    print(page(runs, options.rounds))


if __name__ == "__main__":
    main()
