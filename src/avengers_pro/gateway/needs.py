"""What a request needs of a model beside being good: hard capabilities, and room for its tokens."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from avengers_pro.gateway.request import ChatRequest
from avengers_pro.routing.pool import ModelCard

BYTES_PER_TOKEN = 4
ATTACHED_TOKENS = 1000
"""What an image, a recording or a file counts for: its bytes in base64 say nothing about its tokens."""
_MOST_TOKENS = 2**31 - 1
_IMAGES = frozenset({"image_url", "input_image", "image"})
_AUDIO = frozenset({"input_audio", "audio"})
_TOOL_FIELDS = ("tools", "functions", "tool_choice")


class _Format(msgspec.Struct):
    type: str = "text"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model must have to be a candidate.

    Attributes:
        capabilities: As in the pool table.
        prompt_tokens: Estimate of the prompt with everything in it, a token being four bytes of the body; what is
            attached counts for ``ATTACHED_TOKENS`` each.
        answer_tokens: What the client allows the answer, at most 2**31 - 1; 0 = it did not say.
    """

    capabilities: frozenset[str]
    prompt_tokens: int
    answer_tokens: int

    @property
    def tokens(self) -> int:
        """Prompt and answer."""
        return self.prompt_tokens + self.answer_tokens

    def missing(self, card: ModelCard) -> str | None:
        """Say what a model lacks; None = nothing. Nothing stated = text alone, of any length."""
        lacking = self.capabilities.difference(card.capabilities or ())
        if lacking:
            return f"lacks {', '.join(sorted(lacking))}"
        if card.context is not None and self.tokens > card.context:
            return f"has room for {card.context} tokens, the request needs about {self.tokens}"
        return None


def needs_of(chat: ChatRequest) -> Needs:
    """Find out what a request needs."""
    attached = [len(raw) for message in chat.messages for raw in message.attached()]
    answer = _number(chat, "max_completion_tokens") or _number(chat, "max_tokens")
    prompt = (chat.size - sum(attached)) // BYTES_PER_TOKEN + 1 + ATTACHED_TOKENS * len(attached)
    return Needs(frozenset(_capabilities(chat)), prompt, answer)


def _capabilities(chat: ChatRequest) -> Iterator[str]:
    if any(map(chat.has, _TOOL_FIELDS)) or any(message.is_about_tools for message in chat.messages):
        yield "tools"
    if chat.has("logprobs") or _number(chat, "top_logprobs"):
        yield "logprobs"
    if _number(chat, "n") > 1:
        yield "n"
    shape = chat.value("response_format", _Format)
    if shape is not None and shape.type == "json_schema":
        yield "json_schema"
    kinds = {part.type for message in chat.messages if isinstance(message.content, list) for part in message.content}
    if kinds & _IMAGES:
        yield "images"
    if kinds & _AUDIO or chat.has("audio") or "audio" in (chat.value("modalities", list[str]) or ()):
        yield "audio"


def _number(chat: ChatRequest, name: str) -> int:
    """Return a number of things; 0 if there is none, or none that means something."""
    value = chat.value(name, float)
    return int(min(value, _MOST_TOKENS)) if value is not None and value > 0 else 0
