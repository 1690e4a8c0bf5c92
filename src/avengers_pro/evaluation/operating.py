"""Operating points chosen inside train: nothing about them is picked on test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding import Vectors
from avengers_pro.evaluation.replay import Part, replay
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.method import Method

FOLDS = 3
ROUNDING = 1e-12
GOALS = {"quality": None, "equal": 1.0, "95%": 0.95, "90%": 0.9}
"""``quality`` maximises the score; the others are the cheapest alpha that keeps this share of the best single's."""


@dataclass(frozen=True, slots=True)
class TrainCurve:
    """Score and cost of every alpha, measured on train by cross-validation.

    Attributes:
        scores: (a,) mean over train queries, each decided by a fit that did not see it.
        costs: (a,) US dollars a query; NaN if not known.
        best_score: Mean train score of the best single model.
    """

    scores: Floats
    costs: Floats
    best_score: float

    def pick(self, goal: float | None) -> int:
        """Return the position of the alpha that meets a goal of ``GOALS``; the best score if none does."""
        if goal is not None:
            meets = np.flatnonzero(self.scores >= goal * self.best_score - ROUNDING)
            if meets.size:
                return int(meets[np.lexsort((-self.scores[meets], self.costs[meets]))[0]])
        return int(np.lexsort((self.costs, -self.scores))[0])


def train_curve(
    method: Method,
    records: Records,
    vectors: Vectors,
    alphas: Floats,
    best: int,
    seed: int,
    *,
    min_score: float | None = None,
    selected: int = 1,
) -> TrainCurve:
    """Cross-validate a method inside train, folds stratified by dataset."""
    scores, costs = np.zeros((2, len(alphas)))
    folds = _folds(records, seed)
    for fold in range(FOLDS):
        rest, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        fitted = method.fit(records.take(rest), vectors[rest], seed)
        part = Part(records.take(held), vectors[held], held)
        seen = replay(fitted, part, alphas.tolist(), min_score=min_score, selected=selected)
        scores += seen.scores.sum(axis=1)
        costs += seen.costs.sum(axis=1)
    return TrainCurve(scores / len(records), costs / len(records), float(np.nanmean(records.scores[:, best])))


def _folds(records: Records, seed: int) -> NDArray[np.intp]:
    """Deal the shuffled rows of each dataset round-robin into folds."""
    generator = np.random.default_rng(seed)
    folds = np.empty(len(records), dtype=np.intp)
    start = 0
    for code in range(len(records.dataset_names)):
        rows = generator.permutation(np.flatnonzero(records.dataset_codes == code))
        folds[rows] = (start + np.arange(len(rows))) % FOLDS
        start += len(rows)
    return folds
