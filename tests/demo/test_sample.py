"""The shipped sample: what it promises about itself."""

import gzip
import json
import re
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from avengers_pro.demo import sample_path
from avengers_pro.demo.generate import SampleRow, generate, main, write_sample
from avengers_pro.demo.pool import DATASETS, MODELS, Published
from avengers_pro.demo.queries import topics
from avengers_pro.embedding.static import StaticEmbedder

PAIRS = [
    pytest.param(model.name, dataset.name, published, id=f"{model.name}-{dataset.name}")
    for model in MODELS
    for dataset in DATASETS
    if (published := model.published[dataset.name]) is not None
]


@pytest.fixture(scope="module")
def rows() -> list[SampleRow]:
    return [json.loads(line) for line in _lines(sample_path())]


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def _scores(rows: list[SampleRow], dataset: str) -> NDArray[np.float64]:
    """(n_queries, n_models) of one dataset; NaN = not observed."""
    return np.array([list(row["records"].values()) for row in rows if row["dataset"] == dataset], dtype=float)


def test_the_generator_reproduces_the_shipped_file(tmp_path: Path) -> None:
    write_sample(tmp_path / "again.gz")
    assert _lines(tmp_path / "again.gz") == _lines(sample_path())


def test_the_command_writes_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first.gz", tmp_path / "second.gz"
    main([str(first), "--rows", "50", "--seed", "7"])
    main([str(second), "--rows", "50", "--seed", "7"])
    assert first.read_bytes() == second.read_bytes()
    assert len(_lines(first)) == 50


def test_another_seed_gives_another_sample() -> None:
    assert list(generate(30, seed=1)) != list(generate(30, seed=2))


@pytest.mark.parametrize("size", [0, 3, 10, 101])
def test_any_number_of_rows(size: int) -> None:
    assert [row["index"] for row in generate(size)] == list(range(size))


def test_the_file_is_small() -> None:
    assert sample_path().stat().st_size < 400_000


def test_the_shape_of_the_sample(rows: list[SampleRow]) -> None:
    sizes = {dataset.name: len(_scores(rows, dataset.name)) for dataset in DATASETS}
    assert sum(sizes.values()) == len(rows) == 2000
    assert min(sizes.values()) >= 120
    assert [row["index"] for row in rows] == list(range(2000))
    assert all(list(row["records"]) == [model.name for model in MODELS] for row in rows)
    assert len({row["query"] for row in rows}) == 2000
    assert all(60 <= len(row["query"]) <= 900 for row in rows)


def test_no_slot_is_left_unfilled(rows: list[SampleRow]) -> None:
    assert not [row["query"] for row in rows if re.search(r"<[a-z]+\d?>|<\d+-\d+>", row["query"])]


@pytest.mark.parametrize("dataset", [dataset.name for dataset in DATASETS])
def test_every_dataset_has_sub_topics(dataset: str) -> None:
    assert len(topics(dataset)) >= 4


@pytest.mark.parametrize(("model", "dataset", "published"), PAIRS)
def test_means_are_the_published_ones(rows: list[SampleRow], model: str, dataset: str, published: Published) -> None:
    """Scores up to one answer's rounding, costs up to whole tokens; both well inside sampling error."""
    mine = [row for row in rows if row["dataset"] == dataset]
    scores = np.array([row["records"][model] for row in mine], dtype=float)
    costs = np.array([row["usages"][model]["cost"] for row in mine])
    assert abs(scores.mean() - published.score) <= 0.5 / len(mine) + 1e-12
    assert costs.mean() == pytest.approx(published.cost_usd, rel=0.005)


def test_only_gpt5_chat_on_tau2_is_missing(rows: list[SampleRow]) -> None:
    missing = {(row["dataset"], name) for row in rows for name, score in row["records"].items() if score is None}
    assert missing == {("sim-tau2", "openai/gpt-5-chat")}
    assert all(
        [name for name, score in row["records"].items() if score is not None] == list(row["usages"]) for row in rows
    )


def test_scores_are_right_or_wrong_but_for_the_judged_dataset(rows: list[SampleRow]) -> None:
    values = {dataset.name: set(_scores(rows, dataset.name).ravel()) for dataset in DATASETS[:-1]}
    assert values.pop("sim-arena-hard") == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert set().union(*values.values()) == {0.0, 1.0}


def test_the_oracle_is_as_far_above_the_models_as_published(rows: list[SampleRow]) -> None:
    oracle = np.mean([np.nanmax(_scores(rows, dataset.name), axis=1).mean() for dataset in DATASETS])
    assert 0.82 <= oracle <= 0.88


def test_usage_is_consistent(rows: list[SampleRow]) -> None:
    """Cost is tokens times price, and more completion tokens never take less time."""
    for model in MODELS:
        used = [row["usages"][model.name] for row in rows if model.name in row["usages"]]
        for usage in used:
            tokens = usage["prompt_tokens"], usage["completion_tokens"]
            assert min(tokens) >= 1
            price = (tokens[0] * model.input_price + tokens[1] * model.output_price) / 1e6
            assert usage["cost"] == pytest.approx(price, abs=1e-9)
        by_length = sorted(used, key=lambda usage: (usage["completion_tokens"], usage["latency_ms"]))
        latencies = [usage["latency_ms"] for usage in by_length]
        assert latencies == sorted(latencies)


def test_clusters_of_the_texts_find_the_datasets(rows: list[SampleRow]) -> None:
    vectors = StaticEmbedder().embed([row["query"] for row in rows])
    kmeans = faiss.Kmeans(vectors.shape[1], 30, niter=20, seed=42)
    kmeans.train(vectors)
    labels = kmeans.index.search(vectors, 1)[1].ravel()
    names = [dataset.name for dataset in DATASETS]
    counts = np.zeros((30, len(names)), dtype=int)
    np.add.at(counts, (labels, [names.index(row["dataset"]) for row in rows]), 1)
    assert counts.max(axis=1).sum() / len(rows) >= 0.8
