"""What the figures read from an evaluation, in percent and in dollars for 1,000 queries."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from avengers_pro.evaluation.charts.theme import REFERENCES
from avengers_pro.evaluation.results import Evaluation, MethodResult, Point


@dataclass(frozen=True, slots=True)
class Contestant:
    """A method under test, or a baseline drawn for reference."""

    label: str
    result: MethodResult
    reference: bool


def contestants(evaluation: Evaluation) -> list[Contestant]:
    """Return the methods, then the references that have a curve."""
    found = [Contestant(label, result, reference=False) for label, result in evaluation.methods.items()]
    references = [label for label in REFERENCES if label in evaluation.baselines]
    return found + [Contestant(label, evaluation.baselines[label], reference=True) for label in references]


def found(evaluation: Evaluation, label: str) -> MethodResult | None:
    """Return a method or baseline by its label."""
    return evaluation.methods.get(label) or evaluation.baselines.get(label)


def singles(evaluation: Evaluation) -> list[Point]:
    """Return each single model with a score, best first."""
    result = evaluation.baselines.get("static")
    points = [point for point in result.mean.curve if math.isfinite(point.score_micro)] if result else []
    return sorted(points, key=lambda point: -point.score_micro)


def best_single(evaluation: Evaluation) -> Point | None:
    """Return what the best single model, chosen on train, does on test."""
    result = found(evaluation, "best-single")
    return result.mean.curve[0] if result else None


def best_single_name(evaluation: Evaluation) -> str:
    """Return the reference model, and how many others were chosen in its place on some splits."""
    others = {split.best_single for split in evaluation.splits} - {evaluation.verdict.reference}
    return evaluation.verdict.reference + (f" (on some splits {', '.join(sorted(others))})" if others else "")


def cost_of(point: Point) -> float:
    """Return US dollars for 1,000 queries; NaN if not known."""
    return math.nan if point.cost_per_query is None else 1000 * point.cost_per_query


def priced(points: Sequence[Point]) -> list[Point]:
    """Keep the points with a known cost and score."""
    return [point for point in points if math.isfinite(cost_of(point)) and math.isfinite(point.score_micro)]


def undominated(points: Sequence[Point]) -> list[Point]:
    """Keep the points that no other beats in score without costing more; by ascending cost."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (cost_of(point), -point.score_micro)):
        if not kept or point.score_micro > kept[-1].score_micro:
            kept.append(point)
    return kept


def is_log(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows these values better: all positive, over more than a factor of 12."""
    return bool(values) and min(values) > 0 and max(values) > 12 * min(values)


def nearest(curve: Sequence[Point], alpha: float | None) -> Point:
    """Return the point of a curve whose alpha is nearest."""
    if alpha is None:
        return curve[0]
    return min(curve, key=lambda point: abs((point.alpha if point.alpha is not None else alpha) - alpha))
