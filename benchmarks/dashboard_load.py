"""What one open dashboard costs the gateway's clients, over a ledger of a million simulated rows.

    python benchmarks/dashboard_load.py [--rows 1000000] [--pairs 12] [--seconds 10]

The gateway answers as fast as it can, in runs with and without a dashboard, which take turns; the dashboard asks for
what the page asks for, as often as it does. Needs what benchmarks/gateway.py needs. Writes
benchmarks/results/dashboard_load.{json,md}.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Self

from dashboard import ask, fill, simulated_rows
from gateway import EVENTS, OURS, PACE_US, ROOT, UPSTREAM_PORT, Bench, Target
from machine import about

EVERY_S = 5.0
"""As in the page's script."""
CONNECTIONS = 32
PAGES = {"overview": "/dashboard", "decisions": "/dashboard/decisions"}
BAR = 0.03
_METHOD = (
    "{rows:,} simulated rows in SQLite; {CONNECTIONS} connections ask as fast as they are answered; the gateway has "
    "one core, load, upstream and the viewer the other. Runs of {seconds} s with the page open, which asks for itself "
    "every {EVERY_S:.0f} s, and without it take turns ({pairs} pairs); medians over the pairs."
)


class Viewer:
    """A page that is open: asks for itself again and again."""

    def __init__(self, url: str, path: str) -> None:
        self.times: list[float] = []
        self._url, self._path, self._closed = url, path, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._closed.wait(EVERY_S / 2 if not self.times else EVERY_S):
            self.times.append(ask(self._url, self._path)[0])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, object]:
    """Return for each page the runs with it and without."""
    own = [sys.executable, str(ROOT / "benchmarks" / "gateway.py"), "serve"]
    target = Target(OURS, 9192, command=[*own, OURS, "9192", str(bench.folder)])
    found = {}
    with bench.running(target):
        url = f"http://127.0.0.1:{target.port}"
        bench.json(target, CONNECTIONS, 3)
        for name, path in PAGES.items():
            ask(url, path)
            runs = {"without": [], "with": []}
            took = []
            for pair in range(options.pairs):
                for kind in ("without", "with") if pair % 2 else ("with", "without"):
                    if kind == "with":
                        with Viewer(url, path) as viewer:
                            runs[kind].append(bench.json(target, CONNECTIONS, options.seconds))
                        took += viewer.times
                    else:
                        runs[kind].append(bench.json(target, CONNECTIONS, options.seconds))
            found[name] = {"looks": len(took), "look_ms": statistics.median(took), **compared(runs), "runs": runs}
            print(name, {key: value for key, value in found[name].items() if key != "runs"}, flush=True)
    return found


def compared(runs: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return medians over pairs of neighbouring runs of what each loses with the page open; above 0 = a loss."""
    pairs = list(zip(runs["without"], runs["with"], strict=True))
    losses = {
        f"loss_{key}": [1 - more[key] / less[key] for less, more in pairs] for key in ("per_second", "per_cpu_second")
    }
    slower = [more["p99_us"] / less["p99_us"] - 1 for less, more in pairs]
    return {name: statistics.median(values) for name, values in losses.items()} | {
        "p99_longer": statistics.median(slower)
    }


def page(results: dict[str, object]) -> str:
    """Return the results as Markdown."""
    lines = [
        "# What one open dashboard costs the gateway's clients",
        "",
        f"Machine: {results['machine']}.",
        "",
        _METHOD.format(CONNECTIONS=CONNECTIONS, EVERY_S=EVERY_S, **results),
        "",
        "| page open | fewer requests/s | fewer requests per CPU-second | bar | longer p99 | looks | median look, ms |",
        "|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for name, found in results["pages"].items():
        lines.append(
            f"| {name} | {found['loss_per_second']:.1%} | {found['loss_per_cpu_second']:.1%} | {BAR:.0%} "
            f"| {found['p99_longer']:.0%} | {found['looks']} | {found['look_ms']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def prepare(folder: Path, rows: int) -> None:
    """Fit a router on the simulated sample and fill a ledger."""
    from avengers_pro.demo import sample_path
    from avengers_pro.gateway.deciding import fingerprint_of
    from avengers_pro.records import read_records
    from avengers_pro.routing import Router

    router = Router.fit(read_records(sample_path()).records)
    router.save(folder / "router")
    fingerprint = fingerprint_of(folder / "router")
    url = f"sqlite:///{folder / 'ledger.db'}"
    asyncio.run(fill(url, simulated_rows(rows, time.time(), fingerprint, list(router.models))))


def main() -> None:
    """Measure and write down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=10, help="of each run")
    parser.add_argument("--load-cpu", type=int, default=0)
    parser.add_argument("--gateway-cpu", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(options, Path(name))
        prepare(Path(name), options.rows)
        serving = [*bench.load_cpu, bench.upstream, "serve", str(UPSTREAM_PORT), str(PACE_US), str(EVENTS)]
        with subprocess.Popen(serving) as upstream:
            time.sleep(0.5)
            try:
                pages = measure(bench, options)
            finally:
                upstream.terminate()
    results = {
        "machine": f"{about()}, sqlalchemy {version('sqlalchemy')}",
        "rows": options.rows,
        "pairs": options.pairs,
        "seconds": options.seconds,
        "pages": pages,
    }
    folder = ROOT / "benchmarks" / "results"
    (folder / "dashboard_load.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "dashboard_load.md").write_text(page(results), encoding="utf-8")
    print(page(results))


if __name__ == "__main__":
    main()
