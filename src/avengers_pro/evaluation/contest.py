"""One contestant on one split: fitted on the train part, and what it chooses on the test part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding import Vectors
from avengers_pro.evaluation.operating import GOALS, train_curve
from avengers_pro.evaluation.protocol import Protocol, Split, knob_settings, make_split
from avengers_pro.evaluation.replay import replay
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.baselines import SingleModel
from avengers_pro.routing.method import Method


@dataclass(frozen=True, slots=True)
class Contestant:
    """A method that takes part; ``selected`` > 1 is the published multi-model selection."""

    label: str
    method: Method
    baseline: bool
    selected: int = 1


@dataclass(frozen=True, slots=True)
class Choices:
    """What one contestant chose on the test part of one split; small, for it may come from another machine.

    Attributes:
        alphas: (a,) settings of the knob; NaN for a method without it.
        chosen: (a, n, r) columns of the chosen models, as in ``Replay``.
        picked: Which line of ``chosen`` each goal chose on the train part.
    """

    alphas: Floats
    chosen: NDArray[np.int16]
    picked: dict[str, int]


class Contest:
    """What is the same for all splits and contestants; called with a seed and a contestant's place.

    It can be pickled, and an entry depends on nothing but itself, so that entries may run anywhere, in any order.
    """

    def __init__(
        self,
        records: Records,
        vectors: Vectors,
        dimension: int,
        contestants: Sequence[Contestant],
        protocol: Protocol,
    ) -> None:
        """Prepare.

        Args:
            records: n queries x m models, as they are used.
            vectors: (n, d) unit rows.
            dimension: How many first columns of the vectors are the embedding; format features may follow.
            contestants: Who takes part.
            protocol: Splits and alphas.
        """
        self._records, self._vectors, self._dimension = records, vectors, dimension
        self._contestants, self._protocol = contestants, protocol
        self._last: Split | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the last split out; whoever needs it makes it again."""
        return Contest, (self._records, self._vectors, self._dimension, self._contestants, self._protocol)

    def split(self, seed: int) -> Split:
        """Return the split of a seed; the last one is kept."""
        if self._last is None or self._last.seed != seed:
            self._last = make_split(self._records, self._vectors, self._dimension, self._protocol, seed)
        return self._last

    def __call__(self, entry: tuple[int, int]) -> Choices:
        """Fit a contestant on the train part of a split and let it choose on the test part.

        Args:
            entry: The seed, and the contestant's place.
        """
        seed, place = entry
        contestant, split = self._contestants[place], self.split(seed)
        method, selected = contestant.method, contestant.selected
        split = split.suited(method.features)
        if isinstance(method, SingleModel) and method.model is None:
            method = SingleModel(split.train.models[split.best])
        alphas = knob_settings(self._records, self._protocol) if method.uses_alpha else None
        min_score = None if contestant.baseline else self._protocol.min_score
        fitted = method.fit(split.train, split.train_vectors, split.seed)
        knob = None if alphas is None else alphas.tolist()
        seen = replay(fitted, split.test, knob, min_score=min_score, selected=selected)
        if alphas is None or len(alphas) == 1:
            return Choices(seen.alphas, seen.chosen, dict.fromkeys(GOALS, 0))
        train = split.train, split.train_vectors
        curve = train_curve(method, *train, alphas, split.best, split.seed, min_score=min_score, selected=selected)
        return Choices(seen.alphas, seen.chosen, {goal: curve.pick(share) for goal, share in GOALS.items()})
