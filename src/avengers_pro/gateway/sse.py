"""Reading a server-sent event stream on its way through: usage, finish reason, errors; bytes stay as they are."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

MOST_HELD = 65_536
"""An event longer than this is passed on in pieces: it is no usage event, and memory stays flat."""
_LONGEST_HIDDEN = MOST_HELD // 2
_BLANK_LINE = (b"\n\n", b"\n\r\n", b"\r\r")
"""What ends an event, whatever ends its lines."""
_END = re.compile(b"|".join(_BLANK_LINE))
_MATTERS = re.compile(rb'"(?:usage"\s*:\s*\{|finish_reason"\s*:\s*"|error"\s*:\s*[^n\s])')
"""Most chunks carry a delta and nothing else; this tells the few that must be looked into."""
_Tokens = Annotated[int, Meta(ge=0, le=2**53)]


class TokenDetails(msgspec.Struct):
    """Part of ``usage``."""

    cached_tokens: _Tokens | None = None


class Usage(msgspec.Struct):
    """Tokens as the provider counted them; None = it did not say."""

    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    prompt_tokens_details: TokenDetails | None = None

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens read from the provider's cache."""
        return None if self.prompt_tokens_details is None else self.prompt_tokens_details.cached_tokens


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class Answer(msgspec.Struct):
    """What is read of a completion or of a chunk of one."""

    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: msgspec.Raw = msgspec.Raw()
    model: Any = None

    @property
    def finish_reason(self) -> str | None:
        """Of the first choice that has one."""
        return next((choice.finish_reason for choice in self.choices or () if choice.finish_reason), None)

    @property
    def reported_model(self) -> str | None:
        """Id of the model that the upstream says it used; None = it says none."""
        return self.model if isinstance(self.model, str) else None

    @property
    def failed(self) -> bool:
        """Whether it holds an error instead of an answer."""
        return bytes(self.error) not in {b"", b"null"}


class _Frame(msgspec.Struct):
    """What is left of an answer whose details are not as they should be."""

    choices: list[msgspec.Raw] | None = None
    error: msgspec.Raw = msgspec.Raw()


_ANSWER = msgspec.json.Decoder(Answer, strict=False)
_FRAME = msgspec.json.Decoder(_Frame)


def read_answer(data: bytes) -> Answer | None:
    """Read a JSON completion; None if it is none. Usage that makes no sense counts as none."""
    try:
        return _ANSWER.decode(data)
    except msgspec.ValidationError:
        return _read_frame(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read_frame(data: bytes) -> Answer | None:
    try:
        frame = _FRAME.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return Answer(None if frame.choices is None else [_Choice() for _ in frame.choices], None, frame.error)


class EventReader:
    """Splits a stream into events, looks into those that matter, and says which bytes may go on.

    Attributes:
        usage: The last one seen; None = none.
        finish_reason: The last one seen.
        reported_model: Id of the model, in the events that were looked into; None = not said there.
        failed: Whether an error event was seen.
        done: Whether ``[DONE]`` was seen.
    """

    def __init__(self, *, hide_usage: bool) -> None:
        """Begin a stream.

        Args:
            hide_usage: Whether the event that holds nothing but usage is kept from the client, who did not ask.
        """
        self._hide = hide_usage
        self._held = b""
        self._inside = False
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.reported_model: str | None = None
        self.failed = self.done = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; return those that may go on, in the same order."""
        data = self._held + data
        if self._inside:
            return self._go_on(data)
        end = _last_end(data)
        passed, rest = self._sift(data[:end]), data[end:]
        if len(rest) > MOST_HELD:
            self._inside = True
            return passed + self._go_on(rest)
        self._held = rest
        return passed

    def end(self) -> bytes:
        """Return what is left when the stream ended without a blank line."""
        rest, self._held = self._held, b""
        return rest if self._inside else self._sift(rest)

    def _go_on(self, data: bytes) -> bytes:
        """Pass on more of an event that is too long to hold."""
        end = _first_end(data)
        if end:
            self._inside, self._held = False, b""
            return data[:end] + self.feed(data[end:])
        kept = len(data.rstrip(b"\r\n"))  # the rest may be half of the blank line
        self._held = data[kept:]
        return data[:kept]

    def _sift(self, whole: bytes) -> bytes:
        if b"[DONE]" not in whole and _MATTERS.search(whole) is None:
            return whole
        return b"".join(event if self._look(event) else _blank_start(event) for event in _events(whole))

    def _look(self, event: bytes) -> bool:
        """Read one event; return whether the client gets it."""
        data = b"\n".join(line[5:] for line in event.splitlines() if line.startswith(b"data:")).strip()
        if data == b"[DONE]":
            self.done = True
            return True
        answer = read_answer(data)
        if answer is None:
            return True
        self.failed = self.failed or answer.failed
        self.usage = answer.usage or self.usage
        self.finish_reason = answer.finish_reason or self.finish_reason
        self.reported_model = answer.reported_model or self.reported_model
        only_usage = answer.usage is not None and not answer.choices and not answer.failed
        return not (self._hide and only_usage and len(data) < _LONGEST_HIDDEN)


def _last_end(data: bytes) -> int:
    """Return where the last whole event ends; 0 = there is none."""
    return max(at + len(mark) if (at := data.rfind(mark)) >= 0 else 0 for mark in _BLANK_LINE)


def _first_end(data: bytes) -> int:
    """Return where the first whole event ends; 0 = there is none."""
    found = _END.search(data)
    return 0 if found is None else found.end()


def _events(data: bytes) -> Iterator[bytes]:
    start = 0
    for found in _END.finditer(data):
        yield data[start : found.end()]
        start = found.end()
    if start < len(data):
        yield data[start:]


def _blank_start(event: bytes) -> bytes:
    """Return the blank lines before an event, which are not its own."""
    return event[: len(event) - len(event.lstrip(b"\r\n"))]
