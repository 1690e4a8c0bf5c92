"""One parameter, many values, the same splits: the published ablations."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from avengers_pro.embedding import Embedder, Vectors, load_embedder
from avengers_pro.embedding.format import with_format
from avengers_pro.errors import EvaluationError
from avengers_pro.evaluation.intervals import (
    Statistic,
    area_statistic,
    draw_weights,
    mean_statistic,
    part_weights,
    values_of,
)
from avengers_pro.evaluation.protocol import Protocol, Split, knob_settings, make_split, usable_table
from avengers_pro.evaluation.replay import Replay, replay
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.method import Method
from avengers_pro.routing.methods import build_method, settable

PUBLISHED_VALUES: Mapping[str, tuple[int, ...]] = {
    "clusters": (8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80),
    "top-clusters": (1, 2, 3, 4, 5, 6, 8, 10),
}
"""Cluster counts are those of the released ablation."""
OVER = ("alpha", *PUBLISHED_VALUES)


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A metric at one value: mean over splits with its 95 % query-bootstrap band.

    Attributes:
        method: Which method.
        value: Of the parameter swept.
        metric: ``score`` (micro, in [0, 1]), ``cost`` (US dollars a query) or ``area`` (Area@B).
        mean: Over splits.
        low: Lower end of the band.
        high: Upper end of the band.
    """

    method: str
    value: float
    metric: str
    mean: float
    low: float
    high: float


def sweep(
    records: Records,
    over: str,
    method: str,
    *,
    values: Sequence[float] | None = None,
    protocol: Protocol | None = None,
    embedder: str | Embedder = "static",
    vectors: Vectors | None = None,
    params: Mapping[str, Any] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[SweepRow]:
    """Measure a method at each value of a parameter.

    Over ``alpha``: score and cost. Over ``clusters`` or ``top-clusters``: Area@B, and score and cost at alpha = 1.

    Args:
        records: As in ``evaluate``.
        over: ``alpha``, ``clusters`` or ``top-clusters``.
        method: Its name.
        values: Values of the parameter; the protocol's alphas, or the published values, if None.
        protocol: As in ``evaluate``.
        embedder: As in ``evaluate``.
        vectors: As in ``evaluate``.
        params: Fixed parameters of the method.
        progress: As in ``evaluate``.

    Raises:
        EvaluationError: If ``over`` is unknown or the records do not allow a comparison.
        MethodError: If the method has no such parameter.
    """
    if over not in OVER:
        raise EvaluationError(f"can sweep over {', '.join(OVER)}, not {over!r}")
    protocol = protocol or Protocol()
    table = usable_table(records, protocol)
    embedder = load_embedder(embedder) if isinstance(embedder, str) else embedder
    vectors = embedder.embed(table.records.queries) if vectors is None else table.vectors_from(records, vectors)
    dimension = vectors.shape[1]
    vectors = with_format(vectors, table.records.queries)
    splits = [make_split(table.records, vectors, dimension, protocol, seed) for seed in protocol.seeds]
    weights = draw_weights(table.records)
    parts = [part_weights(weights, split.test.rows) for split in splits]
    alphas = knob_settings(table.records, protocol)
    if over == "alpha":
        alphas = alphas if values is None else np.array(values, dtype=np.float64)
        replays = _replays(build_method(method, settable(method, params or {})), splits, alphas)
        return [
            row
            for line, alpha in enumerate(alphas.tolist())
            for row in _score_and_cost(method, alpha, replays, line, parts)
        ]
    rows = []
    if values is not None and any(value != int(value) for value in values):
        raise EvaluationError(f"{over} takes whole numbers, got {list(values)}")
    chosen = PUBLISHED_VALUES[over] if values is None else [int(value) for value in values]
    for done, value in enumerate(chosen):
        if progress is not None:
            progress(f"{over} = {value}", done, len(chosen))
        varied = {**settable(method, params or {}), over.replace("-", "_"): value}
        replays = _replays(build_method(method, varied), splits, alphas)
        rows += _score_and_cost(method, value, replays, len(alphas) - 1, parts)
        if table.records.has_costs:
            best = [split.test.records.costs[:, split.best] for split in splits]
            rows.append(_row(method, value, "area", area_statistic(replays, best), parts))
    return rows


def _replays(built: Method, splits: Sequence[Split], alphas: Floats) -> list[Replay]:
    knob = alphas.tolist() if built.uses_alpha else alphas[-1:].tolist()
    return [
        replay(built.fit(split.train, split.train_vectors, split.seed), split.test, knob)
        for split in (split.suited(built.features) for split in splits)
    ]


def _score_and_cost(
    method: str, value: float, replays: Sequence[Replay], line: int, parts: Sequence[Floats]
) -> list[SweepRow]:
    line = min(line, len(replays[0].alphas) - 1)
    rows = [_row(method, value, "score", mean_statistic([seen.scores[line] for seen in replays]), parts)]
    if all(np.isfinite(seen.costs[line]).all() for seen in replays):
        rows.append(_row(method, value, "cost", mean_statistic([seen.costs[line] for seen in replays]), parts))
    return rows


def _row(method: str, value: float, metric: str, statistic: Statistic, parts: Sequence[Floats]) -> SweepRow:
    means = values_of(statistic, parts).mean(axis=0)
    low, high = np.percentile(means[1:], [2.5, 97.5])
    return SweepRow(method, value, metric, float(means[0]), float(low), float(high))


def sweep_csv(rows: Sequence[SweepRow]) -> str:
    """Return the rows as CSV with a header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(SweepRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return out.getvalue()
