"""An OpenAI-compatible server that answers from a table, counts what it was asked, and can be slow or refuse."""

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from avengers_pro.demo.provider import serving

Reply = str | tuple[int, dict[str, Any]]
"""Text of an answer, or a status and a body."""


@dataclass
class Counting:
    """What was asked and answered, by (model, last user turn).

    Attributes:
        answer: Says what to reply to a model's question.
        pause_s: Before each reply.
        usage: Whether replies tell it.
        hold_after: So many answers, after which nothing is answered any more; None = any number.
        held: Requests that wait for an answer which does not come.
    """

    answer: Callable[[str, str], Reply]
    pause_s: float = 0.0
    usage: bool = True
    hold_after: int | None = None
    url: str = ""
    held: int = 0
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    _replying: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        request = json.loads(body)
        question = next(turn["content"] for turn in reversed(request["messages"]) if turn["role"] == "user")
        self.bodies.append(request)
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await asyncio.sleep(self.pause_s)
        if self.hold_after is not None and sum(self.answered.values()) + self._replying >= self.hold_after:
            self.held += 1
            await receive()  # nothing comes but the client's leaving
            return
        self._replying += 1
        reply = self.answer(request["model"], question)
        status, found = (200, self._completion(request, reply)) if isinstance(reply, str) else reply
        head = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        await send(head)
        await send({"type": "http.response.body", "body": json.dumps(found).encode()})
        self._replying -= 1
        if status == 200:  # counted once it is out: from here on it is paid for
            self.answered[request["model"], question] += 1

    def _completion(self, request: dict[str, Any], text: str) -> dict[str, Any]:
        prompt = sum(len(turn["content"]) for turn in request["messages"]) // 4 + 1
        tokens = len(text) // 4 + 1
        usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
        usage["prompt_tokens_details"] = {"cached_tokens": 2}
        message = {"role": "assistant", "content": text}
        return {
            "id": "x", "object": "chat.completion", "created": 0, "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            **({"usage": usage} if self.usage else {}),
        }  # fmt: skip

    @property
    def paid_twice(self) -> dict[tuple[str, str], int]:
        return {asked: count for asked, count in self.answered.items() if count > 1}


@contextmanager
def counting(answer: Callable[[str, str], Reply], **options: Any) -> Iterator[Counting]:
    """Serve on a free port of this machine."""
    server = Counting(answer, **options)
    with serving(server) as url:
        server.url = url
        yield server


def from_targets(targets: dict[str, str], share_right: float = 0.6) -> Callable[[str, str], Reply]:
    """Answer rightly, always the same questions for the same model, and wrongly else."""

    def answer(model: str, question: str) -> Reply:
        draw = int(hashlib.sha256(f"{model}/{question}".encode()).hexdigest()[:8], 16) / 2**32
        return targets.get(question, "0") if draw < share_right else "I do not know."

    return answer


def pool(url: str, *names: str, **fields: Any) -> str:
    """Write a pool of models that all answer at a server; the prices differ."""
    given = {"base_url": f"{url}/v1", **fields}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
    return "".join(
        f'[[models]]\nname = "{name}"\ninput_price = {place + 1}.0\noutput_price = {2 * place + 4}.0\n'
        f"cached_input_price = 0.5\n{lines}\n"
        for place, name in enumerate(names)
    )
