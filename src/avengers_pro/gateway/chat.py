"""POST /v1/chat/completions: read, admit, decide, record, ask, pass on, settle."""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from avengers_pro.errors import StoreError
from avengers_pro.gateway.access import AccessDenied, bounded
from avengers_pro.gateway.asgi import ClientGoneError, Contained, Receive, Scope, Send, header, read_body, refuse
from avengers_pro.gateway.bookkeeping import Course, closing, finished, opening, reply_headers
from avengers_pro.gateway.controls import Controls, read_controls
from avengers_pro.gateway.deciding import Plan
from avengers_pro.gateway.delivery import Watch, break_off, deliver
from avengers_pro.gateway.refused import Headers, RefusedError
from avengers_pro.gateway.request import ChatRequest, read_chat
from avengers_pro.gateway.walk import release
from avengers_pro.routing import Policy

if TYPE_CHECKING:
    from avengers_pro.gateway.access import Caller
    from avengers_pro.gateway.access.account import Grant
    from avengers_pro.gateway.ledger import Opening
    from avengers_pro.gateway.state import Gateway

_EXPECTED_ANSWER = 512
_FAREWELL_S = 0.5
"""For telling a client, which may not be reading, that the gateway ends."""
_log = logging.getLogger(__name__)


async def chat_completions(
    gateway: "Gateway", scope: Scope, receive: Receive, send: Send, *, caller: "Caller | None" = None
) -> None:
    """Answer a chat completion request.

    Args:
        gateway: Everything that outlives a request.
        scope: Of the request.
        receive: From the client.
        send: To the client.
        caller: Who asks, if that is known already; None = the headers say.
    """
    course = Course(time.perf_counter())

    async def turn_away(refusal: RefusedError | AccessDenied) -> None:
        course.status = refusal.status
        gateway.telemetry.refused(refusal.status)
        await refuse(send, refusal)

    plan = None
    async with Contained("a request before its decision", turn_away):
        try:
            who, plan, row = await _planned(gateway, scope["headers"], receive, caller)
            grant = await _admit(gateway, who, plan)
        except (RefusedError, AccessDenied) as refusal:
            await turn_away(refusal)
        except ClientGoneError:
            return
        except asyncio.CancelledError:
            await turn_away(_shutting_down())
    if plan is None or course.status:
        return
    opened = gateway.ledger.begin(row)
    gateway.running += 1
    watch = Watch(receive, gateway.settings.server.request_timeout)
    try:
        await _answer(gateway, send, plan, course, opened, _limits_left(gateway, who))
    except asyncio.CancelledError:
        await _cancelled(gateway, send, plan, course, watch)
    finally:
        watch.stop()
        gateway.running -= 1
        _close(gateway, plan, course, grant)
        gateway.tracing.record(plan, course, scope["headers"])
        _done_with(opened)


async def _planned(
    gateway: "Gateway", headers: Headers, receive: Receive, known: "Caller | None"
) -> "tuple[Caller, Plan, Opening]":
    caller = known or gateway.caller(header(headers, b"authorization"), header(headers, b"x-api-key"))
    chat = read_chat(await read_body(receive, headers, gateway.settings.server))
    controls = read_controls(chat.controls, headers)
    decider = gateway.decider  # the one that decides; a reload may replace it meanwhile
    plan = await plan_of(gateway, caller, chat, controls, explores=True)
    text, vector = gateway.kept_text(plan.text), gateway.kept_vector(plan)
    return caller, plan, opening(plan, caller.key, controls.session, decider.fingerprint, text, vector)


async def plan_of(
    gateway: "Gateway", caller: "Caller", chat: ChatRequest, controls: Controls, *, explores: bool = False
) -> Plan:
    """Decide for a request, within the bounds of its key; ``explores`` as in ``Decider.plan``.

    Raises:
        RefusedError: If what it asks for means nothing, or no model can do it.
        AccessDenied: If it is out of the key's bounds.
    """
    decider = gateway.decider
    policy = decider.policy(chat.model, controls)
    if gateway.limits(caller):
        policy = _within_bounds(caller, chat, controls, policy, decider.pool)
    return await decider.plan(chat, controls, policy, caller.key, time.monotonic(), explores=explores)


def _within_bounds(
    caller: "Caller", chat: ChatRequest, controls: Controls, policy: Policy | None, pool: tuple[str, ...]
) -> Policy | None:
    """Hold a request to what its key may do."""
    if policy is None:
        bounded(caller, None, [chat.model])
        return None
    said = controls.alpha if controls.alpha is not None else policy.alpha if "@" in chat.model else None
    objective = next((name for name in ("target", "budget") if getattr(controls, name) is not None), None)
    asked = [name for name in pool if policy.models is None or name in policy.models]
    default = 0.7 if policy.alpha is None else policy.alpha
    found = bounded(caller, said, asked, default_alpha=default, objective=objective)
    if found.models != pool:
        policy = replace(policy, models=found.models, exclude=tuple(n for n in policy.exclude if n in found.models))
    unbound = caller.limits.min_alpha is None and caller.limits.max_alpha is None
    if unbound or found.alpha is None or found.alpha == policy.alpha:
        return policy
    return replace(policy, alpha=found.alpha, target=None, budget=None)


