"""What an evaluation says, as it stands in results.json; documented in docs/reference/formats.md."""

from typing import Any

import msgspec

SCHEMA_VERSION = 1

Metrics = dict[str, float | None]
"""A metric that has no value on these records (no costs, target not reached) is null."""


class Point(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One operating point on test.

    Attributes:
        alpha: The knob; null for a method that has none.
        model: For the baseline ``static``, which single model the point is.
        score_micro: Mean over queries, in [0, 1].
        score_macro: Unweighted mean over datasets.
        cost_per_query: US dollars; null without costs.
        cost_total: US dollars for the whole test part.
        shares: Share of queries sent to each model; models never chosen are left out.
        by_dataset: Mean score in each dataset.
        unanswered: Share of queries for which no model met the constraints; they score 0 and cost 0.
    """

    alpha: float | None
    score_micro: float
    score_macro: float
    cost_per_query: float | None
    cost_total: float | None
    shares: dict[str, float]
    by_dataset: dict[str, float]
    model: str | None = None
    unanswered: float = 0.0


class OperatingPoint(msgspec.Struct, kw_only=True):
    """An alpha chosen inside train by cross-validation, then read once on test.

    Attributes:
        alpha: The chosen alpha; in a mean over splits, their mean.
        score_micro: On test.
        score_macro: On test.
        cost_per_query: On test.
        score_change: Relative to the best single model, 0.02 = 2 % better.
        cost_change: Relative to the best single model, -0.3 = 30 % cheaper.
        gain_at_random: Gain@R. gain_at_best: Gain@B. gap_at_oracle: Gap@O; means of per-dataset ratios.
    """

    alpha: float | None
    score_micro: float
    score_macro: float
    cost_per_query: float | None
    score_change: float | None
    cost_change: float | None
    gain_at_random: float | None
    gain_at_best: float | None
    gap_at_oracle: float | None


class SplitResult(msgspec.Struct, kw_only=True):
    """One method on one split."""

    seed: int
    curve: list[Point]
    metrics: Metrics
    operating_points: dict[str, OperatingPoint]


class MeanResult(msgspec.Struct, kw_only=True):
    """The mean over splits."""

    curve: list[Point]
    metrics: Metrics
    operating_points: dict[str, OperatingPoint]


class MethodResult(msgspec.Struct, kw_only=True):
    """One method on all splits."""

    params: dict[str, Any]
    splits: list[SplitResult]
    mean: MeanResult


class SplitInfo(msgspec.Struct, kw_only=True):
    """One train/test split; ``best_single`` was chosen on train."""

    seed: int
    train: int
    test: int
    best_single: str


class Paired(msgspec.Struct, kw_only=True):
    """Method a minus method b on the same queries: mean over splits, 95 % query-bootstrap interval."""

    a: str
    b: str
    metric: str
    difference: float
    interval: tuple[float, float]
    wins: int
    splits: int


class Verdict(msgspec.Struct, kw_only=True):
    """The plain sentence and what it rests on.

    Attributes:
        outcome: ``beats``, ``matches``, ``does not beat``, or ``no verdict`` for the published multi-model selection.
        method: Which method the sentence is about.
        reference: The best single model, chosen on train (the most frequent choice over splits).
        text: The sentence.
    """

    outcome: str
    method: str
    reference: str
    text: str


class RecordsInfo(msgspec.Struct, kw_only=True):
    """What was evaluated.

    Attributes:
        source: Where the records come from.
        note: Said wherever the numbers are shown, for example that they are simulated.
        rows: Queries used. duplicates: Rows dropped because an earlier row has the same text.
        models: The pool. left_out: Models left out, with the reason.
        datasets: Rows in each dataset.
        excluded_datasets: Left out of the test; with ``soft`` exclusion they still train.
        fingerprint: SHA-256 of the table used. embedder: Its id.
    """

    source: str
    note: str
    rows: int
    duplicates: int
    models: list[str]
    left_out: dict[str, str]
    datasets: dict[str, int]
    excluded_datasets: list[str]
    fingerprint: str
    embedder: str
    train_ratio: float
    has_costs: bool


class Evaluation(msgspec.Struct, kw_only=True):
    """Methods and baselines on the same splits, their paired differences, and the verdict."""

    schema_version: int = SCHEMA_VERSION
    records: RecordsInfo
    splits: list[SplitInfo]
    methods: dict[str, MethodResult]
    baselines: dict[str, MethodResult]
    paired: list[Paired]
    verdict: Verdict

    def to_json(self) -> bytes:
        """Return results.json."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> "Evaluation":
        """Read results.json.

        Raises:
            msgspec.ValidationError: If it does not follow the schema.
        """
        return msgspec.json.decode(content, type=cls)
