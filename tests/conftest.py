"""Shared real parts: the simulated sample, its vectors, and the folder of real records if it is there."""

from pathlib import Path

import numpy as np
import pytest

from avengers_pro.demo import sample_path
from avengers_pro.embedding import Vectors
from avengers_pro.embedding.static import StaticEmbedder
from avengers_pro.records import Records, read_records

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def sample() -> Records:
    """The simulated sample pool: 2,000 queries x 13 models, one of them with a gap."""
    return read_records(sample_path()).records


@pytest.fixture(scope="session")
def sample_vectors(sample: Records) -> Vectors:
    return StaticEmbedder().embed(sample.queries)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real evaluation records and goldens beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED.name}/ with real evaluation records is not beside this checkout")
    return SHARED


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
