"""Small simulated tables for tests."""

import numpy as np

from avengers_pro.embedding import Vectors
from avengers_pro.records import Records


def synthetic(n: int = 120, m: int = 4, d: int = 12, seed: int = 0, missing: float = 0.0) -> tuple[Records, Vectors]:
    """Make simulated records in three groups, each with its own best model, and unit vectors that show the group."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n)
    centers = rng.normal(size=(3, d)) * 2
    vectors = centers[group] + rng.normal(size=(n, d))
    skill = rng.uniform(0.2, 0.9, (3, m))
    scores = (rng.random((n, m)) < skill[group]).astype(float)
    costs = rng.lognormal(size=(n, m)) * np.linspace(1, 5, m) * 1e-3
    gaps = rng.random((n, m)) < missing
    scores[gaps] = np.nan
    costs[gaps] = np.nan
    records = Records.from_arrays(
        [f"simulated query {row}" for row in range(n)],
        [f"lab/model-{column}" for column in range(m)],
        scores,
        costs,
        datasets=[f"group-{g}" for g in group],
    )
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return records, unit.astype(np.float32)
