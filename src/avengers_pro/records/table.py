"""The evaluation table: queries x models -> score, cost, tokens, latency."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import RecordsError
from avengers_pro.records.fingerprint import fingerprint_of, rows_digest

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

DEFAULT_DATASET = "default"
"""The dataset of rows that name none."""


@dataclass(frozen=True, eq=False)
class Records:
    """What each model scored and cost on each query. Immutable; n queries, m models.

    Attributes:
        queries: n non-empty texts.
        models: m distinct names, in the order in which the source first names them.
        scores: (n, m) in [0, 1]; NaN = not observed.
        costs: (n, m) US dollars, >= 0; NaN = not known.
        datasets: n names of where each query comes from.
        ids: n names of the queries, unique within a dataset.
        listed: (n, m) True where the row names the model, even without a score. Only
            ``avengers-pro-code`` reads it, which treats "no score" and "not named" differently.
        prompt_tokens: (n, m) counts, NaN = not known; None = nowhere known.
        completion_tokens: As ``prompt_tokens``.
        latency_ms: (n, m) milliseconds, NaN = not known; None = nowhere known.
    """

    queries: tuple[str, ...]
    models: tuple[str, ...]
    scores: Floats
    costs: Floats
    datasets: tuple[str, ...]
    ids: tuple[str, ...]
    listed: NDArray[np.bool_]
    prompt_tokens: Floats | None = None
    completion_tokens: Floats | None = None
    latency_ms: Floats | None = None

    def __post_init__(self) -> None:
        """Check the shapes once and forbid writing to the arrays."""
        shape = (len(self.queries), len(self.models))
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                if value.shape != shape:
                    raise RecordsError(f"{field.name} has shape {value.shape}; queries x models is {shape}")
                value.setflags(write=False)
            elif field.name in {"datasets", "ids"} and len(value) != shape[0]:
                raise RecordsError(f"{field.name} has {len(value)} entries for {shape[0]} queries")

    @classmethod
    def from_arrays(
        cls,
        queries: Sequence[str],
        models: Sequence[str],
        scores: Floats,
        costs: Floats | None = None,
        *,
        datasets: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
    ) -> "Records":
        """Build a table from what a program has at hand; the arrays are copied.

        Args:
            queries: n texts.
            models: m names.
            scores: (n, m) in [0, 1]; NaN = not observed.
            costs: (n, m) US dollars; None or NaN = not known.
            datasets: n names; one dataset if None.
            ids: n names; the row number if None.

        Raises:
            RecordsError: If a shape, a score or a cost is out of range, a query is empty, or a model or an id
                is given twice.
        """
        scores = np.array(scores, dtype=np.float64)
        costs = np.full(scores.shape, np.nan) if costs is None else np.array(costs, dtype=np.float64)
        if np.any((scores < 0) | (scores > 1)):
            raise RecordsError("scores lie outside [0, 1]; divide them by their scale first")
        if np.any((costs < 0) | np.isinf(costs)):
            raise RecordsError("costs are negative or infinite; NaN means not known")
        n = len(queries)
        table = cls(
            queries=tuple(queries),
            models=tuple(models),
            scores=scores,
            costs=costs,
            datasets=tuple(datasets) if datasets is not None else (DEFAULT_DATASET,) * n,
            ids=tuple(ids) if ids is not None else tuple(map(str, range(n))),
            listed=~np.isnan(scores),
        )
        table._check_names()
        return table

    def _check_names(self) -> None:
        for row, query in enumerate(self.queries):
            if not query or query.isspace():
                raise RecordsError(f"the query of row {row} is empty (got {query!r})")
        for noun, names in (("model", self.models), ("id", tuple(zip(self.datasets, self.ids, strict=True)))):
            if len(set(names)) < len(names):
                twice = next(name for name, count in Counter(names).items() if count > 1)
                raise RecordsError(f"the {noun} {twice!r} is given twice; names must be distinct")

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.queries)

    def __repr__(self) -> str:
        """Sizes, not contents."""
        return (
            f"Records({len(self)} queries x {len(self.models)} models, {len(set(self.datasets))} datasets, "
            f"{np.isfinite(self.scores).mean() if self.scores.size else 0:.1%} observed)"
        )

    @cached_property
    def dataset_names(self) -> tuple[str, ...]:
        """Distinct datasets, sorted."""
        return tuple(sorted(set(self.datasets)))

    @cached_property
    def dataset_codes(self) -> Rows:
        """(n,) position of each row's dataset in ``dataset_names``."""
        codes = {name: code for code, name in enumerate(self.dataset_names)}
        return np.array([codes[name] for name in self.datasets], dtype=np.intp)

    def take(self, rows: Rows | Sequence[int]) -> "Records":
        """Keep these rows, in this order."""
        index = np.asarray(rows, dtype=np.intp)
        kept: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                kept[field.name] = value[index]
            elif value is not None and field.name != "models":
                kept[field.name] = tuple(value[row] for row in index)
        return replace(self, **kept)

    def select_models(self, names: Iterable[str]) -> "Records":
        """Keep these models, in the table's order.

        Raises:
            RecordsError: If a name is unknown or none is left.
        """
        wanted = set(_known(names, self.models, "model"))
        columns = [column for column, name in enumerate(self.models) if name in wanted]
        if not columns:
            raise RecordsError("no model is left; name at least one to keep")
        arrays: dict[str, Any] = {
            field.name: value[:, columns]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }
        return replace(self, models=tuple(self.models[column] for column in columns), **arrays)

    def exclude_models(self, names: Iterable[str]) -> "Records":
        """Drop these models.

        Raises:
            RecordsError: If a name is unknown or none is left.
        """
        dropped = set(_known(names, self.models, "model"))
        return self.select_models(name for name in self.models if name not in dropped)

    def rows_of(self, dataset_names: Iterable[str]) -> Rows:
        """Rows that belong to these datasets, ascending.

        Raises:
            RecordsError: If a name is unknown.
        """
        wanted = set(_known(dataset_names, self.dataset_names, "dataset"))
        return np.flatnonzero([name in wanted for name in self.datasets])

    def select_datasets(self, names: Iterable[str]) -> "Records":
        """Keep the rows of these datasets, in the table's order.

        Raises:
            RecordsError: If a name is unknown or no row is left.
        """
        rows = self.rows_of(names)
        if not rows.size:
            raise RecordsError("no dataset is left; name at least one to keep")
        return self.take(rows)

    def exclude_datasets(self, names: Iterable[str]) -> "Records":
        """Drop every row of these datasets.

        Raises:
            RecordsError: If a name is unknown or no row is left.
        """
        dropped = set(_known(names, self.dataset_names, "dataset"))
        return self.select_datasets(name for name in self.dataset_names if name not in dropped)

    def first_rows(self) -> dict[str, int]:
        """Return the first row of each query text."""
        return {query: row for row, query in reversed(list(enumerate(self.queries)))}

    def deduplicated(self) -> "Records":
        """Keep the first row of each exact query text."""
        first = self.first_rows()
        return self if len(first) == len(self) else self.take(sorted(first.values()))

    def complete_models(self) -> tuple[str, ...]:
        """Models with a score on every row and, if any cost is known at all, a cost on every row."""
        complete = np.asarray(np.isfinite(self.scores).all(axis=0))
        if self.has_costs:
            complete &= np.isfinite(self.costs).all(axis=0)
        return tuple(name for name, whole in zip(self.models, complete, strict=True) if whole)

    @property
    def has_costs(self) -> bool:
        """Whether any cost is known."""
        return bool(np.isfinite(self.costs).any())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over texts, names, scores and costs: the same rows have the same fingerprint, in any order."""
        return fingerprint_of(self.models, len(self), rows_digest(self))


def _known(names: Iterable[str], known: Sequence[str], noun: str) -> list[str]:
    """Return the names, or say which is unknown and what is nearest."""
    chosen = list(names)
    for name in chosen:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise RecordsError(f"unknown {noun} {name!r}; {hint}")
    return chosen
