"""A fit on a dataset in parts is the fit on the table."""

import gzip
import json

import numpy as np
import pytest
from datasets import assert_same_router, in_parts, write_wide

from avengers_pro.errors import AvengersProError, EmbeddingError, MethodError, RecordsError
from avengers_pro.records import Records, write_records
from avengers_pro.routing import Router, build_method
from avengers_pro.routing.sampling import keys_of
from avengers_pro.scale import LocalEngine, ReadingChoice, fit_dataset, opened
from avengers_pro.scale.lines import lines_before, lines_of_part
from avengers_pro.scale.parts import is_dataset, parts_of

OURS = build_method("avengers-pro")


@pytest.fixture(scope="module")
def small(sample):
    return sample.take(range(0, 2000, 5))


@pytest.fixture(scope="module")
def expected(small):
    return Router.fit(small)


@pytest.mark.parametrize("part_bytes", [3_000, 100_000, 1 << 24])
def test_the_cut_changes_nothing(small, expected, tmp_path, part_bytes):
    write_records(small, tmp_path / "records.jsonl")
    path = str(tmp_path / "records.jsonl")
    found = fit_dataset([path], OURS, parts=parts_of([path], part_bytes=part_bytes))
    assert_same_router(found.router, expected)
    assert (found.rows, found.repeats, found.skipped) == (len(small), 0, 0)


def test_a_saved_router_routes_alike(small, expected, tmp_path):
    router = fit_dataset([in_parts(small, tmp_path / "parts", 90)], OURS).router
    router.save(tmp_path / "router")
    loaded = Router.load(tmp_path / "router")
    texts = list(small.queries[:50])
    assert [d.model for d in loaded.route_many(texts)] == [d.model for d in expected.route_many(texts)]


@pytest.mark.parametrize("objective", ["micro", "macro"])
def test_repeats_across_parts_count_once(small, tmp_path, objective):
    method = build_method("avengers-pro", {"objective": objective})
    twice = [*range(300), *range(100, 200), *range(300, 400)]
    table = Records.from_arrays(
        [small.queries[row] for row in twice],
        small.models,
        small.scores[twice] * 0.5,
        small.costs[twice],
        datasets=[small.datasets[row] for row in twice],
    )
    write_records(table, tmp_path / "records.jsonl")
    path = str(tmp_path / "records.jsonl")
    found = fit_dataset([path], method, parts=parts_of([path], part_bytes=50_000))
    assert (found.rows, found.repeats) == (500, 100)
    assert_same_router(found.router, Router.fit(table, method=method))


