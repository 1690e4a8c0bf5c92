"""Sample logs of lm-evaluation-harness: ``samples_<task>_<date>.jsonl``, a folder for each model.

Mapping: one file is one model on one task, one line a document under one answer filter.

- dataset: the task in the file's name; id: ``doc_id``; two documents of one ``doc_id`` are told apart by ``doc_hash``
  (by the prompt, where there is none).
- model: ``model_name`` of the ``results_<date>.json`` beside the file, else ``model=`` or ``pretrained=`` of its
  ``config.model_args``, else the folder's name with ``/`` for ``__``.
- query: the prompt of the first request in ``arguments`` (of a chat, the last user turn), or the key of ``doc`` that
  ``query_field`` names: prompts hold few-shot examples and chat templates, which a router will not see.
- score: the first of ``METRICS`` that the line has, else its only metric; or the one asked for. null or NaN = not
  observed.
- filter: where a file holds several (``strict-match``, ``flexible-extract``), its first one; or the one asked for.
- tokens, cost, latency: the logs have none.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from avengers_pro.errors import RecordsError
from avengers_pro.records.foreign.decoding import UNREADABLE, decode, in_short, read_whole
from avengers_pro.records.foreign.join import UNKNOWN, Join, Outcome
from avengers_pro.records.foreign.options import Options
from avengers_pro.records.foreign.tally import Tally
from avengers_pro.records.jsonl import Progress, lines_of
from avengers_pro.records.messages import query_of

METRICS = ("exact_match", "acc", "pass@1", "pass_at_1", "prompt_level_strict_acc", "acc_norm", "em", "f1")
"""Which metric is the score unless one is named, the first that a line has."""

_FILE = re.compile(r"samples_(?P<task>.+?)(?:_(?P<date>\d{4}-\d\d-\d\dT[\d.-]+))?\.jsonl(?:\.gz)?")
_MODEL_ARGUMENT = re.compile(r"(?:^|,)\s*(?:model|pretrained)=([^,]+)")
_FRAME = frozenset(
    {
        *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
        *("doc_hash", "prompt_hash", "target_hash"),
    }
)
_OTHER_FILTER = "lines are of another answer filter; left out"
_Line = dict[str, msgspec.Raw]
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError)
_Found = tuple[str, str, str | None, float, str]
"""Id, query, key, score and place of one line."""


class _Request(msgspec.Struct):
    arg_0: Any = None


class _Requests(msgspec.Struct):
    gen_args_0: _Request


class _Config(msgspec.Struct):
    model_args: Any = None


class _Results(msgspec.Struct):
    model_name: str | None = None
    config: _Config | None = None


_decode_line = msgspec.json.Decoder(_Line)
_decode_results = msgspec.json.Decoder(_Results)
_decode_requests = msgspec.json.Decoder(_Requests | list[list[Any]])
_decode_any = msgspec.json.Decoder()


def read_lm_eval(path: Path, join: Join, options: Options, tally: Tally, progress: Progress | None) -> None:
    """Add the lines of one sample log.

    Raises:
        RecordsError: If no metric or filter fits, or a line is bad and bad ones are not skipped.
    """
    match = _FILE.fullmatch(path.name)
    task = match["task"] if match else path.name.split(".")[0]
    model = _model_of(path, match["date"] if match else None)
    reader = _Lines(path, task, options, tally)
    for number, line in lines_of(path, progress):
        reader.read(number, line)
    for name, query, key, score, where in reader.chosen():
        if math.isnan(score):
            tally.count("lines have no score; not observed", where)
        join.add(task, name, query, model, Outcome(score), where, key)


def _model_of(path: Path, date: str | None) -> str:
    """Return the name of the model that a file is about."""
    named = [path.with_name(f"results_{date}.json")] if date else []
    for results in named or sorted(path.parent.glob("results*.json"))[-1:]:
        if results.is_file():
            try:
                found = decode(read_whole(results), _decode_results)
            except UNREADABLE as error:
                raise RecordsError(f"{results}: {error}") from error
            name = found.model_name or _from_arguments(found.config.model_args if found.config else None)
            if name:
                return name
    folder = path.absolute().parent.name
    return folder.replace("__", "/") or folder


def _from_arguments(arguments: Any) -> str | None:
    if isinstance(arguments, dict):
        arguments = ",".join(f"{key}={value}" for key, value in arguments.items())
    match = _MODEL_ARGUMENT.search(arguments) if isinstance(arguments, str) else None
    return match[1] if match else None


class _Lines:
    """Reads the lines of one file, kept apart by filter until it is known which one counts."""

    def __init__(self, path: Path, task: str, options: Options, tally: Tally) -> None:
        self._path, self._task, self._options, self._tally = path, task, options, tally
        self._by_filter: dict[str, list[_Found]] = {}
        self._metric: str | None = None

    def read(self, number: int, data: bytes) -> None:
        """Read one line, or report why not."""
        where = f"{self._path.name}:{number}"
        place = "line"
        try:
            line = decode(data, _decode_line)
            place = "filter"
            name = _text(line, "filter") or "none"
            if self._options.filters and name not in self._options.filters:
                self._by_filter.setdefault(name, [])
                self._tally.count(_OTHER_FILTER, f"{self._path.name} {name}")
                return
            place = "doc_id"
            doc_id = _value(line, "doc_id")
            if not isinstance(doc_id, int | str):
                raise ValueError(f"a line needs 'doc_id', a number or text, got {in_short(doc_id)}")  # noqa: TRY004
            place = "query"
            query = self._query(line)
            place = "score"
            score = self._score(line)
            place = "doc_hash"
            doc_hash = _text(line, "doc_hash")
        except RecordsError:
            raise
        except UNREADABLE as error:
            self._report(where, place, error)
            return
        self._by_filter.setdefault(name, []).append((str(doc_id), query, doc_hash, score, where))

    def _report(self, where: str, place: str, error: Exception) -> None:
        reason, _, inner = str(error).partition(" - at `$")
        broken = isinstance(error, _BROKEN) and not isinstance(error, msgspec.ValidationError)
        self._tally.report(where, place + inner.rstrip("`"), f"not valid JSON: {reason}" if broken else reason)

    def _query(self, line: _Line) -> str:
        wanted = self._options.query_field
        if wanted is not None:
            doc = _value(line, "doc")
            text = doc.get(wanted) if isinstance(doc, dict) else None
            if isinstance(text, str):
                return text
            keys = [key for key, value in doc.items() if isinstance(value, str)] if isinstance(doc, dict) else []
            raise ValueError(f"doc has no text {wanted!r}; it has {', '.join(keys) or 'none'}")
        if "arguments" not in line:
            raise ValueError("a line needs 'arguments', which hold the prompt; or name a key of doc by --query-field")
        requests = decode(line["arguments"], _decode_requests)
        if isinstance(requests, _Requests):
            return _prompt(requests.gen_args_0.arg_0)
        return _prompt(next((argument for request in requests for argument in request), None))

    def _score(self, line: _Line) -> float:
        if self._metric is None:
            self._metric = self._choose(line)
        if self._metric not in line:
            raise ValueError(f"the line has no {self._metric}, which is the score of the lines before")
        value = _value(line, self._metric)
        if value is None:
            return UNKNOWN
        if isinstance(value, bool):
            return self._options.score_scale * value
        if isinstance(value, int | float):
            return float(value)
        raise ValueError(f"{self._metric} must be a number, got {in_short(value)}; name another one by --metric")

    def _choose(self, line: _Line) -> str:
        there = self._metrics(line)
        wanted = self._options.metrics
        found = next((name for name in wanted or METRICS if name in there), None)
        if found is None and not wanted and len(there) == 1:
            found = there[0]
        if found is None:
            which = f"no metric {' or '.join(map(repr, wanted))}" if wanted else "no metric that is known as a score"
            listed = ", ".join(there) or "none"
            raise RecordsError(
                f"{self._path}: {which}; the task has {listed}; choose by --metric, which may be given several times"
            )
        self._tally.chosen.setdefault((self._task, f"metric {found}"))
        return found

    @staticmethod
    def _metrics(line: _Line) -> list[str]:
        """Return the names of a line's metrics; older versions do not list them."""
        if "metrics" in line:
            listed = _value(line, "metrics")
            if isinstance(listed, list):
                return [name for name in listed if name in line]
        return [name for name in line if name not in _FRAME and isinstance(_value(line, name), int | float | None)]

    def chosen(self) -> list[_Found]:
        """Return the lines of the filter that counts.

        Raises:
            RecordsError: If none of the filters asked for is in the file.
        """
        there = list(self._by_filter)
        wanted = self._options.filters
        found = next((name for name in wanted or there if self._by_filter.get(name)), None)
        if found is None:
            if wanted and there:
                raise RecordsError(
                    f"{self._path}: no answer filter {' or '.join(map(repr, wanted))}; it has {', '.join(there)}; "
                    "--filter may be given several times"
                )
            return []
        for name in there:
            if name != found and self._by_filter[name]:
                amount = len(self._by_filter[name])
                self._tally.count(_OTHER_FILTER, f"{self._path.name} {name}", amount=amount)
        if len(there) > 1:
            self._tally.chosen.setdefault((self._task, f"filter {found}"))
        return self._by_filter[found]


def _value(line: Mapping[str, msgspec.Raw], name: str) -> Any:
    return decode(line[name], _decode_any) if name in line else None


def _text(line: Mapping[str, msgspec.Raw], name: str) -> str | None:
    value = _value(line, name)
    return value if isinstance(value, str) else None


def _prompt(argument: Any) -> str:
    """Return the text of a request's context; chats stand there as messages, or as JSON in a list."""
    if isinstance(argument, list) and len(argument) == 1 and isinstance(argument[0], str):
        argument = argument[0]
    if isinstance(argument, str) and argument.startswith('[{"role"'):
        try:
            argument = msgspec.json.decode(argument)
        except UNREADABLE:
            return str(argument)
    if isinstance(argument, str):
        return argument
    try:
        return query_of(argument if isinstance(argument, list) else None)
    except RecordsError as error:
        raise ValueError("the first request in 'arguments' has no text") from error
