"""Outcomes of single runs, joined into one table of queries x models."""

from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from avengers_pro.errors import RecordsError
from avengers_pro.records.assemble import out_of_range, range_rule, shown
from avengers_pro.records.foreign.tally import Tally
from avengers_pro.records.table import DEFAULT_DATASET, Floats, Records, Rows

UNKNOWN = float("nan")
_NAMES = ("scores", "costs", "prompt_tokens", "completion_tokens", "latency_ms")
_WORDS = ("score", "cost", "prompt_tokens", "completion_tokens", "latency_ms")

REPEATED = "outcomes repeat a (query, model) pair, with the same score or none; the last scored one is kept"
REPLACED = "outcomes give a (query, model) pair another score than a later one; the last scored one is kept"
SEVERAL_TEXTS = "ids stand for another text than before; the texts are separate rows (id#2, ...)"
SEVERAL_PROMPTS = "outcomes show the same document in another prompt (a chat template?); the first prompt is kept"


class Outcome(NamedTuple):
    """What one model did on one query; NaN = not observed or not known."""

    score: float = UNKNOWN
    cost: float = UNKNOWN
    prompt_tokens: float = UNKNOWN
    completion_tokens: float = UNKNOWN
    latency_ms: float = UNKNOWN


class Join:
    """Gathers outcomes by (dataset, id, text) and model, and settles pairs that come twice.

    Args:
        tally: Where everything is counted.
        score_scale: What a perfect score is.
        renames: Names of models as given → as wanted.
    """

    def __init__(self, tally: Tally, score_scale: float, renames: Mapping[str, str]) -> None:
        self.models_given: dict[str, None] = {}
        self._tally = tally
        self._scale = score_scale
        self._renames = renames
        self._rows: dict[tuple[str, str, str], int] = {}
        self._ids: dict[tuple[str, str], int] = {}
        self._names: list[tuple[str, str]] = []
        self._queries: list[str] = []
        self._cells: dict[str, tuple[array[int], array[float]]] = {}

    def row(self, dataset: str, name: str, query: str, key: str | None = None) -> int:
        """Return the row of a query, a new one if it was not met before.

        Args:
            dataset: Where the query comes from.
            name: Its id in the dataset.
            query: Its text.
            key: What tells two queries of one id apart; None = the text itself.
        """
        dataset = dataset or DEFAULT_DATASET
        row = self._rows.setdefault((dataset, name, query if key is None else key), len(self._queries))
        if row == len(self._queries):
            self._queries.append(query)
            self._names.append((dataset, self._unused(dataset, name)))
        elif key is not None and self._queries[row] != query:
            self._tally.count(SEVERAL_PROMPTS, f"{dataset} {name}")
        return row

    def _unused(self, dataset: str, name: str) -> str:
        """Return the name, or with a number behind it if another text has it."""
        times = self._ids.get((dataset, name), 0) + 1
        self._ids[dataset, name] = times
        if times == 1:
            return name
        self._tally.count(SEVERAL_TEXTS, f"{dataset} {name}")
        while (dataset, f"{name}#{times}") in self._ids:
            times += 1
        self._ids[dataset, f"{name}#{times}"] = 1
        return f"{name}#{times}"

    def add(
        self, dataset: str, name: str, query: str, model: str, outcome: Outcome, where: str, key: str | None = None
    ) -> None:
        """Add one outcome, unless a value of it is out of range; ``where`` names its place in messages."""
        if not query or query.isspace():
            self._tally.report(where, "query", "the query is empty")
            return
        for position, value in enumerate(outcome):
            if not 0 <= value <= (self._scale if position == 0 else _LARGEST) and value == value:  # noqa: PLR0124
                rule = range_rule(_NAMES[position], self._scale)
                self._tally.report(where, _WORDS[position], rule, shown(value))
                return
        self._tally.samples += 1
        rows, values = self._column(model)
        rows.append(self.row(dataset, name, query, key))
        values.extend(outcome)

    def extend(self, model: str, rows: Rows, values: Floats, places: Iterable[str]) -> None:
        """Add a column of outcomes at once, without those that have a value out of range.

        Args:
            model: Its name as given.
            rows: (k,) from ``row``.
            values: (k, 5) as in ``Outcome``.
            places: Of each outcome, for messages.
        """
        wrong = np.zeros(values.shape, dtype=bool)
        for position, name in enumerate(_NAMES):
            wrong[:, position] = out_of_range(name, values[:, position], self._scale)
        bad = wrong.any(axis=1)
        if bad.any():
            for place, faults, cells in zip(places, wrong, values, strict=True):
                if faults.any():
                    at = int(faults.argmax())
                    rule = range_rule(_NAMES[at], self._scale)
                    self._tally.report(place, f"{model}: {_WORDS[at]}", rule, shown(cells[at]))
        self._tally.samples += int((~bad).sum())
        own_rows, own_values = self._column(model)
        own_rows.frombytes(rows[~bad].astype(np.int64).tobytes())
        own_values.frombytes(values[~bad].astype(np.float64).tobytes())

    def _column(self, model: str) -> tuple["array[int]", "array[float]"]:
        self.models_given.setdefault(model)
        name = self._renames.get(model, model)
        found = self._cells.get(name)
        if found is None:
            found = self._cells[name] = (array("q"), array("d"))
        return found

    def records(self) -> Records:
        """Build the table; a pair that comes twice has the last observed outcome.

        Raises:
            RecordsError: If there is no outcome at all.
        """
        if not self._cells:
            raise RecordsError("there is no usable sample in the files")
        shape = (len(self._queries), len(self._cells))
        arrays = {name: np.full(shape, np.nan) for name in _NAMES}
        listed = np.zeros(shape, dtype=bool)
        for column, (model, (row_buffer, value_buffer)) in enumerate(self._cells.items()):
            rows = np.frombuffer(row_buffer, dtype=np.int64)
            values = np.frombuffer(value_buffer, dtype=np.float64).reshape(-1, len(_NAMES))
            kept = self._settled(model, rows, values[:, 0])
            rows, values = rows[kept], values[kept]
            listed[rows, column] = True
            for position, name in enumerate(_NAMES):
                arrays[name][rows, column] = values[:, position]
        return Records(
            queries=tuple(self._queries),
            models=tuple(self._cells),
            scores=arrays["scores"] / self._scale,
            costs=arrays["costs"],
            datasets=tuple(dataset for dataset, _ in self._names),
            ids=tuple(name for _, name in self._names),
            listed=listed,
            **{name: arrays[name] for name in _NAMES[2:] if np.isfinite(arrays[name]).any()},
        )

    def _settled(self, model: str, rows: Rows, scores: Floats) -> Rows:
        """Return which outcome of each row counts: the last one with a score, else the last."""
        order = np.lexsort((np.arange(len(rows)), ~np.isnan(scores), rows))
        in_order = rows[order]
        starts = np.flatnonzero(np.diff(in_order, prepend=-1))
        if len(starts) == len(rows):
            return np.arange(len(rows))
        sizes = np.diff(starts, append=len(rows))
        lowest, highest = (ufunc.reduceat(scores[order], starts) for ufunc in (np.fmin, np.fmax))
        replaced = highest > lowest  # False where no score is known
        for what, groups in ((REPLACED, replaced), (REPEATED, (sizes > 1) & ~replaced)):
            places = [f"{model} on {' '.join(self._names[row])}" for row in in_order[starts[groups]][:3].tolist()]
            if places:
                self._tally.count(what, *places, amount=int((sizes[groups] - 1).sum()))
        kept: Rows = order[starts + sizes - 1]
        return kept


_LARGEST = float(np.finfo(np.float64).max)
