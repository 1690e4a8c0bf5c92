"""Prompts to ask: JSON lines with a query or messages, and how to grade the answers."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from avengers_pro.collection.graders import Grader, Target, check, grader_of
from avengers_pro.errors import RecordsError
from avengers_pro.records.jsonl import UNREADABLE, lines_of
from avengers_pro.records.messages import query_of
from avengers_pro.records.table import DEFAULT_DATASET

_ROLES = ("system", "user", "assistant")
_SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Prompt:
    """One thing to ask every model.

    Attributes:
        key: Names it in the logs; the same as long as dataset and text, or the given id, stay the same.
        query: The text a router looks at: the last user turn.
        messages: (role, text) of each turn.
        dataset: Where it comes from.
        id: As given, else the number of its line, from 0.
        target: What is right.
        grader: How an answer is scored.
    """

    key: str
    query: str
    messages: tuple[tuple[str, str], ...]
    dataset: str
    id: str
    target: Target
    grader: Grader


class _Row(msgspec.Struct):
    query: str | None = None
    messages: list[Any] | None = None
    dataset: str | None = None
    id: int | str | None = None
    index: int | str | None = None
    target: Any = None
    grader: Any = None


def read_prompts(path: Path, grader: str | None = None, limit: int | None = None) -> tuple[Prompt, ...]:
    """Read prompts; all are checked before the first is asked.

    Args:
        path: JSON lines, gzip by suffix: ``query`` or ``messages``, and perhaps ``dataset``, ``id``, ``target``,
            ``grader``.
        grader: For rows that name none.
        limit: Keep so many, from the beginning.

    Raises:
        RecordsError: If the file cannot be read, has no rows, or a row is wrong; names file and line.
    """
    if not path.is_file():
        raise RecordsError(f"{path}: no such file")
    decode = msgspec.json.Decoder(_Row).decode
    prompts: list[Prompt] = []
    seen: Counter[str] = Counter()
    for number, line in lines_of(path, None):
        if limit is not None and len(prompts) >= limit:
            break
        try:
            prompt = _prompt(decode(line), number, grader, seen)
        except (*UNREADABLE, RecordsError) as error:
            raise RecordsError(f"{path}:{number}: {error}") from error
        prompts.append(prompt)
    if not prompts:
        raise RecordsError(f"{path}: no prompts; one JSON object a line is needed, with 'query' or 'messages'")
    return tuple(prompts)


def _prompt(row: _Row, number: int, grader: str | None, seen: Counter[str]) -> Prompt:
    if (row.query is None) == (row.messages is None):
        raise RecordsError("a row needs 'query' or 'messages', and only one of them")
    messages = (("user", row.query),) if row.query is not None else tuple(map(_turn, row.messages or ()))
    query = row.query if row.query is not None else query_of(row.messages)
    if not query or query.isspace():
        raise RecordsError("query: the query is empty")
    chosen = grader_of(row.grader if row.grader is not None else _needed(grader))
    check(chosen, row.target)
    dataset = row.dataset or DEFAULT_DATASET
    given = row.id if row.id is not None else row.index
    key = f"{dataset}/{_digest(messages)}" if given is None else f"{dataset}/{given}"
    seen[key] += 1
    if seen[key] > 1:
        if given is not None:
            raise RecordsError(f"the id {given!r} comes twice in the dataset {dataset!r}")
        key = f"{key}-{seen[key]}"
    identity = str(number - 1 if given is None else given)
    return Prompt(key, query, messages, dataset, identity, row.target, chosen)


def _needed(grader: str | None) -> str:
    if grader is None:
        raise RecordsError("the row names no grader; add one, or give one for all with --grader")
    return grader


def _turn(message: Any) -> tuple[str, str]:
    match message:
        case {"role": str(role), "content": str(text)} if role in _ROLES:
            return role, text
        case {"role": "developer", "content": str(text)}:
            return "system", text
        case {"role": str(role), "content": [*parts]} if role in _ROLES and all(map(_is_text, parts)):
            return role, "\n".join(part["text"] for part in parts)
    raise RecordsError(f"messages: only texts of {', '.join(_ROLES)} can be asked; images, audio and tools cannot")


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _digest(messages: tuple[tuple[str, str], ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(messages)).hexdigest()[:_SHOWN_DIGITS]
