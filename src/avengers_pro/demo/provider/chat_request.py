"""A chat-completions request: the parts that the simulated provider looks at."""

import json
from http import HTTPStatus
from typing import Annotated, Any, Literal

import msgspec

from avengers_pro.demo.provider.refusal import RefusalError

_CHARS_PER_TOKEN = 4
_CHARS_PER_IMAGE = 340
"""85 tokens, OpenAI's price of an image in low detail; an audio clip counts the same."""
_CHOICES = ("none", "auto", "required")


class Function(msgspec.Struct, frozen=True):
    """A function the model may call.

    Attributes:
        name: To call it by.
        description: For the model.
        parameters: JSON Schema of its arguments.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(msgspec.Struct, frozen=True):
    """A tool; only functions are simulated, other types are passed over."""

    type: str = "function"
    function: Function | None = None


class ChatMessage(msgspec.Struct, frozen=True):
    """A message; ``content`` is text, a list of parts, or None beside tool calls."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None

    @property
    def text(self) -> str:
        """The text parts, one a line."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        return "\n".join(str(part["text"]) for part in self.content if "text" in part)

    @property
    def attachments(self) -> int:
        """How many parts are no text."""
        return (
            0 if self.content is None or isinstance(self.content, str) else sum("text" not in p for p in self.content)
        )


class StreamOptions(msgspec.Struct, frozen=True):
    """Whether a last chunk tells the usage."""

    include_usage: bool | None = None


_Positive = Annotated[int, msgspec.Meta(ge=1)]


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /v1/chat/completions``; the fields mean what OpenAI says, others are passed over."""

    model: str
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Positive | None = None
    max_completion_tokens: _Positive | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None

    @property
    def question(self) -> str:
        """Text of the last message of the user; empty if there is none."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def most_tokens(self) -> int | None:
        """Longest answer asked for, in tokens; None = no limit."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def prompt_tokens(self) -> int:
        """Estimate the tokens of all messages and tools: four characters each."""
        chars = sum(len(message.text) + _CHARS_PER_IMAGE * message.attachments for message in self.messages)
        if self.tools:
            chars += len(msgspec.json.encode(self.tools))
        return max(1, chars // _CHARS_PER_TOKEN)

    def called_function(self) -> Function | None:
        """Return the function to call now: the chosen or the first one, when it is the model's turn to call.

        Raises:
            RefusalError: If ``tool_choice`` is none of OpenAI's, or names a function that ``tools`` does not have.
        """
        functions = [tool.function for tool in self.tools or () if tool.function is not None]
        wanted = _wanted(self.tool_choice)
        if self.messages[-1].role != "user" or self.tool_choice == "none" or not functions:
            return None
        for function in functions:
            if wanted is None or function.name in wanted:
                return function
        raise RefusalError(
            HTTPStatus.BAD_REQUEST,
            f"tool_choice asks for {', '.join(wanted or ())}, tools has {', '.join(item.name for item in functions)}.",
            param="tool_choice",
        )


def read_request(body: bytes) -> ChatRequest:
    """Read a request.

    Raises:
        RefusalError: If it is no JSON, or a field is missing or wrong.
    """
    try:
        return msgspec.json.decode(body, type=ChatRequest)
    except msgspec.ValidationError as error:
        raise RefusalError(HTTPStatus.BAD_REQUEST, f"{error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusalError(
            HTTPStatus.BAD_REQUEST, f"We could not parse the JSON body of your request: {error}."
        ) from error


def _wanted(choice: str | dict[str, Any] | None) -> list[str] | None:
    """Return the names that may be called; None = all."""
    if choice is None or choice in _CHOICES:
        return None
    match choice:
        case {"type": "function", "function": {"name": str(name)}}:
            return [name]
        case {"type": "allowed_tools", "allowed_tools": {"tools": [*tools]}}:
            return [str(tool.get("function", {}).get("name")) for tool in tools if isinstance(tool, dict)]
    raise RefusalError(
        HTTPStatus.BAD_REQUEST,
        f"tool_choice is {json.dumps(choice)}; one of {', '.join(_CHOICES)}, or an object that names a function of "
        "tools, is needed.",
        param="tool_choice",
    )
