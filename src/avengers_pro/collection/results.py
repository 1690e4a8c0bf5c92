"""From inspect-ai's logs to records, with everything that was not observed counted by its reason."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from avengers_pro.collection.keeping import KEY, UnreadableAnswerError, prompt_tokens_of, usage_cost_usd
from avengers_pro.collection.spending import CostCapError
from avengers_pro.collection.task import DATASET, ID
from avengers_pro.errors import RecordsError
from avengers_pro.records import Records
from avengers_pro.routing.pool import ModelCard

if TYPE_CHECKING:
    from inspect_ai.event import Event
    from inspect_ai.log import EvalLog, EvalSample

_COLUMNS = ("scores", "costs", "prompt_tokens", "completion_tokens", "latency_ms")
_CLASS = re.compile(r"\b([A-Z]\w*(?:Error|Exception|Timeout|Exceeded))\(")
_RETRIED = re.compile(r"state=finished raised (\w+)>")
_STATUS = re.compile(r"Error code: (\d{3})\b")
UNREADABLE = "the provider's reply is no answer"
CAPPED = "not asked: the cap is reached"


@dataclass(slots=True)
class Tally:
    """What one model's draws came to.

    Attributes:
        asked: Draws in all.
        scored: Draws with a score.
        missing: Reasons of the others, counted.
        unpriced: Scored draws whose cost is not known.
        cut: Answers that ended at the longest length allowed.
    """

    asked: int = 0
    scored: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    unpriced: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Harvest:
    """What the logs hold.

    Attributes:
        records: A row for each prompt.
        tallies: By card.
        apart_calls: Calls of judges and of models that a task asked by itself; their cost is in no record.
    """

    records: Records
    tallies: Mapping[str, Tally]
    apart_calls: Mapping[str, int]


def harvest(
    logs: Sequence["EvalLog"],
    cards: Mapping[str, ModelCard],
    *,
    score: str | None = None,
    score_scale: float = 1.0,
) -> Harvest:
    """Turn logs into records: the mean of the draws that were observed, for each prompt and model.

    Args:
        logs: One for each task and model, with samples.
        cards: By the name that inspect's logs give them.
        score: Name of the scorer, or ``scorer.key``, if a task has several; None = the first.
        score_scale: What a perfect score is.

    Raises:
        RecordsError: If there are no samples, a score is out of range, or ``score`` names none.
    """
    models = [card.name for card in cards.values()]
    tallies = {name: Tally() for name in models}
    apart: Counter[str] = Counter()
    rows: dict[tuple[str, str], _Row] = {}
    for log in logs:
        card = cards[log.eval.model]
        for sample in _in_order(log):
            key = _identity(log, sample)
            row = rows.setdefault(key, _Row(_query(sample), {}))
            draw = _draw(log, sample, card, apart, score)
            _count(tallies[card.name], sample, draw)
            row.draws.setdefault(card.name, []).append(draw)
    if not rows:
        raise RecordsError("the logs hold no samples; nothing was asked")
    return Harvest(_table(rows, models, score_scale), tallies, apart)


@dataclass(frozen=True, slots=True)
class _Draw:
    """One answer; NaN = not known."""

    scores: float
    costs: float
    prompt_tokens: float
    completion_tokens: float
    latency_ms: float
    missing: str | None


@dataclass(frozen=True, slots=True)
class _Row:
    query: str
    draws: dict[str, list[_Draw]]


def _in_order(log: "EvalLog") -> list["EvalSample"]:
    """Return the samples in the order of the dataset; the log has its own."""
    places = {str(name): place for place, name in enumerate(log.eval.dataset.sample_ids or ())}
    return sorted(log.samples or (), key=lambda sample: (places.get(str(sample.id), len(places)), sample.epoch))


def _identity(log: "EvalLog", sample: "EvalSample") -> tuple[str, str]:
    own = sample.metadata or {}
    if KEY in own:
        return str(own[DATASET]), str(own[ID])
    return log.eval.task.rpartition("/")[2], str(sample.id)


def _query(sample: "EvalSample") -> str:
    """Return the text a router would look at: the last user turn, and the choices if there are any."""
    text = sample.input
    if not isinstance(text, str):
        turns = [turn.text for turn in text if turn.role == "user" and turn.text]
        text = turns[-1] if turns else "(no text)"
    letters = (f"{chr(ord('A') + place)}) {choice}" for place, choice in enumerate(sample.choices or ()))
    return "\n".join([text, *letters])


def _draw(log: "EvalLog", sample: "EvalSample", card: ModelCard, apart: Counter[str], score: str | None) -> _Draw:
    calls = _own_calls(log, sample, apart)
    if sample.error is not None:
        calls = []  # cut off in the middle: what it cost so far says little about what it costs
    usages = [event.output.usage for event in calls]
    times = [event.output.time for event in calls]
    costs = [usage_cost_usd(card, usage) for usage in usages]
    value, missing = _score(sample, score)
    return _Draw(
        scores=value,
        costs=_total(costs),
        prompt_tokens=_total([None if usage is None else prompt_tokens_of(usage) for usage in usages]),
        completion_tokens=_total([None if usage is None else usage.output_tokens for usage in usages]),
        latency_ms=1000 * _total(times),
        missing=missing,
    )


def _total(values: Sequence[float | None]) -> float:
    """Sum; not known if there is nothing, or any part is not known."""
    return math.nan if not values or None in values else float(sum(value for value in values if value is not None))


def _own_calls(log: "EvalLog", sample: "EvalSample", apart: Counter[str]) -> list[Any]:
    """Return the calls of the model under test that answered; scorers' calls, and other models', are counted apart."""
    from inspect_ai.event import ModelEvent

    scoring = _scoring_spans(sample.events)
    own = []
    for event in sample.events:
        if not isinstance(event, ModelEvent) or event.error is not None:
            continue
        if event.model == log.eval.model and event.role is None and event.span_id not in scoring:
            own.append(event)
        else:
            apart[event.role or event.model] += 1
    return own


def _scoring_spans(events: Sequence["Event"]) -> set[str]:
    from inspect_ai.event import SpanBeginEvent

    spans: set[str] = set()
    for event in events:
        if isinstance(event, SpanBeginEvent) and (event.name == "scorers" or event.parent_id in spans):
            spans.add(event.id)
    return spans


def _score(sample: "EvalSample", wanted: str | None) -> tuple[float, str | None]:
    """Return the score, NaN if there is none, and then why."""
    if sample.error is not None:
        return math.nan, error_kind(sample.error.message, _last_call_error(sample))
    scores = sample.scores or {}
    if sample.limit is not None and not scores:
        return math.nan, f"stopped by the task's {sample.limit.type} limit"
    if not scores:
        return math.nan, "not graded"
    name, _, key = (wanted or next(iter(scores))).partition(".")
    if name not in scores:
        raise RecordsError(f"--score {wanted}: the task has no such scorer; there are {', '.join(scores)}")
    value: Any = scores[name].value
    if isinstance(value, dict):
        if key not in value:
            raise RecordsError(
                f"the scorer {name!r} gives several scores; choose one with --score {name}.{next(iter(value))}"
            )
        value = value[key]
    number = _number(value, name)
    if math.isnan(number):
        return number, scores[name].explanation or "not graded"
    return number, None


def _number(value: Any, name: str) -> float:
    letters = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
    if isinstance(value, str) and value in letters:
        return letters[value]
    if isinstance(value, bool | int | float):
        return float(value)
    raise RecordsError(f"the scorer {name!r} gives {value!r}, which is no number; choose another one with --score")


def _last_call_error(sample: "EvalSample") -> str:
    from inspect_ai.event import ModelEvent

    errors = [event.error for event in sample.events if isinstance(event, ModelEvent) and event.error]
    return errors[-1] if errors else ""


def error_kind(message: str, call_error: str = "") -> str:
    """Name an error without its text, which may hold the prompt.

    Args:
        message: Of the sample.
        call_error: Of its last call.

    Returns:
        The class of the error, and the status of HTTP if there is one.
    """
    if message.startswith(CostCapError.__name__):
        return CAPPED
    if message.startswith(UnreadableAnswerError.__name__):
        return UNREADABLE
    retried = _RETRIED.search(message)
    classes = _CLASS.findall(message)
    name = retried[1] if retried else classes[-1] if classes else "unknown error"
    status = _STATUS.match(call_error)
    return f"{name} {status[1]}" if status else str(name)


def _count(tally: Tally, sample: "EvalSample", draw: _Draw) -> None:
    tally.asked += 1
    if draw.missing is None:
        tally.scored += 1
        tally.unpriced += math.isnan(draw.costs)
    else:
        tally.missing[draw.missing] += 1
    tally.cut += bool(sample.output.choices) and sample.output.stop_reason == "max_tokens"


def _table(rows: Mapping[tuple[str, str], _Row], models: list[str], score_scale: float) -> Records:
    arrays = {name: np.full((len(rows), len(models)), np.nan) for name in _COLUMNS}
    for place, row in enumerate(rows.values()):
        for column, model in enumerate(models):
            draws = row.draws.get(model, ())
            for name in _COLUMNS:
                known = [value for draw in draws if not math.isnan(value := getattr(draw, name))]
                if known:
                    arrays[name][place, column] = sum(known) / len(known)
    scores = arrays["scores"] = arrays["scores"] / score_scale
    if np.any((scores < 0) | (scores > 1)):
        worst = scores[(scores < 0) | (scores > 1)][0] * score_scale
        raise RecordsError(
            f"a score is {worst:g}, outside [0, {score_scale:g}]; state what is perfect with --score-scale"
        )
    return Records(
        queries=tuple(row.query for row in rows.values()),
        models=tuple(models),
        datasets=tuple(dataset for dataset, _ in rows),
        ids=tuple(identity for _, identity in rows),
        listed=np.ones((len(rows), len(models)), dtype=bool),
        **{name: values for name, values in arrays.items() if name in {"scores", "costs"} or np.isfinite(values).any()},
    )
