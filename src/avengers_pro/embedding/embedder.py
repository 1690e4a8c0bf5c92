"""What an embedder is, and how a spec string names one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import EmbeddingError

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into unit vectors.

    Attributes:
        id: Names the embedder and everything that changes its vectors; stored with all that is made from them.
        dimension: Length of each vector.
    """

    @property
    def id(self) -> str:
        """Name of the embedder and of everything that changes its vectors."""
        ...

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (len(texts), dimension) float32 rows of length 1, in the order of the texts.

        Raises:
            EmbeddingError: If a text cannot be embedded.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingOptions:
    """How to reach an embedder; none of it changes what a vector means, except ``dimensions``.

    Attributes:
        base_url: Root of an OpenAI-compatible API, up to and including ``/v1``.
        api_key: Bearer token for it; never logged.
        dimensions: Shorter vectors, if the server can make them.
        max_tokens: Longest text sent, in tokens (estimated); longer ones keep head and tail.
        cache_path: SQLite file that keeps vectors between runs; None = no cache.
        timeout_s: Longest duration of one request to it, in seconds.
        attempts: Tries per request, the first one included, at least 1.
    """

    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    dimensions: int | None = None
    max_tokens: int | None = None
    cache_path: Path | None = None
    timeout_s: float = 60.0
    attempts: int = 6


def unit_rows(vectors: NDArray[np.floating]) -> Vectors:
    """Scale each row to length 1.

    Args:
        vectors: (n, d), finite.

    Returns:
        (n, d) float32.

    Raises:
        EmbeddingError: If a row is zero or not finite.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    good = (lengths > 0) & (lengths < np.inf)
    if not good.all():
        raise EmbeddingError(
            f"the embedder gave no usable vector for text {good.argmin()} (zero or not finite); is the text empty?"
        )
    return np.asarray(vectors / lengths, dtype=np.float32)
