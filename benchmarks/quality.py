"""How good the routers are on records: full table, honest operating points, controls, learning curve, unseen datasets.

    python benchmarks/quality.py RECORDS... [--seeds 12]

Writes benchmarks/results/quality_<name>.{json,md} for each file, and docs/figures/frontier.svg from the first.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from avengers_pro.embedding.format import with_format
from avengers_pro.embedding.static import StaticEmbedder
from avengers_pro.evaluation import Evaluation, Protocol, evaluate
from avengers_pro.evaluation.charts import frontier, save_chart
from avengers_pro.records import Records, read_records, seeds, stratified_split
from avengers_pro.routing import ROUTERS, Policy, build_method
from avengers_pro.routing.baselines import best_single
from avengers_pro.routing.choice import choose, weigh
from avengers_pro.routing.queries import Queries
from machine import about

ROOT = Path(__file__).parents[1]
OURS = "avengers-pro"
POLICIES = {
    "alpha 1 (guard)": Policy(alpha=1.0),
    "alpha 0.9": Policy(alpha=0.9),
    "alpha 0.8": Policy(alpha=0.8),
    "alpha 0.5": Policy(alpha=0.5),
    "target 1, z = 1": Policy(target=1.0, confidence=0.8413),
    "target 1, 90 %": Policy(target=1.0),
    "target 0.95, z = 1": Policy(target=0.95, confidence=0.8413),
    "target 0.95, 90 %": Policy(target=0.95),
}


class Split:
    """One split of records with vectors."""

    def __init__(self, records: Records, vectors: np.ndarray, train: np.ndarray, test: np.ndarray) -> None:
        self.train, self.test = records.take(train), records.take(test)
        self.train_vectors, self.test_vectors = vectors[train], vectors[test]
        best = best_single(self.train, records.complete_models())
        self.best_score, self.best_cost = self.test.scores[:, best].mean(), self.test.costs[:, best].mean()

    def outcome(self, fitted, policy: Policy) -> tuple[float, float]:
        """Return mean score and cost of a policy on test."""
        tuned = fitted.tuned(policy, None)
        chosen = choose(weigh(tuned.estimate(Queries(self.test_vectors)), policy, None))
        rows = np.arange(len(chosen))
        return float(self.test.scores[rows, chosen].mean()), float(self.test.costs[rows, chosen].mean())

    def changes(self, fitted, policy: Policy) -> tuple[float, float]:
        """Return relative changes of score and cost against the best single model."""
        score, cost = self.outcome(fitted, policy)
        return score / self.best_score - 1, cost / self.best_cost - 1


def splits(records: Records, vectors: np.ndarray, count: int):
    """Yield seed and split."""
    for seed in seeds(count):
        yield seed, Split(records, vectors, *stratified_split(records, 0.7, seed))


def policies(records: Records, vectors: np.ndarray, count: int) -> dict[str, dict[str, float]]:
    """Measure what policies promise and what they give; settings come from train alone."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in POLICIES}
    windows: dict[str, list[bool]] = {}
    guard = []
    for seed, split in splits(records, vectors, count):
        fitted = build_method(OURS).fit(split.train, split.train_vectors, seed)
        guard.append(fitted.calibration.guard_z)
        for name, policy in POLICIES.items():
            found[name].append(split.changes(fitted, policy))
        for target in (1.0, 0.98, 0.95, 0.9):
            for label, window in (("long run", None), ("window", len(split.test))):
                policy = Policy(target=target, window=window)
                score, _ = split.outcome(fitted, policy)
                key = f"target {target:g}, {label}"
                windows.setdefault(key, []).append(score >= target * split.best_score - 1e-12)
    rows = {
        name: {
            "score_change": float(np.mean([s for s, _ in pairs])),
            "cost_change": float(np.mean([c for _, c in pairs])),
        }
        for name, pairs in found.items()
    }
    covered = {name: {"covered": float(np.mean(kept))} for name, kept in windows.items()}
    return {**rows, **covered, "guard": {"z_mean": float(np.mean(guard)), "z_least": float(np.min(guard))}}


def controls(records: Records, vectors: np.ndarray, count: int) -> dict[str, dict[str, float]]:
    """Shuffle outcomes between queries, or replace the vectors by noise: nothing is left to learn."""
    found = {}
    for kind in ("shuffled outcomes", "random vectors"):
        opened, gains = [], []
        for seed in seeds(count):
            rng = np.random.default_rng(seed)
            table, rows = records, vectors
            if kind == "shuffled outcomes":
                order = rng.permutation(len(records))
                table = Records.from_arrays(
                    records.queries,
                    records.models,
                    records.scores[order],
                    records.costs[order],
                    datasets=records.datasets,
                )
            else:
                rows = rng.normal(size=vectors.shape).astype(np.float32)
            split = Split(table, rows, *stratified_split(table, 0.7, seed))
            fitted = build_method(OURS).fit(split.train, split.train_vectors, seed)
            opened.append(fitted.calibration.open)
            gains.append(100 * (split.outcome(fitted, Policy(alpha=1.0))[0] - split.best_score))
        found[kind] = {
            "guard_open": float(np.mean(opened)),
            "points_at_alpha_1": float(np.mean(gains)),
            "worst": min(gains),
        }
    return found


def learning_curve(records: Records, vectors: np.ndarray, count: int) -> dict[str, dict[str, float]]:
    """Fit on n training rows, from 100 to all; changes at alpha 1 and at target 1."""
    found = {}
    for n in (100, 200, 600, 2000, 10**9):
        rows = []
        for seed, split in splits(records, vectors, count):
            kept = np.random.default_rng(seed).permutation(len(split.train))[:n]
            fitted = build_method(OURS).fit(split.train.take(kept), split.train_vectors[kept], seed)
            rows.append((*split.changes(fitted, Policy(alpha=1.0)), *split.changes(fitted, Policy(target=1.0))))
        names = ("score_at_1", "cost_at_1", "score_at_target", "cost_at_target")
        found["all" if n > 10**6 else str(n)] = dict(zip(names, map(float, np.mean(rows, axis=0)), strict=True))
    return found


