"""From rows as a file gives them to a checked table: ranges, duplicates, emptiness."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from avengers_pro.errors import RecordsError
from avengers_pro.records.table import Floats, Records

LISTED_PROBLEMS = 10
"""How many skipped lines are kept by name; all are counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file, printed as ``file:line: field: what (value)``."""

    file: str
    line: int
    field: str
    value: str
    message: str

    def __str__(self) -> str:
        """Where, what, and the value."""
        value = self.value if len(self.value) <= 80 else self.value[:77] + "..."  # noqa: PLR2004
        return f"{self.file}:{self.line}: {self.field}: {self.message} (got {value})"


@dataclass(slots=True)
class Problems:
    """Collects what is wrong: the first problem ends the reading unless bad lines are skipped."""

    skip: bool
    count: int = 0
    first: list[Problem] = field(default_factory=list)

    def report(self, problem: Problem) -> None:
        """Count a problem.

        Raises:
            RecordsError: If bad lines are not to be skipped.
        """
        if not self.skip:
            raise RecordsError(f"{problem}; --skip-bad-lines leaves such lines out")
        self.count += 1
        if len(self.first) < LISTED_PROBLEMS:
            self.first.append(problem)


@dataclass(slots=True)
class RawTable:
    """Rows before checking; arrays are (n, m), ``lines`` says where each row stands in the file."""

    file: str
    lines: Sequence[int]
    queries: Sequence[str]
    datasets: Sequence[str]
    ids: Sequence[str]
    models: Sequence[str]
    arrays: dict[str, Floats]
    listed: np.ndarray[tuple[int, int], np.dtype[np.bool_]]


def assemble(raw: RawTable, problems: Problems, score_scale: float = 1.0) -> Records:
    """Check every cell and build the table.

    Args:
        raw: What the file says; ``arrays`` holds ``scores`` and any of ``costs``, ``prompt_tokens``,
            ``completion_tokens``, ``latency_ms``.
        problems: Where bad rows are reported.
        score_scale: What a perfect score is in the file, for example 100.

    Raises:
        RecordsError: On the first bad row unless they are skipped; if no row is left.
    """
    arrays = dict(raw.arrays)
    arrays["scores"] = arrays["scores"] / score_scale
    bad = _report_out_of_range(raw, arrays, problems, score_scale) | _report_duplicates(raw, problems)
    keep = [row for row in range(len(raw.queries)) if row not in bad]
    if not keep:
        raise RecordsError(f"{raw.file}: no usable row; a row needs 'query' and 'records'")
    optional = {
        name: arrays[name][keep]
        for name in ("prompt_tokens", "completion_tokens", "latency_ms")
        if name in arrays and np.isfinite(arrays[name][keep]).any()
    }
    return Records(
        queries=tuple(raw.queries[row] for row in keep),
        models=tuple(raw.models),
        scores=arrays["scores"][keep],
        costs=arrays.get("costs", np.full(arrays["scores"].shape, np.nan))[keep],
        datasets=tuple(raw.datasets[row] for row in keep),
        ids=tuple(raw.ids[row] for row in keep),
        listed=raw.listed[keep],
        **optional,
    )


def _report_out_of_range(raw: RawTable, arrays: dict[str, Floats], problems: Problems, score_scale: float) -> set[int]:
    """Report one problem for each row that has a value out of range."""
    bad: set[int] = set()
    for name, values in arrays.items():
        top = 1.0 if name == "scores" else np.inf
        wrong = (values < 0) | (values > top) | np.isinf(values)
        for row, column in zip(*np.nonzero(wrong), strict=True):
            if row in bad:
                continue
            bad.add(int(row))
            value = values[row, column] * (score_scale if name == "scores" else 1)
            remedy = (
                f"a score lies outside [0, {score_scale:g}]; state the scale, for example --score-scale 100"
                if name == "scores"
                else "must be a finite number >= 0; leave it out when it is not known"
            )
            where = f"{_FIELDS[name]}[{raw.models[column]}]"
            problems.report(Problem(raw.file, raw.lines[row], where, f"{value:g}", remedy))
    return bad


_FIELDS = {
    "scores": "records",
    "costs": "usages.cost",
    "prompt_tokens": "usages.prompt_tokens",
    "completion_tokens": "usages.completion_tokens",
    "latency_ms": "usages.latency_ms",
}


def _report_duplicates(raw: RawTable, problems: Problems) -> set[int]:
    """Report each row whose id was used before in its dataset."""
    seen: dict[tuple[str, str], int] = {}
    bad: set[int] = set()
    for row, key in enumerate(zip(raw.datasets, raw.ids, strict=True)):
        first = seen.setdefault(key, row)
        if first != row:
            bad.add(row)
            message = f"this id was used before in dataset {key[0]!r}, on line {raw.lines[first]}"
            problems.report(Problem(raw.file, raw.lines[row], "index", key[1], message))
    return bad
