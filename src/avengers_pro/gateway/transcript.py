"""The text of an answer, read off its bytes on their way to the client, for ledgers that keep texts."""

import msgspec


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message = _Message()
    delta: _Message = _Message()


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_CHUNK = msgspec.json.Decoder(_Chunk)


class Transcript:
    """Collects text until there is enough; what is no text, such as a tool call, is left out."""

    def __init__(self, enough: int) -> None:
        """Begin with nothing.

        Args:
            enough: Characters after which nothing more is collected.
        """
        self._missing, self._parts = enough, list[str]()

    def whole(self, body: bytes) -> None:
        """Take an answer that is no stream."""
        self._take(body)

    def events(self, data: bytes) -> None:
        """Take whole events of a stream; parts of one that came in pieces are passed over."""
        if self._missing > 0:
            for line in data.splitlines():
                if line.startswith(b"data:"):
                    self._take(line[5:])

    @property
    def text(self) -> str:
        """What was collected, of all choices in the order in which it came."""
        return "".join(self._parts)

    def _take(self, body: bytes) -> None:
        try:
            choices = _CHUNK.decode(body).choices
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        for choice in choices:
            text = choice.message.content or choice.delta.content or ""
            self._parts.append(text)
            self._missing -= len(text)
