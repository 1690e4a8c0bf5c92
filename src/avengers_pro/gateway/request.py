"""What clients send. Of a chat completion request only what routing needs is read, all else stays the bytes it was."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from avengers_pro.gateway.refused import RefusedError

Fields = dict[str, msgspec.Raw]
_T = TypeVar("_T")

_FIELDS = msgspec.json.Decoder(Fields)
CONTROLS_FIELD = "avengers_pro"
LONGEST_NAME = 256
"""Characters of a model's name."""
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_NOTHING = re.compile(rb"null|false|\[\s*\]|\{\s*\}")


class Part(msgspec.Struct):
    """A part of a message's content; only text is looked at, of what is attached the bytes."""

    type: str = "text"
    text: str | None = None
    image_url: msgspec.Raw = msgspec.Raw()
    input_audio: msgspec.Raw = msgspec.Raw()
    file: msgspec.Raw = msgspec.Raw()

    @property
    def attached(self) -> msgspec.Raw:
        """What is attached, as it came: an address, or the thing itself in base64; empty = nothing."""
        return self.image_url or self.input_audio or self.file


class Message(msgspec.Struct):
    """A message, as far as it is looked at."""

    role: str
    content: str | list[Part] | None = None
    tool_calls: list[msgspec.Raw] | None = None

    def text(self) -> str:
        """Return its text, without leading and trailing white space; parts joined by line breaks."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content.strip()
        return "\n".join(part.text for part in self.content if part.type == "text" and part.text).strip()

    def attached(self) -> list[msgspec.Raw]:
        """Return what is attached to it, as it came."""
        if self.content is None or isinstance(self.content, str):
            return []
        return [part.attached for part in self.content if part.attached]

    @property
    def is_about_tools(self) -> bool:
        """Whether it calls tools or answers such calls."""
        return bool(self.tool_calls) or self.role in {"tool", "function"}


_MESSAGES = msgspec.json.Decoder(list[Message])


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request whose frame was read.

    Attributes:
        fields: Top-level fields as they came, without our own; the order is kept.
        model: What the client asked for.
        stream: Whether it wants server-sent events.
        messages: The conversation.
        controls: The object in which the client gave a policy; None = it gave none.
        size: Bytes of the body.
    """

    fields: Fields
    model: str
    stream: bool
    messages: list[Message]
    controls: msgspec.Raw | None
    size: int

    def value(self, name: str, kind: type[_T]) -> _T | None:
        """Return a field as a type; None if it is absent or of another type, which is the upstream's to refuse.

        Numbers may come as text, which some upstreams take.
        """
        raw = self.fields.get(name)
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw, type=kind, strict=False)
        except _NOT_JSON:
            return None

    def has(self, name: str) -> bool:
        """Whether a field is there and not null, false, an empty list or an empty object."""
        raw = self.fields.get(name)
        return raw is not None and _NOTHING.fullmatch(raw) is None


def read_chat(body: bytes) -> ChatRequest:
    """Read the frame of a chat completion request.

    Raises:
        RefusedError: With status 400, naming the field, if the body is no JSON object or a field that is read is wrong.
    """
    try:
        fields = _FIELDS.decode(body)
    except _NOT_JSON as error:
        raise RefusedError(400, f"the body is not a JSON object: {_reason(body, error)}") from error
    model = _field(fields, "model", str)
    if model is None:
        raise RefusedError(400, "model is missing; ask for 'avengers-pro' to have one chosen", param="model")
    if len(model) > LONGEST_NAME:
        raise RefusedError(400, f"model has {len(model)} characters; at most {LONGEST_NAME} name one", param="model")
    stream = _field(fields, "stream", bool | None)
    if "messages" not in fields:
        raise RefusedError(400, "messages is missing", param="messages")
    try:
        messages = _MESSAGES.decode(fields["messages"])
    except _NOT_JSON as error:
        raise RefusedError(400, f"messages: {error}", param="messages") from error
    controls = fields.pop(CONTROLS_FIELD, None)
    if controls is not None and bytes(controls) == b"null":
        controls = None
    return ChatRequest(fields, model, bool(stream), messages, controls, len(body))


class FeedbackBody(msgspec.Struct, forbid_unknown_fields=True):
    """How good an answer was: a score, or a thumb, with a comment if there is more to say."""

    decision: str
    score: Annotated[float, Meta(ge=0, le=1)] | None = None
    thumbs: bool | None = None
    comment: Annotated[str, Meta(max_length=10_000)] | None = None


def read_feedback(body: bytes) -> FeedbackBody:
    """Read what a client says of an answer.

    Raises:
        RefusedError: With status 400 if it cannot be understood, or says neither or both of score and thumbs.
    """
    try:
        given = msgspec.json.decode(body, type=FeedbackBody)
    except _NOT_JSON as error:
        raise RefusedError(400, f"feedback: {_reason(body, error)}") from error
    if (given.score is None) == (given.thumbs is None):
        raise RefusedError(400, "give score (from 0 to 1) or thumbs (true or false), one of them", param="score")
    return given


def _reason(body: bytes, error: Exception) -> str:
    """Say why a body is no JSON, where the parser's words would not tell."""
    if not body:
        return "it is empty"
    if body.startswith(b"\x1f\x8b"):
        return "it is compressed; send it as it is"
    if body.startswith(_BYTE_ORDER_MARKS):
        return "it begins with a byte order mark; send UTF-8 without one"
    return str(error)


def _field(fields: Fields, name: str, kind: Any) -> Any:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except _NOT_JSON as error:
        raise RefusedError(400, f"{name}: {error}", param=name) from error
