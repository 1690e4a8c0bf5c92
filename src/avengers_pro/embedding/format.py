"""How a text is written, beside what it says: 22 numbers that tell code, maths, choices and chat apart."""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from avengers_pro.embedding.embedder import Embedder, Vectors

FORMAT_DIMENSION = 22
MAX_CHARS = 8_000
"""Only the head of a text is looked at."""

_OPTION = re.compile(r"(?:^|\n)\s*\(?[A-J][\).:]\s")
_CODE_MARKS = ("```", "def ", "import ")
_BRACKETS = "{}[]();=_<>"
_OPERATORS = "+-*/^=<>≤≥"


def format_features(text: str) -> list[float]:
    """Return the 22 features of one text, each of the order of 1, none dependent on other texts.

    Shares are of the text's characters and scaled so that ordinary values differ by about 1; counts are logarithms.
    """
    head = text[:MAX_CHARS]
    n = len(head) + 1
    words = head.split()
    n_words = len(words) + 1
    count, digits, capitals, foreign = _characters(head)
    return [
        math.log(n),
        50 * count("\n") / n,
        5 * digits / n,
        5 * capitals / n,
        5 * sum(map(count, _BRACKETS)) / n,
        50 * count("\\") / n,
        50 * count("$") / n,
        float(any(mark in head for mark in _CODE_MARKS)),
        math.log1p(len(_OPTION.findall(head))),
        100 * count("?") / n,
        len(set(words)) / n_words,
        sum(map(len, words)) / n_words / 5,
        float(head.rstrip().endswith("?")),
        5 * foreign / n,
        5 * sum(map(count, _OPERATORS)) / n,
        float("http://" in head or "https://" in head),
        100 * count('"') / n,
        float("{" in head and '"' in head and ":" in head),
        float(head[:1].islower()),
        math.log1p(head.count("\n\n")),
        100 * count(",") / n,
        100 * count(".") / n,
    ]


def _characters(text: str) -> tuple[Callable[[str], int], int, int, int]:
    """Return a counter of single characters, and how many are digits, capitals and not ASCII.

    ASCII text, the common case, is tallied once instead of searched for each character.
    """
    if not text.isascii():
        digits, capitals = sum(map(str.isdigit, text)), sum(map(str.isupper, text))
        return text.count, digits, capitals, len(text) - len(text.encode("ascii", "ignore"))
    tally = np.bincount(np.frombuffer(text.encode(), dtype=np.uint8), minlength=128).tolist()
    digits, capitals = sum(tally[ord("0") : ord("9") + 1]), sum(tally[ord("A") : ord("Z") + 1])
    return (lambda char: tally[ord(char)] if char.isascii() else 0), digits, capitals, 0


class WithFormat:
    """An embedder whose rows are [unit vector ; 22 raw format features].

    The features are put on the vector's scale by the method that asked for them, from its training rows.
    """

    def __init__(self, inner: Embedder) -> None:
        """Wrap an embedder."""
        self.inner = inner

    @property
    def id(self) -> str:
        """The inner id and the version of the features."""
        return f"{self.inner.id}+format-1"

    @property
    def dimension(self) -> int:
        """22 more than the inner embedder's."""
        return self.inner.dimension + FORMAT_DIMENSION

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (n, d + 22) float32 rows; only the first d columns have length 1.

        Raises:
            EmbeddingError: If a text cannot be embedded.
        """
        return with_format(self.inner.embed(texts), texts)


def with_format(vectors: Vectors, texts: Sequence[str]) -> Vectors:
    """Append the format features of n texts to their (n, d) vectors."""
    rows = np.empty((len(texts), vectors.shape[1] + FORMAT_DIMENSION), dtype=np.float32)
    rows[:, :-FORMAT_DIMENSION] = vectors
    for row, text in enumerate(texts):
        rows[row, -FORMAT_DIMENSION:] = format_features(text)
    return rows
