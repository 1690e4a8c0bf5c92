"""How long decisions, fits, files and the program take; one core unless said otherwise.

    python benchmarks/speed.py [--records RECORDS]

Writes benchmarks/results/speed.{md,json}. Medians of repeated runs; single absolute times on a shared machine vary.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
ROOT = Path(__file__).parents[1]


def median_seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Run once to warm up, then take the median."""
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def simulated(n: int, m: int, d: int):
    """Return simulated records and unit vectors."""
    import numpy as np

    from avengers_pro.records import Records

    rng = np.random.default_rng(0)
    centers = rng.normal(size=(50, d))  # kinds of query
    vectors = (centers[rng.integers(0, 50, n)] + 0.7 * rng.normal(size=(n, d))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (rng.random((n, m)) < 0.6).astype(float)
    costs = rng.lognormal(size=(n, m)) * 1e-3
    queries = [f"simulated {i}" for i in range(n)]
    return Records.from_arrays(queries, [f"lab/{i}" for i in range(m)], scores, costs), vectors


def decisions() -> dict[str, float]:
    """Measure decisions from vectors and from text; run with one thread."""
    from avengers_pro.embedding.format import with_format
    from avengers_pro.routing import Policy, Router

    records, vectors = simulated(20_000, 12, 256)
    policy = Policy(alpha=0.5)
    found = {}
    plain = vectors
    for method in ("avengers-pro", "avengers-pro-paper", "avengers-pro-code"):
        vectors = with_format(plain, records.queries) if method == "avengers-pro" else plain
        router = Router.fit(records, method=method, vectors=plain, keep_examples=False)

        times = []
        for row in range(4000):
            started = time.perf_counter()
            router.route_vector(vectors[row], policy)
            times.append(time.perf_counter() - started)
        found[f"{method}: decision from a vector, us p50"] = statistics.median(times) * 1e6
        found[f"{method}: decision from a vector, us mean"] = statistics.fmean(times) * 1e6
        batch = median_seconds(lambda router=router, vectors=vectors: router.route_vectors(vectors, policy))
        found[f"{method}: batch from vectors, decisions/s"] = len(vectors) / batch
    from avengers_pro.demo import sample_path
    from avengers_pro.records import read_records

    sample = read_records(sample_path()).records
    router = Router.fit(sample)
    text = " ".join(sample.queries[:10])[:400]
    times = []
    for _ in range(2000):
        started = time.perf_counter()
        router.route(text, policy)
        times.append(time.perf_counter() - started)
    found["decision from 400 characters of text, us p50"] = statistics.median(times) * 1e6
    found["batch from text, queries/s"] = len(sample) / median_seconds(
        lambda: router.route_vectors(router.embed(sample.queries))
    )
    return found


def reading() -> dict[str, float]:
    """Measure reading JSON lines of 10 models; run with one thread."""
    from avengers_pro.records import read_records, write_records

    records, _ = simulated(50_000, 10, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        write_records(records, path)
        return {"JSONL of 10 models with costs, rows/s": len(records) / median_seconds(lambda: read_records(path), 3)}


def fitting() -> dict[str, float]:
    """Measure a fit of 200,000 x 12 from 270-d vectors on all cores, with the peak memory of the process."""
    import resource

    from avengers_pro.routing import Router

    found = {}
    for method, d in (("avengers-pro-paper", 270), ("avengers-pro", 256)):
        records, vectors = simulated(200_000, 12, d)
        started = time.perf_counter()
        Router.fit(records, method=method, vectors=vectors, keep_examples=False)
        found[f"{method}: fit 200,000 x 12 from {d}-d vectors, s"] = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found[f"{method}: peak GiB with the data"] = peak
    return found


def program(records: str | None) -> dict[str, float]:
    """Measure whole runs of the command on all cores."""
    run = [sys.executable, "-m", "avengers_pro"]
    found = {"--help, s": median_seconds(lambda: subprocess.run([*run, "--help"], check=True, capture_output=True))}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run([*run, "demo"], check=True, capture_output=True, cwd=folder)
        found["demo, s"] = time.perf_counter() - started
        if records:
            command = ["/usr/bin/env", *run, "evaluate", records, "--seeds", "5"]
            for name in ("avengers-pro", "avengers-pro-paper", "avengers-pro-code"):
                command += ["--method", name]
            started = time.perf_counter()
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            if status:
                sys.exit("evaluate failed")
            found["evaluate, 3 methods, all baselines, 5 seeds x 51 alphas, s"] = time.perf_counter() - started
            found["the same, peak GiB"] = usage.ru_maxrss / 2**20
        wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, str(ROOT)]
        subprocess.run(wheel, check=True, capture_output=True)
        found["wheel, MB"] = next(Path(folder).glob("*.whl")).stat().st_size / 1e6
    return found


PARTS = {"decisions": ONE_CORE, "reading": ONE_CORE, "fitting": {}}


def main() -> None:
    """Run each part in a process of its own and write the results."""
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        print(json.dumps(globals()[sys.argv[1]]()))
        return
    from machine import about

    found = {}
    for part, environment in PARTS.items():
        done = subprocess.run(
            [sys.executable, __file__, part], env=os.environ | environment, check=True, capture_output=True, text=True
        )
        found |= json.loads(done.stdout)
    found |= program(sys.argv[2] if "--records" in sys.argv else None)
    rows = [f"| {name} | {value:.4g} |" for name, value in found.items()]
    page = ["# Speed and size", "", f"{about()}.", "", "| what | measured |", "|---|--:|", *rows, ""]
    results = ROOT / "benchmarks" / "results"
    (results / "speed.md").write_text("\n".join(page), encoding="utf-8")
    (results / "speed.json").write_text(json.dumps({"machine": about(), "measured": found}, indent=1) + "\n")
    print("\n".join(page))


if __name__ == "__main__":
    main()
