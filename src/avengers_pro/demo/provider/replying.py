"""Sending a simulated answer as it should be sent."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from avengers_pro.demo.provider.answer import Answer
from avengers_pro.demo.provider.chat_request import ChatRequest
from avengers_pro.demo.provider.exchange import EVENT_STREAM, Exchange
from avengers_pro.demo.provider.pace import Speed
from avengers_pro.demo.provider.wire import Event, completion, events


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is to be sent.

    Attributes:
        request: What it replies to.
        answer: What it says.
        speed: Of the model.
    """

    request: ChatRequest
    answer: Answer
    speed: Speed

    @property
    def streamed(self) -> bool:
        """Whether server-sent events were asked for."""
        return bool(self.request.stream)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Of the response, beside those about its body; the score, if known, for those who judge answers."""
        score = self.answer.score
        known = () if score is None else (("x-simulated-score", f"{score:g}"),)
        return (("x-request-id", self.answer.identifier.replace("chatcmpl-", "req_")), *known)

    def body(self) -> bytes:
        """Return the whole answer as one JSON object."""
        return completion(self.answer, self.request)

    def events(self) -> Iterable[Event]:
        """Return the answer as events."""
        return events(self.answer, self.request)


async def send(exchange: Exchange, reply: Reply) -> None:
    """Send the answer at the model's speed.

    Raises:
        ClientGoneError: If the client leaves before the end.
    """
    if reply.streamed:
        await _stream(exchange, reply)
        return
    visible = max(len(choice.pieces) for choice in reply.answer.choices)
    due_s = reply.speed.due_s(visible)
    if due_s > 0:
        await exchange.pause(due_s)
    await exchange.respond(HTTPStatus.OK, reply.body(), headers=reply.headers)


async def _stream(exchange: Exchange, reply: Reply) -> None:
    clock = asyncio.get_running_loop().time
    begin_s = clock()
    await exchange.pause(reply.speed.first_token_s)
    await exchange.start(HTTPStatus.OK, content_type=EVENT_STREAM, headers=reply.headers)
    tokens = 0
    for event in reply.events():
        if event.tokens:
            tokens += event.tokens
            wait_s = begin_s + reply.speed.due_s(tokens) - clock()
            if wait_s > 0:
                await exchange.pause(wait_s)
        await exchange.write(event.data)
    await exchange.end()
