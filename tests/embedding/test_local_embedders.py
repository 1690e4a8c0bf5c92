"""Models that run here, on tiny ones made on the spot."""

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from avengers_pro.embedding.local import Model2VecEmbedder, SentenceTransformersEmbedder, _identify
from avengers_pro.errors import EmbeddingError, MissingExtraError

WORDS = ["[UNK]", "[PAD]", "prove", "the", "sum", "write", "code"]


def make_model2vec(folder: Path, seed: int = 0) -> Path:
    """Save a real static model of seven words and four dimensions."""
    model2vec = pytest.importorskip("model2vec")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    tokenizer.pre_tokenizer = Whitespace()
    vectors = np.random.default_rng(seed).standard_normal((len(WORDS), 4)).astype(np.float32)
    model2vec.StaticModel(vectors, tokenizer).save_pretrained(folder)
    return folder


def test_a_model2vec_folder(tmp_path: Path) -> None:
    folder = make_model2vec(tmp_path / "tiny")
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()

    embedder = Model2VecEmbedder(str(folder))
    vectors = embedder.embed(["prove the sum", "write code", "prove the sum"])

    assert embedder.id == f"model2vec:tiny@{digest[:12]}"
    assert embedder.dimension == 4
    assert vectors.shape == (3, 4)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    np.testing.assert_array_equal(vectors[1:2], embedder.embed(["write code"]))
    assert embedder.embed([]).shape == (0, 4)


def test_other_weights_are_another_embedder(tmp_path: Path) -> None:
    one = Model2VecEmbedder(str(make_model2vec(tmp_path / "a" / "tiny")))
    same = Model2VecEmbedder(str(make_model2vec(tmp_path / "b" / "tiny")))
    other = Model2VecEmbedder(str(make_model2vec(tmp_path / "c" / "tiny", seed=1)))

    assert one.id == same.id != other.id


def test_a_hub_name_is_the_id() -> None:
    assert _identify("organisation/model") == "organisation/model"


@pytest.mark.parametrize(("text", "message"), [("", "text 1 is empty"), ("日本", "no usable vector for text 1")])
def test_texts_without_a_vector(tmp_path: Path, text: str, message: str) -> None:
    embedder = Model2VecEmbedder(str(make_model2vec(tmp_path)))

    with pytest.raises(EmbeddingError, match=message):
        embedder.embed(["code", text])


def test_a_folder_without_weights(tmp_path: Path) -> None:
    pytest.importorskip("model2vec")
    with pytest.raises(EmbeddingError, match=r"holds no weights \(\*\.safetensors or"):
        Model2VecEmbedder(str(tmp_path))


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    folder = make_model2vec(tmp_path)
    (folder / "tokenizer.json").unlink()

    with pytest.raises(EmbeddingError, match=r"cannot be loaded .*give a model folder"):
        Model2VecEmbedder(str(folder))


def test_sentence_transformers(tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    if find_spec("sentence_transformers.sentence_transformer"):  # newer versions moved it
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    else:
        from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(make_model2vec(tmp_path / "tokens") / "tokenizer.json"))
    weights = np.random.default_rng(0).standard_normal((len(WORDS), 4)).astype(np.float32)
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    sentence_transformers.SentenceTransformer(modules=[module], device="cpu").save(str(tmp_path / "tiny"))

    embedder = SentenceTransformersEmbedder(str(tmp_path / "tiny"))
    vectors = embedder.embed(["prove the sum", "write code"])

    assert embedder.id.startswith("sentence-transformers:tiny@")
    assert embedder.dimension == 4
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert embedder.embed([]).shape == (0, 4)
    with pytest.raises(EmbeddingError, match="text 0 is empty"):
        embedder.embed([""])
    (tmp_path / "tiny" / "modules.json").write_text("no JSON")
    with pytest.raises(EmbeddingError, match="cannot be loaded"):
        SentenceTransformersEmbedder(str(tmp_path / "tiny"))


@pytest.mark.parametrize(
    ("embedder", "module", "package"),
    [
        (Model2VecEmbedder, "model2vec", "model2vec"),
        (SentenceTransformersEmbedder, "sentence_transformers", "sentence-transformers"),
    ],
)
def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, embedder: type, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(MissingExtraError, match=rf"'{package}:x' needs {package}: pip install 'avengers-pro\[local\]'"):
        embedder("x")
