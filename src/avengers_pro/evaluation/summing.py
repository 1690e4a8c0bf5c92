"""Means over splits. A metric that one split lacks, say a target not reached there, has no mean."""

from collections.abc import Sequence

import msgspec
import numpy as np

from avengers_pro.evaluation.results import MeanResult, OperatingPoint, Point, SplitResult


def mean_of(splits: Sequence[SplitResult]) -> MeanResult:
    """Average curves point by point, metrics and operating points."""
    return MeanResult(
        curve=[_mean_point([split.curve[line] for split in splits]) for line in range(len(splits[0].curve))],
        metrics={name: _mean_of_all([split.metrics[name] for split in splits]) for name in splits[0].metrics},
        operating_points={
            goal: _mean_operating([split.operating_points[goal] for split in splits])
            for goal in splits[0].operating_points
        },
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _mean_of_all(values: Sequence[float | None]) -> float | None:
    return None if any(value is None for value in values) else _mean(values)


def _mean_point(points: Sequence[Point]) -> Point:
    first = points[0]
    models = dict.fromkeys(model for point in points for model in point.shares)
    datasets = dict.fromkeys(name for point in points for name in point.by_dataset)
    return Point(
        alpha=first.alpha,
        model=first.model,
        score_micro=_number([point.score_micro for point in points]),
        score_macro=_number([point.score_macro for point in points]),
        cost_per_query=_mean([point.cost_per_query for point in points]),
        cost_total=_mean([point.cost_total for point in points]),
        shares={model: _number([point.shares.get(model, 0.0) for point in points]) for model in models},
        by_dataset={
            name: _number([point.by_dataset[name] for point in points if name in point.by_dataset]) for name in datasets
        },
        unanswered=_number([point.unanswered for point in points]),
    )


def _number(values: Sequence[float]) -> float:
    return float(f"{np.mean(values):.8g}")


def _mean_operating(points: Sequence[OperatingPoint]) -> OperatingPoint:
    columns = {name: _mean([getattr(point, name) for point in points]) for name in OperatingPoint.__struct_fields__}
    return msgspec.convert(columns, OperatingPoint)
