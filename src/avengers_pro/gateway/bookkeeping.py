"""What the ledger, the metrics and the answer's headers say of a request."""

import math
import time
from dataclasses import dataclass, field
from urllib.parse import quote

import msgspec

from avengers_pro.gateway.deciding import Plan
from avengers_pro.gateway.ledger import Closing, Opening
from avengers_pro.gateway.refused import Headers
from avengers_pro.gateway.sse import Answer, EventReader, Usage
from avengers_pro.gateway.telemetry import Finished
from avengers_pro.gateway.walk import Walk
from avengers_pro.routing import Policy
from avengers_pro.routing.pool import ModelCard

REFUSED_UPSTREAM = "refused-upstream"
"""Outcome of a request that the provider would not have, by the client's fault."""
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Course:
    """How a request went, filled in as it goes.

    Attributes:
        started: Of a performance counter, seconds.
        outcome: As the ledger calls it; ``error`` until something better is known.
        status: Sent to the client; 0 = nothing was.
        streams: Whether what was begun is a stream.
        inside: Whether the stream stands inside an event.
        served: Card of the model that answered.
        endpoint: Label of the upstream that answered.
        walk: What was tried.
        usage: As the provider counted.
        finish_reason: As the provider said.
        reported_model: Id of the model, as the provider said.
        first_byte: Seconds from the start to the first byte of the answer.
        answer: Text kept for the ledger, if text is kept.
    """

    started: float
    outcome: str = "error"
    status: int = 0
    streams: bool = False
    inside: bool = False
    served: ModelCard | None = None
    endpoint: str | None = None
    walk: Walk = field(default_factory=Walk)
    usage: Usage | None = None
    finish_reason: str | None = None
    reported_model: str | None = None
    first_byte: float | None = None
    answer: str | None = None

    def note(self, said: Answer | EventReader) -> None:
        """Take over what the provider said of its answer."""
        self.usage, self.finish_reason, self.reported_model = said.usage, said.finish_reason, said.reported_model

    @property
    def cost(self) -> float | None:
        """US dollars by the card's prices; None if tokens or prices are not known; 0 if no provider charges for it."""
        if self.served is None:
            return None if self.walk.may_cost else 0.0
        if self.outcome == REFUSED_UPSTREAM:
            return 0.0
        usage = self.usage
        if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        return _known(self.served.cost_usd(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens or 0))

    @property
    def tokens(self) -> int | None:
        """Prompt and completion; None if they are not known; 0 if no provider charges for any."""
        usage = self.usage
        if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return 0 if self.cost == 0 else None
        return usage.prompt_tokens + usage.completion_tokens


def opening(
    plan: Plan, caller: str | None, session: str | None, router: str, text: str | None, vector: bytes | None
) -> Opening:
    """Return the row that is written before the answer begins."""
    model, score, cost = plan.ranking[0]
    decision = plan.decision
    ranked = decision.ranking() if plan.explores and decision is not None else plan.ranking
    baseline, baseline_score, baseline_cost = plan.baseline or (None, math.nan, math.nan)
    return Opening(
        id=plan.id,
        at=time.time(),
        key=caller,
        session=session,
        asked=plan.chat.model,
        model=model,
        policy=policy_json(plan.policy),
        alpha=plan.policy.alpha if decision is not None else None,
        expected_score=_known(score),
        expected_cost_usd=_known(cost),
        baseline_model=baseline,
        baseline_cost_usd=_known(baseline_cost),
        baseline_score=_known(baseline_score),
        candidates=_encode([(name, _known(s), _known(c), None) for name, s, c in ranked]).decode(),
        clusters=_encode(decision.clusters if decision is not None else ()).decode(),
        novel=decision.novel if decision is not None else False,
        propensity=plan.propensity,
        prompt_tokens_estimate=plan.needs.prompt_tokens,
        stream=plan.chat.stream,
        router=router,
        decision_us=plan.micros,
        text=text,
        vector=vector,
    )


_PLAIN = "/:@+,()[]{} "
"""Of a model's name, these characters, letters and digits stand in a header as they are; others are percent-encoded."""
_POLICIES: dict[Policy, str] = {}


def policy_json(policy: Policy) -> str:
    """Return what a policy sets, as JSON; few policies are in use at once, so texts are kept."""
    found = _POLICIES.get(policy)
    if found is None:
        if len(_POLICIES) > 1024:  # noqa: PLR2004
            _POLICIES.clear()
        plain = Policy(alpha=policy.alpha, target=policy.target, budget=policy.budget)
        given = {name: value for name in Policy.__slots__ if (value := getattr(policy, name)) != getattr(plain, name)}
        objective = {
            name: value for name in ("alpha", "target", "budget") if (value := getattr(policy, name)) is not None
        }
        found = _POLICIES[policy] = _encode(objective | given).decode()
    return found


def closing(plan: Plan, course: Course) -> Closing:
    """Return what completes the row."""
    usage = course.usage or Usage()
    return Closing(
        id=plan.id,
        at=time.time(),
        outcome=course.outcome,
        status=course.status,
        served_by=None if course.served is None else course.served.name,
        endpoint=course.endpoint,
        fallbacks=course.walk.fallbacks,
        attempts=_encode([(failure.upstream.label, failure.reason) for failure in course.walk.failures]).decode(),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
        cost_usd=course.cost,
        finish_reason=course.finish_reason,
        first_byte_ms=None if course.first_byte is None else course.first_byte * 1000,
        total_ms=(time.perf_counter() - course.started) * 1000,
        answer=course.answer,
        reported_model=course.reported_model,
    )


def finished(plan: Plan, course: Course) -> Finished:
    """Return what the metrics count."""
    usage = course.usage or Usage()
    cost = course.cost
    baseline = None if plan.baseline is None else _known(plan.baseline[2])
    return Finished(
        status=course.status,
        outcome=course.outcome,
        chosen=plan.ranking[0][0],
        explores=plan.explores,
        served=None if course.served is None else course.served.name,
        fallbacks=course.walk.fallbacks,
        decision_seconds=plan.micros / 1e6,
        first_byte_seconds=course.first_byte,
        total_seconds=time.perf_counter() - course.started,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        expected_cost=_known(plan.ranking[0][2]),
        cost=cost,
        saved=None if cost is None or baseline is None else baseline - cost,
    )


def reply_headers(plan: Plan, course: Course) -> Headers:
    """Say who answered and why."""
    served = course.served.name if course.served is not None else ""
    score, cost = next(((s, c) for name, s, c in plan.ranking if name == served), (math.nan, math.nan))
    found = [
        (b"x-avengers-pro-decision", plan.id.encode()),
        (b"x-avengers-pro-model", quote(served, safe=_PLAIN).encode()),
        (b"x-avengers-pro-fallbacks", b"%d" % course.walk.fallbacks),
    ]
    if plan.decision is not None and plan.policy.alpha is not None:
        found.append((b"x-avengers-pro-alpha", f"{plan.policy.alpha:g}".encode()))
    if not math.isnan(score):
        found.append((b"x-avengers-pro-expected-score", f"{score:.4f}".encode()))
    if not math.isnan(cost):
        found.append((b"x-avengers-pro-expected-cost", f"{cost:.8f}".encode()))
    return found


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
