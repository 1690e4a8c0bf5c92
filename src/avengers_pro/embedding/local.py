"""Embedders that run a model on this machine, from a folder or by its name on the Hugging Face hub."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from avengers_pro.embedding.cached import require_texts
from avengers_pro.embedding.embedder import Vectors, unit_rows
from avengers_pro.errors import EmbeddingError, MissingExtraError

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""Weight files of a model folder, the kind that is loaded first before the other."""
_HASH_DIGITS = 12


class Model2VecEmbedder:
    """A model2vec static model.

    Attributes:
        id: ``model2vec:<name>``; of a folder, its name and the first digits of its weights' SHA-256.
        dimension: Length of each vector.
    """

    def __init__(self, name: str) -> None:
        """Load the model.

        Raises:
            MissingExtraError: If model2vec is not installed.
            EmbeddingError: If there is no such model.
        """
        _require("model2vec", "model2vec", name)
        from model2vec import StaticModel

        self.id = f"model2vec:{_identify(name)}"
        try:
            self._model = StaticModel.from_pretrained(name)
        except (OSError, ValueError) as error:
            raise _not_loaded(self.id, error) from error
        self.dimension = int(self._model.dim)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimension) unit rows.

        Raises:
            EmbeddingError: If a text is empty, or no part of it is in the model's vocabulary.
        """
        require_texts(texts)
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        return unit_rows(self._model.encode(list(texts), use_multiprocessing=False))


class SentenceTransformersEmbedder:
    """A sentence-transformers model.

    Attributes:
        id: ``sentence-transformers:<name>``; of a folder, its name and the first digits of its weights'
            SHA-256.
        dimension: Length of each vector.
    """

    def __init__(self, name: str) -> None:
        """Load the model.

        Raises:
            MissingExtraError: If sentence-transformers is not installed.
            EmbeddingError: If there is no such model.
        """
        _require("sentence_transformers", "sentence-transformers", name)
        from sentence_transformers import SentenceTransformer

        self.id = f"sentence-transformers:{_identify(name)}"
        try:
            self._model = SentenceTransformer(name)
        except (OSError, ValueError) as error:
            raise _not_loaded(self.id, error) from error
        self.dimension = self._encode(["dimension"]).shape[1]

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, dimension) unit rows.

        Raises:
            EmbeddingError: If a text is empty.
        """
        require_texts(texts)
        return self._encode(texts) if texts else np.empty((0, self.dimension), dtype=np.float32)

    def _encode(self, texts: Sequence[str]) -> Vectors:
        return unit_rows(self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False))


def _require(module: str, package: str, name: str) -> None:
    if find_spec(module) is None:
        raise MissingExtraError(package, "local", f"the embedder '{package}:{name}'")


def _not_loaded(embedder_id: str, error: Exception) -> EmbeddingError:
    return EmbeddingError(
        f"{embedder_id!r} cannot be loaded ({error}); give a model folder, or a name on the Hugging Face hub"
    )


def _identify(name: str) -> str:
    """Name a model so that other weights have another name; a hub name stays as it is."""
    folder = Path(name)
    if not folder.is_dir():
        return name
    for pattern in _WEIGHTS:
        files = sorted(folder.rglob(pattern))
        if files:
            digest = hashlib.sha256()
            for file in files:
                with file.open("rb") as stream:
                    while block := stream.read(1 << 20):
                        digest.update(block)
            return f"{folder.resolve().name}@{digest.hexdigest()[:_HASH_DIGITS]}"
    raise EmbeddingError(f"the model folder {name} holds no weights ({' or '.join(_WEIGHTS)})")
