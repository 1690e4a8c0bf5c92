"""From texts to unit vectors."""

from avengers_pro.embedding.embedder import Embedder, EmbeddingOptions, Vectors
from avengers_pro.embedding.spec import load_embedder

__all__ = ["Embedder", "EmbeddingOptions", "Vectors", "load_embedder"]
