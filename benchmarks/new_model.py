"""What a new model is worth after a few labels: the best model is taken out of train but for L of its scores.

    python benchmarks/new_model.py RECORDS... [--seeds 12]

Writes benchmarks/results/new_model.{json,md}. Area up to the cost of the true best single model, x 100, on test.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from avengers_pro.embedding.format import with_format
from avengers_pro.embedding.static import StaticEmbedder
from avengers_pro.evaluation.frontier import area_at_best
from avengers_pro.evaluation.replay import Part, replay
from avengers_pro.records import Records, read_records, seeds, stratified_split
from avengers_pro.routing import build_method, transfer
from avengers_pro.routing.baselines import best_single
from machine import about

ROOT = Path(__file__).parents[1]
LABELS = (50, 100, 200, 500, 1000)
ALPHAS = np.linspace(0, 1, 51).tolist()


def with_labels(train: Records, column: int, labels: int, seed: int) -> Records:
    """Forget all but some labels of one model."""
    kept = np.random.default_rng(seed).permutation(len(train))[:labels]
    scores, costs = train.scores.copy(), train.costs.copy()
    gone = np.setdiff1d(np.arange(len(train)), kept)
    scores[gone, column] = costs[gone, column] = np.nan
    return replace(train, scores=scores, costs=costs)


def measure(path: Path, count: int) -> dict[str, dict[str, float]]:
    """Return mean areas by number of labels."""
    records = read_records(path).records.deduplicated()
    records = records.select_models(records.complete_models())
    vectors = with_format(StaticEmbedder().embed(records.queries), records.queries)
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds(count):
        rows, held_out = stratified_split(records, 0.7, seed)
        train, part = records.take(rows), Part(records.take(held_out), vectors[held_out], held_out)
        best = best_single(train, train.models)
        best_cost = float(part.records.costs[:, best].mean())

        def area(table, rows=rows, part=part, best_cost=best_cost, seed=seed) -> float:
            seen = replay(build_method("avengers-pro").fit(table, vectors[rows], seed), part, ALPHAS)
            return 100 * area_at_best(seen.costs.mean(axis=1), seen.scores.mean(axis=1), best_cost)

        whole, without = area(train), area(train.exclude_models([train.models[best]]))
        for labels in LABELS:
            table = with_labels(train, best, labels, seed)
            with patch.object(transfer, "ENOUGH", 0):  # every model's own tables alone
                masked = area(table)
            line = {"all labels": whole, "without the model": without, "own tables": masked, "transfer": area(table)}
            for name, value in line.items():
                found.setdefault(str(labels), {}).setdefault(name, []).append(value)
    return {labels: {name: float(np.mean(v)) for name, v in line.items()} for labels, line in found.items()}


def main() -> None:
    """Measure each file."""
    count = int(sys.argv[sys.argv.index("--seeds") + 1]) if "--seeds" in sys.argv else 12
    paths = [Path(argument) for argument in sys.argv[1:] if argument.endswith((".jsonl", ".gz", ".parquet"))]
    found = {path.name.split(".")[0]: measure(path, count) for path in paths}
    lines = ["# A new model with few labels", "", f"{about()}. {count} splits, area x 100.", ""]
    for name, rows in found.items():
        heads = list(next(iter(rows.values())))
        lines += [f"## {name}", "", f"| labels | {' | '.join(heads)} |", f"|--:|{'--:|' * len(heads)}"]
        lines += [f"| {n} | {' | '.join(f'{line[head]:.2f}' for head in heads)} |" for n, line in rows.items()]
        lines += [""]
    results = ROOT / "benchmarks" / "results"
    (results / "new_model.md").write_text("\n".join(lines), encoding="utf-8")
    (results / "new_model.json").write_text(json.dumps({"machine": about(), "measured": found}, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
