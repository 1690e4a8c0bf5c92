"""Arrays are what the safetensors package would give, without a copy; a file that lies about itself is an error."""

import json
import mmap
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_st
from safetensors.numpy import load, save

from avengers_pro.errors import DamagedArtifactError
from avengers_pro.routing import Router, artifact
from avengers_pro.routing.artifact import ARRAYS, HEADER
from avengers_pro.tensors import arrays_of
from simulated import synthetic

TYPES = st.sampled_from(["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "<i1"])
SHAPES = arrays_st.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
TABLES = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=5).filter(lambda name: name != "__metadata__"),
    TYPES.flatmap(lambda kind: arrays_st.arrays(kind, SHAPES)),
    max_size=4,
)


def written(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(kind="F32", shape=(2,), offsets=(0, 8)) -> dict[str, object]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(offsets)}


@given(TABLES)
def test_arrays_are_those_of_the_package(table):
    content = save(table)
    found, expected = arrays_of(content), load(content)
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype
        assert array.shape == expected[name].shape
        assert array.tobytes() == expected[name].tobytes()


def test_metadata_and_arrays_out_of_line_are_read():
    header = {"__metadata__": {"made": "elsewhere"}, "b": entry(offsets=(3, 11)), "a": entry("I8", (3,), (0, 3))}
    content = written(header, b"abc" + np.array([1.5, 2.5], "<f4").tobytes())
    found = arrays_of(content)
    assert found["b"].tolist() == [1.5, 2.5]
    assert found["b"].flags.aligned


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02\0\0\0",
        (2**63).to_bytes(8, "little") + b"{}",
        (3).to_bytes(8, "little") + b"{}",
        written(b"{"),
        written(b"\xff\xfe"),
        written(b"[" * 100_000),
        written([]),
        written({}, b"more"),
        written({"a": 1}),
        written({"a": {"dtype": "F32"}}),
        written({"a": entry() | {"code": "x"}}, bytes(8)),
        written({"a": entry("BF16")}, bytes(8)),
        written({"a": entry("U8", (8,))}, bytes(8)),
        written({"a": entry("object")}, bytes(8)),
        written({"a": entry(offsets=(0, 4))}, bytes(8)),
        written({"a": entry(offsets=(8, 0))}, bytes(8)),
        written({"a": entry(offsets=(-8, 0))}, bytes(8)),
        written({"a": entry(offsets=(4, 12))}, bytes(12)),
        written({"a": entry(offsets=(0, 8))}, bytes(7)),
        written({"a": entry(offsets=(0, 8))}, bytes(9)),
        written({"a": entry(shape=(-2,))}, bytes(8)),
        written({"a": entry(shape=(2**62, 2**62))}, bytes(8)),
        written({"a": entry(shape=(0, 2**62, 2**62), offsets=(0, 0))}),
        written({"a": entry(shape=(1,) * 99 + (2,))}, bytes(8)),
        written({"a": entry(), "b": entry()}, bytes(8)),
        written({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
    ],
)
def test_a_file_that_lies_about_itself_is_refused(tmp_path, content):
    """Signed as if it were a router's, so that only the reader stands between it and the arrays."""
    records, vectors = synthetic(n=30)
    Router.fit(records, method="avengers-pro-paper", vectors=vectors, clusters=3).save(tmp_path)
    header, _ = artifact.load(tmp_path)
    (tmp_path / ARRAYS).write_bytes(content)
    header.sha256 = artifact._digest(header, content)
    (tmp_path / HEADER).write_bytes(artifact.msgspec.json.encode(header))
    for mapped in (False, True):
        with pytest.raises(DamagedArtifactError, match=r"not a safetensors file we can read"):
            artifact.load(tmp_path, mapped=mapped)


@pytest.fixture
def folder(tmp_path):
    records, vectors = synthetic()
    Router.fit(records, vectors=vectors, features="none").save(tmp_path / "router")
    return tmp_path / "router"


def test_mapped_arrays_are_views_of_the_file(folder):
    _, read = artifact.load(folder)
    _, mapped = artifact.load(folder, mapped=True)
    for name, array in mapped.items():
        np.testing.assert_array_equal(array, read[name])
        assert not array.flags.writeable
        base = array
        while isinstance(base, np.ndarray):
            base = base.base
        assert isinstance(getattr(base, "obj", base), mmap.mmap), name


def test_a_mapped_router_outlives_its_files(folder, tmp_path):
    records, vectors = synthetic()
    router = Router.load(folder, mapped=True)
    before = router.route_vectors(vectors)
    other = tmp_path / "other"
    Router.fit(records.take(range(40)), vectors=vectors[:40], features="none").save(other)
    Router.load(other).save(folder)  # replaced, not written over
    shutil.rmtree(folder)
    np.testing.assert_array_equal(router.route_vectors(vectors), before)


def test_a_mapped_router_can_be_changed(tmp_path):
    """Changes give new routers; nothing tries to write into the arrays of the old one."""
    records, _ = synthetic()
    Router.fit(records).save(tmp_path)
    router = Router.load(tmp_path, mapped=True)
    before = [decision.model for decision in router.route_many(records.queries)]
    first = router.models[0]
    changed = [
        router.remove_model(first),
        router.reprice(first, factor=2.0),
        router.update(records, half_life=50),
        router.relearn(records),
        router.remove_model(first).add_model(first, records.select_models([first])),
    ]
    for other in changed:
        other.route_many(records.queries)
    assert [decision.model for decision in router.route_many(records.queries)] == before
