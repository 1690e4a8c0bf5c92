"""A saved router is equal bytes for equal fits, and any damage is a specific error."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.errors import ArtifactError, ArtifactVersionError, DamagedArtifactError
from avengers_pro.routing import Router
from avengers_pro.routing.artifact import ARRAYS, HEADER
from simulated import synthetic


@pytest.fixture
def folder(tmp_path):
    records, vectors = synthetic()
    Router.fit(records, method="avengers-pro-paper", vectors=vectors, clusters=5).save(tmp_path / "router")
    return tmp_path / "router"


def test_equal_fits_give_equal_bytes(folder, tmp_path):
    records, vectors = synthetic()
    Router.fit(records, method="avengers-pro-paper", vectors=vectors, clusters=5).save(tmp_path / "again")
    for name in (HEADER, ARRAYS):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == [HEADER, ARRAYS]


def test_loading_saving_and_loading_again_is_the_same(folder, tmp_path):
    Router.load(folder).save(tmp_path / "copy")
    assert (folder / HEADER).read_bytes() == (tmp_path / "copy" / HEADER).read_bytes()


def test_examples_can_be_left_out(tmp_path):
    records, vectors = synthetic()
    Router.fit(records, vectors=vectors, keep_examples=False).save(tmp_path / "router")
    assert "simulated query" not in (tmp_path / "router" / HEADER).read_text()
    assert Router.load(tmp_path / "router").examples == ()


@pytest.mark.parametrize("name", [HEADER, ARRAYS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DamagedArtifactError, match=name):
        Router.load(folder)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_found(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip") / "router"
    records, vectors = synthetic(n=30)
    Router.fit(records, method="avengers-pro-paper", vectors=vectors, clusters=3).save(folder)
    path = folder / data.draw(st.sampled_from([HEADER, ARRAYS]))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    before = content[position]
    content[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != before))
    path.write_bytes(content)
    if path.name == HEADER and same_header(content, folder):
        return
    with pytest.raises(ArtifactError):
        Router.load(folder)


def same_header(content: bytearray, folder) -> bool:
    """White space between values may change without changing what the header says."""
    try:
        text = json.loads(bytes(content))
    except ValueError:
        return False
    fresh = folder.parent / "fresh"
    records, vectors = synthetic(n=30)
    Router.fit(records, method="avengers-pro-paper", vectors=vectors, clusters=3).save(fresh)
    return text == json.loads((fresh / HEADER).read_text())


@pytest.mark.parametrize("keep", [0, 1, 50, -2])
def test_truncation_is_found(folder, keep):
    for name in (HEADER, ARRAYS):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:keep])
        with pytest.raises(DamagedArtifactError):
            Router.load(folder)
        (folder / name).write_bytes(content)
    Router.load(folder)


@pytest.mark.parametrize(("version", "advice"), [(2, "update avengers-pro"), (0, "fit the router again")])
def test_other_versions_are_refused_with_advice(folder, version, advice):
    header = json.loads((folder / HEADER).read_text())
    header["format_version"] = version
    (folder / HEADER).write_text(json.dumps(header))
    with pytest.raises(ArtifactVersionError, match=advice):
        Router.load(folder)


def resign(folder, change_header=None, arrays=None):
    """Write a router whose hash is right but whose content is wrong: what a hash alone cannot catch."""
    from avengers_pro.routing import artifact

    header, old = artifact.load(folder)
    if change_header:
        change_header(header)
    artifact.save(folder, header, old if arrays is None else arrays(old))


def test_arrays_that_do_not_fit_the_models_are_found(folder):
    resign(folder, change_header=lambda header: header.models.pop())
    with pytest.raises(DamagedArtifactError, match="expected"):
        Router.load(folder)


def test_centroids_that_do_not_fit_the_embedder_are_found(folder):
    resign(folder, arrays=lambda old: old | {"centroids": old["centroids"][:, :3]})
    with pytest.raises(DamagedArtifactError, match="dimension"):
        Router.load(folder)


def test_infinite_and_wrong_typed_arrays_are_found(folder):
    resign(folder, arrays=lambda old: old | {"score_sums": old["score_sums"] * np.inf})
    with pytest.raises(DamagedArtifactError, match="score_sums"):
        Router.load(folder)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    records, vectors = synthetic()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactError, match="cannot be written"):
        Router.fit(records, vectors=vectors).save(tmp_path / "file")