def unseen(records: Records, vectors: np.ndarray) -> dict[str, float]:
    """Leave each dataset out of train: points against the best single model on it at alpha 1."""
    found = {}
    for name in records.dataset_names:
        test = records.rows_of([name])
        split = Split(records, vectors, np.setdiff1d(np.arange(len(records)), test), test)
        fitted = build_method(OURS).fit(split.train, split.train_vectors, 42)
        found[name] = 100 * (split.outcome(fitted, Policy(alpha=1.0))[0] - float(split.best_score))
    return found


def tables(name: str, result: Evaluation, rest: dict) -> str:
    """Return the Markdown page."""
    lines = [
        f"# Quality on {name}",
        "",
        f"{about()}. {len(result.splits)} splits, settings chosen on train unless said.",
        "",
    ]
    lines += [
        "| method | area x100 | ours minus it [95 %], wins | PerfGain % | CostSave@100 % | @95 % |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    pairs = {row.b: row for row in result.paired if row.a == OURS and row.metric == "area"}
    for label, found in {**result.methods, **result.baselines}.items():
        m, pair = found.mean.metrics, pairs.get(label)
        versus = ""
        if pair is not None:
            low, high = (100 * end for end in pair.interval)
            versus = f"{100 * pair.difference:+.2f} [{low:+.2f}, {high:+.2f}], {pair.wins}/{pair.splits}"
        cells = [percent(m[key]) for key in ("perf_gain", "cost_save_100", "cost_save_95")]
        lines.append(f"| {label} | {percent(m['area'])} | {versus} | {' | '.join(cells)} |")
    lines += ["", "Curve metrics: the best point of each curve is picked on test, for every method alike.", ""]
    lines += [
        "## Policies: chosen on train, read on test",
        "",
        "| policy | score against best single | cost |",
        "|---|--:|--:|",
    ]
    for policy, row in rest["policies"].items():
        if "score_change" in row:
            lines.append(f"| {policy} | {100 * row['score_change']:+.2f} % | {100 * row['cost_change']:+.1f} % |")
    lines += ["", "| promise (confidence 0.9) | kept in share of splits |", "|---|--:|"]
    lines += [f"| {key} | {row['covered']:.2f} |" for key, row in rest["policies"].items() if "covered" in row]
    lines += ["", "## Controls", "", "| control | guard open | points at alpha 1, mean | worst |", "|---|--:|--:|--:|"]
    for kind, row in rest["controls"].items():
        lines.append(f"| {kind} | {row['guard_open']:.2f} | {row['points_at_alpha_1']:+.2f} | {row['worst']:+.2f} |")
    lines += ["", "## Learning curve", "", "| rows | alpha 1: score, cost | target 1: score, cost |", "|---|--:|--:|"]
    for n, row in rest["learning_curve"].items():
        cells = [
            f"{100 * row[a]:+.1f} %, {100 * row[b]:+.0f} %"
            for a, b in (("score_at_1", "cost_at_1"), ("score_at_target", "cost_at_target"))
        ]
        lines.append(f"| {n} | {' | '.join(cells)} |")
    points = list(rest["unseen"].values())
    lines += ["", "## Datasets never seen in training (alpha 1, points against the best single model)", ""]
    lines += [f"Mean {np.mean(points):+.2f}, worst {min(points):+.2f} over {len(points)} datasets.", ""]
    return "\n".join([*lines, f"> {result.verdict.text}", ""])


def percent(value: float | None) -> str:
    """Format a share as percent."""
    return "-" if value is None else f"{100 * value:.2f}"


def main() -> None:
    """Measure each file."""
    count = int(sys.argv[sys.argv.index("--seeds") + 1]) if "--seeds" in sys.argv else 12
    paths = [Path(argument) for argument in sys.argv[1:] if argument.endswith((".jsonl", ".gz", ".parquet"))]
    for position, path in enumerate(paths):
        started, name = time.perf_counter(), path.name.split(".")[0]
        records = read_records(path).records.deduplicated()
        records = records.select_models(records.complete_models())
        plain = StaticEmbedder().embed(records.queries)
        methods = [*ROUTERS, "avengers-pro-paper+format"]
        result = evaluate(records, methods, protocol=Protocol(seeds=seeds(count)), vectors=plain, source=path.name)
        vectors = with_format(plain, records.queries)
        rest = {
            "policies": policies(records, vectors, max(count, 60)),
            "controls": controls(records, vectors, 20),
            "learning_curve": learning_curve(records, vectors, 5),
            "unseen": unseen(records, vectors),
        }
        page = tables(name, result, rest)
        if position == 0:
            few = {m: result.methods[m] for m in (OURS, "avengers-pro-paper", "avengers-pro-code")}
            shown = Evaluation(**{**{f: getattr(result, f) for f in result.__struct_fields__}, "methods": few})
            save_chart(frontier(shown), ROOT / "docs" / "figures" / "frontier.svg")
        kept = {label: found.mean.metrics for label, found in {**result.methods, **result.baselines}.items()}
        results = ROOT / "benchmarks" / "results"
        (results / f"quality_{name}.md").write_text(page, encoding="utf-8")
        content = {"machine": about(), "metrics": kept, **rest, "verdict": result.verdict.text}
        (results / f"quality_{name}.json").write_text(json.dumps(content, indent=1) + "\n")
        print(page, f"{time.perf_counter() - started:.0f} s", sep="\n")


if __name__ == "__main__":
    main()
