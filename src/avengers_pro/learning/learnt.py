"""What learning from traffic gives back: the router, and what changed in it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.records.table import Floats
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.queries import Queries

ALPHAS = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1)


@dataclass(frozen=True, slots=True)
class ModelLesson:
    """What was learnt of one model.

    Attributes:
        model: Its name.
        scores: Scores that were new.
        given: Their mean, in [0, 1]; NaN = none.
        expected: Mean of what the router expected of the model on the same queries; NaN = none.
        before: Mean score that the router expected of it over all queries; NaN = it did not know the model.
        after: Likewise after learning; NaN = the model is gone.
    """

    model: str
    scores: int
    given: float
    expected: float
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """What an alpha gave before and gives now on the traffic's queries, all by what the new router expects.

    Attributes:
        alpha: The trade-off.
        changed: Share of the queries for which another model is chosen now.
        score_before: Mean expected score of the old choices, in [0, 1]; NaN = unknown.
        score_after: Of the new ones.
        cost_before: Mean expected US dollars of the old choices; NaN = unknown.
        cost_after: Of the new ones.
    """

    alpha: float
    changed: float
    score_before: float
    score_after: float
    cost_before: float
    cost_after: float


@dataclass(frozen=True, slots=True)
class Learnt:
    """A router brought up to date, and what it took.

    Attributes:
        router: It.
        decisions: Requests that were new.
        scores: How many scores were learnt.
        left_out: Why other feedback was left out, and how much of it.
        offset: How much kinder all feedback learnt so far is than the records' scores let expect; no model is
            better or worse for it.
        models: What was learnt of each model of the router, in its order; then of those that are gone.
        frontier: What its choices were and are on the traffic's queries, by alpha.
        entered: Models of the pool table that were new.
        gone: Models that the pool table does not have.
    """

    router: Router
    decisions: int
    scores: int
    left_out: dict[str, int]
    offset: float
    models: tuple[ModelLesson, ...]
    frontier: tuple[FrontierPoint, ...]
    entered: tuple[str, ...]
    gone: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the router as plain values; NaN becomes None."""
        return {
            "decisions": self.decisions,
            "scores": self.scores,
            "left_out": self.left_out,
            "offset": self.offset,
            "entered": list(self.entered),
            "gone": list(self.gone),
            "models": [_plain(lesson) for lesson in self.models],
            "frontier": [_plain(point) for point in self.frontier],
        }


def frontier_points(before: Router, after: Router, vectors: Vectors) -> tuple[FrontierPoint, ...]:
    """Compare the choices of two routers.

    Args:
        before: The old one.
        after: The new one.
        vectors: (n, d) queries, at least one.
    """
    estimate = after.fitted.estimate(Queries(vectors))
    place = {name: column for column, name in enumerate(after.models)}
    columns = np.array([place.get(name, -1) for name in before.models] + [-1])
    rows = np.arange(len(vectors))
    points = []
    for alpha in ALPHAS:
        new = after.route_vectors(vectors, Policy(alpha=alpha))
        old = columns[before.route_vectors(vectors, Policy(alpha=alpha))]
        means = [
            _mean(np.where(chosen < 0, np.nan, values[rows, chosen]))
            for values in (estimate.expected_score, estimate.expected_cost)
            for chosen in (old, new)
        ]
        points.append(FrontierPoint(alpha, float((old != new).mean()), *means))
    return tuple(points)


def model_lessons(
    before: Router, started: Router, after: Router, names: Sequence[str], vectors: Vectors, scores: Floats
) -> tuple[ModelLesson, ...]:
    """Sum up what was learnt of each model.

    Args:
        before: The router as it was given.
        started: The same with its pool and clusters brought up to date, before the scores were learnt.
        after: The router that has learnt.
        names: n models that answered.
        vectors: (n, d) of the queries.
        scores: (n,) that were learnt.
    """
    columns = np.array([started.models.index(name) for name in names])
    expected = started.fitted.estimate(Queries(vectors)).expected_score[np.arange(len(names)), columns]
    answered = np.array(names)
    means = [{fact.name: fact.mean_score for fact in router.facts} for router in (before, after)]
    gone = [name for name in before.models if name not in after.models]
    found = []
    for name in (*after.models, *gone):
        rows = answered == name
        overall = [math.nan if (mean := known.get(name)) is None else mean for known in means]
        found.append(ModelLesson(name, int(rows.sum()), _mean(scores[rows]), _mean(expected[rows]), *overall))
    return tuple(found)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _plain(value: ModelLesson | FrontierPoint) -> dict[str, Any]:
    return {name: None if isinstance(one, float) and math.isnan(one) else one for name, one in asdict(value).items()}