async def _admit(gateway: "Gateway", caller: "Caller", plan: Plan) -> "Grant":
    """Reserve what the request may use, here and with all gateways that share the limits.

    Raises:
        AccessDenied: If that is more than the key may.
        RefusedError: If it cannot be counted because the database is away, and the ledger is required.
    """
    tokens, now = plan.needs.prompt_tokens + (plan.needs.answer_tokens or _EXPECTED_ANSWER), time.time()
    grant = gateway.access.admit(caller, tokens=tokens, cost_usd=plan.ranking[0][2], now=now)
    try:
        await gateway.access.cover(caller, grant, now)
    except StoreError as error:
        raise RefusedError(
            503,
            "what this key uses could not be counted, so nothing was answered",
            kind="server_error",
            code="ledger",
        ) from error
    return grant


def _limits_left(gateway: "Gateway", caller: "Caller") -> Headers:
    """Return the headers that tell a client with limits how much is left of them."""
    return gateway.access.headers(caller, time.time()) if gateway.limits(caller) else []


async def _answer(
    gateway: "Gateway", send: Send, plan: Plan, course: Course, opened: asyncio.Future[None], extra: Headers
) -> None:
    """Have the request answered, by an upstream or with an error; only a cancellation comes out of here."""
    server = gateway.settings.server
    mark = [(b"x-avengers-pro-decision", plan.id.encode()), *extra] if server.headers else extra

    async def fail(refusal: RefusedError) -> None:
        await break_off(send, course, refusal, mark)

    async with Contained(f"the request {plan.id}", fail):
        try:
            await _relay(gateway, send, plan, course, opened, extra)
        except RefusedError as refusal:
            course.outcome = "upstream-error" if course.walk.failures else "unavailable"
            await asyncio.wait([opened])
            await fail(refusal)


async def _relay(
    gateway: "Gateway", send: Send, plan: Plan, course: Course, opened: asyncio.Future[None], extra: Headers
) -> None:
    """Find an upstream that answers, and pass its answer on.

    Raises:
        RefusedError: If none does, or the decision cannot be recorded.
    """
    found = await gateway.walker.answer(plan.chat, [name for name, _, _ in plan.ranking], course.walk)
    transcript = gateway.transcript()
    try:
        await _recorded(gateway, opened)
        course.served, course.endpoint = found.upstream.card, found.upstream.label
        ours = [*reply_headers(plan, course), *extra] if gateway.settings.server.headers else extra
        await deliver(send, found, course, ours, transcript)
    finally:
        release(found)
        if transcript is not None:
            course.answer = gateway.kept_text(transcript.text)
    if course.outcome == "ok":
        calls_tools = course.finish_reason in {"tool_calls", "function_call"}
        tokens = _prompt_tokens(plan, course)
        gateway.sessions.remember(plan.session, course.served.name, tokens, time.monotonic(), calls_tools=calls_tools)


def _prompt_tokens(plan: Plan, course: Course) -> int:
    if course.usage is not None and course.usage.prompt_tokens is not None:
        return course.usage.prompt_tokens
    return plan.needs.prompt_tokens


async def _recorded(gateway: "Gateway", opened: asyncio.Future[None]) -> None:
    """Wait until the decision is in the ledger: no answer leaves without its row.

    Raises:
        RefusedError: If it cannot be written and the ledger is required.
    """
    try:
        await asyncio.shield(opened)
    except StoreError as error:
        _log.error("ledger: %s", error)  # the message says it all, and a trace a request would drown it
        if gateway.settings.store.required:
            raise RefusedError(
                503, "the decision could not be recorded, so nothing was answered", kind="server_error", code="ledger"
            ) from error


def _shutting_down() -> RefusedError:
    return RefusedError(
        503, "the gateway is shutting down; the answer is not complete", kind="server_error", code="shutdown"
    )


async def _cancelled(gateway: "Gateway", send: Send, plan: Plan, course: Course, watch: Watch) -> None:
    """End a request whose client has left, whose time is up, or whose gateway ends; a complete answer stays so."""
    if course.outcome == "ok":
        return
    course.outcome = "client-gone" if watch.is_gone else "timeout" if watch.is_late else gateway.cancelled_by
    if course.outcome == "client-gone":
        return
    server, refusal = gateway.settings.server, _shutting_down()
    if watch.is_late:
        message = f"the request took longer than {server.request_timeout:g} s"
        refusal = RefusedError(504, message, kind="server_error", code="timeout")
    mark = [(b"x-avengers-pro-decision", plan.id.encode())] if server.headers else []
    with suppress(TimeoutError):
        async with asyncio.timeout(_FAREWELL_S):
            await break_off(send, course, refusal, mark)


def _close(gateway: "Gateway", plan: Plan, course: Course, grant: "Grant") -> None:
    """Settle what was reserved, complete the ledger's row, and count."""
    if course.walk.asked:
        grant.settle(course.tokens, course.cost, time.time())
    else:
        grant.release()
    finish = gateway.ledger.finish if gateway.shadowing is None else partial(gateway.shadowing.add, plan)
    finish(closing(plan, course))
    gateway.telemetry.count(finished(plan, course))
    gateway.watching.closed(plan, course.served, course.reported_model)


def _done_with(opened: asyncio.Future[None]) -> None:
    """Say that nobody minds any more whether the row could be written: an unseen failure would be logged as a bug."""
    opened.add_done_callback(lambda future: future.cancelled() or future.exception())
