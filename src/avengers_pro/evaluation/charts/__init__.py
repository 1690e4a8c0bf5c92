"""Figures of an evaluation, as altair charts; they need the extra ``report``."""

from avengers_pro.evaluation.charts.by_alpha import score_and_cost_by_alpha, shares_by_alpha
from avengers_pro.evaluation.charts.cost_score import frontier
from avengers_pro.evaluation.charts.heatmaps import ProfileRow, by_dataset, profile
from avengers_pro.evaluation.charts.saving import save_chart
from avengers_pro.evaluation.charts.sweeps import sweep
from avengers_pro.evaluation.sweep import SweepRow

__all__ = [
    "ProfileRow",
    "SweepRow",
    "by_dataset",
    "frontier",
    "profile",
    "save_chart",
    "score_and_cost_by_alpha",
    "shares_by_alpha",
    "sweep",
]
