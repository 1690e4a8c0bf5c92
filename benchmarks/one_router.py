"""What do worker processes share of one router, and how soon do all of them use a new one?

    python benchmarks/one_router.py [--rows 20000] [--only-memory]

Fits the default router and knn on a simulated table, serves each with 2 and 4 workers, sends each server requests, and
reads the proportional set size of every worker (/proc/PID/smaps_rollup: memory that several processes share counts
for each as its part). Then 4 workers follow a folder of published routers, and the time from the end of ``publish``
until requests over 64 connections are all decided by the new router is taken, there and back. Writes
benchmarks/results/one_router.md and .json; the numbers before are those of --only-memory without sharing.
"""

import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from gateway_soak import started
from machine import about

ROOT = Path(__file__).parents[1]
PROVIDER = "from avengers_pro.demo.provider import create_provider\napp = create_provider()"
PROGRAM = [sys.executable, "-m", "avengers_pro"]
REQUESTS = 200
CONNECTIONS = 64
TURNS = 10


def config(folder: Path, provider: str, models: tuple[str, ...]) -> Path:
    """Write the settings of a gateway."""
    rows = "".join(
        f'[[models]]\nname = "{name}"\nbase_url = "{provider}/v1"\ninput_price = 1.0\noutput_price = 4.0\n'
        for name in models
    )
    path = folder / "gateway.toml"
    path.write_text(f'{rows}[policy]\nalpha = 1.0\n[store]\nurl = "sqlite:///{folder}/ledger.db"\n', encoding="utf-8")
    return path


@contextmanager
def served(router: str, settings: Path, workers: int):
    """Serve with so many workers; give the URL and the process."""
    command = [*PROGRAM, "serve", router, "--config", str(settings), "--port", "0", "--workers", str(workers)]
    environment = os.environ | {"AVENGERS_PRO_HOME": str(settings.parent / "home"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    seen = ""
    while (found := re.search(rf"(http://\S+)/v1, {workers} workers", seen)) is None:
        line = process.stderr.readline()
        if not line:
            raise SystemExit(seen)
        seen += line
    try:
        yield found[1], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def ask(connection: http.client.HTTPConnection, number: int) -> str:
    """Send one request; return the model that was chosen."""
    body = {"model": "avengers-pro", "messages": [{"role": "user", "content": f"Is {number} a prime, and why?"}]}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"status {answer.status}")
    return answer.headers["x-avengers-pro-model"]


def workers_of(process: subprocess.Popen) -> list[int]:
    """Return the workers' process ids."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def memory_of(pid: int) -> dict[str, float]:
    """Return megabytes: proportional, private and shared."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    size = {name: int(kilobytes) / 1024 for name, kilobytes in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return {"proportional": size["Pss"], "private": size["Private_Dirty"] + size["Private_Clean"]}


def memory(router: Path, settings: Path, workers: int) -> dict[str, float]:
    """Return megabytes of a worker, the mean of all, after some requests."""
    with served(str(router), settings, workers) as (url, process):
        for number in range(REQUESTS):  # a connection each, so that every worker gets some
            connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
            ask(connection, number)
            connection.close()
        found = [memory_of(pid) for pid in workers_of(process)]
    return {name: round(statistics.mean(one[name] for one in found), 1) for name in found[0]}


def all_choose(connections: list[http.client.HTTPConnection], model: str) -> float:
    """Ask over all connections in turn until all of them get a model; return when, by a monotonic clock."""
    late, number = list(connections), 0
    while late:
        number += 1
        late = [connection for connection in late if ask(connection, number) != model]
        time.sleep(0.01)
    return time.monotonic()


def switching(routers: tuple[Path, Path], names: tuple[str, str], settings: Path, folder: Path) -> list[float]:
    """Return the seconds from each publication to the last of four workers, there and back."""
    place = f"file://{folder}/published"

    def publish(*arguments: str) -> float:
        subprocess.run([*PROGRAM, "publish", *arguments], check=True, capture_output=True)
        return time.monotonic()

    publish(str(routers[0]), place, "--as", "v1")
    taken = []
    with served(place, settings, 4) as (url, process):
        connections = [http.client.HTTPConnection(urlsplit(url).netloc, timeout=30) for _ in range(CONNECTIONS)]
        all_choose(connections, names[0])
        began = publish(str(routers[1]), place, "--as", "v2")
        taken.append(all_choose(connections, names[1]) - began)
        for turn in range(1, TURNS):
            began = publish("--use", f"v{1 + (turn + 1) % 2}", place)
            taken.append(all_choose(connections, names[(turn + 1) % 2]) - began)
        del process
    return taken


def main() -> None:
    """Run both parts."""
    from avengers_pro.demo.generate import write_sample
    from avengers_pro.records import read_records
    from avengers_pro.routing import Router

    rows = int(sys.argv[sys.argv.index("--rows") + 1]) if "--rows" in sys.argv else 20_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sample(folder / "records.jsonl.gz", rows=rows)
        records = read_records(folder / "records.jsonl.gz").records
        for method in ("avengers-pro", "knn"):
            Router.fit(records, method=method).save(folder / method)
        provider, provider_url = started(PROVIDER)
        settings = config(folder, provider_url, records.models)
        found = {
            f"{method}, arrays of {(folder / method / 'router.safetensors').stat().st_size / 2**20:.1f} MB": {
                str(workers): memory(folder / method, settings, workers) for workers in (1 + 1, 4)
            }
            for method in ("avengers-pro", "knn")
        }
        print(json.dumps(found, indent=1))
        if "--only-memory" not in sys.argv:
            taken = seconds(records, settings, folder)
            write(rows, found, taken)
        provider.stdin.close()
        provider.wait(60)


def seconds(records, settings: Path, folder: Path) -> list[float]:
    """Fit two routers that choose different models on everything, and switch between them."""
    from avengers_pro.routing import Router

    names = records.models[0], records.models[1]
    routers = folder / "first", folder / "second"
    for name, place in zip(names, routers, strict=True):
        Router.fit(records.select_models([name])).save(place)
    return switching(routers, names, settings, folder)


def write(rows: int, found: dict[str, dict[str, dict[str, float]]], taken: list[float]) -> None:
    """Write the results."""
    before = json.loads((ROOT / "benchmarks" / "results" / "one_router_before.json").read_text(encoding="utf-8"))
    page = [
        "# One router for all workers",
        "",
        about() + ".",
        f"Simulated table of {rows} queries x 13 models. MB of one worker, the mean of all, after {REQUESTS} requests;",
        "before = arrays read into each worker's own memory.",
        "",
        "| router | workers | proportional before | proportional | private before | private |",
        "|---|---|---|---|---|---|",
    ]
    for (router, now), then in zip(found.items(), before.values(), strict=True):
        for workers, size in now.items():
            old = then[workers]
            page.append(
                f"| {router} | {workers} | {old['proportional']} | {size['proportional']} | {old['private']} | "
                f"{size['private']} |"
            )
    page += [
        "",
        f"From the end of `publish` to the last of 4 workers deciding with the new router, {len(taken)} times,",
        f"`reload_interval = 2`: median {statistics.median(taken):.2f} s, longest {max(taken):.2f} s (bar: 10 s).",
        "",
    ]
    results = ROOT / "benchmarks" / "results"
    (results / "one_router.md").write_text("\n".join(page), encoding="utf-8")
    kept = {"machine": about(), "rows": rows, "memory_mb": found, "memory_mb_before": before, "seconds": taken}
    (results / "one_router.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print("\n".join(page))


if __name__ == "__main__":
    main()
