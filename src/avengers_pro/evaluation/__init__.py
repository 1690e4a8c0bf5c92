"""Judge: splits, metrics, intervals, verdicts, sweeps, charts and reports."""

from avengers_pro.evaluation.auto import AutoChoice, choose_variant
from avengers_pro.evaluation.evaluate import evaluate
from avengers_pro.evaluation.protocol import Protocol
from avengers_pro.evaluation.results import Evaluation

__all__ = ["AutoChoice", "Evaluation", "Protocol", "choose_variant", "evaluate"]
