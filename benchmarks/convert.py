"""How long `avengers-pro convert` takes for 100,000 rows of each format, and how much memory.

    python benchmarks/convert.py [--rows 100000]

Writes benchmarks/results/convert.{md,json}. The files are simulated, in the shapes of the tools. Each conversion runs
once in a process of its own; on a shared machine its processor time says more than the clock.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "records"))
BAR_SECONDS = 20
MODELS = 4
CODE = "from avengers_pro.cli.main import main; main(); print(open('/proc/self/status').read())"


def simulated(queries: int, models: int):
    """Return simulated records with everything known."""
    import numpy as np

    from avengers_pro.records import Records

    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(5000)])
    shape = (queries, models)
    return Records(
        queries=tuple(f"simulated {i} {' '.join(words[rng.integers(0, 5000, 60)])}" for i in range(queries)),
        models=tuple(f"lab/{i}" for i in range(models)),
        scores=(rng.random(shape) < 0.6).astype(float),
        costs=rng.lognormal(size=shape) * 1e-3,
        datasets=tuple(f"task_{i % 8}" for i in range(queries)),
        ids=tuple(map(str, range(queries))),
        listed=np.ones(shape, dtype=bool),
        prompt_tokens=rng.integers(50, 500, shape).astype(float),
        completion_tokens=rng.integers(50, 500, shape).astype(float),
    )


def cases(rows: int):
    """Return (format, what a row is, how to write it)."""
    import foreign_files as tools

    from avengers_pro.records import write_records

    long = simulated(rows // MODELS, MODELS)  # one row an outcome
    wide = simulated(rows, MODELS)  # one row a query
    eleven = simulated(rows, 11)
    return [
        (
            "inspect, .eval (zstd, 8 kB of events a sample)",
            "sample",
            lambda f: tools.write_inspect(long, f / "logs", kind="zstd", extra=8000),
        ),
        ("inspect, .json", "sample", lambda f: tools.write_inspect(long, f / "logs", kind="json")),
        ("lm-eval", "line", lambda f: tools.write_lm_eval(long, f / "results")),
        ("llmrouterbench", "record", lambda f: tools.write_llmrouterbench(long, f / "bench")),
        ("routerbench, Parquet", "query x 11 models", lambda f: tools.write_routerbench(eleven, f / "t.parquet")),
        ("routerbench, CSV", "query x 11 models", lambda f: tools.write_routerbench(eleven, f / "t.csv")),
        ("table, Parquet", "outcome", lambda f: write_records(long, f / "t.parquet")),
        ("table, CSV", "outcome", lambda f: write_records(long, f / "t.csv")),
        ("records, JSON lines", f"query x {MODELS} models", lambda f: write_records(wide, f / "r.jsonl")),
    ]


def measure(folder: Path) -> dict[str, float]:
    """Convert a folder in a process of its own; return seconds and peak memory."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    command = [sys.executable, "-c", CODE, "convert", str(folder), "-o", str(folder / "out.jsonl")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    clock = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    return {"clock_s": clock, "processor_s": processor, "peak_mb": int(peak[1]) / 1024 if peak else float("nan")}


def main() -> None:
    """Measure all and write the result."""
    from machine import about

    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    rows = parser.parse_args().rows
    lines, found = [], {}
    for name, unit, write in cases(rows):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write(folder)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            one = {"size_mb": size, **measure(folder)}
        found[name] = one
        numbers = f"{one['size_mb']:.0f} | {one['clock_s']:.1f} | {one['processor_s']:.1f} | {one['peak_mb']:.0f}"
        lines.append(f"| {name} | {unit} | {numbers} |")
        print(lines[-1], flush=True)
    clock, processor = (max(one[key] for one in found.values()) for key in ("clock_s", "processor_s"))
    load = os.getloadavg()[2]
    text = f"""# Converting other tools' results

2 shared cores: {about()}.

{rows:,} rows of each format (simulated files in the tools' shapes) to records, writing included, in one process.
Bar: {BAR_SECONDS} s a format. The slowest took {clock:.1f} s by the clock, {processor:.1f} s of processor time: \
{"held" if clock <= BAR_SECONDS else "missed by the clock"}.
Others used the machine meanwhile (mean load of the quarter of an hour up to the end: {load:.1f}).

| format | a row | MB read | clock, s | processor, s | peak memory, MB |
|---|---|--:|--:|--:|--:|
{chr(10).join(lines)}

Inspect's .eval and lm-eval logs are read sample by sample, tables by column without the responses; a .json log and an
LLMRouterBench file are held whole, one at a time.
"""
    results = ROOT / "benchmarks" / "results"
    (results / "convert.md").write_text(text, encoding="utf-8")
    (results / "convert.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
