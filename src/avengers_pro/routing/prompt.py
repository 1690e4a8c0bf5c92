"""What one request costs: the tokens of its prompt are known, those of the answer expected."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avengers_pro.records.table import Floats
from avengers_pro.routing.artifact import ModelEntry
from avengers_pro.routing.multiresolution_estimate import MultiResolutionEstimate


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt whose length is known.

    Attributes:
        tokens: Of the whole prompt, with system prompt and history.
        cached_model: The model whose provider has its beginning in the cache, from the last turn; None = none.
        cached_tokens: How many tokens of it.
    """

    tokens: float
    cached_model: str | None = None
    cached_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Prices:
    """(m,) US dollars a token; NaN = not stated."""

    models: tuple[str, ...]
    fresh: Floats
    cached: Floats
    answer: Floats

    @classmethod
    def of(cls, facts: Sequence[ModelEntry]) -> "Prices":
        """Take the prices that a pool table gave the models."""

        def dollars(prices: Sequence[float | None]) -> Floats:
            return np.array([np.nan if price is None else price for price in prices]) / 1e6

        cached = [fact.input_price if fact.cached_input_price is None else fact.cached_input_price for fact in facts]
        return cls(
            tuple(fact.name for fact in facts),
            dollars([fact.input_price for fact in facts]),
            dollars(cached),
            dollars([fact.output_price for fact in facts]),
        )

    def of_requests(self, estimate: MultiResolutionEstimate, prompts: Sequence[Prompt]) -> MultiResolutionEstimate:
        """Return the estimate with the costs of these n prompts, where prices and tokens of answers are known.

        Other models keep what queries like these cost on average.
        """
        tokens = np.array([[prompt.tokens] for prompt in prompts], dtype=np.float64)
        cost = tokens * self.fresh + estimate.expected_usage("completion_tokens") * self.answer
        for row, prompt in enumerate(prompts):
            if prompt.cached_model in self.models:
                column = self.models.index(prompt.cached_model)
                spared = min(prompt.cached_tokens, prompt.tokens) * (self.fresh[column] - self.cached[column])
                cost[row, column] -= spared
        unknown = np.isnan(cost)
        if unknown.any():
            cost = np.where(unknown, estimate.expected_cost, cost)
        return estimate.at_cost(cost)
