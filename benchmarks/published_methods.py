"""The published methods on public records.

    python benchmarks/published_methods.py DATA_FOLDER

DATA_FOLDER holds llmrouter_fusion.jsonl.gz and zeroeval.jsonl.gz.
Writes benchmarks/results/published_methods.{md,json}.
"""

import json
import sys
import time
from pathlib import Path

from avengers_pro.evaluation import Evaluation, evaluate
from avengers_pro.records import read_records
from machine import about

ROOT = Path(__file__).parents[1]
METHODS = ["avengers-pro-paper", "avengers-pro-code", "avengers"]
SOURCES = {
    "llmrouter_fusion": "ulab-uiuc/LLMRouter @ 4e7a796, MIT",
    "zeroeval": "WildEval/ZeroEval @ 8c1485edf1, Apache-2.0",
}

LIMITS = """`area`, PerfGain and CostSave@100 are curve metrics (best point picked on test, micro); `quality` and
`equal` are operating points chosen inside train, as changes against the best single model. Part of the headroom
of llmrouter_fusion is an artefact of answer formats (two models score near zero on MMLU); its costs are list prices
times estimated tokens. `avengers` ignores cost."""


def table(result: Evaluation) -> list[str]:
    """Return a Markdown table of curve metrics and chosen operating points."""
    lines = [
        "| method | area x100 | PerfGain % | CostSave@100 % | quality: score, cost % | equal: score, cost % |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, found in {**result.methods, **result.baselines}.items():
        mean = found.mean
        chosen = [mean.operating_points.get(goal) for goal in ("quality", "equal")]
        lines.append(
            f"| {name} | {percent(mean.metrics['area'])} | {percent(mean.metrics['perf_gain'])} "
            f"| {percent(mean.metrics['cost_save_100'])} | "
            + " | ".join(f"{100 * p.score_change:+.1f}, {100 * p.cost_change:+.1f}" if p else "-" for p in chosen)
            + " |"
        )
    return lines


def percent(value: float | None) -> str:
    """Format a share as percent."""
    return "-" if value is None else f"{100 * value:.2f}"


def main() -> None:
    """Evaluate both sets and write what was found."""
    data = Path(sys.argv[1])
    page = [
        "# The published methods on public records",
        "",
        f"{about()}. Five 70/30 splits, 51 alphas, bundled embedder.",
        "",
    ]
    kept = {}
    for name, source in SOURCES.items():
        records = read_records(data / f"{name}.jsonl.gz").records
        started = time.perf_counter()
        result = evaluate(records, METHODS, source=f"{name} ({source.split(',')[0]})")
        seconds = time.perf_counter() - started
        about_it = (
            f"Source: {source}. {result.records.rows} queries, {len(result.records.models)} models, "
            f"{len(result.records.left_out)} left out for gaps; evaluated in {seconds:.0f} s."
        )
        page += [f"## {name}", "", about_it, ""]
        page += [*table(result), "", f"> {result.verdict.text}", ""]
        kept[name] = {
            "seconds": round(seconds, 1),
            "methods": {m: {"metrics": r.mean.metrics} for m, r in {**result.methods, **result.baselines}.items()},
            "verdict": result.verdict.text,
        }
    page += [LIMITS, ""]
    results = ROOT / "benchmarks" / "results"
    (results / "published_methods.md").write_text("\n".join(page), encoding="utf-8")
    (results / "published_methods.json").write_text(json.dumps({"machine": about(), **kept}, indent=1) + "\n")
    print("\n".join(page))


if __name__ == "__main__":
    main()
