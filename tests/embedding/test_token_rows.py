"""Rows that are read when they are needed are those of the whole table."""

import mmap
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from avengers_pro.embedding.token_rows import TokenRows

TABLE = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float16)


@contextmanager
def mapped(content):
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@given(st.lists(st.lists(st.integers(0, len(TABLE) - 1), max_size=40), max_size=8))
def test_rows_are_those_of_the_table_however_often_they_are_asked_for(texts):
    with mapped(save({"other": np.zeros(3), "table": TABLE})) as file:
        rows = TokenRows(file, "table")
        for tokens in texts:
            found = rows.take(np.array(tokens, dtype=np.int32))
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, TABLE[tokens].astype(np.float32).reshape(len(tokens), 8))


def test_threads_find_whole_rows():
    wide = np.random.default_rng(1).normal(size=(20_000, 64)).astype(np.float16)
    with mapped(save({"table": wide})) as file, ThreadPoolExecutor(4) as pool:
        rows = TokenRows(file, "table")
        asked = [np.random.default_rng(n).integers(0, len(wide), 300, dtype=np.int32) for n in range(200)]
        for tokens, found in zip(asked, pool.map(rows.take, asked), strict=True):
            np.testing.assert_array_equal(found, wide[tokens].astype(np.float32))


def test_a_file_without_the_table_is_refused():
    with mapped(save({"other": TABLE})) as file, pytest.raises(KeyError, match="table"):
        TokenRows(file, "table")
    with mapped(save({"table": TABLE})[:-1]) as file, pytest.raises(ValueError, match="bytes"):
        TokenRows(file, "table")
