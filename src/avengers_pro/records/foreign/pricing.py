"""Costs from token counts, where a price is known and a cost is not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from avengers_pro.records.table import Records


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input_price: float
    output_price: float


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A model whose cost is not known everywhere.

    Attributes:
        model: Its name.
        cells: Scored cells without a cost.
        scored: Scored cells.
        with_tokens: Of ``cells``, those with both token counts: a price would fill them.
    """

    model: str
    cells: int
    scored: int
    with_tokens: int


def fill_costs(records: Records, prices: Mapping[str, Price]) -> tuple[Records, dict[str, int]]:
    """Price cells whose cost is not known and whose token counts are: tokens x price, no discount for cached ones.

    Returns:
        The table, and how many cells of each model were filled; a cost that is known stays as it is.
    """
    prompt, completion = records.prompt_tokens, records.completion_tokens
    if prompt is None or completion is None:
        return records, {}
    costs = records.costs.copy()
    filled: dict[str, int] = {}
    for column, model in enumerate(records.models):
        if model in prices:
            price = prices[model]
            cost = (prompt[:, column] * price.input_price + completion[:, column] * price.output_price) / 1e6
            open_cells = np.isnan(costs[:, column]) & ~np.isnan(cost)
            costs[open_cells, column] = cost[open_cells]
            filled[model] = int(open_cells.sum())
    return replace(records, costs=costs), {model: count for model, count in filled.items() if count}


def unpriced(records: Records) -> tuple[Unpriced, ...]:
    """Return the models that have a score without a cost, in the table's order."""
    scored = ~np.isnan(records.scores)
    missing = scored & np.isnan(records.costs)
    if records.prompt_tokens is None or records.completion_tokens is None:
        counted = np.zeros(missing.shape, dtype=bool)
    else:
        counted = missing & ~np.isnan(records.prompt_tokens) & ~np.isnan(records.completion_tokens)
    return tuple(
        Unpriced(model, int(missing[:, column].sum()), int(scored[:, column].sum()), int(counted[:, column].sum()))
        for column, model in enumerate(records.models)
        if missing[:, column].any()
    )
