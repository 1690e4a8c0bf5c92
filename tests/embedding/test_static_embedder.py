"""The bundled embedder."""

import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

from avengers_pro.embedding.static import MAX_CHARS, StaticEmbedder, clip
from avengers_pro.errors import EmbeddingError

TEXTS = ["Prove that the sum of two odd numbers is even.", "x", "def add(a, b):", "日本語の文", "a " * 3_000]


def test_unit_rows_in_the_order_of_the_texts() -> None:
    embedder = StaticEmbedder()

    vectors = embedder.embed(TEXTS)

    assert embedder.id == f"static:wordllama-{metadata.version('wordllama')}-256"
    assert vectors.shape == (len(TEXTS), embedder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(embedder.embed(TEXTS), vectors)
    assert embedder.embed([]).shape == (0, 256)


def test_a_vector_does_not_depend_on_its_batch() -> None:
    embedder = StaticEmbedder()
    many = [f"{text} {number}" for number in range(40) for text in TEXTS]

    together = embedder.embed(many)

    alone = np.concatenate([embedder.embed([text]) for text in many])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_like_texts_are_near() -> None:
    one, like, unlike = StaticEmbedder().embed(
        [
            "Solve the quadratic equation.",
            "Find the roots of the quadratic.",
            "A poem about the sea at night.",
        ]
    )

    assert one @ like > one @ unlike


def test_a_very_long_text_keeps_head_and_tail() -> None:
    embedder = StaticEmbedder()
    head, tail = "begin " * (MAX_CHARS // 12 + 1), " finish" * (MAX_CHARS // 14 + 1)
    text = head + "middle " * 1_000_000 + tail

    np.testing.assert_array_equal(embedder.embed([text]), embedder.embed([clip(text, MAX_CHARS)]))
    assert len(clip(text, MAX_CHARS)) == MAX_CHARS
    assert "middle" not in clip(text, MAX_CHARS)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(EmbeddingError, match="text 1 is empty"):
        StaticEmbedder().embed(["a", ""])


def test_a_missing_wordllama_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from avengers_pro.embedding import static

    static._load_weights.cache_clear()
    monkeypatch.setitem(sys.modules, "wordllama", None)

    with pytest.raises(EmbeddingError, match="reinstall avengers-pro"):
        StaticEmbedder()


def test_logging_stays_as_it_was() -> None:
    """WordLlama sets up the root logger when it is imported; in a fresh process nothing of that is left."""
    program = (
        "import logging; logging.basicConfig(level='ERROR'); root = logging.getLogger();"
        "before = root.level, list(root.handlers);"
        "from avengers_pro.embedding import load_embedder; load_embedder('static').embed(['a']);"
        "assert before == (root.level, root.handlers), (root.level, root.handlers)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
