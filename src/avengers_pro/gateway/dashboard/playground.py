"""The playground: decide on a text under a policy, live; send it only if asked to."""

import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

import msgspec
from msgspec import Meta

from avengers_pro.gateway.access import Caller
from avengers_pro.gateway.asgi import Receive
from avengers_pro.gateway.chat import chat_completions, plan_of
from avengers_pro.gateway.controls import read_controls
from avengers_pro.gateway.refused import RefusedError
from avengers_pro.gateway.request import read_chat
from avengers_pro.gateway.settings import OWN_MODEL_NAME

if TYPE_CHECKING:
    from avengers_pro.gateway.state import Gateway

_MOST_ANSWER_TOKENS = 512


class Trial(msgspec.Struct, forbid_unknown_fields=True):
    """What is tried.

    Attributes:
        text: The query.
        alpha: In [0, 1].
        max_cost: Most expected US dollars of the query; None = any.
        exclude: Models that may not answer.
    """

    text: Annotated[str, Meta(min_length=1, max_length=100_000)]
    alpha: Annotated[float, Meta(ge=0, le=1)]
    max_cost: Annotated[float, Meta(ge=0)] | None = None
    exclude: tuple[str, ...] = ()

    def request(self, *, is_sent: bool) -> bytes:
        """Return the request as a client would send it."""
        policy: dict[str, Any] = {"alpha": self.alpha}
        if self.max_cost is not None:
            policy["max_cost"] = self.max_cost
        if self.exclude:
            policy["exclude"] = self.exclude
        body = {"model": OWN_MODEL_NAME, "messages": [{"role": "user", "content": self.text}], "avengers_pro": policy}
        return msgspec.json.encode(body | ({"max_tokens": _MOST_ANSWER_TOKENS} if is_sent else {}))


def read_trial(body: bytes) -> Trial:
    """Read what the page sends.

    Raises:
        RefusedError: With status 400, if it means nothing.
    """
    try:
        return msgspec.json.decode(body, type=Trial)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedError(400, f"the playground: {error}") from error


async def decide(gateway: "Gateway", caller: Caller, trial: Trial) -> dict[str, Any]:
    """Decide as ``POST /v1/route`` does: no model is called, nothing is recorded.

    Raises:
        RefusedError: If no model can do it.
        AccessDenied: If it is out of the key's bounds.
    """
    chat = read_chat(trial.request(is_sent=False))
    plan = await plan_of(gateway, caller, chat, read_controls(chat.controls, ()))
    if plan.decision is None or not plan.text:
        found = {"candidates": [], "by_alpha": []} if plan.decision is None else plan.decision.to_dict()
    else:
        found = gateway.decider.explain(plan)
        # Costs of this request's length, as the gateway weighs them.
        expected = {name: (score, cost) for name, score, cost in plan.ranking}
        for candidate in found["candidates"]:
            if candidate["model"] in expected:
                candidate["expected_score"], candidate["expected_cost"] = expected[candidate["model"]]
        order = list(expected)
        found["candidates"].sort(
            key=lambda each: order.index(each["model"]) if each["model"] in expected else len(order)
        )
    return {**found, "model": plan.ranking[0][0], "decision_ms": plan.micros / 1000}


async def send(gateway: "Gateway", caller: Caller, trial: Trial, receive: Receive) -> dict[str, Any]:
    """Have the query answered, like a request of the visitor's key: recorded, counted and paid.

    Args:
        gateway: Of the page.
        caller: Who looks.
        trial: What to send.
        receive: Tells if the visitor leaves.

    Raises:
        RefusedError: With the gateway's or the provider's status, if there is no answer.
    """
    begun, body = time.perf_counter(), trial.request(is_sent=True)
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
    started: dict[str, Any] = {}
    parts: list[bytes] = []

    async def give() -> Any:
        return waiting.pop() if waiting else await receive()

    async def take(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            parts.append(message.get("body", b""))

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await chat_completions(gateway, scope, give, take, caller=caller)
    status, body = int(started.get("status", 502)), b"".join(parts)
    if status != 200:  # noqa: PLR2004
        raise RefusedError(status, _message(body))
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in started.get("headers", ())}
    try:
        completion = msgspec.json.decode(body, type=_Completion)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RefusedError(502, f"the provider's answer cannot be shown: {error}") from error
    text = completion.choices[0].message.content if completion.choices else None
    return {
        "text": text or "(no text)",
        "model": unquote(headers.get("x-avengers-pro-model", "")) or "a model",
        "decision": headers.get("x-avengers-pro-decision", ""),
        "milliseconds": (time.perf_counter() - begun) * 1000,
    }


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []


class _Complaint(msgspec.Struct):
    message: str


class _Failure(msgspec.Struct):
    error: _Complaint


def _message(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_Failure).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "the provider refused, and did not say why"
