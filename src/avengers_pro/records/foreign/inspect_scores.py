"""Scores of Inspect as numbers: which scorer counts, and what its values mean."""

import math
from pathlib import Path
from typing import Any

import msgspec

from avengers_pro.errors import RecordsError
from avengers_pro.records.foreign.join import UNKNOWN
from avengers_pro.records.foreign.options import Options

_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_RULE = "a score must be a number, true, false, or one of C, P, I, N, yes, no"


class Score(msgspec.Struct, gc=False):
    """One scorer's verdict on a sample."""

    value: Any = None


class Scorers:
    """Which score of a sample counts, and what number it is.

    Args:
        path: The log, for messages.
        declared: The scorers that it declares, in order.
        options: Which ones are wanted, and the scale.

    Attributes:
        name: The scorer taken; None = no sample had a score yet.
    """

    def __init__(self, path: Path, declared: list[str], options: Options) -> None:
        self._path = path
        self._wanted = options.scorers
        self._scale = options.score_scale
        self._declared = declared
        self.name: str | None = None

    def value(self, scores: dict[str, Score]) -> Any:
        """Return the value that counts; None = there is none."""
        if not scores:
            return None
        if self.name is None:
            self.name = self._choose(list(scores))
        if self.name in scores:
            return scores[self.name].value
        scorer, _, key = self.name.rpartition("/")
        found = scores[scorer].value if scorer in scores else None
        return found.get(key) if isinstance(found, dict) else found

    def _choose(self, there: list[str]) -> str:
        declared = self._declared or there
        for name in self._wanted:
            if name in declared or name in there or name.rpartition("/")[0] in {*declared, *there}:
                return name
        if self._wanted:
            raise RecordsError(
                f"{self._path}: no scorer {' or '.join(map(repr, self._wanted))}; it has "
                f"{', '.join(dict.fromkeys([*declared, *there]))}; --scorer may be given several times"
            )
        return next((name for name in declared if name in there), there[0])

    def number(self, value: Any) -> float:
        """Return a score on the scale of the files; NaN = not observed.

        Raises:
            ValueError: If the value has no meaning as a score.
            RecordsError: If it is several values.
        """
        if value is None:
            return UNKNOWN
        if isinstance(value, bool):
            return self._scale * value
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, dict):
            keys = " or ".join(f"{self.name}/{key}" for key in value)
            raise RecordsError(f"{self._path}: the scorer {self.name} gives several values; choose --scorer {keys}")
        if isinstance(value, str):
            meaning = _LETTERS.get(value, _WORDS.get(value.lower()))
            if meaning is not None:
                return self._scale * meaning
            try:
                number = float(value)
            except ValueError as error:
                raise ValueError(_RULE) from error
            if math.isfinite(number):
                return number
        raise ValueError(_RULE)
