"""The field's metrics of one method on one split; formulas and sources in docs/concepts/metrics.md."""

from dataclasses import dataclass

import numpy as np

from avengers_pro.evaluation.frontier import Frontier, aiq, area_at_best, pareto_distance
from avengers_pro.evaluation.replay import Replay
from avengers_pro.evaluation.results import Metrics
from avengers_pro.records.table import Floats

TARGETS = (100, 95, 90)
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What every method of a split is measured against.

    Attributes:
        best: Column of the best single model, chosen on train by the mean over queries.
        best_macro: The same by the mean over datasets; macro metrics refer to it.
        weak: Column of the cheapest model on train, for APGR; None unless the pool has two models.
        singles: All single models, one line each.
        cost_range: Least and largest cost a query over everything compared.
        all_costs: (q,) of everything compared. all_scores: (q,) likewise.
    """

    best: int
    best_macro: int
    weak: int | None
    singles: Replay
    cost_range: tuple[float, float]
    all_costs: Floats
    all_scores: Floats

    @property
    def best_score(self) -> float:
        """Mean test score of the best single model."""
        return float(self.singles.scores[self.best].mean())

    @property
    def best_cost(self) -> float:
        """Mean test cost of the best single model, US dollars a query; NaN if not known."""
        return float(self.singles.costs[self.best].mean())


def curve_metrics(replay: Replay, yardstick: Yardstick) -> Metrics:
    """Return metrics of the whole curve: the best operating point is picked on test, as the literature does."""
    weights = replay.part.dataset_weights
    scores, costs = replay.scores.mean(axis=1), replay.costs.mean(axis=1)
    macro = (replay.scores @ weights).mean(axis=1)
    best_macro = float((yardstick.singles.scores[yardstick.best_macro] @ weights).mean())
    metrics: Metrics = {
        "perf_gain": _ratio_gain(float(scores.max()), yardstick.best_score),
        "perf_gain_macro": _ratio_gain(float(macro.max()), best_macro),
    }
    priced = np.isfinite(costs).all() and np.isfinite(yardstick.best_cost)
    metrics["area"] = area_at_best(costs, scores, yardstick.best_cost) if priced else np.nan
    metrics["aiq"] = aiq(costs, scores, *yardstick.cost_range) if priced else np.nan
    macro_cost = float(yardstick.singles.costs[yardstick.best_macro].mean())
    for target in TARGETS:
        saved = _saved(costs, scores, target / 100 * yardstick.best_score, yardstick.best_cost)
        metrics[f"cost_save_{target}"] = saved if priced else np.nan
        saved = _saved(costs, macro, target / 100 * best_macro, macro_cost)
        metrics[f"cost_save_{target}_macro"] = saved if priced else np.nan
    metrics["pareto_dist"] = (
        pareto_distance(costs, scores, yardstick.all_costs, yardstick.all_scores) if priced else np.nan
    )
    metrics["apgr"] = _apgr(replay, yardstick)
    return {name: None if value is None or not np.isfinite(value) else float(value) for name, value in metrics.items()}


def _ratio_gain(score: float, best: float) -> float:
    return score / best - 1 if best > 0 else float("nan")


def _saved(costs: Floats, scores: Floats, goal: float, best_cost: float) -> float:
    """CostSave: 1 - H^-1(goal) / the best single model's cost; NaN if the goal is not reached."""
    if not best_cost > 0 or not np.isfinite(costs).all():
        return float("nan")
    return 1 - Frontier.of(costs, scores).cost_at(goal - ROUNDING) / best_cost


def _apgr(replay: Replay, yardstick: Yardstick) -> float:
    """APGR of RouteLLM (arXiv 2406.18665): mean recovered gap over the share of strong calls; two models only."""
    if yardstick.weak is None or yardstick.weak == yardstick.best:
        return float("nan")
    weak = float(yardstick.singles.scores[yardstick.weak].mean())
    gap = yardstick.best_score - weak
    if not gap > 0:
        return float("nan")
    share = (replay.chosen[:, :, 0] == yardstick.best).mean(axis=1)
    recovered = (replay.scores.mean(axis=1) - weak) / gap
    order = np.argsort(share, kind="stable")
    x = np.concatenate([[0.0], share[order], [1.0]])
    y = np.concatenate([[0.0], recovered[order], [1.0]])
    return float(np.trapezoid(y, x))


def gains(scores: Floats, best: Floats, everyone: Floats, oracle: Floats, weights: Floats) -> tuple[float, ...]:
    """Return Gain@R, Gain@B and Gap@O of one operating point: means over datasets of per-dataset ratios.

    Datasets on which the reference scores 0 have no ratio and are left out.

    Args:
        scores: (n,) of the method.
        best: (n,) of the best single model.
        everyone: (n,) mean over models, what a random choice expects.
        oracle: (n,) best over models.
        weights: (n, datasets) as ``Part.dataset_weights``.
    """
    mine, single, chance, top = (values @ weights for values in (scores, best, everyone, oracle))
    return (
        _mean_ratio(mine, chance) - 1,
        _mean_ratio(mine, single) - 1,
        1 - _mean_ratio(mine, top),
    )


def _mean_ratio(values: Floats, by: Floats) -> float:
    usable = by > 0
    return float((values[usable] / by[usable]).mean()) if usable.any() else float("nan")
