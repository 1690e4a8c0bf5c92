"""Fit and route on datasets in parts, on one machine and on Ray, on simulated queries.

    python benchmarks/scale.py data FOLDER ROWS [FIRST]   write simulated Parquet with vectors
    python benchmarks/scale.py fit FOLDER ENGINE       fit and print time, CPU time and peak memory
    python benchmarks/scale.py text FOLDER ROWS        write simulated JSON lines of 400 characters
    python benchmarks/scale.py route ROUTER FOLDER ENGINE
    python benchmarks/scale.py steps                   CPU microseconds a query of each step

Each run is a process of its own; peak memory is the sum of the proportional set sizes (PSS) of all its processes,
looked at twice a second. Results are in benchmarks/results/scale.md.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

M, D, FILE_ROWS, GROUP_ROWS = 12, 256, 100_000, 50_000


def data(folder: str, rows: int, first: int = 0) -> None:
    """Write files of 100,000 queries x 12 models with 256-d unit vectors, from number ``first`` on."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    Path(folder).mkdir(parents=True, exist_ok=True)
    centers = np.random.default_rng(0).normal(size=(50, D)).astype(np.float32)
    skill = np.random.default_rng(1).uniform(0.2, 0.9, (50, M))
    models = [f"lab/{column}" for column in range(M)]
    for number in range(first, -(-rows // FILE_ROWS)):
        rng = np.random.default_rng([2, number])
        n = min(FILE_ROWS, rows - number * FILE_ROWS)
        kind = rng.integers(0, 50, n)
        vectors = centers[kind] + 1.4 * rng.standard_normal((n, D), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = (rng.random((n, M)) < skill[kind]).astype(np.float64)
        costs = rng.lognormal(size=(n, M)) * np.linspace(1, 10, M) * 1e-3
        usages = [pa.StructArray.from_arrays([pa.array(costs[:, column])], ["cost"]) for column in range(M)]
        table = pa.table(
            {
                "query": [f"simulated query {number}-{row} of kind {kind[row]}" for row in range(n)],
                "dataset": pa.array([f"group-{k % 5}" for k in kind]).dictionary_encode(),
                "records": pa.StructArray.from_arrays([pa.array(column) for column in scores.T], models),
                "usages": pa.StructArray.from_arrays(usages, models),
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), D),
            }
        )
        path = Path(folder) / f"part-{number:05}.parquet"
        parquet.write_table(table, path, row_group_size=GROUP_ROWS, compression="none", use_dictionary=False)


def text(folder: str, rows: int) -> None:
    """Write JSON lines of about 400 characters each, 100,000 a file."""
    import random

    from avengers_pro.demo import sample_path
    from avengers_pro.records import read_records

    words = " ".join(read_records(sample_path()).records.queries).split()
    draw = random.Random(0)  # noqa: S311  (simulated data)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in range(-(-rows // FILE_ROWS)):
        with (Path(folder) / f"part-{number:05}.jsonl").open("w") as file:
            for row in range(min(FILE_ROWS, rows - number * FILE_ROWS)):
                file.write(json.dumps({"query": " ".join(draw.choices(words, k=70))[:400] + f" {number}-{row}"}) + "\n")


def cpu(work, per: float = 1.0) -> float:
    """Return CPU seconds of a piece of work, in units of ``per``."""
    started = time.process_time()
    work()
    return round((time.process_time() - started) / per, 3)


def steps_of(d: int, m: int, levels: tuple[int, ...], n: int) -> dict[str, float]:
    """Measure the steps of a fit on 2n simulated rows."""
    import numpy as np

    from avengers_pro.embedding.format import with_format
    from avengers_pro.records import Records
    from avengers_pro.records.fingerprint import rows_digest
    from avengers_pro.routing.evidence import Evidence, Sums
    from avengers_pro.routing.multiresolution import MultiResolution
    from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution

    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2 * n, d), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores, costs = (rng.random((2 * n, m)) < 0.5).astype(float), rng.lognormal(size=(2 * n, m))
    table = Records.from_arrays([f"{row}" for row in range(2 * n)], [f"lab/{c}" for c in range(m)], scores, costs)
    method = MultiResolution(levels=levels)
    rows = with_format(vectors, table.queries)
    clusters_s = cpu(lambda: method.partition(rows, 42))
    scaler, clusters = method.partition(rows, 42)
    part, some = table.take(range(n)), scaler.apply(rows[:n])
    whole = Evidence.of(table, rows, clusters, np.ones(2 * n), 42, scaler)
    return {
        "clusters, s": clusters_s,
        "sums, us": cpu(lambda: Sums.of(part, some, clusters, np.ones(n)), n / 1e6),
        "fingerprint, us": cpu(lambda: rows_digest(part), n / 1e6),
        "calibration, s": cpu(lambda: FittedMultiResolution.derive(method, scaler, clusters, whole)),
        "sums of a part, KiB": round(sum(a.nbytes for a in whole.profile.arrays().values()) * 2.5 / 1024),
    }


def steps() -> None:
    """Print CPU microseconds a query of what is done for every row, and CPU seconds of what is done once."""
    from avengers_pro.embedding.static import StaticEmbedder
    from avengers_pro.routing.sampling import keys_of

    n = 16_384
    texts = [" ".join(["simulated query", str(row), "with words " * 40])[:400] for row in range(n)]
    print("a query, us: key", cpu(lambda: keys_of(texts), n / 1e6))
    print("a query, us: embed 400 characters", cpu(lambda: StaticEmbedder().embed(texts), n / 1e6))
    standard = (8, 16, 32, 64, 128)
    for d, m, levels in (
        (256, 12, standard),
        (256, 48, standard),
        (1024, 12, standard),
        (256, 12, (*standard, 256, 512)),
    ):
        print(f"d={d} m={m} K={sum(levels)}", steps_of(d, m, levels, n))


def pss(pid: int) -> tuple[float, float]:
    """Return GiB of a process and all below it: (PSS in all, largest resident)."""
    total, largest = 0.0, 0.0
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
            sizes = dict(line.split()[:2] for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()[1:])
        except OSError:
            continue
        total += int(sizes["Pss:"]) / 2**20
        largest = max(largest, int(sizes["Rss:"]) / 2**20)
    return total, largest


def watched(command: list[str]) -> dict[str, float]:
    """Run a command and say what it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started, peak, largest = time.perf_counter(), 0.0, 0.0
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while child.poll() is None:
        now, one = pss(child.pid)
        peak, largest = max(peak, now), max(largest, one)
        time.sleep(0.5)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode:
        sys.exit("the command failed")
    return {
        "seconds": round(seconds, 1),
        "driver_cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_pss_gib": round(peak, 2),
        "largest_rss_gib": round(largest, 2),
        "load": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    """Do what is asked."""
    what, *rest = sys.argv[1:]
    program = [sys.executable, "-m", "avengers_pro"]
    if what == "data":
        data(rest[0], *map(int, rest[1:]))
    elif what == "text":
        text(rest[0], int(rest[1]))
    elif what == "steps":
        steps()
    elif what == "fit":
        with tempfile.TemporaryDirectory() as folder:
            found = watched([*program, "fit", rest[0], "-o", f"{folder}/router", "--engine", rest[1]])
        print(json.dumps({"fit": rest[0], "engine": rest[1], **found}))
    elif what == "route":
        with tempfile.TemporaryDirectory() as folder:
            output = ["--input", rest[1], "--output", f"{folder}/decisions", "--engine", rest[2]]
            found = watched([*program, "route", rest[0], *output])
        print(json.dumps({"route": rest[1], "engine": rest[2], **found}))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
