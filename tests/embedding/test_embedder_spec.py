"""Specs and what they name."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from embedding_server import DIMENSION, running_server, unit_vectors
from test_local_embedders import make_model2vec

from avengers_pro.embedding import EmbeddingOptions, load_embedder
from avengers_pro.embedding.cache import VectorCache
from avengers_pro.errors import EmbeddingError, MissingExtraError


def test_static() -> None:
    embedder = load_embedder("static", EmbeddingOptions(cache_path=Path("/nowhere/it is not used")))

    assert embedder.id.startswith("static:wordllama-")
    assert embedder.dimension == 256


def test_openai(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with running_server() as server:
        options = EmbeddingOptions(base_url=server.base_url, cache_path=tmp_path / "vectors.sqlite")
        embedder = load_embedder("openai:org/model:7b", options, lambda done, total: seen.append((done, total)))
        vectors = embedder.embed(["a"])

    assert embedder.id == "openai:org/model:7b"
    assert embedder.dimension == DIMENSION
    assert server.requests[0].body["model"] == "org/model:7b"
    assert seen == [(1, 1)]
    np.testing.assert_allclose(vectors, unit_vectors(["a"]), atol=1e-6)
    assert VectorCache(tmp_path / "vectors.sqlite").get_many(embedder.id, ["a"])


def test_model2vec_with_and_without_cache(tmp_path: Path) -> None:
    spec = f"model2vec:{make_model2vec(tmp_path / 'tiny')}"
    cache_path = tmp_path / "vectors.sqlite"
    texts = ["prove the sum", "code", "prove the sum"]

    plain = load_embedder(spec)
    cached = load_embedder(spec, EmbeddingOptions(cache_path=cache_path))

    np.testing.assert_array_equal(cached.embed(texts), plain.embed(texts))
    np.testing.assert_array_equal(cached.embed(texts), plain.embed(texts))
    assert plain.id == cached.id
    assert plain.dimension == cached.dimension == 4
    assert cached.embed([]).shape == (0, 4)
    assert list(VectorCache(cache_path).get_many(plain.id, texts)) == [0, 1, 2]


def test_sentence_transformers_when_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)

    with pytest.raises(MissingExtraError, match="sentence-transformers:some-model"):
        load_embedder("sentence-transformers:some-model")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("statik", "did you mean 'static'?"),
        ("static:256", "did you mean 'static'?"),
        ("open-ai:gpt", "did you mean 'openai:<model>'?"),
        ("OpenAI:gpt", "did you mean 'openai:<model>'?"),
        ("openai", "did you mean 'openai:<model>'?"),
        ("openai:", "did you mean 'openai:<model>'?"),
        ("sentence_transformer:x", "did you mean 'sentence-transformers:<folder or name>'?"),
        ("", ""),
        ("zzz", ""),
    ],
)
def test_unknown_specs_list_the_forms(spec: str, hint: str) -> None:
    with pytest.raises(EmbeddingError) as caught:
        load_embedder(spec)

    assert str(caught.value) == " ".join(
        filter(
            None,
            [
                f"there is no embedder {spec!r};",
                hint,
                "valid are: static, openai:<model>, model2vec:<folder or name>,",
                "sentence-transformers:<folder or name>",
            ],
        )
    )


def test_importing_is_cheap() -> None:
    program = (
        "import sys; import avengers_pro.embedding;"
        "print(sorted({'aiohttp', 'stamina', 'wordllama', 'sqlite3', 'model2vec'} & set(sys.modules)))"
    )
    # Measuring coverage would import sqlite3 by itself.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=plain)

    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
