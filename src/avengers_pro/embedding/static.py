"""The bundled embedder: static token vectors, averaged. Offline, no key, no download."""

import logging
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from avengers_pro.embedding.embedder import Vectors, unit_rows
from avengers_pro.errors import EmbeddingError

MAX_CHARS = 32_768
"""Longer texts keep their first and last halves of this many characters: time and memory stay bounded."""
_BATCH = 1024


class StaticEmbedder:
    """WordLlama's 256-dimensional static embedding, whose weights ship inside its wheel."""

    dimension = 256

    def __init__(self) -> None:
        """Load the weights, about 0.2 s once per process."""
        model = _load_weights()
        self._table = model.embedding
        self._tokenize = model.tokenizer.encode_batch_fast

        self._id = f"static:wordllama-{metadata.version('wordllama')}-{self.dimension}"

    @property
    def id(self) -> str:
        """``static:wordllama-<version>-256``: other weights would be another embedder."""
        return self._id

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, 256) unit rows; about 0.1 ms a text.

        Raises:
            EmbeddingError: If a text is empty.
        """
        for position, text in enumerate(texts):
            if not text:
                raise EmbeddingError(f"text {position} is empty; there is nothing to embed")
            if not _is_unicode(text):
                raise EmbeddingError(f"text {position} is no Unicode text; decode it first")
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _BATCH):
            clipped = [clip(text, MAX_CHARS) for text in texts[start : start + _BATCH]]
            for row, tokens in enumerate(self._tokenize(clipped, add_special_tokens=False), start):
                self._table.take(tokens.ids, axis=0, mode="clip").mean(axis=0, out=vectors[row])
        return unit_rows(vectors)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clip(text: str, max_chars: int) -> str:
    """Keep the head and the tail of a text that is longer than ``max_chars``."""
    if len(text) <= max_chars:
        return text
    half = max_chars // 2
    return text[:half] + text[-half:]


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
    model = WordLlama.load(cache_dir=Path(spec.origin).parent, disable_download=True)
    model.tokenizer.no_padding()  # texts are averaged one by one: a batch needs no more memory than its tokens
    return model
