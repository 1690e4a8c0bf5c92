"""Takes what the contestants chose, split by split, and draws the comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avengers_pro.evaluation.contest import Choices, Contestant
from avengers_pro.evaluation.intervals import (
    area_statistic,
    compare,
    draw_weights,
    mean_statistic,
    part_weights,
    values_of,
)
from avengers_pro.evaluation.metrics import Yardstick, curve_metrics, gains
from avengers_pro.evaluation.operating import GOALS
from avengers_pro.evaluation.protocol import Split
from avengers_pro.evaluation.replay import Part, Replay
from avengers_pro.evaluation.results import (
    Evaluation,
    MethodResult,
    OperatingPoint,
    Paired,
    RecordsInfo,
    SplitInfo,
    SplitResult,
)
from avengers_pro.evaluation.summing import mean_of
from avengers_pro.evaluation.verdict import draw_verdict
from avengers_pro.records.table import Records

BEST = "best-single"
REFERENCES = frozenset({"oracle", "dataset-label", "random"})
"""Baselines that are no routers: the range and the frontier that others are measured by leave them out."""
STATIC = "static"


@dataclass(slots=True)
class _Run:
    """What one contestant did on one split; ``picked`` says which line of the replay each goal chose on train."""

    replay: Replay
    picked: dict[str, int]


class Judge:
    """Collects choices over splits."""

    def __init__(self, records: Records, contestants: Sequence[Contestant]) -> None:
        """Prepare for splits of these records."""
        self._records, self._contestants = records, contestants
        self._complete = records.complete_models()
        self._splits: list[SplitInfo] = []
        self._singles: list[Replay] = []
        self._best: list[int] = []
        self._best_macro: list[int] = []
        self._weak: list[int | None] = []
        self._runs: dict[str, list[_Run]] = {contestant.label: [] for contestant in contestants}

    def begin(self, split: Split) -> None:
        """Turn to the next split."""
        train = split.train
        cheapest = int(np.argmin(np.nan_to_num(train.costs, nan=np.inf).sum(axis=0)))
        self._best.append(split.best)
        self._best_macro.append(split.best_macro)
        self._weak.append(cheapest if len(train.models) == 2 else None)  # noqa: PLR2004
        self._singles.append(_every_single(split.test))
        self._splits.append(
            SplitInfo(
                seed=split.seed, train=len(train), test=len(split.test.records), best_single=train.models[split.best]
            )
        )

    def add(self, label: str, choices: Choices) -> None:
        """Take what a contestant chose on the split that was begun last."""
        seen = Replay(self._singles[-1].part, choices.alphas, choices.chosen)
        self._runs[label].append(_Run(seen, choices.picked))

    def verdict(self, info: RecordsInfo) -> Evaluation:
        """Work out metrics, paired differences and the verdict."""
        yardsticks = [self._yardstick(split) for split in range(len(self._splits))]
        results = {contestant.label: self._result(contestant, yardsticks) for contestant in self._contestants}
        methods = {c.label: results[c.label] for c in self._contestants if not c.baseline}
        baselines = {c.label: results[c.label] for c in self._contestants if c.baseline}
        baselines[STATIC] = self._static(yardsticks)
        paired = self._paired(list(methods))
        return Evaluation(
            records=info,
            splits=self._splits,
            methods=methods,
            baselines=baselines,
            paired=paired,
            verdict=draw_verdict(next(iter(methods)), methods, self._splits, paired, has_costs=info.has_costs),
        )

    def _yardstick(self, split: int) -> Yardstick:
        routers = [label for label in self._runs if label not in REFERENCES]
        everything = [self._singles[split], *(self._runs[label][split].replay for label in routers)]
        costs = np.concatenate([seen.costs.mean(axis=1) for seen in everything])
        scores = np.concatenate([seen.scores.mean(axis=1) for seen in everything])
        known = np.isfinite(costs) & np.isfinite(scores)
        low, high = (float(costs[known].min()), float(costs[known].max())) if known.any() else (np.nan, np.nan)
        return Yardstick(
            self._best[split],
            self._best_macro[split],
            self._weak[split],
            self._singles[split],
            (low, high),
            costs[known],
            scores[known],
        )

    def _result(self, contestant: Contestant, yardsticks: list[Yardstick]) -> MethodResult:
        splits = []
        for split, run in enumerate(self._runs[contestant.label]):
            yardstick = yardsticks[split]
            points = {} if contestant.baseline and contestant.label in {BEST, "random", "oracle"} else run.picked
            splits.append(
                SplitResult(
                    seed=self._splits[split].seed,
                    curve=run.replay.points(),
                    metrics=curve_metrics(run.replay, yardstick),
                    operating_points={
                        goal: _operating_point(run.replay, line, yardstick) for goal, line in points.items()
                    },
                )
            )
        return MethodResult(params=dict(contestant.method.params()), splits=splits, mean=mean_of(splits))

    def _static(self, yardsticks: list[Yardstick]) -> MethodResult:
        """Describe the hull of the single models: the zero router, which mixes two models blindly."""
        splits = [
            SplitResult(
                seed=info.seed,
                curve=singles.points(self._complete),
                metrics=curve_metrics(singles, yardstick),
                operating_points={},
            )
            for info, singles, yardstick in zip(self._splits, self._whole_singles(), yardsticks, strict=True)
        ]
        return MethodResult(params={}, splits=splits, mean=mean_of(splits))

    def _whole_singles(self) -> list[Replay]:
        """Return, for each split, the single models that were observed on every query."""
        lines = [self._records.models.index(name) for name in self._complete]
        return [Replay(singles.part, singles.alphas[lines], singles.chosen[lines]) for singles in self._singles]

    def _paired(self, methods: list[str]) -> list[Paired]:
        weights = draw_weights(self._records)
        parts = [part_weights(weights, singles.part.rows) for singles in self._singles]
        best_costs = [singles.costs[best] for singles, best in zip(self._singles, self._best, strict=True)]
        best_scores = [singles.scores[best] for singles, best in zip(self._singles, self._best, strict=True)]
        paired = []
        priced = all(np.isfinite(costs).all() for costs in best_costs)
        if priced:
            areas = {
                label: values_of(area_statistic([run.replay for run in self._runs[label]], best_costs), parts)
                for label in dict.fromkeys([*methods, "knn", "dataset-label"])
            }
            areas[STATIC] = values_of(area_statistic(self._whole_singles(), best_costs), parts)
            labels = list(areas)
            paired += [
                compare(a, b, "area", areas[a], areas[b])
                for position, a in enumerate(methods)
                for b in labels[position + 1 :]
            ]
        for goal in GOALS:
            for label in methods:
                lines = [(run.replay, run.picked[goal]) for run in self._runs[label]]
                score = values_of(mean_statistic([seen.scores[line] for seen, line in lines]), parts)
                single = values_of(mean_statistic(best_scores), parts)
                paired.append(compare(label, BEST, f"score at {goal}", score, single))
                if priced and all((mine @ costs > 0).all() for mine, costs in zip(parts, best_costs, strict=True)):
                    cost = values_of(mean_statistic([seen.costs[line] for seen, line in lines]), parts)
                    base = values_of(mean_statistic(best_costs), parts)
                    ratio, one = cost / base, np.ones_like(cost)
                    paired.append(compare(label, BEST, f"cost change at {goal}", ratio, one, lower_wins=True))
        return paired


def _every_single(part: Part) -> Replay:
    n, m = part.records.scores.shape
    chosen = np.broadcast_to(np.arange(m, dtype=np.int16)[:, None, None], (m, n, 1))
    return Replay(part, np.full(m, np.nan), chosen)


def _operating_point(seen: Replay, line: int, yardstick: Yardstick) -> OperatingPoint:
    point = seen.points()[line]
    singles = yardstick.singles
    best_score, best_cost = yardstick.best_score, yardstick.best_cost
    ratios = gains(
        seen.scores[line],
        singles.scores[yardstick.best_macro],
        np.nanmean(singles.scores, axis=0),
        np.nanmax(singles.scores, axis=0),
        seen.part.dataset_weights,
    )
    gain_r, gain_b, gap_o = (value if np.isfinite(value) else None for value in ratios)
    priced = point.cost_per_query is not None and best_cost > 0
    return OperatingPoint(
        alpha=point.alpha,
        score_micro=point.score_micro,
        score_macro=point.score_macro,
        cost_per_query=point.cost_per_query,
        score_change=point.score_micro / best_score - 1 if best_score > 0 else None,
        cost_change=point.cost_per_query / best_cost - 1 if priced and point.cost_per_query is not None else None,
        gain_at_random=gain_r,
        gain_at_best=gain_b,
        gap_at_oracle=gap_o,
    )
