"""The sample pool: simulated evaluation records around published averages, for trying things out."""

from pathlib import Path


def sample_path() -> Path:
    """Path of the shipped records file: simulated data, 2,000 rows, 13 models, 10 datasets.

    Only the averages per model and dataset are published facts. The queries, the single scores, costs, tokens
    and latencies are generated, so the file shows how the tools work and proves nothing about any model.
    """
    return Path(__file__).with_name("sample.jsonl.gz")
