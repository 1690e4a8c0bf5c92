"""What is spent, and the cap on it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from avengers_pro.errors import AvengersProError, StoreError
from avengers_pro.routing.pool import ModelCard

CHARS_PER_TOKEN = 4
"""Rule of thumb for English text; estimates alone use it."""
ASSUMED_COMPLETION_TOKENS = 500.0
"""Length of an answer as long as none of the model is known."""


class CostCapError(AvengersProError):
    """The next call could spend more than the cap allows."""


class Spending:
    """Dollars spent, and those that calls on their way may still cost.

    Attributes:
        spent_usd: Known costs, earlier runs of the same folder included.
        capped: Whether a call was refused.
        closed: Why nothing may be paid any more, an answer that could not be kept; None = it may.
        unknown: Answers whose cost is not known.
    """

    def __init__(self, spent_usd: float = 0.0, cap_usd: float | None = None) -> None:
        """Start with what was spent before.

        Args:
            spent_usd: By earlier runs.
            cap_usd: Most that may be spent in all; None = any.
        """
        self.spent_usd = spent_usd
        self.capped = False
        self.closed: str | None = None
        self.unknown = 0
        self._cap_usd = cap_usd
        self._on_the_way_usd = 0.0

    @contextmanager
    def reserved(self, expected_usd: float) -> Iterator[None]:
        """Set dollars aside while a call is on its way.

        Args:
            expected_usd: What it will probably cost; NaN counts as nothing.

        Raises:
            CostCapError: If spent, set aside and expected together exceed the cap.
            StoreError: If answers cannot be kept any more.
        """
        if self.closed is not None:
            raise StoreError(self.closed)
        expected = 0.0 if math.isnan(expected_usd) else expected_usd
        if self._cap_usd is not None and self.spent_usd + self._on_the_way_usd + expected > self._cap_usd:
            self.capped = True
            raise CostCapError(f"the cap of ${self._cap_usd:g} is reached")
        self._on_the_way_usd += expected
        try:
            yield
        finally:
            self._on_the_way_usd -= expected

    def pay(self, cost_usd: float | None, expected_usd: float) -> None:
        """Book an answer; where its cost is unknown, what was expected counts towards the cap."""
        if cost_usd is None:
            self.unknown += 1
            cost_usd = 0.0 if math.isnan(expected_usd) else expected_usd
        self.spent_usd += cost_usd


def expected_usd(card: ModelCard, prompt_chars: float, completion_tokens: float) -> float:
    """Return what a call probably costs in US dollars; NaN if the card has no prices."""
    return card.cost_usd(prompt_chars / CHARS_PER_TOKEN, completion_tokens)
