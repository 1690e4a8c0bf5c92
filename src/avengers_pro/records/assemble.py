"""From rows as a file gives them to a checked table: ranges, duplicates, emptiness."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
    """Rows before checking; arrays are (n, m), ``lines`` says where each row stands in the file.

    Scores are as the file gives them, on its own scale.
    """

    file: str
    lines: Sequence[int]
    queries: Sequence[str]
    datasets: Sequence[str]
    ids: Sequence[str]
    models: Sequence[str]
    arrays: dict[str, Floats]
    listed: NDArray[np.bool_]


def assemble(raw: RawTable, problems: Problems, score_scale: float = 1.0) -> Records:
    """Check every cell and build the table.

    Args:
        raw: What the file says; ``arrays`` holds ``scores``, ``costs``, ``prompt_tokens``,
            ``completion_tokens`` and ``latency_ms``.
        problems: Where bad rows are reported.
        score_scale: What a perfect score is in the file, for example 100.

    Raises:
        RecordsError: On the first bad row unless they are skipped; if no row is left.
    """
    bad = _report_out_of_range(raw, problems, score_scale)
    bad |= _report_duplicates(raw, problems, bad)
    keep = np.array([row for row in range(len(raw.queries)) if row not in bad], dtype=np.intp)
    named = np.flatnonzero(raw.listed[keep].any(axis=0))  # a model that only bad rows name is left out with them
    if not named.size:
        raise RecordsError(f"{raw.file}: no usable row; a row needs 'query', and 'records' that name a model")
    arrays = {name: values[np.ix_(keep, named)] for name, values in raw.arrays.items()}
    return Records(
        queries=tuple(raw.queries[row] for row in keep),
        models=tuple(raw.models[column] for column in named.tolist()),
        scores=arrays["scores"] / score_scale,
        costs=arrays["costs"],
        datasets=tuple(raw.datasets[row] for row in keep),
        ids=tuple(raw.ids[row] for row in keep),
        listed=raw.listed[np.ix_(keep, named)],
        **{name: arrays[name] for name in _OPTIONAL if np.isfinite(arrays[name]).any()},
    )


def out_of_range(name: str, values: Floats, score_scale: float) -> NDArray[np.bool_]:
    """Mark what is negative, infinite or, for scores, above their scale; NaN passes."""
    wrong: NDArray[np.bool_] = (values < 0) | np.isinf(values)
    return wrong | (values > score_scale) if name == "scores" else wrong


def range_rule(name: str, score_scale: float) -> str:
    """Say what a value out of range should have been."""
    if name == "scores":
        return f"a score lies outside [0, {shown(score_scale)}]; state the scale, for example --score-scale 100"
    return "must be a finite number >= 0; leave it out when it is not known"


def shown(value: float) -> str:
    """Write a number in full: 1.0000001 must not look like 1."""
    return repr(float(value)).removesuffix(".0")


def _report_out_of_range(raw: RawTable, problems: Problems, score_scale: float) -> set[int]:
    """Report one problem for each row that has a value out of range, by ascending row."""
    first: dict[int, tuple[str, int]] = {}
    for name, values in raw.arrays.items():
        for row, column in np.argwhere(out_of_range(name, values, score_scale)).tolist():
            first.setdefault(row, (name, column))
    for row, (name, column) in sorted(first.items()):
        field = _FIELDS[name].format(model=raw.models[column])
        value = shown(raw.arrays[name][row, column])
        problems.report(Problem(raw.file, raw.lines[row], field, value, range_rule(name, score_scale)))
    return set(first)


_FIELDS = {
    "scores": "records[{model}]",
    "costs": "usages[{model}].cost",
    "prompt_tokens": "usages[{model}].prompt_tokens",
    "completion_tokens": "usages[{model}].completion_tokens",
    "latency_ms": "usages[{model}].latency_ms",
}
_OPTIONAL = ("prompt_tokens", "completion_tokens", "latency_ms")


def _report_duplicates(raw: RawTable, problems: Problems, left_out: set[int]) -> set[int]:
    """Report each row whose id was used before in its dataset, by a row that stays."""
    seen: dict[tuple[str, str], int] = {}
    bad: set[int] = set()
    for row, key in enumerate(zip(raw.datasets, raw.ids, strict=True)):
        if row in left_out:
            continue
        first = seen.setdefault(key, row)
        if first != row:
            bad.add(row)
            message = f"this id was used before in dataset {key[0]!r}, on line {raw.lines[first]}"
            problems.report(Problem(raw.file, raw.lines[row], "index", key[1], message))
    return bad
