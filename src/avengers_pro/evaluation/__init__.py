"""Judge: splits, metrics, intervals, verdicts, sweeps, charts and reports."""

from avengers_pro.evaluation.evaluate import Protocol, evaluate
from avengers_pro.evaluation.results import Evaluation

__all__ = ["Evaluation", "Protocol", "evaluate"]
