"""The vectors of tokens, which stay in their file until a text needs them."""

import mmap

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.tensors import arrays_of


class TokenRows:
    """The rows of a float16 table in a mapped safetensors file; a row becomes float32 when it is first needed.

    A few tokens of a language make most of its texts: other rows, and the memory below them, are never touched.
    (numpy takes 0.5 us to convert a row: converting those of each text would cost more than adding them.)
    """

    def __init__(self, file: mmap.mmap, name: str) -> None:
        """Begin with none.

        Args:
            file: Mapped read-only.
            name: Of the (tokens, d) table in it.

        Raises:
            ValueError: If the file is damaged.
            KeyError: If there is no such table.
        """
        self._file, self._stored = file, arrays_of(file)[name]
        memory = mmap.mmap(-1, self._stored.size * np.dtype(np.float32).itemsize)  # of small pages, none there yet
        self._rows = np.frombuffer(memory, dtype=np.float32).reshape(self._stored.shape)
        self._is_here = np.zeros(len(self._stored), dtype=np.bool_)

    def take(self, tokens: NDArray[np.int32]) -> Vectors:
        """Return the (t, d) rows of t tokens. Threads may do so at the same time: they would write the same."""
        here = self._is_here.take(tokens)
        if not here.all():
            self._fetch(tokens[~here])
        rows: Vectors = self._rows.take(tokens, axis=0, mode="clip")  # which is faster, and no token lies outside
        return rows

    def _fetch(self, tokens: NDArray[np.int32]) -> None:
        self._rows[tokens] = self._stored[tokens]
        self._is_here[tokens] = True
        if hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)  # what was read came with its neighbours; the file is there still
