"""Files of any known format → one records table, with an account of what happened on the way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from avengers_pro.errors import RecordsError
from avengers_pro.records.files import read_records
from avengers_pro.records.foreign.inspect_log import read_inspect_log
from avengers_pro.records.foreign.join import Join
from avengers_pro.records.foreign.llmrouterbench import read_llmrouterbench
from avengers_pro.records.foreign.lm_eval import read_lm_eval
from avengers_pro.records.foreign.options import Options
from avengers_pro.records.foreign.routerbench import read_routerbench
from avengers_pro.records.foreign.sniff import Found, find
from avengers_pro.records.foreign.tally import Note, Tally
from avengers_pro.records.jsonl import Progress
from avengers_pro.records.merge import merge
from avengers_pro.records.table import Records

_Reader = Callable[[Path, Join, Options, Tally, Progress | None], None]
_READERS: Mapping[str, _Reader] = {
    "inspect": read_inspect_log,
    "lm-eval": read_lm_eval,
    "routerbench": read_routerbench,
    "llmrouterbench": read_llmrouterbench,
}
_OWN = ("records", "table")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A table and how it came about.

    Attributes:
        records: The table.
        files: Format → number of files read.
        samples: Outcomes of one model on one query that were read.
        notes: What was left out, joined or replaced, and how often.
        scored_by: (dataset, scorer, metric or filter that was taken).
        skipped: Bad samples left out.
        problems: The first ten of those.
    """

    records: Records
    files: dict[str, int]
    samples: int
    notes: tuple[Note, ...]
    scored_by: tuple[tuple[str, str], ...]
    skipped: int
    problems: tuple[str, ...]


def convert(
    *sources: str | Path,
    options: Options | None = None,
    source_format: str | None = None,
    besides: str | Path | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Read evaluation results of other tools as one records table.

    Files of one format join by dataset, id and text, as each format's module says; what different formats hold is
    then merged by dataset and text, and two values for one cell are an error there.

    Args:
        sources: Files and folders.
        options: How to read; the documented defaults if None.
        source_format: One of ``FORMATS`` for all; None = told by looking into each file.
        besides: A file that is not read even if it lies in a folder, such as the output.
        progress: Called with (bytes read, bytes in all).

    Raises:
        RecordsError: If a source cannot be read as it is; the message names file, line or sample, field and value.
        MissingExtraError: If a format needs a package that is not installed.
    """
    options = options or Options()
    if not sources:
        raise RecordsError("no source was named")
    found = find([Path(source) for source in sources], source_format, None if besides is None else Path(besides))
    kinds = dict.fromkeys(kind for _, kind in found.files)
    options.check(set(kinds))
    tally = Tally(options.skip_bad_lines)
    steps = _Steps(found, progress)
    tables, models_given = [], dict[str, None]()
    for kind in kinds:
        files = [path for path, each in found.files if each == kind]
        read = _read_own if kind in _OWN else _read_foreign
        table, given = read(kind, files, options, tally, steps)
        tables.append(table)
        models_given.update(given)
    _check_renames(options.renames, models_given)
    records = _joined(tables, tally)
    for path, reason in found.left_out:
        tally.count("files in the folders are of no known format; left out", f"{path.name} {reason.splitlines()[0]}")
    return Conversion(
        records=records,
        files={kind: sum(each == kind for _, each in found.files) for kind in kinds},
        samples=tally.samples,
        notes=tally.notes(),
        scored_by=tuple(tally.chosen),
        skipped=tally.bad,
        problems=tuple(tally.problems),
    )


class _Steps:
    """Progress over several files, in bytes."""

    def __init__(self, found: Found, progress: Progress | None) -> None:
        self._sizes = {path: path.stat().st_size for path, _ in found.files}
        self._total = sum(self._sizes.values())
        self._done = 0
        self._progress = progress

    def within(self, path: Path) -> Progress | None:
        """Return what to call with (done, total) of one file, in any unit."""
        if self._progress is None:
            return None
        progress, size, before, total = self._progress, self._sizes[path], self._done, self._total

        def show(done: int, of: int) -> None:
            progress(before + size * done // max(of, 1), total)

        return show

    def finish(self, path: Path) -> None:
        """Count a file as read."""
        self._done += self._sizes[path]
        if self._progress is not None:
            self._progress(self._done, self._total)


def _read_foreign(
    kind: str, files: Sequence[Path], options: Options, tally: Tally, steps: _Steps
) -> tuple[Records, dict[str, None]]:
    join = Join(tally, options.score_scale, options.renames)
    for path in files:
        _READERS[kind](path, join, options, tally, steps.within(path))
        steps.finish(path)
    return join.records(), join.models_given


def _read_own(
    _: str, files: Sequence[Path], options: Options, tally: Tally, steps: _Steps
) -> tuple[Records, dict[str, None]]:
    tables: list[Records] = []
    given: dict[str, None] = {}
    for path in files:
        reading = read_records(
            path,
            score_scale=options.score_scale,
            skip_bad_lines=options.skip_bad_lines,
            progress=steps.within(path),
        )
        steps.finish(path)
        tally.bad += reading.skipped
        tally.problems += map(str, reading.problems[: max(0, 10 - len(tally.problems))])
        given.update(dict.fromkeys(reading.records.models))
        table = _renamed(path, reading.records, options.renames)
        tally.samples += int(table.listed.sum())
        tables.append(table)
    return _joined(tables, tally), given


def _joined(tables: Sequence[Records], tally: Tally) -> Records:
    table = merge(tables)
    joined = sum(map(len, tables)) - len(table)
    if joined:
        tally.count("rows have the dataset and text of a row of another file; joined", amount=joined)
    return table


def _renamed(path: Path, records: Records, renames: Mapping[str, str]) -> Records:
    models = tuple(renames.get(name, name) for name in records.models)
    if len(set(models)) < len(models):
        twice = next(name for name in models if models.count(name) > 1)
        raise RecordsError(f"{path}: the renaming gives several of its models the name {twice!r}; keep one of them")
    return replace(records, models=models)


def _check_renames(renames: Mapping[str, str], given: Mapping[str, None]) -> None:
    for old in renames:
        if old not in given:
            near = get_close_matches(old, given, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]!r}?" if near else f"found: {', '.join(given)}"
            raise RecordsError(f"--rename {old}=...: no model has this name; {hint}")
