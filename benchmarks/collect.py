"""Is anything paid twice when collecting is killed, and does the result stay the same?

    python benchmarks/collect.py [--kills 5]

Asks two models 63 prompts of 6 graders (examples/prompts.jsonl) on a real OpenAI-compatible server on this machine that
counts what it answers. Once without interruption; once killed with SIGKILL while all calls in flight wait; once killed
again and again at arbitrary moments. Writes benchmarks/results/collect.md.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import numpy as np

from avengers_pro.collection import read_prompts
from avengers_pro.records import Records, read_records
from machine import about

ROOT = Path(__file__).parents[1]
PROMPTS = ROOT / "examples" / "prompts.jsonl"
CONCURRENCY = 4
sys.path.insert(0, str(ROOT / "tests" / "cli"))
from counting_server import Counting, counting, from_targets, pool  # noqa: E402


def targets() -> dict[str, str]:
    """Right answers by the last user turn."""
    found = {}
    for line in PROMPTS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        target = row.get("target")
        found[row["query"] if "query" in row else row["messages"][-1]["content"]] = str(
            target[0] if isinstance(target, list) else target
        )
    return found


def command(folder: Path) -> list[str]:
    """Return the run; the pool must be in the folder."""
    return [
        sys.executable, "-m", "avengers_pro", "collect", str(PROMPTS), "--pool", str(folder / "pool.toml"),
        "-o", str(folder / "records.jsonl"), "--concurrency", str(CONCURRENCY),
    ]  # fmt: skip


def prepared(name: str, base: Path, server: Counting) -> Path:
    """Make a folder with the pool, and forget what the server was asked."""
    folder = base / name
    folder.mkdir()
    (folder / "pool.toml").write_text(pool(server.url, "a/one", "b/two"))
    server.answered.clear()
    server.bodies.clear()
    server.held = 0
    return folder


def finish(folder: Path) -> tuple[Records, float]:
    """Run to the end; return the records and the seconds."""
    start = time.perf_counter()
    subprocess.run(command(folder), check=True, capture_output=True)
    return read_records(folder / "records.jsonl").records, time.perf_counter() - start


def killed(folder: Path, ready) -> None:
    """Start, wait until ``ready`` says so, kill."""
    process = subprocess.Popen(command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not ready() and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def stored(folder: Path) -> set[tuple[str, str]]:
    """Return (model, last user turn) of the answers that were kept."""
    questions = {prompt.key: prompt.query for prompt in read_prompts(PROMPTS)}
    with closing(sqlite3.connect(folder / "records.logs" / "answers.sqlite")) as connection:
        found = connection.execute("SELECT model, sample FROM answers").fetchall()
    return {(model, questions[key]) for model, key in found}


def asked(server: Counting, since: int) -> set[tuple[str, str]]:
    """Return (model, last user turn) of the requests from a place on."""
    return {(body["model"], body["messages"][-1]["content"]) for body in server.bodies[since:]}


def same(left: Records, right: Records) -> bool:
    """Whether two tables agree in all but latency."""
    names = ("scores", "costs", "prompt_tokens", "completion_tokens")
    return left.queries == right.queries and all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=True) for name in names
    )


def main() -> None:
    """Run the three, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=5)
    kills = parser.parse_args().kills
    rng = random.Random(0)  # noqa: S311
    rows = []
    with counting(from_targets(targets()), pause_s=0.05) as server, tempfile.TemporaryDirectory() as name:
        base = Path(name)
        whole, seconds = finish(prepared("whole", base, server))
        size = whole.scores.size
        rows.append(row("uninterrupted", 0, server, 0, None, seconds))

        folder = prepared("held", base, server)
        server.hold_after = size // 2
        killed(folder, lambda: server.held == 2 * CONCURRENCY)
        server.hold_after = None
        known, since = stored(folder), len(server.bodies)
        resumed, seconds = finish(folder)
        again = len(known & asked(server, since))
        rows.append(row("killed while calls wait", 1, server, again, same(whole, resumed), seconds))

        folder = prepared("anywhere", base, server)
        again = 0
        known: set[tuple[str, str]] = set()
        for _ in range(kills):
            since = len(server.bodies)
            until = since + rng.randint(1, size // (kills + 1))
            killed(folder, lambda until=until: len(server.bodies) >= until)
            again += len(known & asked(server, since))
            known = stored(folder)
        since = len(server.bodies)
        resumed, seconds = finish(folder)
        again += len(known & asked(server, since))
        rows.append(row("killed at any moment", kills, server, again, same(whole, resumed), seconds))
    write(rows, size, kills)


def row(run: str, kills: int, server: Counting, again: int, equal: bool | None, seconds: float) -> str:  # noqa: FBT001
    """Format a row of the table."""
    verdict = "-" if equal is None else "yes" if equal else "NO"
    answered, twice = sum(server.answered.values()), len(server.paid_twice)
    return f"| {run} | {kills} | {answered} | {again} | {twice} | {verdict} | {seconds:.1f} |"


def write(rows: list[str], size: int, kills: int) -> None:
    """Write the page."""
    lines, in_flight = "\n".join(rows), 2 * CONCURRENCY
    text = f"""# Collecting, killed and resumed

{about()},
inspect-ai {version("inspect-ai")}, openai {version("openai")}. 63 prompts, 6 graders, 2 models = {size} calls;
{CONCURRENCY} calls of a model at once; a counting server on the loopback interface that takes 50 ms for an answer.

| run | kills | answers sent | arrived and asked again | answered twice | same records | seconds of the last run |
|---|--:|--:|--:|--:|--:|--:|
{lines}

"Same records" as uninterrupted: queries, scores, costs and tokens are equal; latency is what it was.

What arrived is never asked again. A call in flight when the process dies, up to {in_flight} here, is asked again; where
the provider answers it anyway, it is charged twice. The second row kills while nothing but unanswered calls is in
flight; the last one kills {kills} times at any moment, and "answered twice" counts what was in flight then.
"""
    (ROOT / "benchmarks" / "results" / "collect.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
