"""Answers in the bytes of OpenAI's API: one JSON object, or server-sent events."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from avengers_pro.demo.provider.answer import Answer, Choice
from avengers_pro.demo.provider.chat_request import ChatRequest

_LOGPROB = -0.25
"""Of every token; nothing was sampled."""
DONE = b"data: [DONE]\n\n"


class Event(NamedTuple):
    """A server-sent event.

    Attributes:
        data: Its bytes, with the empty line at the end.
        tokens: How many tokens of each choice it brings; events of further choices bring none of their own.
    """

    data: bytes
    tokens: int


def completion(answer: Answer, request: ChatRequest) -> bytes:
    """Return the body of a response that is not streamed."""
    choices = [
        {
            "index": index,
            "message": _message(choice),
            "logprobs": _logprobs(choice.pieces, request) if choice.function is None else None,
            "finish_reason": choice.finish_reason,
        }
        for index, choice in enumerate(answer.choices)
    ]
    return msgspec.json.encode(_head(answer, "chat.completion") | {"choices": choices, "usage": _usage(answer)})


def events(answer: Answer, request: ChatRequest) -> Iterator[Event]:
    """Yield the events of a stream: roles, contents of all choices in turn, finish reasons, usage if wanted, done."""
    head = _head(answer, "chat.completion.chunk")
    if request.wants_usage:
        head["usage"] = None
    for index, choice in enumerate(answer.choices):
        yield _chunk(head, index, _first_delta(choice))
    for pieces in zip_longest(*(choice.pieces for choice in answer.choices)):
        for index, piece in enumerate(pieces):
            if piece is not None:
                text = answer.choices[index].function is None
                logprobs = _logprobs((piece,), request) if text else None
                yield _chunk(head, index, _delta(piece, text=text), logprobs=logprobs, tokens=1 if index == 0 else 0)
    for index, choice in enumerate(answer.choices):
        yield _chunk(head, index, {}, finish_reason=choice.finish_reason)
    if request.wants_usage:
        yield Event(event({**head, "choices": [], "usage": _usage(answer)}), 0)
    yield Event(DONE, 0)


def chunk_without_choices(answer: Answer) -> bytes:
    """Return an event of a chunk that brings nothing."""
    return event({**_head(answer, "chat.completion.chunk"), "choices": []})


def event(value: dict[str, Any]) -> bytes:
    """Return an object as a server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": answer.identifier,
        "object": kind,
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": None,
    }


def _chunk(
    head: dict[str, Any],
    index: int,
    delta: dict[str, Any],
    *,
    logprobs: dict[str, Any] | None = None,
    finish_reason: str | None = None,
    tokens: int = 0,
) -> Event:
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
    return Event(event({**head, "choices": [choice]}), tokens)


def _message(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": choice.text, "refusal": None, "annotations": []}
    if choice.function is not None:
        message["content"] = None
        message["tool_calls"] = [_call(choice, choice.text)]
    return message


def _first_delta(choice: Choice) -> dict[str, Any]:
    if choice.function is None:
        return {"role": "assistant", "content": "", "refusal": None}
    return {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **_call(choice, "")}]}


def _delta(piece: str, *, text: bool) -> dict[str, Any]:
    return {"content": piece} if text else {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def _call(choice: Choice, arguments: str) -> dict[str, Any]:
    return {"id": choice.call_id, "type": "function", "function": {"name": choice.function, "arguments": arguments}}


def _logprobs(pieces: tuple[str, ...], request: ChatRequest) -> dict[str, Any] | None:
    """Return the log probabilities of tokens; the token itself is the only alternative there is."""
    if not request.logprobs:
        return None
    tokens = [{"token": piece, "logprob": _LOGPROB, "bytes": list(piece.encode())} for piece in pieces]
    content = [{**token, "top_logprobs": [token] if request.top_logprobs else []} for token in tokens]
    return {"content": content, "refusal": None}


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
