"""What goes into the ledger and what comes out, as plain values."""

from dataclasses import dataclass, field

import msgspec

NO_ERRORS = ("ok", "client-gone", "refused")
"""Outcomes that are no errors: answered, left by the client, or turned away by a rule of the gateway."""
INTERRUPTED = "interrupted"
"""Outcome of a request whose process went away before it was finished."""


class Opening(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known about a request when its model is chosen; durable before its answer begins.

    Numbers that are NaN or infinite are stored as unknown.

    Attributes:
        id: Unique, and later ones sort after earlier ones.
        at: When the request came, in Unix seconds.
        key: Id of the client's API key; None = none was asked for.
        session: The client's name for a conversation; None = not given.
        asked: The model name that the client asked for.
        model: First choice; None = no model was chosen.
        policy: JSON text of the policy.
        alpha: Trade-off in [0, 1] that was used; None if the objective was another one.
        expected_score: Of the first choice, in [0, 1]; None = unknown.
        expected_cost_usd: Of the first choice, in US dollars; None = unknown.
        baseline_model: The best single model for the same request; None = unknown.
        baseline_cost_usd: What that one would have cost, in US dollars; None = unknown.
        baseline_score: Its expected score, in [0, 1]; None = unknown.
        candidates: JSON text: [name, expected score, expected cost, why it was removed or null], best first.
        clusters: JSON text of the nearest kinds of query.
        novel: True if the query is unlike all records.
        propensity: Probability, given the request, with which the first choice was chosen, in (0, 1]; 1 = it had to be.
        prompt_tokens_estimate: Tokens of the prompt, estimated before anything was sent.
        stream: True if the client asked for a stream.
        router: Fingerprint of the router.
        decision_us: Microseconds that the choice took.
        text: The prompt; None = it is not kept.
        vector: The query as the router embedded it, little-endian float16; None = it is not kept, or there is none.
    """

    id: str
    at: float
    key: str | None
    session: str | None
    asked: str
    model: str | None
    policy: str
    alpha: float | None
    expected_score: float | None
    expected_cost_usd: float | None
    baseline_model: str | None
    baseline_cost_usd: float | None
    baseline_score: float | None
    candidates: str
    clusters: str
    novel: bool
    propensity: float
    prompt_tokens_estimate: int
    stream: bool
    router: str
    decision_us: float
    text: str | None = None
    vector: bytes | None = None


class Closing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known about a request when it is over.

    Attributes:
        id: Of its opening.
        at: When it was over, in Unix seconds.
        outcome: ``ok``, ``client-gone``, ``refused``, ``upstream-error``, ``shutdown``, or another word for a failure.
        status: HTTP status that the client got.
        served_by: The model that answered; None = none did.
        endpoint: Where it answered; None = nowhere.
        fallbacks: How many times another model or endpoint was tried after the first.
        attempts: JSON text of what was tried and how it went.
        prompt_tokens: As the upstream counted them; None = unknown.
        completion_tokens: As the upstream counted them; None = unknown.
        cached_tokens: Prompt tokens that the upstream read from its cache; None = unknown.
        cost_usd: US dollars; 0 if nothing was sent; None = unknown, which never counts as 0.
        finish_reason: As the upstream said; None = it did not.
        first_byte_ms: Milliseconds from the request to the first byte of the answer; None = there was none.
        total_ms: Milliseconds from the request to the end; None = unknown.
        answer: The answer; None = it is not kept.
        reported_model: Id of the model in the upstream's answer; None = it said none.
        shadow_router: Fingerprint of the router that decided beside the one in use; None = none did.
        shadow_model: What that one would have chosen first under the same policy; None = nothing.
        shadow_score: What it expects of that model, in [0, 1]; None = unknown.
        shadow_cost_usd: The same in US dollars; None = unknown.
    """

    id: str
    at: float
    outcome: str
    status: int
    served_by: str | None
    endpoint: str | None
    fallbacks: int
    attempts: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    cost_usd: float | None
    finish_reason: str | None
    first_byte_ms: float | None
    total_ms: float | None
    answer: str | None = None
    reported_model: str | None = None
    shadow_router: str | None = None
    shadow_model: str | None = None
    shadow_score: float | None = None
    shadow_cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which decisions; each field that is not None narrows them.

    Attributes:
        model: The model that answered.
        key: Id of the client's API key.
        outcome: As in ``Closing``, or ``interrupted``.
        session: The client's name for a conversation.
        novel: Only the queries unlike all records, or only the others.
        since: Begun at or after this, in Unix seconds.
        until: Begun before this, in Unix seconds.
    """

    model: str | None = None
    key: str | None = None
    outcome: str | None = None
    session: str | None = None
    novel: bool | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over finished requests. What is unknown in a row is left out of its sum, and the row is counted.

    Attributes:
        requests: How many were finished, whatever their outcome.
        errors: Those that failed: neither answered, nor left by the client, nor refused by a rule.
        fallbacks: Those for which another model or endpoint was tried after the first.
        cost_usd: US dollars spent, where known.
        unpriced: Requests of unknown cost.
        baseline_cost_usd: What the best single model would have cost, where both costs are known, in US dollars.
        saved_usd: That less what was spent on the same requests; negative if more was spent.
        uncompared: Requests for which one of the two costs is unknown.
        expected_score_sum: Expected scores of the first choices, where both scores are known.
        baseline_score_sum: Expected scores of the best single model on the same requests.
        unscored: Requests for which one of the two scores is unknown.
        prompt_tokens: Sum where known.
        completion_tokens: Sum where known.
        unmetered: Requests for which one of the two token counts is unknown.
        feedback: Requests with a score from a client.
        feedback_score_sum: Sum of these scores, the latest of each request.
    """

    requests: int = 0
    errors: int = 0
    fallbacks: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    baseline_cost_usd: float = 0.0
    saved_usd: float = 0.0
    uncompared: int = 0
    expected_score_sum: float = 0.0
    baseline_score_sum: float = 0.0
    unscored: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0
    feedback: int = 0
    feedback_score_sum: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Totals of the requests begun in a range of time.

    Attributes:
        since: Start of the range that was summed, in Unix seconds: as asked for, or the start of that hour
            where its rows were pruned or are too many, so that only the hour's sums are at hand.
        until: End of the range, likewise; infinity = everything so far.
        total: Over all requests.
        models: By the model that answered; None = none did.
    """

    since: float
    until: float
    total: Totals
    models: dict[str | None, Totals] = field(default_factory=dict)
