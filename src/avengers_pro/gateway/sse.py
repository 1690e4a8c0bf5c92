"""Reading a server-sent event stream on its way through: usage, finish reason, errors; bytes stay as they are."""

import msgspec

MOST_HELD = 65_536
"""An event longer than this is passed on in pieces: it is no usage event, and memory stays flat."""


class TokenDetails(msgspec.Struct):
    """Part of ``usage``."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    """Tokens as the provider counted them; None = it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
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
    error: msgspec.Raw | None = None

    @property
    def finish_reason(self) -> str | None:
        """Of the first choice that has one."""
        return next((choice.finish_reason for choice in self.choices or () if choice.finish_reason), None)

    @property
    def failed(self) -> bool:
        """Whether it holds an error instead of an answer."""
        return self.error is not None and bytes(self.error) != b"null"


_ANSWER = msgspec.json.Decoder(Answer)


def read_answer(data: bytes) -> Answer | None:
    """Read a JSON completion; None if it is none."""
    try:
        return _ANSWER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class EventReader:
    """Splits a stream into events, looks into those that matter, and says which bytes may go on.

    Attributes:
        usage: The last one seen; None = none.
        finish_reason: The last one seen.
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
        self.failed = self.done = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; return those that may go on, in the same order."""
        data = self._held + data
        end = _last_boundary(data)
        if end == 0:
            if len(data) > MOST_HELD:
                self._held, self._inside = b"", True
                return data
            self._held = data
            return b""
        whole, self._held = data[:end], data[end:]
        if self._inside:  # the rest of an event that was too long to hold
            self._inside = False
            first = _next_boundary(whole)
            return whole[:first] + self._sift(whole[first:])
        return self._sift(whole)

    def end(self) -> bytes:
        """Return what is left when the stream ended without a blank line."""
        rest, self._held = self._held, b""
        return self._sift(rest) if rest else b""

    def _sift(self, whole: bytes) -> bytes:
        # Most chunks carry a delta and nothing else; these two words tell the few that must be looked into.
        if (
            b'"usage"' not in whole
            and b'finish_reason":"' not in whole.replace(b'": "', b'":"')
            and b"error" not in whole
        ):
            self.done = self.done or b"[DONE]" in whole
            return whole
        return b"".join(event for event in _events(whole) if self._look(event))

    def _look(self, event: bytes) -> bool:
        """Read one event; return whether the client gets it."""
        data = b"".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
        if data == b"[DONE]":
            self.done = True
            return True
        answer = read_answer(data)
        if answer is None:
            return True
        self.failed = self.failed or answer.failed
        self.usage = answer.usage or self.usage
        self.finish_reason = answer.finish_reason or self.finish_reason
        return not (self._hide and answer.usage is not None and not answer.choices and not answer.failed)


def _last_boundary(data: bytes) -> int:
    """Return the end of the last whole event; 0 = none."""
    return max(
        data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0, data.rfind(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else 0
    )


def _next_boundary(data: bytes) -> int:
    """Return the end of the first whole event."""
    ends = [at + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if (at := data.find(mark)) >= 0]
    return min(ends, default=len(data))


def _events(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = _next_boundary(data)
        found.append(data[:end])
        data = data[end:]
    return found
