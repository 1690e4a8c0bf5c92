"""Whether what a caller asks of the router lies within the key's bounds."""

from collections.abc import Sequence

import msgspec

from avengers_pro.gateway.access.denied import AccessDenied
from avengers_pro.gateway.access.limits import Caller
from avengers_pro.routing.policy import DEFAULT_ALPHA


class Bounded(msgspec.Struct, frozen=True):
    """What a caller gets.

    Attributes:
        alpha: To be used; None = the client asked for another objective.
        models: The candidates that remain, in the order given, at least one.
    """

    alpha: float | None
    models: tuple[str, ...]


def bounded(
    caller: Caller,
    alpha: float | None,
    models: Sequence[str],
    *,
    default_alpha: float = DEFAULT_ALPHA,
    objective: str | None = None,
) -> Bounded:
    """Hold a request to the bounds of its key.

    Args:
        caller: Who calls.
        alpha: As the client asked; None = it did not, and the default moves to the nearest bound.
        models: Candidates: the pool, or those of it that the client named.
        default_alpha: Where the client asks for nothing.
        objective: The policy's objective instead of alpha that the client asked for, such as ``target``; None = none.

    Raises:
        AccessDenied: 403, if alpha is out of bounds, another objective is asked for where alpha is bounded, or none
            of the models is allowed.
    """
    limits = caller.limits
    low, high = limits.min_alpha, limits.max_alpha
    if low is not None or high is not None:
        low, high = 0.0 if low is None else low, 1.0 if high is None else high
        if alpha is None and objective is not None:
            raise AccessDenied(
                f"the key {caller.key} is bound to alpha from {low:g} to {high:g}, which {objective} would get around; "
                f"leave {objective} out",
                status=403,
                code="objective_not_allowed",
                param=objective,
            )
        if alpha is not None and not low <= alpha <= high:
            raise AccessDenied(
                f"alpha {alpha:g} is out of the bounds of the key {caller.key}: {low:g} to {high:g}",
                status=403,
                code="alpha_not_allowed",
                param="alpha",
            )
        default_alpha = min(max(default_alpha, low), high)
    if alpha is None and objective is None:
        alpha = default_alpha
    return Bounded(alpha, _remaining(caller, models))


def _remaining(caller: Caller, models: Sequence[str]) -> tuple[str, ...]:
    limits = caller.limits
    remaining = tuple(
        model for model in models if (limits.models is None or model in limits.models) and model not in limits.exclude
    )
    if not remaining:
        allowed = "" if limits.models is None else f"; it may use {', '.join(limits.models)}"
        excluded = f"; {', '.join(limits.exclude)} is excluded" if limits.exclude else ""
        raise AccessDenied(
            f"the key {caller.key} may not use {', '.join(models)}{allowed}{excluded}",
            status=403,
            code="model_not_allowed",
            param="model",
        )
    return remaining
