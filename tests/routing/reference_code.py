"""The released Avengers-Pro algorithm, written plainly from its description, one number at a time.

Slow on purpose. Tests compare the library with it; ``python tests/routing/reference_code.py`` writes the golden.
"""

import json
import math
import random
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("golden_avengers_pro_code.json")


def usable(rows: list[dict]) -> tuple[list[str], list[int]]:
    """Models are the keys of the first row; a row lacking one of them is dropped."""
    models = list(rows[0]["records"])
    return models, [i for i, row in enumerate(rows) if all(model in row["records"] for model in models)]


def cluster_means(rows: list[dict], kept: list[int], labels: list[int], models: list[str], k: int):
    """Mean score and mean cost; null and missing are 0."""
    quality, cost = [], []
    for cluster in range(k):
        members = [rows[i] for i, label in zip(kept, labels, strict=True) if label == cluster]
        quality.append([np.mean([row["records"][model] or 0.0 for row in members]) for model in models])
        cost.append([np.mean([row["usages"].get(model, {}).get("cost") or 0.0 for row in members]) for model in models])
    return quality, cost


def balance(quality: list[float], cost: list[float], alpha: float) -> list[float]:
    low, high, dearest = min(quality), max(quality), max(cost)
    scores = []
    for p, q in zip(quality, cost, strict=True):
        a = 1.0 if high == low else (p - low) / (high - low)
        c = 1.0 if dearest == 0 else 1 - q / dearest
        scores.append(alpha * a + (1 - alpha) * c)
    return scores


def ranks(scores: list[float]) -> list[int]:
    order = sorted(range(len(scores)), key=lambda model: -scores[model])
    return [order.index(model) for model in range(len(scores))]


def choose(vector: list[float], centroids: list[list[float]], tables: list[list[float]], top_k: int, beta: float):
    distances = [1 - sum(a * b for a, b in zip(vector, centroid, strict=True)) for centroid in centroids]
    near = sorted(range(len(centroids)), key=lambda cluster: distances[cluster])[:top_k]
    weights = [math.exp(-beta * distances[cluster]) for cluster in near]
    total = [0.0] * len(tables[0])
    for cluster, weight in zip(near, weights, strict=True):
        for model, rank in enumerate(ranks(tables[cluster])):
            total[model] += weight / sum(weights) / (rank + 1)
    return max(range(len(total)), key=lambda model: total[model])


def make_case(seed: int = 7, n: int = 90, k: int = 6, d: int = 5) -> dict:
    """Simulated rows with nulls, absent models, missing costs, ties and a cluster where all models are equal."""
    rng = random.Random(seed)  # noqa: S311 - simulated data
    models = ["lab/a", "lab/b", "lab/c", "lab/d"]
    rows, labels = [], []
    centroids = [[round(rng.gauss(0, 0.4), 6) for _ in range(d)] for _ in range(k)]
    for i in range(n):
        label = i % k
        records = {model: rng.choice([0, 1, 0.5, True]) for model in models}
        if label == 0:
            records = dict.fromkeys(models, 1)
        if i % 11 == 5:
            records["lab/c"] = None
        usages = {model: {"cost": round(rng.uniform(1, 4) * 10**-position, 6)} for position, model in enumerate(models)}
        if i % 13 == 3:
            del usages["lab/d"]
        if i % 17 == 9:
            del records["lab/b"]
        rows.append({"query": f"simulated {i}", "records": records, "usages": usages, "index": i})
        labels.append(label)
    _, kept = usable(rows)
    vectors = [[round(rng.gauss(0, 1), 6) for _ in range(d)] for _ in range(40)]
    return {
        "rows": rows,
        "labels": [labels[i] for i in kept],
        "centroids": centroids,
        "vectors": [[x / math.sqrt(sum(y * y for y in vector)) for x in vector] for vector in vectors],
        "alphas": [0.0, 0.25, 0.5, 0.55, 0.75, 1.0],
        "top_k": 3,
        "beta": 9.0,
    }


def solve(case: dict) -> dict:
    models, kept = usable(case["rows"])
    quality, cost = cluster_means(case["rows"], kept, case["labels"], models, len(case["centroids"]))
    tables = [[balance(p, q, alpha) for p, q in zip(quality, cost, strict=True)] for alpha in case["alphas"]]
    chosen = [
        [choose(vector, case["centroids"], table, case["top_k"], case["beta"]) for vector in case["vectors"]]
        for table in tables
    ]
    return {"balance": tables, "chosen": chosen}


if __name__ == "__main__":
    case = make_case()
    GOLDEN.write_text(json.dumps(case | solve(case)), encoding="utf-8")
