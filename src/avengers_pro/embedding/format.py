"""How a text is written, beside what it says: 22 numbers that tell code, maths, choices and chat apart."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from avengers_pro.embedding.embedder import Embedder, Vectors

FORMAT_DIMENSION = 22
MAX_CHARS = 8_000
"""Only the head of a text is looked at."""

_OPTION = re.compile(r"(?:^|\n)\s*\(?[A-J][\).:]\s")
_CODE_MARKS = ("```", "def ", "import ")
_BRACKETS = "{}[]();=_<>"
_OPERATORS = "+-*/^=<>≤≥"
_SINGLE = '\n\\$?",.{:'
_single = itemgetter(*map(ord, _SINGLE))
_brackets = itemgetter(*map(ord, _BRACKETS))
_operators = itemgetter(*(ord(char) for char in _OPERATORS if char.isascii()))


def format_features(text: str) -> list[float]:
    """Return the 22 features of one text, each of the order of 1, none dependent on other texts.

    Shares are of the text's characters and scaled so that ordinary values differ by about 1; counts are logarithms.
    """
    head = text[:MAX_CHARS]
    n = len(head) + 1
    words = head.split()
    n_words = len(words) + 1
    marks = _marks(head)
    newlines, backslashes, dollars, questions, quotes, commas, dots, braces, colons = marks.single
    options = len(_OPTION.findall(head)) if newlines else int(_OPTION.match(head) is not None)
    return [
        math.log(n),
        50 * newlines / n,
        5 * marks.digits / n,
        5 * marks.capitals / n,
        5 * marks.brackets / n,
        50 * backslashes / n,
        50 * dollars / n,
        float(any(mark in head for mark in _CODE_MARKS)),
        math.log1p(options),
        100 * questions / n,
        len(set(words)) / n_words,
        sum(map(len, words)) / n_words / 5,
        float(head.rstrip().endswith("?")),
        5 * marks.foreign / n,
        5 * marks.operators / n,
        float("http://" in head or "https://" in head),
        100 * quotes / n,
        float(braces > 0 and quotes > 0 and colons > 0),
        float(head[:1].islower()),
        math.log1p(head.count("\n\n")),
        100 * commas / n,
        100 * dots / n,
    ]


@dataclass(frozen=True, slots=True)
class _Marks:
    """How often characters occur: ``single`` those of _SINGLE, the others in groups."""

    single: tuple[int, ...]
    digits: int
    capitals: int
    brackets: int
    operators: int
    foreign: int


def _marks(text: str) -> _Marks:
    """Count characters; ASCII text, the common case, is tallied once instead of searched for each of them."""
    if not text.isascii():
        foreign = len(text) - len(text.encode("ascii", "ignore"))
        digits, capitals = sum(map(str.isdigit, text)), sum(map(str.isupper, text))
        count = text.count
        brackets, operators = sum(map(count, _BRACKETS)), sum(map(count, _OPERATORS))
        return _Marks(tuple(map(count, _SINGLE)), digits, capitals, brackets, operators, foreign)
    tally = np.bincount(np.frombuffer(text.encode(), dtype=np.uint8), minlength=128).tolist()
    digits, capitals = sum(tally[ord("0") : ord("9") + 1]), sum(tally[ord("A") : ord("Z") + 1])
    return _Marks(_single(tally), digits, capitals, sum(_brackets(tally)), sum(_operators(tally)), 0)


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
