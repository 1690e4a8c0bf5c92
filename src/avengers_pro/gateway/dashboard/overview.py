"""The overview: what came, what it cost, what it saved, how well and how fast it went."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from avengers_pro.gateway.dashboard.colouring import NO_MODEL, OTHERS
from avengers_pro.gateway.dashboard.reading import Reading, Span, Sums
from avengers_pro.gateway.dashboard.saving import Saving, saving
from avengers_pro.gateway.ledger import Totals

_SHOWN = 7
"""Models with a colour of their own in a chart; more cannot be told apart."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Median and 95th percentile in milliseconds; None = not known."""

    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything on the page.

    Attributes:
        span: The range.
        total: Over all requests.
        models: By model that answered, dearest first; None = none did.
        saved: Against the best single model.
        baselines: Names of the best single model, as the latest requests have it.
        deciding: Time to decide.
        first_byte: Time until an answer begins, the provider's part included.
        latest: Requests behind these times.
        rows: For the charts: start in milliseconds, model, requests, cost.
        shown: Models of the charts, dearest first.
    """

    span: Span
    total: Totals
    models: tuple[tuple[str | None, Totals], ...]
    saved: Saving
    baselines: tuple[str, ...]
    deciding: Quantiles
    first_byte: Quantiles
    latest: int
    rows: tuple[dict[str, Any], ...]
    shown: tuple[str, ...]

    @property
    def compared(self) -> int:
        """Requests of which both costs are known."""
        return self.total.requests - self.total.uncompared

    @property
    def expected_score(self) -> float | None:
        """Mean expected score of the first choices."""
        return _mean(self.total.expected_score_sum, self.total.requests - self.total.unscored)

    @property
    def baseline_score(self) -> float | None:
        """Mean expected score of the best single model on the same requests."""
        return _mean(self.total.baseline_score_sum, self.total.requests - self.total.unscored)

    @property
    def feedback(self) -> float | None:
        """Mean score that clients gave."""
        return _mean(self.total.feedback_score_sum, self.total.feedback)

    @property
    def error_rate(self) -> float | None:
        """Share of requests that failed."""
        return _mean(self.total.errors, self.total.requests)

    @property
    def fallback_rate(self) -> float | None:
        """Share of requests that needed another model or endpoint than the first."""
        return _mean(self.total.fallbacks, self.total.requests)


async def overview(reading: Reading, span: Span, key: str | None) -> Overview:
    """Read and work out the overview, of one key's requests if it is given.

    Raises:
        StoreError: If the database cannot be read.
    """
    span, sums = await reading.sums(span, key)
    latest = await reading.latest(span.since, key)
    total = _added(sums.values())
    by_model: dict[str | None, list[Totals]] = defaultdict(list)
    for (_, model), totals in sums.items():
        by_model[model].append(totals)
    models = {model: _added(parts) for model, parts in by_model.items()}
    ranked = sorted(models.items(), key=lambda item: (item[0] is None, -item[1].cost_usd, -item[1].requests))
    shown = tuple(model for model, _ in ranked if model is not None)[:_SHOWN]
    compared = total.requests - total.uncompared
    cost = total.baseline_cost_usd - total.saved_usd
    return Overview(
        span=span,
        total=total,
        models=tuple(ranked),
        saved=saving(total.baseline_cost_usd, cost, compared, latest),
        baselines=tuple(dict.fromkeys(row.baseline_model for row in latest if row.baseline_model is not None))[:3],
        deciding=quantiles([None if row.decision_us is None else row.decision_us / 1000 for row in latest]),
        first_byte=quantiles([row.first_byte_ms for row in latest]),
        latest=len(latest),
        rows=tuple(_rows(sums, shown)),
        shown=_named(models, shown),
    )


def _named(models: Mapping[str | None, Totals], shown: tuple[str, ...]) -> tuple[str, ...]:
    others = (OTHERS,) if len([model for model in models if model is not None]) > len(shown) else ()
    return (*shown, *others, *((NO_MODEL,) if None in models else ()))


def _rows(sums: Sums, shown: tuple[str, ...]) -> Iterable[dict[str, Any]]:
    cells: dict[tuple[int, str], list[float]] = defaultdict(lambda: [0, 0.0])
    for (start, model), totals in sums.items():
        name = NO_MODEL if model is None else model if model in shown else OTHERS
        cell = cells[start, name]
        cell[0] += totals.requests
        cell[1] += totals.cost_usd
    for (start, name), (requests, cost) in sorted(cells.items()):
        yield {"start": start * 1000, "model": name, "requests": requests, "cost": cost}


def _added(parts: Iterable[Totals]) -> Totals:
    parts = list(parts)
    return Totals(**{field.name: sum(getattr(part, field.name) for part in parts) for field in fields(Totals)})


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def quantiles(values: Sequence[float | None]) -> Quantiles:
    """Return the quantiles of what is known."""
    known = sorted(value for value in values if value is not None and math.isfinite(value))
    if not known:
        return Quantiles(None, None)
    return Quantiles(*(known[min(int(share * len(known)), len(known) - 1)] for share in (0.5, 0.95)))
