"""The SQLite cache of vectors, alone."""

import multiprocessing
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from embedding_server import DIMENSION, vector_of
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.embedding.cache import VectorCache
from avengers_pro.embedding.cached import CachedEmbedder
from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import EmbeddingError


def rows(texts: Sequence[str]) -> Vectors:
    return np.stack([vector_of(text) for text in texts])


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def test_found_by_position_with_repeats(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "new" / "folder" / "vectors.sqlite")
    cache.put_many("e", ["c", "a"], rows(["c", "a"]))

    found = cache.get_many("e", ["a", "b", "c", "a"], dimension=DIMENSION)

    assert list(found) == [0, 2, 3]
    assert all(vector.dtype == np.float32 for vector in found.values())
    np.testing.assert_array_equal(np.stack(list(found.values())), rows(["a", "c", "a"]))


def test_embedders_do_not_share_vectors(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite")
    cache.put_many("one", ["a"], rows(["a"]))

    assert cache.get_many("two", ["a"]) == {}


def test_the_first_vector_of_a_text_stays(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite")
    cache.put_many("e", ["a"], rows(["a"]))
    cache.put_many("e", ["a", "a"], rows(["b", "c"]))

    np.testing.assert_array_equal(cache.get_many("e", ["a"])[0], vector_of("a"))


def test_more_texts_than_parameters_of_one_query(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(2_345)]
    cache = VectorCache(tmp_path / "vectors.sqlite")
    cache.put_many("e", texts, rows(texts))

    assert len(cache.get_many("e", texts)) == len(texts)


def test_texts_are_not_stored(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite")
    cache.put_many("e", ["a private diary"], rows(["a private diary"]))

    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"CREATE TABLE" in stored
    assert b"private" not in stored


def test_the_file_is_in_wal_mode_and_vectors_are_little_endian(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite")
    cache.put_many("e", ["a"], np.array([[1.0, -2.5]], dtype=np.float32))

    with closing(sqlite3.connect(cache.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT vector FROM vectors").fetchone() == (b"\0\0\x80?\0\0 \xc0",)


@pytest.mark.parametrize("blob", [b"", b"1234567", b"1234"])
def test_a_vector_of_wrong_length_names_file_and_remedy(tmp_path: Path, blob: bytes) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite")
    cache.put_many("e", ["a", "b"], rows(["a", "b"]))
    change(cache.path, "UPDATE vectors SET vector = ? WHERE rowid = 2", blob)

    for dimension in (None, DIMENSION):
        with pytest.raises(EmbeddingError, match=r"vectors\.sqlite holds a vector of .*delete the file"):
            cache.get_many("e", ["a", "b"], dimension=dimension)


def test_vectors_of_another_dimension_are_refused(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite")
    cache.put_many("e", ["a"], rows(["a"]))

    with pytest.raises(EmbeddingError, match=r"of 32 bytes for 'e', where 16 bytes \(4 float32\) were expected"):
        cache.get_many("e", ["a"], dimension=4)


def test_a_file_that_is_no_database_names_file_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are my notes, and they are no database. " * 50)

    with pytest.raises(EmbeddingError, match=r"notes\.txt cannot be used \(file is not a database\); delete the file"):
        VectorCache(path)
    assert path.read_text().startswith("These are my notes")


def test_a_path_that_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddingError, match="cannot be used"):
        VectorCache(tmp_path)
    with pytest.raises(EmbeddingError, match="cannot be used"):
        VectorCache(tmp_path / "file" / "vectors.sqlite")


def test_a_new_cache_waits_for_a_busy_file(tmp_path: Path) -> None:
    """SQLite itself refuses to switch to WAL at once, without waiting, while another connection is writing."""
    path = tmp_path / "vectors.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.1, writer.execute, ["COMMIT"])
        release.start()
        cache = VectorCache(path)
        release.join()

    assert cache.get_many("e", ["a"]) == {}


def test_a_file_that_stays_busy_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avengers_pro.embedding.cache._BUSY_S", 0.05)
    path = tmp_path / "vectors.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(EmbeddingError, match="database is locked"):
            VectorCache(path)


def test_a_failed_put_leaves_nothing(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path / "vectors.sqlite")

    with pytest.raises(ValueError, match="zip"):
        cache.put_many("e", ["a", "b"], rows(["a"]))

    assert cache.get_many("e", ["a"]) == {}


def write_share(path: Path, share: int) -> None:
    """Write some texts that all processes write, and some of its own, in many transactions."""
    cache = VectorCache(path)
    for number in range(25):
        texts = [f"common {number}", f"own {share} {number}"]
        cache.put_many("e", texts, rows(texts))
        assert len(cache.get_many("e", texts)) == 2


def test_several_processes_write_one_cache(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(write_share, [path] * 4, range(4)))

    texts = [f"common {number}" for number in range(25)]
    texts += [f"own {share} {number}" for share in range(4) for number in range(25)]
    found = VectorCache(path).get_many("e", texts)
    np.testing.assert_array_equal(np.stack(list(found.values())), rows(texts))


def test_several_threads_use_one_cache(tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    threads = [threading.Thread(target=write_share, args=(path, share)) for share in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(VectorCache(path).get_many("e", [f"own {s} {n}" for s in range(4) for n in range(25)])) == 100


class Hashing:
    """A small real embedder that counts what it is asked."""

    id = "hashing"
    dimension = DIMENSION

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        return rows(texts) if texts else np.empty((0, DIMENSION), dtype=np.float32)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), texts=st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=12))
def test_any_embedder_behind_the_cache_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, texts: list[str]
) -> None:
    known = data.draw(st.lists(st.sampled_from(texts), max_size=6))
    cache = VectorCache(tmp_path_factory.mktemp("cache") / "vectors.sqlite")
    CachedEmbedder(Hashing(), cache).embed(known)
    inner = Hashing()

    embedder = CachedEmbedder(inner, cache)

    np.testing.assert_array_equal(embedder.embed(texts), rows(texts))
    assert inner.asked == [text for text in dict.fromkeys(texts) if text not in known]
    assert (embedder.id, embedder.dimension) == ("hashing", DIMENSION)


def test_steps_are_reported_and_kept_at_once(tmp_path: Path) -> None:
    """An embedder that fails in its third step leaves two in the cache."""

    class Failing(Hashing):
        def embed(self, texts: Sequence[str]) -> Vectors:
            if len(self.asked) >= 2_048:
                raise EmbeddingError("enough")
            return super().embed(texts)

    texts = [f"text {number}" for number in range(2_100)]
    seen: list[tuple[int, int]] = []
    cache = VectorCache(tmp_path / "vectors.sqlite")
    with pytest.raises(EmbeddingError, match="enough"):
        CachedEmbedder(Failing(), cache, progress=lambda *step: seen.append(step)).embed(texts)
    assert seen == [(1_024, 2_100), (2_048, 2_100)]

    rest = Hashing()
    CachedEmbedder(rest, cache).embed(texts)
    assert rest.asked == texts[2_048:]
