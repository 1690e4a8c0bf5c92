"""Embedding in steps: each distinct text at most once, known ones from the cache, every step kept at once."""

from collections.abc import Callable, Sequence

import numpy as np

from avengers_pro.embedding.cache import VectorCache
from avengers_pro.embedding.embedder import Embedder, Vectors
from avengers_pro.errors import EmbeddingError

Progress = Callable[[int, int], None]
"""Called with (texts done, texts in all) whenever a step is finished."""
Deliver = Callable[[Sequence[str], Vectors], None]
"""Takes some texts and their (n, d) unit rows; a producer calls it for each finished step."""
Produce = Callable[[Sequence[str], Deliver], None]
"""Embeds distinct texts and delivers every one of them once, in any order."""

_STEP = 1_024


class CachedEmbedder:
    """Another embedder behind a cache and a progress report; same id, same vectors."""

    def __init__(self, inner: Embedder, cache: VectorCache | None = None, *, progress: Progress | None = None) -> None:
        """Wrap ``inner``; without a cache, repeated texts are still embedded only once."""
        self._inner = inner
        self._cache = cache
        self._progress = progress

    @property
    def id(self) -> str:
        """Id of the embedder inside."""
        return self._inner.id

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return self._inner.dimension

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimension) unit rows, in the order of the texts.

        Raises:
            EmbeddingError: If a text is empty or cannot be embedded, or the cache cannot be used.
        """
        if not texts:
            return self._inner.embed(texts)
        return embed_missing(
            texts,
            self._produce,
            self.id,
            dimension=self.dimension,
            cache=self._cache,
            progress=self._progress,
        )

    def _produce(self, texts: Sequence[str], deliver: Deliver) -> None:
        for start in range(0, len(texts), _STEP):
            step = texts[start : start + _STEP]
            deliver(step, self._inner.embed(step))


def embed_missing(
    texts: Sequence[str],
    produce: Produce,
    embedder_id: str,
    *,
    dimension: int | None = None,
    cache: VectorCache | None = None,
    progress: Progress | None = None,
) -> Vectors:
    """Collect vectors from the cache and produce the rest.

    Args:
        texts: (n,) with n ≥ 1, repeats allowed, none empty.
        produce: Embeds the distinct texts that the cache does not know; not called when there are none.
        embedder_id: Whose vectors.
        dimension: Length that vectors from the cache must have; None = not known yet.
        cache: Where to look first, and where each delivered step is put at once.
        progress: Told after the look-up, if that found any, and after each step.

    Returns:
        (n, d) float32 in the order of the texts; repeated texts have equal rows.

    Raises:
        EmbeddingError: If a text is empty, vectors differ in length, or a text or the cache fails.
    """
    require_texts(texts)
    result = _Result(texts, embedder_id, progress)
    if cache is not None:
        _recall(result, cache, dimension)

    def deliver(step: Sequence[str], vectors: Vectors) -> None:
        result.place(step, vectors)
        if cache is not None:
            cache.put_many(embedder_id, step, vectors)
        result.report()

    if result.missing:
        produce(list(result.missing), deliver)
    return result.vectors


def require_texts(texts: Sequence[str]) -> None:
    """Refuse texts that have nothing to embed.

    Raises:
        EmbeddingError: If a text is empty; the message says which.
    """
    for position, text in enumerate(texts):
        if not text:
            raise EmbeddingError(f"text {position} is empty; there is nothing to embed")


def _recall(result: "_Result", cache: VectorCache, dimension: int | None) -> None:
    """Place what the cache knows, a step at a time: beside the result, only one step is in memory."""
    texts = list(result.missing)
    for start in range(0, len(texts), _STEP):
        step = texts[start : start + _STEP]
        found = cache.get_many(result.embedder_id, step, dimension=dimension)
        if found:
            result.place([step[row] for row in found], np.stack(list(found.values())))
    if len(result.missing) < len(texts):
        result.report()


class _Result:
    """The vectors of one call, filled in any order.

    Attributes:
        vectors: (n, d) float32; rows of missing texts are not set yet.
        missing: Distinct text → its rows, for texts without a vector so far.
    """

    def __init__(self, texts: Sequence[str], embedder_id: str, progress: Progress | None) -> None:
        self.embedder_id = embedder_id
        self.vectors: Vectors = np.empty((len(texts), 0), dtype=np.float32)
        self.missing: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            self.missing.setdefault(text, []).append(row)
        self._progress = progress
        self._done = 0

    def place(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Set the rows of these texts.

        Raises:
            EmbeddingError: If the vectors are longer or shorter than those placed before.
        """
        dimension = vectors.shape[1]
        if not self._done:
            self.vectors = np.empty((len(self.vectors), dimension), dtype=np.float32)
        elif dimension != self.vectors.shape[1]:
            raise EmbeddingError(
                f"{self.embedder_id!r} gave vectors of length {dimension} beside others of length "
                f"{self.vectors.shape[1]}; if those come from a cache that another model "
                "of this name filled, name another cache file"
            )
        for text, vector in zip(texts, vectors, strict=True):
            rows = self.missing.pop(text)
            self.vectors[rows] = vector
            self._done += len(rows)

    def report(self) -> None:
        """Tell how many of the texts have a vector."""
        if self._progress is not None:
            self._progress(self._done, len(self.vectors))
