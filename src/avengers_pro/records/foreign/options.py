"""What the caller may choose about reading other people's results."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from avengers_pro.errors import RecordsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to read; the defaults are documented with each format.

    Attributes:
        score_scale: What a perfect score is in the files.
        skip_bad_lines: Leave bad samples out and count them, instead of stopping at the first.
        scorers: Inspect logs: the scorer to take, the first of these that a log has; ``name/key`` for one value of
            a scorer that gives several. Empty = the log's first scorer.
        metrics: lm-evaluation-harness: the metric to take, the first of these that a task has. Empty = the default
            order.
        filters: lm-evaluation-harness: the answer filter to take, likewise. Empty = the file's first.
        query_field: Which field holds the query: a key of ``doc`` (lm-evaluation-harness), ``origin_query`` or
            ``prompt`` (LLMRouterBench). None = the format's default.
        renames: Names of models in the files → names in the records.
    """

    score_scale: float = 1.0
    skip_bad_lines: bool = False
    scorers: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    query_field: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)

    def check(self, formats: set[str]) -> None:
        """Refuse what cannot take effect.

        Raises:
            RecordsError: If the scale is not positive, a new name is empty, or a choice means nothing to any of the
                formats at hand.
        """
        if not 0 < self.score_scale < math.inf:
            raise RecordsError(f"the score scale must be a positive number, got {self.score_scale:g}")
        for old, new in self.renames.items():
            if not new or new.isspace():
                raise RecordsError(f"the new name of {old!r} is empty")
        needs = {
            "--scorer": (self.scorers, {"inspect"}),
            "--metric": (self.metrics, {"lm-eval"}),
            "--filter": (self.filters, {"lm-eval"}),
            "--query-field": (self.query_field, {"lm-eval", "llmrouterbench"}),
        }
        for flag, (value, wanted) in needs.items():
            if value and not wanted & formats:
                found = ", ".join(sorted(formats))
                raise RecordsError(f"{flag} means something to {' and '.join(sorted(wanted))} alone; found {found}")