def test_larger_tables_are_sampled_alike(tmp_path):
    """More rows than clusters are learnt from, more than are calibrated on, and gaps."""
    rng = np.random.default_rng(5)
    n, m = 36_000, 3
    kind = rng.integers(0, 4, n)
    vectors = (rng.normal(size=(4, 256))[kind] + rng.normal(size=(n, 256))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (rng.random((n, m)) < rng.uniform(0.2, 0.9, (4, m))[kind]).astype(float)
    scores[rng.random((n, m)) < 0.1] = np.nan
    records = Records.from_arrays(
        [f"simulated {row}" for row in range(n)],
        [f"lab/{column}" for column in range(m)],
        scores,
        np.where(np.isnan(scores), np.nan, rng.lognormal(size=(n, m))),
        datasets=[f"set-{min(k, 2)}" for k in kind],
        ids=[str(row) for row in range(n)],
    )
    method = build_method("avengers-pro", {"levels": (4, 8), "features": "none"})
    expected = Router.fit(records, method=method, vectors=vectors)
    path = write_wide(records, vectors, tmp_path / "records.parquet", row_group=5_000)
    found = fit_dataset([path], method, parts=parts_of([path], part_rows=9_000))
    assert_same_router(found.router, expected)
    sample = expected.fitted.evidence.sample
    assert len(sample.weights) == 8192
    code = dict(zip(keys_of(records.queries).tolist(), records.dataset_codes.tolist(), strict=True))
    given = np.bincount([code[key] for key in sample.keys.tolist()])
    np.testing.assert_allclose(given, 8192 * np.bincount(records.dataset_codes) / n, atol=1)


def test_long_parquet_gzip_and_plain_lines_are_one_dataset(small, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_records(small.take(range(100)), folder / "a.jsonl.gz")
    write_records(small.take(range(100, 250)), folder / "b.parquet")
    write_records(small.take(range(250, 400)), folder / "c.jsonl")
    found = fit_dataset([str(folder)], OURS)
    assert_same_router(found.router, Router.fit(small))


def test_urls_and_globs_name_files(small, expected, tmp_path):
    fsspec = pytest.importorskip("fsspec", reason="URLs need fsspec")
    folder = in_parts(small, tmp_path / "parts", 150)
    system = fsspec.filesystem("memory")
    system.put(folder, "/dataset", recursive=True)
    for path in (f"{folder}/*.jsonl", "memory://dataset", "memory://dataset/part-*.jsonl"):
        assert is_dataset(path)
        assert_same_router(fit_dataset([path], OURS).router, expected)


def test_models_and_datasets_can_be_left_out(small, tmp_path):
    folder = in_parts(small, tmp_path / "parts", 120)
    model, dataset = small.models[1], small.dataset_names[0]
    reading = ReadingChoice(excluded_models=(model,), excluded_datasets=(dataset,))
    found = fit_dataset([folder], OURS, reading=reading)
    assert_same_router(found.router, Router.fit(small.exclude_models([model]).exclude_datasets([dataset])))
    with pytest.raises(RecordsError, match="unknown model 'nobody'"):
        fit_dataset([folder], OURS, reading=ReadingChoice(excluded_models=("nobody",)))


def test_a_bad_line_is_named_wherever_it_stands(small, tmp_path):
    write_records(small, tmp_path / "records.jsonl")
    path = tmp_path / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[333] = json.dumps({"query": "q", "records": {small.models[0]: 7}}) + "\n"
    path.write_text("".join(lines))
    parts = parts_of([str(path)], part_bytes=20_000)
    with pytest.raises(RecordsError, match=r"records\.jsonl:334: records\["):
        fit_dataset([str(path)], OURS, parts=parts)
    found = fit_dataset([str(path)], OURS, parts=parts, reading=ReadingChoice(skip_bad_lines=True))
    assert (found.skipped, [problem.line for problem in found.problems]) == (1, [334])
    assert_same_router(found.router, Router.fit(small.take([row for row in range(400) if row != 333])))


def test_bad_rows_of_parquet_are_named_and_their_vectors_left_out(small, tmp_path, sample_vectors):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    vectors = sample_vectors[::5]
    path = write_wide(small, vectors, tmp_path / "records.parquet", row_group=150)
    table = parquet.read_table(path)
    scores = small.scores.copy()
    scores[222, 0] = 3.0
    columns = [pa.array(column, mask=np.isnan(column)) for column in scores.T]
    struct = pa.StructArray.from_arrays(columns, list(small.models))
    parquet.write_table(table.set_column(2, "records", struct), path, row_group_size=150)
    with pytest.raises(RecordsError, match=r"records\.parquet:223: records\["):
        fit_dataset([path], OURS)
    found = fit_dataset([path], OURS, reading=ReadingChoice(skip_bad_lines=True))
    rows = [row for row in range(400) if row != 222]
    kept = Router.fit(small.take(rows), vectors=vectors[rows])
    np.testing.assert_allclose(found.router.fitted.profile.score_sums, kept.fitted.profile.score_sums, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v[:, :100], "must hold 256 numbers, as the embedder gives, got 100"),
        (lambda v: v * 2, "row 1: vector: must have length 1, got 2"),
    ],
)
def test_vectors_that_are_not_the_embedders_are_refused(small, sample_vectors, tmp_path, change, said):
    vectors = np.ascontiguousarray(change(sample_vectors[::5]))
    with pytest.raises(RecordsError, match=said):
        fit_dataset([write_wide(small, vectors, tmp_path / "records.parquet")], OURS)


def test_what_cannot_be_a_dataset_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    for path, said in (
        (tmp_path / "nowhere", "no such file"),
        (tmp_path, "a folder without"),
        (tmp_path / "notes.txt", "unknown kind of file"),
    ):
        with pytest.raises(RecordsError, match=said):
            parts_of([str(path)])
    (tmp_path / "bad.parquet").write_text("hello")
    with pytest.raises(RecordsError, match="cannot be read as Parquet"):
        parts_of([str(tmp_path / "bad.parquet")])
    (tmp_path / "bad.jsonl.gz").write_bytes(gzip.compress(b'{"query": "q", "records": {"a": 1}}\n' * 50)[:-20])
    with pytest.raises(RecordsError, match=r"bad\.jsonl\.gz: cannot be read"):
        fit_dataset([str(tmp_path / "bad.jsonl.gz")], OURS)


def test_methods_that_keep_rows_are_refused(tmp_path):
    with pytest.raises(MethodError, match="knn is fitted on one table in memory"):
        fit_dataset([str(tmp_path)], build_method("knn"))


def test_unknown_engines_and_embedders_are_refused(small, tmp_path):
    with pytest.raises(AvengersProError, match="no engine 'spark'"), opened("spark"):
        pass
    with pytest.raises(EmbeddingError, match="no embedder 'words'"):
        fit_dataset([in_parts(small, tmp_path / "p", 400)], OURS, LocalEngine(), embedder="words")


@pytest.mark.parametrize("part_bytes", [1, 7, 20, 10_000])
def test_every_line_is_in_one_part(tmp_path, part_bytes):
    path = tmp_path / "lines.jsonl"
    path.write_bytes("\ufeff".encode() + b"one\n\ntwo\n   \nthree and more\r\n\nlast")
    found = []
    for part in parts_of([str(path)], part_bytes=part_bytes):
        found += list(lines_of_part(part, lines_before(part)))
    assert found == [(1, b"one\n"), (3, b"two\n"), (5, b"three and more\r\n"), (7, b"last")]
