"""Decisions for a dataset, part by part, resumable."""

import json

import numpy as np
import pytest
from datasets import in_parts, write_wide

from avengers_pro.errors import AvengersProError, PolicyError, RecordsError
from avengers_pro.routing import Policy, Router
from avengers_pro.scale import SavedRouter, route_dataset
from avengers_pro.scale.parts import parts_of

pytest.importorskip("pyarrow", reason="decisions of a dataset are written as Parquet")


@pytest.fixture(scope="module")
def folder(sample, sample_vectors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("router") / "router"
    Router.fit(sample, vectors=sample_vectors).save(folder)
    return folder


@pytest.fixture(scope="module")
def some(sample):
    return sample.take(range(0, 2000, 4))


def read(output):
    from pyarrow import parquet

    return parquet.read_table(output).to_pylist()


def assert_decided(rows, router, records, policy):
    """Compare with decisions one by one, in order."""
    decisions = router.route_many(list(records.queries), policy)
    assert len(rows) == len(records)
    for row, decision in zip(rows, decisions, strict=True):
        assert row["model"] == decision.model
        assert tuple(row["clusters"]) == decision.clusters
        if decision.chosen is not None:
            assert row["expected_score"] == pytest.approx(decision.chosen.expected_score, rel=1e-5)
            assert row["expected_cost"] == pytest.approx(decision.chosen.expected_cost, rel=1e-5)
        else:
            assert row["expected_score"] is None


def test_decisions_are_those_of_the_router_in_the_order_of_the_input(folder, some, tmp_path):
    policy = Policy(alpha=0.4, max_cost=0.002)
    source = in_parts(some, tmp_path / "queries", 70)
    done = route_dataset(SavedRouter.read(folder), [source], tmp_path / "out", policy)
    rows = read(tmp_path / "out")
    assert_decided(rows, Router.load(folder), some, policy)
    assert (done.queries, done.parts, done.done_before) == (len(some), 8, 0)
    assert done.infeasible == sum(row["model"] is None for row in rows)
    assert [row["index"] for row in rows] == list(some.ids)
    assert not list((tmp_path / "out").glob(".*"))


def test_one_file_cut_into_ranges_keeps_its_row_numbers(folder, some, tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_text("".join(json.dumps({"query": query}) + "\n" for query in some.queries))
    parts = parts_of([str(path)], part_bytes=20_000)
    assert len(parts) > 3
    route_dataset(SavedRouter.read(folder), [str(path)], tmp_path / "out", parts=parts)
    assert [row["index"] for row in read(tmp_path / "out")] == [str(row) for row in range(len(some))]


def test_vectors_are_used_where_they_are_given(folder, sample, sample_vectors, tmp_path):
    other = np.roll(sample_vectors, 1, axis=0)  # so that it shows
    path = write_wide(sample, other, tmp_path / "queries.parquet")
    route_dataset(SavedRouter.read(folder), [path], tmp_path / "out")
    router = Router.load(folder)
    from avengers_pro.embedding.format import with_format

    chosen = router.route_vectors(with_format(other, sample.queries))
    assert [row["model"] for row in read(tmp_path / "out")] == [router.models[column] for column in chosen]


def test_what_is_whole_is_not_done_again(folder, some, tmp_path):
    source, output = in_parts(some, tmp_path / "queries", 100), tmp_path / "out"
    saved = SavedRouter.read(folder)
    route_dataset(saved, [source], output)
    whole = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.glob("part-*")}
    (output / "part-000002.parquet").unlink()
    (output / ".part-000002.parquet.0123.draft").write_bytes(b"half a file")
    done = route_dataset(saved, [source], output)
    assert (done.queries, done.parts, done.done_before) == (len(some), 5, 4)
    after = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.glob("part-*")}
    assert {name: content for name, (_, content) in after.items()} == {name: c for name, (_, c) in whole.items()}
    assert [name for name in whole if whole[name] != after[name]] == ["part-000002.parquet"]
    assert not list(output.glob(".*"))


def test_a_folder_of_another_run_is_refused(folder, some, tmp_path):
    source, output = in_parts(some, tmp_path / "queries", 300), tmp_path / "out"
    saved = SavedRouter.read(folder)
    route_dataset(saved, [source], output)
    with pytest.raises(AvengersProError, match="holds decisions of another run: policy differ"):
        route_dataset(saved, [source], output, Policy(alpha=0.1))
    in_parts(some.take(range(10)), tmp_path / "queries", 300)
    with pytest.raises(AvengersProError, match="files, parts differ"):
        route_dataset(saved, [source], output)
    (output / "_route.json").unlink()
    with pytest.raises(AvengersProError, match=r"holds part files but no _route\.json"):
        route_dataset(saved, [source], output)


def test_what_cannot_be_routed_is_refused(folder, some, tmp_path):
    saved = SavedRouter.read(folder)
    source = in_parts(some, tmp_path / "queries", 200)
    with pytest.raises(PolicyError, match="nobody"):
        route_dataset(saved, [source], tmp_path / "out", Policy(models=("nobody",)))
    assert not (tmp_path / "out").exists()
    with (tmp_path / "queries" / "part-0001.jsonl").open("a") as file:
        file.write('{"query": "  "}\n')
    with pytest.raises(RecordsError, match=r"part-0001\.jsonl:201: query: the query is empty"):
        route_dataset(saved, [source], tmp_path / "out")
    assert not (tmp_path / "out" / "part-000001.parquet").exists()
    assert not list((tmp_path / "out").glob(".part*"))
    with pytest.raises(AvengersProError, match="is no router"):
        SavedRouter.read(tmp_path)
