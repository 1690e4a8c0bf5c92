"""What stands between inspect-ai and a provider: the store of answers, and the books."""

import time
from typing import TYPE_CHECKING, Any

from avengers_pro.collection.answers import Answer, Answers, Question, digest
from avengers_pro.collection.spending import ASSUMED_COMPLETION_TOKENS, Spending, expected_usd
from avengers_pro.errors import AvengersProError, StoreError
from avengers_pro.routing.pool import ModelCard

if TYPE_CHECKING:
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessage, GenerateConfig, ModelOutput, ModelUsage

KEY = "avengers_pro_key"
"""Where a sample's metadata names the prompt it is."""
_TRANSPORT = frozenset(
    {"max_connections", "adaptive_connections", "max_retries", "timeout", "attempt_timeout", "cache", "batch"}
)


class UnreadableAnswerError(AvengersProError):
    """A provider's reply is no answer: no choices, or not what the protocol says."""


class Keeper:
    """Stands between inspect and one model's provider."""

    def __init__(
        self,
        card: ModelCard,
        role: str,
        settings: str,
        answers: Answers,
        spending: Spending,
        max_tokens: int | None,
    ) -> None:
        self._card = card
        self._role = role
        self._settings = settings
        self._answers = answers
        self._spending = spending
        self._max_tokens = max_tokens
        self._places: set[Question] = set()
        self._mean_tokens = answers.mean_completion_tokens(card.name)
        self._answered = 0

    def around(self, generate: Any) -> Any:
        """Return the provider's ``generate`` with the store before it."""

        async def kept(input: "list[ChatMessage]", tools: Any, tool_choice: Any, config: "GenerateConfig") -> Any:  # noqa: A002
            from inspect_ai.model import ModelCall, ModelOutput

            question = self._question(input, tools, tool_choice, config)
            known = self._answers.find(question)
            if known is not None:
                output = ModelOutput.model_validate_json(known.output)
                return output, ModelCall(request={}, response=None, time=known.seconds)
            return await self._ask(question, input, lambda: generate(input, tools, tool_choice, config))

        return kept

    async def _ask(self, question: Question, turns: "list[ChatMessage]", call: Any) -> Any:
        expected = self._expected_usd(turns)
        answered = False
        start = time.perf_counter()
        try:
            with self._spending.reserved(expected):
                result = await call()
            answered = True
        except (IndexError, KeyError, TypeError, AttributeError) as error:  # of the reading of a reply of odd shape
            raise UnreadableAnswerError(f"{self._card.name}: the provider's reply is no answer") from error
        finally:
            if not answered:
                self._places.discard(question)  # the next attempt asks the same
        elapsed = time.perf_counter() - start
        output, sent = result if isinstance(result, tuple) else (result, None)
        if not isinstance(output, Exception):
            if not output.choices and output.error is None:
                raise UnreadableAnswerError(f"{self._card.name}: the provider's reply has no choices")
            self._book(question, output, elapsed if sent is None or sent.time is None else sent.time, expected)
        return result

    def _book(self, question: Question, output: "ModelOutput", seconds: float, expected: float) -> None:
        """Keep an answer; an error that the provider words as an answer is none, costs nothing and is asked again."""
        if refusal_of(output) is not None:
            return
        cost = usage_cost_usd(self._card, output.usage)
        tokens = None if output.usage is None else float(output.usage.output_tokens)
        self._spending.pay(cost, expected)
        try:
            self._answers.keep(question, Answer(output.model_dump_json(), seconds, cost, tokens))
        except StoreError as error:
            self._spending.closed = str(error)  # what cannot be kept would be paid again
            raise
        if tokens is not None:
            self._answered += 1
            before = tokens if self._mean_tokens is None else self._mean_tokens
            self._mean_tokens = before + (tokens - before) / min(self._answered, 100)

    def _expected_usd(self, turns: "list[ChatMessage]") -> float:
        tokens = self._mean_tokens
        if tokens is None:
            tokens = float(self._max_tokens or ASSUMED_COMPLETION_TOKENS)
        return expected_usd(self._card, sum(len(turn.text) for turn in turns), tokens)

    def _question(self, turns: "list[ChatMessage]", tools: Any, tool_choice: Any, config: "GenerateConfig") -> Question:
        from inspect_ai.log._samples import sample_active  # not exported; only it knows sample and epoch here

        sample = sample_active()
        plain = [_plain(turn) for turn in turns]
        options = config.model_dump(exclude_none=True, exclude=set(_TRANSPORT))
        asked = digest([self._settings, plain])
        request = digest([asked, options, [tool.model_dump() for tool in tools], tool_choice])
        key, epoch = ("", 0) if sample is None else (_key_of(sample.task, sample.sample), sample.epoch)
        place = 0
        while (question := Question(self._card.name, self._role, key, epoch, asked, request, place)) in self._places:
            place += 1
        self._places.add(question)
        return question


def _key_of(task: str, sample: "Sample") -> str:
    """Return what names a sample for good: a prompt's own key, else the id within its task."""
    own = (sample.metadata or {}).get(KEY)
    return str(own) if own is not None else f"{task}/{sample.id}"


def refusal_of(output: "ModelOutput") -> str | None:
    """Name what kept a provider from answering at all; None = it answered."""
    if output.error is not None or not output.choices:
        return "the provider's error"
    if output.usage is None and output.stop_reason in {"model_length", "content_filter"}:
        return "prompt too long" if output.stop_reason == "model_length" else "blocked by the provider's filter"
    return None


def usage_cost_usd(card: ModelCard, usage: "ModelUsage | None") -> float | None:
    """Price a usage by the card; tokens written to the provider's cache cost as fresh ones. None = not known."""
    if usage is None or card.input_price is None or card.output_price is None:
        return None
    cached = usage.input_tokens_cache_read or 0
    return card.cost_usd(prompt_tokens_of(usage), usage.output_tokens, cached)


def prompt_tokens_of(usage: "ModelUsage") -> int:
    """Return all prompt tokens: inspect counts those from and to the provider's cache apart."""
    return usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)


def _plain(turn: "ChatMessage") -> Any:
    """Return what of a message reaches the model; inspect's own ids and notes do not."""
    text = (
        turn.content if isinstance(turn.content, str) else [part.model_dump(exclude_none=True) for part in turn.content]
    )
    calls = [(call.function, call.arguments) for call in getattr(turn, "tool_calls", None) or ()]
    return [turn.role, text, calls] if calls else [turn.role, text]
