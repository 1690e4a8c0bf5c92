"""How a spec string names an embedder: ``static``, ``openai:<model>`` and so on."""

from collections.abc import Callable
from difflib import get_close_matches

from avengers_pro.embedding.embedder import Embedder, EmbeddingOptions
from avengers_pro.errors import EmbeddingError

FORMS = {
    "static": "static",
    "openai": "openai:<model>",
    "model2vec": "model2vec:<folder or name>",
    "sentence-transformers": "sentence-transformers:<folder or name>",
}
"""Kind of embedder → the form of its spec."""

_DEFAULTS = EmbeddingOptions()


def load_embedder(
    spec: str, options: EmbeddingOptions = _DEFAULTS, progress: Callable[[int, int], None] | None = None
) -> Embedder:
    """Make the embedder that a spec names.

    Args:
        spec: One of ``FORMS``.
        options: How to reach it. The cache serves every embedder but ``static``, which is as fast as it.
        progress: Called with (texts done, texts in all) as ``embed`` proceeds; not by ``static``.

    Raises:
        EmbeddingError: If no embedder has such a spec, or it cannot be made.
        MissingExtraError: If it needs a package that is not installed.
    """
    kind, _, name = spec.partition(":")
    if spec == "static":
        from avengers_pro.embedding.static import StaticEmbedder

        return StaticEmbedder()
    if kind not in FORMS or kind == "static" or not name:
        raise _unknown(spec)
    if kind == "openai":
        from avengers_pro.embedding.http import HttpEmbedder

        return HttpEmbedder(name, options, progress=progress, timeout_s=options.timeout_s, attempts=options.attempts)

    from avengers_pro.embedding.cache import VectorCache
    from avengers_pro.embedding.cached import CachedEmbedder
    from avengers_pro.embedding.local import Model2VecEmbedder, SentenceTransformersEmbedder

    load = Model2VecEmbedder if kind == "model2vec" else SentenceTransformersEmbedder
    cache = None if options.cache_path is None else VectorCache(options.cache_path)
    return CachedEmbedder(load(name), cache, progress=progress)


def _unknown(spec: str) -> EmbeddingError:
    """Explain a spec that names no embedder, with the nearest form that does."""
    near = get_close_matches(spec.partition(":")[0].lower(), FORMS, n=1, cutoff=0.5)
    hint = f"did you mean {FORMS[near[0]]!r}? " if near else ""
    return EmbeddingError(f"there is no embedder {spec!r}; {hint}valid are: {', '.join(FORMS.values())}")
