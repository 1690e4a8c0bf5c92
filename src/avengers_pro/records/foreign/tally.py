"""What was left out, joined or replaced on the way, counted and explained."""

from dataclasses import dataclass, field

from avengers_pro.errors import RecordsError
from avengers_pro.records.assemble import LISTED_PROBLEMS

_EXAMPLES = 3
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Note:
    """One kind of thing that happened to samples on the way.

    Attributes:
        what: What happened, and what was done about it.
        count: How often.
        examples: The first few places.
    """

    what: str
    count: int
    examples: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """Counts by kind; bad samples end the reading unless they are skipped.

    Attributes:
        skip: Whether bad samples are left out and counted.
        samples: Outcomes of one model on one query that were read.
        bad: How many were left out as bad.
        problems: The first ten of those.
        chosen: (dataset, what is its score: scorer, metric or filter), in order of appearance.
    """

    skip: bool
    samples: int = 0
    bad: int = 0
    problems: list[str] = field(default_factory=list)
    chosen: dict[tuple[str, str], None] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _examples: dict[str, list[str]] = field(default_factory=dict)

    def count(self, what: str, *examples: str, amount: int = 1) -> None:
        """Count something that is no fault; ``what`` explains it."""
        self._counts[what] = self._counts.get(what, 0) + amount
        kept = self._examples.setdefault(what, [])
        kept += [example for example in examples if example not in kept][: _EXAMPLES - len(kept)]

    def report(self, where: str, place: str, message: str, value: str | None = None) -> None:
        """Count a bad sample: ``file, line or sample: field: what is wrong (got value)``.

        Raises:
            RecordsError: If bad samples are not to be skipped.
        """
        problem = f"{where}: {place}: {message}"
        if value is not None:
            problem += f" (got {value if len(value) <= _LONGEST else value[: _LONGEST - 3] + '...'})"
        if not self.skip:
            raise RecordsError(f"{problem}; --skip-bad-lines leaves such samples out")
        self.bad += 1
        if len(self.problems) < LISTED_PROBLEMS:
            self.problems.append(problem)

    def notes(self) -> tuple[Note, ...]:
        """Return the counts, the most frequent first."""
        ordered = sorted(self._counts.items(), key=lambda pair: -pair[1])
        return tuple(Note(what, count, tuple(self._examples[what])) for what, count in ordered)
