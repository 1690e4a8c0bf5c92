"""How well a model answers a query, and at what length: taken from simulated records.

The records of `avengers_pro.demo.generate` have the published mean score and cost of each model on each dataset. A
query that is among them gets what they say. Another query of the same kind borrows the outcome of one of them, the
same one for all models, so that means, and what models have in common, stay those of the records.
"""

import gzip
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import msgspec

from avengers_pro.demo import sample_path
from avengers_pro.demo.generate import SampleRow

_WORD = re.compile(r"[a-z]{3,}")
_FEWEST_WORDS = 4
_KNOWN_SHARE = 0.8
"""A text of fewer words, or with fewer of them known from the kind, is of no known kind."""
_SMOOTHING = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a model makes of a query.

    Attributes:
        dataset: The kind of the query.
        score: In [0, 1].
        completion_tokens: Of the whole answer with hidden reasoning, at least 1.
    """

    dataset: str
    score: float
    completion_tokens: int


class Outcomes:
    """Outcomes by model and query, from simulated records."""

    def __init__(self, rows: Iterable[SampleRow]) -> None:
        """Learn the queries and the words of each kind."""
        self._by_query: dict[str, SampleRow] = {}
        self._by_dataset: dict[str, list[SampleRow]] = defaultdict(list)
        self._models: set[str] = set()
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            self._by_query[row["query"]] = row
            self._by_dataset[row["dataset"]].append(row)
            self._models.update(row["usages"])
            for word in _words(row["query"]):
                counts[word][row["dataset"]] += 1
        self._datasets = tuple(self._by_dataset)
        self._weights = {word: self._log_shares(count) for word, count in counts.items()}

    def outcome(self, model: str, query: str, seed: int) -> Outcome | None:
        """Return the outcome; None if the model is not in the records or the query is of no known kind.

        Args:
            model: Name as in the records.
            query: Any text.
            seed: Decides from which query another one borrows.
        """
        if model not in self._models:
            return None
        row = self._by_query.get(query) or self._lender(query, seed)
        if row is None or model not in row["usages"]:
            return None
        score = row["records"][model]
        if score is None:
            return None
        return Outcome(dataset=row["dataset"], score=score, completion_tokens=row["usages"][model]["completion_tokens"])

    def kind(self, query: str) -> str | None:
        """Return the dataset whose queries have the same words (naive Bayes); None if none has."""
        words = _words(query)
        weights = [self._weights[word] for word in words if word in self._weights]
        if len(words) < _FEWEST_WORDS or not weights:
            return None
        sums = [math.fsum(column) for column in zip(*weights, strict=True)]
        best = sums.index(max(sums))
        never = math.log(_SMOOTHING / (len(self._by_dataset[self._datasets[best]]) + 2 * _SMOOTHING))
        seen = sum(weight[best] > never for weight in weights)
        return self._datasets[best] if seen >= _KNOWN_SHARE * len(words) else None

    def _lender(self, query: str, seed: int) -> SampleRow | None:
        kind = self.kind(query)
        if kind is None:
            return None
        rows = self._by_dataset[kind]
        return rows[int(Random(f"{seed}/{query}").random() * len(rows))]

    def _log_shares(self, count: Counter[str]) -> Sequence[float]:
        """Log of the smoothed share of each dataset's queries that have a word."""
        return [
            math.log((count[dataset] + _SMOOTHING) / (len(self._by_dataset[dataset]) + 2 * _SMOOTHING))
            for dataset in self._datasets
        ]


@cache
def sample_outcomes() -> Outcomes:
    """Outcomes of the shipped sample; read once."""
    with gzip.open(sample_path(), "rb") as file:
        return Outcomes(msgspec.json.decode(line, type=SampleRow) for line in file)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
