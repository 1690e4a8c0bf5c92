"""POST /v1/chat/completions: read, admit, decide, record, ask, pass on, settle."""

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from avengers_pro.errors import StoreError
from avengers_pro.gateway.access import AccessDenied, bounded
from avengers_pro.gateway.asgi import ClientGoneError, Receive, Scope, Send, header, read_body, refuse
from avengers_pro.gateway.bookkeeping import Course, closing, finished, opening, reply_headers
from avengers_pro.gateway.controls import Controls, read_controls
from avengers_pro.gateway.deciding import Plan
from avengers_pro.gateway.delivery import Disconnected, deliver
from avengers_pro.gateway.refused import Headers, RefusedError, error_event
from avengers_pro.gateway.request import ChatRequest, read_chat
from avengers_pro.gateway.walk import Walk, release
from avengers_pro.routing import Policy

if TYPE_CHECKING:
    from avengers_pro.gateway.access import Caller
    from avengers_pro.gateway.access.account import Grant
    from avengers_pro.gateway.state import Gateway

_EXPECTED_ANSWER = 512
_log = logging.getLogger(__name__)


async def chat_completions(gateway: "Gateway", scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a chat completion request.

    Args:
        gateway: Everything that outlives a request.
        scope: Of the request.
        receive: From the client.
        send: To the client.
    """
    started = time.perf_counter()
    headers: Headers = scope["headers"]
    try:
        caller = gateway.access.authenticate(header(headers, b"authorization"), header(headers, b"x-api-key"))
        chat = read_chat(await read_body(receive, headers, gateway.settings.server))
        controls = read_controls(chat.controls, headers)
        plan = await plan_of(gateway, caller, chat, controls)
        grant = _admit(gateway, caller, plan)
    except (RefusedError, AccessDenied) as refusal:
        await refuse(send, refusal)
        gateway.telemetry.refused(refusal.status)
        return
    except ClientGoneError:
        return
    course = Course(started)
    gateway.running += 1
    watch = Disconnected(receive)
    try:
        await _answer(gateway, send, plan, course, _opened(gateway, plan, caller, controls))
    except asyncio.CancelledError:
        course.outcome = "client-gone" if watch.happened else "shutdown"
        if not watch.happened:
            await _say_goodbye(send, course)
            raise
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
    finally:
        watch.stop()
        gateway.running -= 1
        _close(gateway, plan, course, grant)


async def plan_of(gateway: "Gateway", caller: "Caller", chat: ChatRequest, controls: Controls) -> Plan:
    """Decide for a request, within the bounds of its key.

    Raises:
        RefusedError: If what it asks for means nothing, or no model can do it.
        AccessDenied: If it is out of the key's bounds.
    """
    decider = gateway.decider
    policy = decider.policy(chat.model, controls)
    if gateway.limits(caller):
        policy = _within_bounds(caller, chat, controls, policy, decider.pool)
    return await decider.plan(chat, controls, policy, caller.key, time.monotonic())


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


def _admit(gateway: "Gateway", caller: "Caller", plan: Plan) -> "Grant":
    tokens = plan.needs.prompt_tokens + (plan.needs.answer_tokens or _EXPECTED_ANSWER)
    return gateway.access.admit(caller, tokens=tokens, cost_usd=plan.ranking[0][2], now=time.time())


def _opened(gateway: "Gateway", plan: Plan, caller: "Caller", controls: Controls) -> asyncio.Future[None]:
    text = gateway.kept_text(plan.text)
    return gateway.ledger.begin(opening(plan, caller.key, controls.session, gateway.decider.fingerprint, text))


async def _answer(gateway: "Gateway", send: Send, plan: Plan, course: Course, opened: asyncio.Future[None]) -> None:
    walk = Walk(failures=course.failures)
    try:
        async with asyncio.timeout(gateway.settings.server.request_timeout):
            found = await gateway.walker.answer(plan.chat, [name for name, _, _ in plan.ranking], walk)
            try:
                await _recorded(gateway, opened)
                course.served, course.endpoint = found.upstream.card, found.upstream.label
                ours = reply_headers(plan, course) if gateway.settings.server.headers else []
                await deliver(send, found, course, ours)
            finally:
                release(found)
        gateway.sessions.remember(
            plan.session, found.upstream.card.name, _prompt_tokens(plan, course), time.monotonic()
        )
    except RefusedError as refusal:
        course.outcome, course.status = ("upstream-error" if course.failures else "refused"), refusal.status
        await _settled(opened)
        await refuse(send, refusal, [(b"x-avengers-pro-decision", plan.id.encode())])
    except TimeoutError:
        course.outcome = "timeout"
        message = f"the request took longer than {gateway.settings.server.request_timeout:g} s"
        if course.status:
            await send({"type": "http.response.body", "body": error_event(message, "server_error", "timeout")})
        else:
            course.status = 504
            await refuse(send, RefusedError(504, message, kind="server_error", code="timeout"))


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


async def _settled(opened: asyncio.Future[None]) -> None:
    """Wait for the ledger without minding how it went: an error is being answered already."""
    await asyncio.wait([opened])
    if not opened.cancelled():
        opened.exception()


async def _say_goodbye(send: Send, course: Course) -> None:
    """Tell a client whose answer is cut off by the gateway's end."""
    message = "the gateway is shutting down; the answer is not complete"
    if course.status:
        await send({"type": "http.response.body", "body": error_event(message, "server_error", "shutdown")})
    else:
        course.status = 503
        await refuse(send, RefusedError(503, message, kind="server_error", code="shutdown"))


def _close(gateway: "Gateway", plan: Plan, course: Course, grant: "Grant") -> None:
    """Complete the ledger's row, settle what was reserved, and count."""
    gateway.ledger.finish(closing(plan, course))
    usage, now = course.usage, time.time()
    if course.served is None and not course.failures:
        grant.release()
    else:
        known = usage is not None and usage.prompt_tokens is not None and usage.completion_tokens is not None
        tokens = usage.prompt_tokens + usage.completion_tokens if usage is not None and known else None  # type: ignore[operator]  # known
        grant.settle(tokens, course.cost, now)
    gateway.telemetry.count(finished(plan, course))
