"""Simulated answers: the same for the same seed, model and question."""

import hashlib
import math
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from random import Random
from typing import Literal

import msgspec

from avengers_pro.demo.provider.chat_request import ChatRequest, Function
from avengers_pro.demo.provider.outcomes import Outcome
from avengers_pro.demo.provider.refusal import RefusalError
from avengers_pro.demo.provider.schema import minimal_value
from avengers_pro.errors import SettingsError

CHARS_PER_TOKEN = 4
_QUOTED_CHARS = 48
_MOST_FILLERS = 6
_FILLERS = (
    "Nothing was computed to write this.",
    "A real model would show its steps here.",
    "The wording depends on seed, model and question alone.",
    "Any likeness to an explanation is an accident.",
    "These words only make the answer longer.",
    "The rest of the tokens counts as hidden reasoning.",
    "Treat every number in here as an ornament.",
)

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the answers to a request.

    Attributes:
        pieces: Its visible tokens: the content, or the arguments of the call.
        function: Name of the function it calls; None = it is text.
        call_id: Identifies the call; empty for text.
        finish_reason: ``length`` if the request's limit cut it.
    """

    pieces: tuple[str, ...]
    function: str | None = None
    call_id: str = ""
    finish_reason: FinishReason = "stop"

    @property
    def text(self) -> str:
        """The content, or the arguments of the call."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says to a request.

    Attributes:
        identifier: As OpenAI's, ``chatcmpl-...``.
        created: Unix time in seconds.
        model: As asked for.
        choices: One or more.
        prompt_tokens: Of messages and tools.
        completion_tokens: Of all choices, hidden reasoning included.
        reasoning_tokens: The hidden part of these.
        score: How good the answer counts, in [0, 1]; None = not known for this model and question.
    """

    identifier: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    score: float | None


def compose(request: ChatRequest, outcome: Outcome | None, *, seed: int, number: int) -> Answer:
    """Make up the answer to a request.

    Args:
        request: Decides text, tool call or JSON, and how many choices.
        outcome: Quality and length, if known.
        seed: Changes the wording.
        number: Makes the identifier unlike that of other answers.

    Raises:
        RefusalError: If ``tool_choice`` or a JSON schema cannot be followed.
    """
    function = request.called_function()
    key = f"{seed}/{request.model}/{request.question}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    choices: list[Choice] = []
    completion_tokens = 0
    for place in range(request.n or 1):
        pieces = pieces_of(_content(request, function, outcome, Random(f"{key}/{place}")))
        whole = max(len(pieces), 0 if outcome is None else outcome.completion_tokens)
        allowed = whole if request.most_tokens is None else min(whole, request.most_tokens)
        completion_tokens += allowed
        choices.append(
            Choice(
                pieces=pieces[:allowed],
                function=None if function is None else function.name,
                call_id="" if function is None else f"call_{digest[place % 40 :][:24]}",
                finish_reason="length" if allowed < whole else "stop" if function is None else "tool_calls",
            )
        )
    return Answer(
        identifier=f"chatcmpl-{digest[:16]}{number:08x}",
        created=int(time.time()),
        model=request.model,
        choices=tuple(choices),
        prompt_tokens=request.prompt_tokens(),
        completion_tokens=completion_tokens,
        reasoning_tokens=completion_tokens - sum(len(choice.pieces) for choice in choices),
        score=None if outcome is None else outcome.score,
    )


def pieces_of(text: str) -> tuple[str, ...]:
    """Cut a text into tokens of four characters."""
    return tuple(text[start : start + CHARS_PER_TOKEN] for start in range(0, len(text), CHARS_PER_TOKEN))


def _content(request: ChatRequest, function: Function | None, outcome: Outcome | None, rng: Random) -> str:
    """Return arguments for the function, JSON if that is asked for, else text."""
    if function is not None:
        return _fitting(function.parameters or {"type": "object"}, "tools")
    match request.response_format:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return _fitting(schema, "response_format")
        case {"type": "json_schema" | "json_object"}:
            return _json({"answer": "simulated"})
    return _text(request, outcome, rng)


def _text(request: ChatRequest, outcome: Outcome | None, rng: Random) -> str:
    """Write a labelled text, no longer than the outcome says unless the label alone is."""
    question = " ".join(request.question.split())
    quoted = question if len(question) <= _QUOTED_CHARS else f"{question[:_QUOTED_CHARS]}…"
    sentences = [f"[simulated answer of {request.model}]"]
    if outcome is not None:
        sentences.append(_verdict(outcome.score))
    optional = [f"The question was “{quoted}”.", *rng.choices(_FILLERS, k=rng.randint(0, _MOST_FILLERS))]
    for sentence in optional:
        if outcome is not None and len(" ".join([*sentences, sentence])) > CHARS_PER_TOKEN * outcome.completion_tokens:
            break
        sentences.append(sentence)
    return " ".join(sentences)


def _verdict(score: float) -> str:
    if score in {0.0, 1.0}:
        return "This counts as right." if score else "This counts as wrong."
    return f"This counts as {score:g} right."


def _fitting(schema: object, param: str) -> str:
    try:
        return _json(minimal_value(schema))
    except SettingsError as error:
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"Invalid schema: {error}.", param=param) from error


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def enlarged(answer: Answer, *, chunks: int, chars: int) -> Answer:
    """Return the answer with one choice of so many pieces, of so many characters each."""
    piece = (_FILLERS[0] * (chars // len(_FILLERS[0]) + 1))[:chars]
    return replace(
        answer,
        choices=(Choice(pieces=(piece,) * chunks),),
        completion_tokens=math.ceil(chunks * chars / CHARS_PER_TOKEN),
        reasoning_tokens=0,
    )
