"""What a request needs of a model beside being good: hard capabilities, and room for its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from avengers_pro.gateway.request import ChatRequest
from avengers_pro.routing.pool import ModelCard

CHARS_PER_TOKEN = 4
_IMAGES = frozenset({"image_url", "input_image", "image"})
_AUDIO = frozenset({"input_audio", "audio"})


class _Format(msgspec.Struct):
    type: str = "text"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a model must have to be a candidate.

    Attributes:
        capabilities: As in the pool table.
        prompt_tokens: Estimate of the prompt with everything in it, a token being four bytes of the body.
        answer_tokens: What the client allows the answer; 0 = it did not say.
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
    found = set()
    if chat.has("tools") or chat.has("functions"):
        found.add("tools")
    if chat.has("logprobs") or chat.has("top_logprobs"):
        found.add("logprobs")
    if (chat.value("n", int) or 1) > 1:
        found.add("n")
    shape = chat.value("response_format", _Format)
    if shape is not None and shape.type == "json_schema":
        found.add("json_schema")
    kinds = {part.type for message in chat.messages if isinstance(message.content, list) for part in message.content}
    if kinds & _IMAGES:
        found.add("images")
    if kinds & _AUDIO or chat.has("audio") or "audio" in (chat.value("modalities", list[str]) or ()):
        found.add("audio")
    answer = chat.value("max_completion_tokens", int) or chat.value("max_tokens", int) or 0
    return Needs(frozenset(found), chat.size // CHARS_PER_TOKEN + 1, max(answer, 0))


def able(cards: Sequence[ModelCard], needs: Needs) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the models that have what is needed, and why the others have not."""
    lacking = {card.name: why for card in cards if (why := needs.missing(card)) is not None}
    return tuple(card.name for card in cards if card.name not in lacking), lacking
