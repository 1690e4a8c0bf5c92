"""Result files of LLMRouterBench: ``bench/<dataset>/<split>/<model>/<file>.json`` with a list ``records``.

Mapping: one file is one model on one split of a dataset.

- dataset and model: ``dataset_name`` and ``model_name``, else the folders' names; id: ``<split>/<index>``.
- query: ``origin_query``, or ``prompt`` where that is empty or no text; ``query_field`` names the one to take.
- score: ``score``; null = not observed (a record that failed, or one that is graded elsewhere).
- cost, tokens: as given. The tool writes 0 where it knows nothing: a file in which all costs (or all token counts)
  are 0 has none, and neither has a record without score, tokens and cost.
- a file with ``demo: true`` is left out, as the tool itself does.
"""

import math
from pathlib import Path
from typing import Any

import msgspec

from avengers_pro.errors import RecordsError
from avengers_pro.records.foreign.decoding import UNREADABLE, decode, fault, read_whole
from avengers_pro.records.foreign.join import UNKNOWN, Join, Outcome
from avengers_pro.records.foreign.options import Options
from avengers_pro.records.foreign.tally import Tally
from avengers_pro.records.jsonl import Progress
from avengers_pro.records.messages import query_of

_PROGRESS_EVERY = 256
_FIELDS = ("origin_query", "prompt")


class _Record(msgspec.Struct, gc=False):
    index: int | str
    origin_query: Any = None
    prompt: Any = None
    score: float | bool | None = None
    cost: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None


class _Result(msgspec.Struct):
    records: list[msgspec.Raw]
    model_name: str | None = None
    dataset_name: str | None = None
    split: str | None = None
    demo: bool = False


_decode_result = msgspec.json.Decoder(_Result)
_decode_record = msgspec.json.Decoder(_Record)


def read_llmrouterbench(path: Path, join: Join, options: Options, tally: Tally, progress: Progress | None) -> None:
    """Add the records of one result file, which is held in memory whole.

    Raises:
        RecordsError: If the file is none, or a record is bad and bad ones are not skipped.
    """
    if options.query_field is not None and options.query_field not in _FIELDS:
        raise RecordsError(f"{path}: no query field {options.query_field!r}; it has {' and '.join(_FIELDS)}")
    try:
        result = decode(read_whole(path), _decode_result)
    except UNREADABLE as error:
        raise RecordsError(f"{path}: {error}") from error
    if result.demo:
        tally.count("files of demo runs are left out", path.name)
        return
    dataset, split, model = _names(path, result)
    records = []
    for position, raw in enumerate(result.records):
        try:
            records.append((position, decode(raw, _decode_record)))
        except UNREADABLE as error:
            tally.report(f"{path.name}: records[{position}]", *fault(error, raw))
    free = _all_zero(path, "cost", [record.cost for _, record in records], tally)
    mute = _all_zero(
        path, "token count", [(r.prompt_tokens or 0) + (r.completion_tokens or 0) for _, r in records], tally
    )
    for position, record in records:
        where = f"{path.name}: records[{position}] (index {record.index})"
        outcome = _outcome(record, options.score_scale, free=free, mute=mute)
        if math.isnan(outcome.score):
            tally.count("records have no score; not observed", where)
        name = str(record.index) if split is None else f"{split}/{record.index}"
        join.add(dataset, name, _query(record, options.query_field), model, outcome, where)
        if progress is not None and position % _PROGRESS_EVERY == 0:
            progress(position, len(records))


def _names(path: Path, result: _Result) -> tuple[str, str | None, str]:
    """Return dataset, split and model, from the file or else from its folders."""
    folders = path.absolute().parts[:-1]
    by_folder = folders[-3:] if len(folders) > 3 else ("", "", "")  # noqa: PLR2004
    if result.model_name:
        return result.dataset_name or by_folder[0], result.split, result.model_name
    if not by_folder[2]:
        raise RecordsError(f"{path}: no model_name, and not in folders <dataset>/<split>/<model>")
    return result.dataset_name or by_folder[0], result.split or by_folder[1], by_folder[2]


def _all_zero(path: Path, what: str, values: list[float | None], tally: Tally) -> bool:
    """Whether a file has no such number at all; 0 throughout is what the tool writes then."""
    if not values or any(values):
        return False
    tally.count(f"files say 0 for every {what}; taken as not known", path.name)
    return True


def _outcome(record: _Record, score_scale: float, *, free: bool, mute: bool) -> Outcome:
    score = UNKNOWN if record.score is None else float(record.score)
    if record.score is True:
        score = score_scale
    known = [record.cost, record.prompt_tokens, record.completion_tokens]
    if record.score is None and not any(known):
        return Outcome()
    cost, prompt, completion = (UNKNOWN if value is None else value for value in known)
    return Outcome(score, UNKNOWN if free else cost, *((UNKNOWN, UNKNOWN) if mute else (prompt, completion)))


def _query(record: _Record, wanted: str | None) -> str:
    """Return the text; empty if there is none."""
    for value in (getattr(record, name) for name in ((wanted,) if wanted else _FIELDS)):
        if isinstance(value, list):
            try:
                return query_of(value)
            except RecordsError:
                continue
        if isinstance(value, str) and value and not value.isspace():
            return value
    return ""
