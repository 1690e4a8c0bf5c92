"""What is in a records table, and what would stop a good fit."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from avengers_pro.errors import RecordsError
from avengers_pro.records.table import Floats, Records

_FEW_ROWS = 200
_FEW_OBSERVATIONS = 100


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One model: ``coverage`` and ``priced`` are shares of rows; means are NaN when nothing was observed."""

    name: str
    coverage: float
    priced: float
    mean_score: float
    mean_cost: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A table at a glance.

    Attributes:
        rows: Number of queries.
        duplicates: Rows whose exact text stands above.
        models: In the table's order.
        datasets: Rows in each dataset.
        oracle_score: Mean of the best observed score of each query: the ceiling of any router.
        findings: What would stop a good fit, worst first; empty = nothing found.
        fingerprint: SHA-256 of the table.
    """

    rows: int
    duplicates: int
    models: tuple[ModelSummary, ...]
    datasets: dict[str, int]
    oracle_score: float
    findings: tuple[str, ...]
    fingerprint: str


def summarize(records: Records) -> Summary:
    """Describe a table; nothing in it is changed.

    Raises:
        RecordsError: If the table is empty.
    """
    if not records.scores.size:
        raise RecordsError(f"there is nothing to describe in {records!r}")
    models = tuple(
        ModelSummary(
            name=name,
            coverage=float(np.isfinite(records.scores[:, column]).mean()),
            priced=float(np.isfinite(records.costs[:, column]).mean()),
            mean_score=_mean(records.scores[:, column]),
            mean_cost=_mean(records.costs[:, column]),
        )
        for column, name in enumerate(records.models)
    )
    duplicates = len(records) - len(set(records.queries))
    return Summary(
        rows=len(records),
        duplicates=duplicates,
        models=models,
        datasets=dict(sorted(Counter(records.datasets).items())),
        oracle_score=_mean(np.fmax.reduce(records.scores, axis=1)),
        findings=tuple(_findings(records, models, duplicates)),
        fingerprint=records.fingerprint,
    )


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _findings(records: Records, models: tuple[ModelSummary, ...], duplicates: int) -> list[str]:
    unpriced = (np.isfinite(records.scores) & ~np.isfinite(records.costs)).mean(axis=0)
    empty = int((~np.isfinite(records.scores).any(axis=1)).sum())
    doubts = {
        "only one model: there is nothing to route between": len(models) == 1,
        "fewer than two models have a score (and a cost) on every row: evaluate needs --gaps mask": len(models) > 1
        and len(records.complete_models()) <= 1,
        "no costs: only alpha = 1 (quality) has a meaning": not records.has_costs,
        f"only {len(records)} rows: clusters will be coarse and intervals wide": len(records) < _FEW_ROWS,
        f"{empty} rows have no score at all; they only shape the clusters": empty > 0,
        f"{duplicates} rows repeat an earlier query text; fit and evaluate keep the first": duplicates > 0,
    }
    return [text for text, holds in doubts.items() if holds] + [
        finding
        for column, model in enumerate(models)
        for finding in _model_findings(model, len(records), unpriced[column] if records.has_costs else 0.0)
    ]


def _model_findings(model: ModelSummary, rows: int, unpriced: float) -> list[str]:
    """Say what is missing; ``unpriced`` is the share of rows with a score but no cost."""
    found = []
    if model.coverage * rows < _FEW_OBSERVATIONS:
        found.append(f"{model.name}: only {model.coverage * rows:.0f} scores observed")
    elif model.coverage < 1:
        found.append(f"{model.name}: {1 - model.coverage:.1%} of the scores are not observed")
    if unpriced > 0:
        found.append(f"{model.name}: {unpriced:.1%} of the rows have a score but no cost")
    return found
