"""Where routing wins and loses: test queries on which the routed answer and the best single model's differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding import Vectors
from avengers_pro.embedding.format import with_format
from avengers_pro.evaluation.protocol import Protocol, make_split, usable_table
from avengers_pro.evaluation.replay import Part, replay
from avengers_pro.evaluation.results import Evaluation
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.method import Method

SHOWN = 6
"""Examples of each kind."""
_QUERY_CHARS = 240


@dataclass(frozen=True, slots=True)
class Case:
    """One test query, as two models answered it.

    Attributes:
        query: Its text, shortened to one line.
        dataset: Where it is from.
        model: What the router chose.
        score: Of that model's answer, in [0, 1].
        cost_usd: Of that answer; NaN = not known.
        single_score: Of the best single model's answer.
        single_cost_usd: Of that answer; NaN = not known.
    """

    query: str
    dataset: str
    model: str
    score: float
    cost_usd: float
    single_score: float
    single_cost_usd: float


@dataclass(frozen=True, slots=True)
class Tally:
    """How often the routed answer scored better, the same or worse, in one dataset.

    Attributes:
        dataset: Its name.
        better: Test queries. same: Test queries. worse: Test queries.
        cost_usd: Of all routed answers; NaN = not known.
        single_cost_usd: Of all answers of the best single model; NaN = not known.
    """

    dataset: str
    better: int
    same: int
    worse: int
    cost_usd: float
    single_cost_usd: float

    @property
    def cost_change(self) -> float:
        """Relative to the best single model, -0.3 = 30 % cheaper; NaN = not known."""
        return self.cost_usd / self.single_cost_usd - 1 if self.single_cost_usd > 0 else math.nan


@dataclass(frozen=True, slots=True)
class Cases:
    """Wins and losses on the test part of one split.

    Attributes:
        method: Label of the method.
        goal: Which operating point, as in the results.
        alpha: Of that point on this split; None = the method has none.
        seed: Of the split.
        reference: The best single model, chosen on train.
        tallies: One for each dataset, most test queries first.
        wins: Queries with a better score than the best single model's, widest gaps first.
        losses: Queries with a worse one, widest gaps first.
        savings: Queries with the same score for less, largest savings first.
    """

    method: str
    goal: str
    alpha: float | None
    seed: int
    reference: str
    tallies: tuple[Tally, ...]
    wins: tuple[Case, ...]
    losses: tuple[Case, ...]
    savings: tuple[Case, ...]


def find_cases(
    evaluation: Evaluation, records: Records, method: Method, protocol: Protocol, vectors: Vectors
) -> Cases | None:
    """Route the first split's test part once more, at the setting that the verdict is about.

    Args:
        evaluation: Of the same records, method and protocol.
        records: n queries, as they were given to ``evaluate``.
        method: The evaluation's first method.
        protocol: Of the evaluation.
        vectors: (n, d) unit rows of the records' queries.

    Returns:
        None for the published multi-model selection, which no router can follow.
    """
    if protocol.max_router > 1:
        return None
    label, result = next(iter(evaluation.methods.items()))
    goal = "quality" if evaluation.verdict.outcome == "beats" else "equal"
    point = result.splits[0].operating_points[goal]
    table = usable_table(records, protocol)
    rows = table.vectors_from(records, vectors)
    if method.features == "format":
        rows = with_format(rows, table.records.queries)
    split = make_split(table.records, rows, vectors.shape[1], protocol, protocol.seeds[0])
    fitted = method.fit(split.train, split.train_vectors, split.seed)
    alphas = None if point.alpha is None else [point.alpha]
    seen = replay(fitted, split.test, alphas, min_score=protocol.min_score)
    both = _Both(split.test, seen.chosen[0, :, 0], split.best, seen.scores[0], seen.costs[0])
    return Cases(
        label,
        goal,
        point.alpha,
        split.seed,
        split.train.models[split.best],
        _tallies(both),
        wins=both.cases(np.flatnonzero(both.gain > 0), -both.gain),
        losses=both.cases(np.flatnonzero(both.gain < 0), both.gain),
        savings=both.cases(np.flatnonzero((both.gain == 0) & (both.score > 0) & (both.saved > 0)), -both.saved),
    )


class _Both:
    """What the router and the best single model did on n test queries."""

    def __init__(self, part: Part, chosen: NDArray[np.int16], best: int, score: Floats, cost: Floats) -> None:
        self.table, self.chosen = part.records, chosen
        self.score, self.cost = score, cost
        self.single_score, self.single_cost = self.table.scores[:, best], self.table.costs[:, best]
        self.gain = np.nan_to_num(score - self.single_score)
        self.saved = np.nan_to_num(self.single_cost - cost)

    def cases(self, rows: NDArray[np.intp], order: Floats) -> tuple[Case, ...]:
        """Return some of these rows, lowest ``order`` first, then cheapest, one of each dataset before a second."""
        ranked = sorted(rows.tolist(), key=lambda row: (order[row], -self.saved[row], row))
        met: dict[str, int] = {}
        turns = []
        for rank, row in enumerate(ranked):
            dataset = self.table.datasets[row]
            met[dataset] = met.get(dataset, 0) + 1
            turns.append((met[dataset], rank, row))
        return tuple(self._case(row) for _, _, row in sorted(turns)[:SHOWN])

    def _case(self, row: int) -> Case:
        column = int(self.chosen[row])
        return Case(
            _one_line(self.table.queries[row]),
            self.table.datasets[row],
            self.table.models[column] if column >= 0 else "no model met the constraints",
            float(self.score[row]),
            float(self.cost[row]),
            float(self.single_score[row]),
            float(self.single_cost[row]),
        )


def _tallies(both: _Both) -> tuple[Tally, ...]:
    codes, names = both.table.dataset_codes, both.table.dataset_names
    found = [_tally(both, name, codes == code) for code, name in enumerate(names)]
    return tuple(sorted(found, key=lambda tally: -(tally.better + tally.same + tally.worse)))


def _tally(both: _Both, name: str, here: NDArray[np.bool_]) -> Tally:
    gain = both.gain[here]
    paid = float(both.cost[here].sum()), float(both.single_cost[here].sum())
    return Tally(name, int((gain > 0).sum()), int((gain == 0).sum()), int((gain < 0).sum()), *paid)


def total(tallies: Sequence[Tally]) -> Tally:
    """Sum up all datasets."""
    return Tally(
        "all",
        sum(tally.better for tally in tallies),
        sum(tally.same for tally in tallies),
        sum(tally.worse for tally in tallies),
        math.fsum(tally.cost_usd for tally in tallies),
        math.fsum(tally.single_cost_usd for tally in tallies),
    )


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _QUERY_CHARS else line[: _QUERY_CHARS - 1].rstrip() + "…"
