"""The bundled embedder: static token vectors, averaged. Offline, no key, no download."""

import logging
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from avengers_pro.embedding.embedder import Vectors, unit_rows
from avengers_pro.errors import EmbeddingError

MAX_CHARS = 32_768
"""Longer texts keep their first and last halves of this many characters: memory stays bounded."""
_BATCH_CHARS = 65_536
_BATCH_TEXTS = 64


class StaticEmbedder:
    """WordLlama's 256-dimensional static embedding, whose weights ship inside its wheel."""

    dimension = 256

    def __init__(self) -> None:
        """Load the weights, about 0.2 s once per process."""
        self._model = _load_weights()

    @property
    def id(self) -> str:
        """``static:wordllama-<version>-256``: other weights would be another embedder."""
        return f"static:wordllama-{metadata.version('wordllama')}-{self.dimension}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, 256) unit rows; about 0.1 ms a text.

        Raises:
            EmbeddingError: If a text is empty.
        """
        for position, text in enumerate(texts):
            if not text:
                raise EmbeddingError(f"text {position} is empty; there is nothing to embed")
        clipped = [clip(text, MAX_CHARS) for text in texts]
        vectors = np.empty((len(clipped), self.dimension), dtype=np.float32)
        for rows in _batches(clipped):
            vectors[rows] = self._model.embed([clipped[row] for row in rows], batch_size=_BATCH_TEXTS)
        return unit_rows(vectors)


def clip(text: str, max_chars: int) -> str:
    """Keep the head and the tail of a text that is longer than ``max_chars``."""
    if len(text) <= max_chars:
        return text
    half = max_chars // 2
    return text[:half] + text[-half:]


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Group positions of texts of like length: a batch is padded to its longest text."""
    batch: list[int] = []
    for row in sorted(range(len(texts)), key=lambda row: len(texts[row])):
        if batch and (len(batch) == _BATCH_TEXTS or len(texts[row]) * (len(batch) + 1) > _BATCH_CHARS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@cache
def _load_weights() -> Any:
    """Load WordLlama from its own wheel, undoing the logging setup that its import performs."""
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise EmbeddingError("the package wordllama is not installed; reinstall avengers-pro")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    from wordllama import WordLlama

    root.handlers[:] = handlers
    root.setLevel(level)
    return WordLlama.load(cache_dir=Path(spec.origin).parent, disable_download=True)
