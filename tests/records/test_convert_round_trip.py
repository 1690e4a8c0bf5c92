"""Simulated records written in each foreign shape come back as they were."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import foreign_files as tools
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_tables import by_name, patient, texts

from avengers_pro.records import Records, write_records
from avengers_pro.records.foreign import convert

few = settings(patient, max_examples=30)
MODELS = ["lab/a", "lab/b-1", "openai/gpt-4o", "solo"]


@st.composite
def outcomes(draw: Any) -> Records:
    """A table in which every model ran on every query; costs and counts are known together, or not at all."""
    queries = draw(st.lists(texts, min_size=1, max_size=5))
    models = draw(st.lists(st.sampled_from(MODELS), min_size=1, max_size=3, unique=True))
    n, m = len(queries), len(models)
    ids = draw(st.lists(st.one_of(texts, st.integers(0, 10**9).map(str)), min_size=n, max_size=n, unique=True))
    datasets = draw(st.lists(st.sampled_from(["math", "default", "gsm8k_cot"]), min_size=n, max_size=n))

    def cells(values: Any) -> np.ndarray:
        return np.array(draw(st.lists(values, min_size=n * m, max_size=n * m)), dtype=np.float64).reshape(n, m)

    known = cells(st.booleans()) > 0
    scores = cells(st.one_of(st.just(np.nan), st.sampled_from([0.0, 1.0]), st.floats(0, 1)))
    return Records(
        queries=tuple(queries),
        models=tuple(models),
        scores=scores,
        costs=np.where(known, cells(st.floats(1e-9, 100)), np.nan),
        datasets=tuple(datasets),
        ids=tuple(ids),
        listed=np.ones((n, m), dtype=bool),
        prompt_tokens=np.where(known, cells(st.integers(1, 10**6)), np.nan) if known.any() else None,
        completion_tokens=np.where(known, cells(st.integers(1, 10**6)), np.nan) if known.any() else None,
    )


def content(records: Records) -> tuple[Any, ...]:
    """What a table says, whatever the order of its rows and models."""
    asked = dict(zip(zip(records.datasets, records.ids, strict=True), records.queries, strict=True))
    return sorted(records.models), asked, by_name(records)


def converted(write: Any) -> Records:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "sources"
        folder.mkdir()
        write(folder)
        return convert(folder).records


@pytest.mark.parametrize("kind", ["eval", "zstd", "json"])
@given(records=outcomes())
@few
def test_inspect_logs_hold_scores_tokens_and_costs(kind, records):
    assert content(converted(lambda folder: tools.write_inspect(records, folder, kind=kind))) == content(records)


@given(records=outcomes())
@few
def test_lm_eval_logs_hold_scores(records):
    alone = replace(records, costs=np.full(records.scores.shape, np.nan), prompt_tokens=None, completion_tokens=None)
    assert content(converted(lambda folder: tools.write_lm_eval(alone, folder))) == content(alone)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@given(records=outcomes())
@few
def test_routerbench_tables_hold_scores_and_costs(suffix, records):
    alone = replace(records, prompt_tokens=None, completion_tokens=None)
    found = converted(lambda folder: tools.write_routerbench(alone, folder / f"table{suffix}"))
    assert content(found) == content(alone)


@given(records=outcomes())
@few
def test_llmrouterbench_results_hold_scores_tokens_and_costs(records):
    named = replace(records, ids=tuple(f"test/{name}" for name in records.ids))
    assert content(converted(lambda folder: tools.write_llmrouterbench(records, folder))) == content(named)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet", ".csv"])
@given(records=outcomes())
@few
def test_our_own_files_stay_as_they_are(suffix, records):
    found = converted(lambda folder: write_records(records, folder / f"own{suffix}"))
    assert content(found) == content(records)


def test_latency_is_kept_in_milliseconds(tmp_path, sample):
    some = sample.take(range(3))
    timed = replace(some, latency_ms=np.full(some.scores.shape, 250.0))
    tools.write_inspect(timed, tmp_path)
    np.testing.assert_allclose(convert(tmp_path).records.latency_ms, 250.0)
