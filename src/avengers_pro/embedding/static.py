"""The bundled embedder: static token vectors, averaged. Offline, no key, no download."""

import mmap
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from avengers_pro.embedding.embedder import Vectors, unit_rows
from avengers_pro.embedding.token_rows import TokenRows
from avengers_pro.embedding.words import Words
from avengers_pro.errors import EmbeddingError

MAX_CHARS = 32_768
"""Longer texts keep their first and last halves of this many characters: time and memory stay bounded."""
_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"


class StaticEmbedder:
    """WordLlama's 256-dimensional static embedding, whose weights ship inside its wheel."""

    dimension = 256

    def __init__(self) -> None:
        """Map the weights and load the tokenizer, about 0.1 s once per process."""
        self._table, tokenizer = _load_weights()
        self._words = Words(tokenizer)
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
        for row, text in enumerate(texts):
            ids = self._words.ids(clip(text, MAX_CHARS))
            np.add.reduce(self._table.take(ids), axis=0, out=vectors[row])
            vectors[row] /= max(len(ids), 1)
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
def _load_weights() -> tuple[TokenRows, Any]:
    """Find token vectors and tokenizer from wordllama's wheel.

    The package itself is not imported: it would bring 500 modules, 50 MB and its own logging setup for two files.
    """
    from tokenizers import Tokenizer

    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise EmbeddingError("the package wordllama is not installed; reinstall avengers-pro")
    folder = Path(spec.origin).parent
    try:
        with (folder / _WEIGHTS).open("rb") as file:
            table = TokenRows(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), "embedding.weight")
        tokenizer = Tokenizer.from_file(str(folder / _TOKENIZER))
    except (OSError, KeyError, ValueError) as error:
        version = metadata.version("wordllama")
        raise EmbeddingError(f"wordllama {version} holds no {_WEIGHTS} as expected; install 0.4.0.post1") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return table, tokenizer
