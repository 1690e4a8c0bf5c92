"""Eval logs of Inspect (inspect_ai), ``.eval`` and ``.json``.

Mapping: one log is one model on one task.

- dataset: ``eval.task``; id: the sample's ``id``; model: ``eval.model``.
- query: ``input``, of a chat the last user turn; ``choices`` follow, a line each (``A) ...``), since the model saw
  them.
- score: of the first scorer that the log declares, or the one asked for: C, yes and true are 1, P is 0.5, I, N, no
  and false are 0, numbers and numeric texts count as they are; NaN or no score = not observed.
- tokens and cost: the evaluated model's ``model_usage`` (prompt tokens with those read from or written to a cache),
  less what it used as its own grader (``role_usage``, in newer logs); all 0 = not known. Cost: ``total_cost`` if the
  log has it.
- latency: ``output.time``, if the sample took exactly one answer of the model.
- epochs of a sample are averaged: the mean over those with a score.
- a sample with ``error`` or ``invalidation`` is not observed, whatever its other fields say.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from avengers_pro.errors import RecordsError
from avengers_pro.records.foreign.decoding import UNREADABLE, decode, fault, in_short, read_whole
from avengers_pro.records.foreign.eval_archive import EvalArchive
from avengers_pro.records.foreign.inspect_scores import Score, Scorers
from avengers_pro.records.foreign.join import UNKNOWN, Join, Outcome
from avengers_pro.records.foreign.options import Options
from avengers_pro.records.foreign.tally import Tally
from avengers_pro.records.jsonl import Progress
from avengers_pro.records.messages import query_of

_PROGRESS_EVERY = 256
_GRADER = "grader"
HEADER, START = "header.json", "_journal/start.json"


class _Usage(msgspec.Struct, gc=False):
    input_tokens: float = 0
    output_tokens: float = 0
    input_tokens_cache_write: float | None = None
    input_tokens_cache_read: float | None = None
    total_cost: float | None = None


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    source: str | None = None


class _Output(msgspec.Struct, gc=False):
    time: float | None = None


class _Sample(msgspec.Struct):
    id: int | str
    input: str | list[Any]
    epoch: int = 1
    choices: list[str] | None = None
    scores: dict[str, Score] | None = None
    model_usage: dict[str, _Usage] | None = None
    role_usage: dict[str, _Usage] | None = None
    output: _Output | None = None
    messages: list[_Message] | None = None
    error: Any = None
    invalidation: Any = None


class _Role(msgspec.Struct):
    model: str = ""


class _Scorer(msgspec.Struct):
    name: str


class _Eval(msgspec.Struct):
    task: str
    model: str
    scorers: list[_Scorer] | None = None
    model_roles: dict[str, _Role | list[_Role]] | None = None


class _Header(msgspec.Struct):
    eval: _Eval
    status: str = "started"


class _Log(_Header):
    samples: list[msgspec.Raw] | None = None


_NOTHING = _Usage()
_decode_header = msgspec.json.Decoder(_Header)
_decode_log = msgspec.json.Decoder(_Log)
_decode_sample = msgspec.json.Decoder(_Sample)


@dataclass(slots=True)
class _Epochs:
    """The outcomes of one sample, epoch by epoch."""

    query: str
    where: str
    outcomes: list[Outcome] = field(default_factory=list)


def read_inspect_log(path: Path, join: Join, options: Options, tally: Tally, progress: Progress | None) -> None:
    """Add the samples of one log.

    Raises:
        RecordsError: If the file is no log, no scorer fits, or a sample is bad and bad ones are not skipped.
    """
    samples = _from_archive(path, progress) if _is_zip(path) else _from_json(path, progress)
    header = next(samples)
    if not isinstance(header, _Header):
        raise RecordsError(f"{path}: the log has no header")
    if header.status != "success":
        tally.count(f"logs have the status {header.status!r}; the samples they hold are used", path.name)
    scores = Scorers(path, [scorer.name for scorer in header.eval.scorers or []], options)
    by_id: dict[str, _Epochs] = {}
    for place, data in samples:
        _read_sample(path.name, place, data, header.eval, scores, by_id, tally)
    for name, epochs in by_id.items():
        if len(epochs.outcomes) > 1:
            tally.count("samples ran in several epochs; their mean is taken", f"{path.name} {name}")
        join.add(header.eval.task, name, epochs.query, header.eval.model, _mean(epochs.outcomes), epochs.where)
    if scores.name is not None:
        tally.chosen.setdefault((header.eval.task, f"scorer {scores.name}"))


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _from_archive(path: Path, progress: Progress | None) -> Iterator[Any]:
    """Yield the header, then (place, bytes) of each sample."""
    with EvalArchive(path) as archive:
        header = next((name for name in (HEADER, START) if name in archive.members), None)
        if header is None:
            raise RecordsError(f"{path}: no {HEADER} in it; this is no Inspect log")
        try:
            yield decode(archive.read(header), _decode_header)
        except UNREADABLE as error:
            raise RecordsError(f"{path}: {header}: {error}") from error
        total = path.stat().st_size
        for number, (name, info) in enumerate(archive.members.items()):
            if name.startswith("samples/") and name.endswith(".json"):
                yield name, archive.read(name)
                if progress is not None and number % _PROGRESS_EVERY == 0:
                    progress(min(info.header_offset, total), total)


def _from_json(path: Path, progress: Progress | None) -> Iterator[Any]:
    """Yield the header, then (place, bytes) of each sample; the whole file is held in memory."""
    data = read_whole(path)
    try:
        log = decode(data, _decode_log)
    except UNREADABLE as error:
        raise RecordsError(f"{path}: {error}") from error
    yield log
    samples = log.samples or []
    for position, sample in enumerate(samples):
        yield f"samples[{position}]", sample
        if progress is not None and position % _PROGRESS_EVERY == 0:
            progress(position, len(samples))


def _read_sample(
    file: str, place: str, data: Any, about: _Eval, scores: Scorers, by_id: dict[str, _Epochs], tally: Tally
) -> None:
    try:
        sample = decode(data, _decode_sample)
    except UNREADABLE as error:
        tally.report(f"{file}: {place}", *fault(error, data))
        return
    name, where = str(sample.id), f"{file}: sample {sample.id!r} epoch {sample.epoch}"
    try:
        query = _query(sample)
    except RecordsError:
        tally.report(where, "input", "no user turn with text")
        return
    epochs = by_id.setdefault(name, _Epochs(query, where))
    failed = _failure(sample)
    if failed is not None:
        tally.count(failed, where)
        epochs.outcomes.append(Outcome())
        return
    value = scores.value(sample.scores or {})
    try:
        score = scores.number(value)
    except ValueError as error:
        tally.report(where, f"scores[{scores.name}]", str(error), in_short(value))
        if not epochs.outcomes:
            del by_id[name]
        return
    if math.isnan(score):
        tally.count("samples have no score; not observed", where)
    epochs.outcomes.append(_outcome(sample, score, about))


def _failure(sample: _Sample) -> str | None:
    if sample.error is not None:
        return "samples ended in an error; not observed"
    return "samples were invalidated; not observed" if sample.invalidation is not None else None


def _query(sample: _Sample) -> str:
    text = sample.input if isinstance(sample.input, str) else query_of(sample.input)
    choices = (f"\n{_label(position)}) {choice}" for position, choice in enumerate(sample.choices or []))
    return text + "".join(choices)


def _label(position: int) -> str:
    return chr(ord("A") + position) if position < 26 else str(position + 1)  # noqa: PLR2004


def _outcome(sample: _Sample, score: float, about: _Eval) -> Outcome:
    usage = (sample.model_usage or {}).get(about.model)
    prompt = completion = cost = latency = UNKNOWN
    if usage is not None:
        graded = _own_grading(sample, about)
        prompt = _prompt_tokens(usage) - _prompt_tokens(graded)
        completion = usage.output_tokens - graded.output_tokens
        if prompt == completion == 0:
            prompt = completion = UNKNOWN
        if usage.total_cost is not None:
            cost = usage.total_cost - (graded.total_cost or 0.0)
    if sample.output is not None and sample.output.time is not None and _answered_once(sample):
        latency = sample.output.time * 1000
    return Outcome(score, cost, prompt, completion, latency)


def _answered_once(sample: _Sample) -> bool:
    answers = [message for message in sample.messages or [] if message.role == "assistant"]
    return sum(message.source != "input" for message in answers) == 1


def _own_grading(sample: _Sample, about: _Eval) -> _Usage:
    """Return what the evaluated model used as a grader; a grader's role that is bound to no model falls back to it."""
    bound = (about.model_roles or {}).get(_GRADER)
    models = bound if isinstance(bound, list) else [] if bound is None else [bound]
    if models and all(model.model != about.model for model in models):
        return _NOTHING
    return (sample.role_usage or {}).get(_GRADER, _NOTHING)


def _prompt_tokens(usage: _Usage) -> float:
    return usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)


def _mean(outcomes: list[Outcome]) -> Outcome:
    """Average over the epochs with a score, or over all if none has one; each value over those that know it."""
    if len(outcomes) == 1:
        return outcomes[0]
    scored = [outcome for outcome in outcomes if not math.isnan(outcome.score)] or outcomes
    known = ([value for value in column if not math.isnan(value)] for column in zip(*scored, strict=True))
    return Outcome(*(sum(values) / len(values) if values else UNKNOWN for values in known))
