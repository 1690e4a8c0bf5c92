"""What a fitted method would have done on test queries whose outcomes are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding import Vectors
from avengers_pro.errors import EvaluationError
from avengers_pro.evaluation.results import Point
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.choice import choose, weigh
from avengers_pro.routing.method import FittedMethod
from avengers_pro.routing.policy import Policy
from avengers_pro.routing.queries import Queries


@dataclass(frozen=True)
class Part:
    """Test queries with their outcomes.

    Attributes:
        records: n rows of the table.
        vectors: (n, d) unit rows.
        rows: (n,) where each stands in the whole table.
    """

    records: Records
    vectors: Vectors
    rows: NDArray[np.intp]

    @cached_property
    def queries(self) -> Queries:
        """The batch as methods see it."""
        table = self.records
        return Queries(self.vectors, np.array(table.datasets), table.scores, table.costs)

    @cached_property
    def dataset_weights(self) -> Floats:
        """(n, datasets) so that ``values @ dataset_weights`` are per-dataset means."""
        member = self.records.dataset_codes[:, None] == np.arange(len(self.records.dataset_names))
        weights: Floats = member / member.sum(axis=0)
        return weights


@dataclass(frozen=True)
class Replay:
    """The choices of one method on one test part.

    Attributes:
        part: The queries.
        alphas: (a,) one for each line of ``chosen``; NaN for a method without the knob.
        chosen: (a, n, r) columns of the chosen models, -1 = none met the constraints. r > 1 only for the
            published multi-model selection, which scores the best of the r and pays for all.
    """

    part: Part
    alphas: Floats
    chosen: NDArray[np.int16]

    @cached_property
    def scores(self) -> Floats:
        """(a, n) realised scores; 0 where no model was chosen."""
        return np.asarray(self._look_up(self.part.records.scores).max(axis=2))

    @cached_property
    def costs(self) -> Floats:
        """(a, n) realised US dollars; 0 where no model was chosen; NaN where the cost is not known."""
        return np.asarray(self._look_up(self.part.records.costs).sum(axis=2))

    def _look_up(self, values: Floats) -> Floats:
        with_none = np.hstack([values, np.zeros((len(values), 1))])
        return with_none[np.arange(len(values))[None, :, None], self.chosen]

    def points(self, names: Sequence[str | None] | None = None) -> list[Point]:
        """Describe each line; ``names`` says which single model a line is, for the baseline ``static``."""
        score, cost = self.scores.mean(axis=1), self.costs.mean(axis=1)
        by_dataset = self.scores @ self.part.dataset_weights
        models = self.part.records.models
        points = []
        for line, alpha in enumerate(self.alphas.tolist()):
            chosen = self.chosen[line]
            share = np.bincount(chosen[chosen >= 0], minlength=len(models)) / len(chosen)
            known = bool(np.isfinite(cost[line]))
            points.append(
                Point(
                    alpha=None if np.isnan(alpha) else round(alpha, 6),
                    model=names[line] if names else None,
                    score_micro=_short(score[line]),
                    score_macro=_short(by_dataset[line].mean()),
                    cost_per_query=_short(cost[line]) if known else None,
                    cost_total=_short(cost[line] * len(chosen)) if known else None,
                    shares={model: _short(part) for model, part in zip(models, share, strict=True) if part},
                    by_dataset={
                        name: _short(value)
                        for name, value in zip(self.part.records.dataset_names, by_dataset[line], strict=True)
                    },
                    unanswered=_short((chosen[:, 0] < 0).mean()),
                )
            )
        return points


def _short(value: float) -> float:
    return float(f"{value:.8g}")


def replay(
    fitted: FittedMethod,
    part: Part,
    alphas: Sequence[float] | None,
    *,
    min_score: float | None = None,
    selected: int = 1,
) -> Replay:
    """Ask a fitted method for every test query at every alpha.

    Only models observed on a query are candidates there: nobody knows what the others would have scored.

    Args:
        fitted: Its models must be among the part's.
        part: n test queries.
        alphas: None for a method without the knob.
        min_score: Least expected score of a candidate.
        selected: Models selected for each query; more than one only as published.

    Raises:
        EvaluationError: If the method knows none of the models.
    """
    columns = [part.records.models.index(name) for name in fitted.models]
    if not columns:
        raise EvaluationError("the method has no model to choose from")
    to_part = np.append(np.array(columns, dtype=np.int16), np.int16(-1))
    observed = np.isfinite(part.records.scores[:, columns])
    if part.records.has_costs:
        observed &= np.isfinite(part.records.costs[:, columns])
    queries = part.queries
    if columns != list(range(len(part.records.models))) and queries.scores is not None and queries.costs is not None:
        queries = Queries(queries.vectors, queries.datasets, queries.scores[:, columns], queries.costs[:, columns])
    estimate = fitted.estimate(queries)
    allowed = None if observed.all() else observed
    lines = []
    for alpha in [1.0] if alphas is None else alphas:
        utility = weigh(estimate, Policy(alpha=float(alpha), min_score=min_score), allowed)
        lines.append(to_part[_top(utility, selected)])
    knob = np.array([np.nan] if alphas is None else alphas, dtype=np.float64)
    return Replay(part, knob, np.array(lines, dtype=np.int16))


def _top(utility: Floats, count: int) -> NDArray[np.intp]:
    """Return (n, count) columns of the largest utilities, first of equals first."""
    if count == 1:
        return choose(utility)[:, None]
    order = np.argsort(-utility, axis=1, kind="stable")[:, :count]
    return np.where(np.take_along_axis(utility, order, axis=1) == -np.inf, -1, order)
