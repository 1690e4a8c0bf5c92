"""One decision opened: why this model, what the others would have cost, and which alpha would have changed it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from avengers_pro.errors import AvengersProError
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.explanation import ALPHAS, Stretch, stretches
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution

if TYPE_CHECKING:
    from avengers_pro.gateway.state import Gateway


@dataclass(frozen=True, slots=True)
class Line:
    """One model of the pool at the time.

    Attributes:
        model: Its name.
        score: Expected, in [0, 1]; None = not kept or not known.
        cost: Expected, US dollars; None likewise.
        note: Why it was no candidate, or what became of it; empty = nothing to say.
    """

    model: str
    score: float | None
    cost: float | None
    note: str


@dataclass(frozen=True, slots=True)
class Opened:
    """What the page shows beside the ledger's row.

    Attributes:
        lines: Candidates, best first, then those that were none.
        policy: What was asked, as names and values.
        attempts: Upstreams that failed, with the reason.
        clusters: Nearest kinds of query, with examples of training queries.
        by_alpha: What each stretch of alpha would have chosen; empty = it is not known, and ``why_not`` says why.
        why_not: See ``by_alpha``.
        from_text: Whether ``by_alpha`` and the reasons come from the kept prompt; else from what was logged.
    """

    lines: tuple[Line, ...]
    policy: dict[str, Any]
    attempts: tuple[tuple[str, str], ...]
    clusters: tuple[tuple[int, tuple[str, ...]], ...]
    by_alpha: tuple[Stretch, ...]
    why_not: str
    from_text: bool


def opened(gateway: "Gateway", row: Mapping[str, Any]) -> Opened:
    """Work out what a row of the ledger leaves unsaid; takes some milliseconds.

    Args:
        gateway: Whose router may have decided.
        row: As ``Ledger.decision`` returns it.
    """
    decider = gateway.decider
    logged = [tuple(each) for each in msgspec.json.decode(row["candidates"])]
    asked = msgspec.json.decode(row["policy"])
    clusters = [each if isinstance(each, int) else int(each[0]) for each in msgspec.json.decode(row["clusters"])]
    is_same = row["router"] == decider.fingerprint
    examples = decider.router.examples if is_same else ()
    reasons, by_alpha, why_not, from_text = _reasons(gateway, row, asked, is_same=is_same)
    if not by_alpha and not why_not:
        by_alpha, why_not = _from_logged(decider.router, asked, logged)
    lines = [Line(name, score, cost, removed or "") for name, score, cost, removed in logged]
    named = {line.model for line in lines}
    rest = decider.pool if is_same else ()
    lines += [
        Line(name, None, None, reasons.get(name) or _by_policy(name, asked)) for name in rest if name not in named
    ]
    attempts = msgspec.json.decode(row["attempts"]) if row["attempts"] else []
    return Opened(
        lines=tuple(lines),
        policy=asked,
        attempts=tuple((str(each[0]), str(each[1])) for each in attempts),
        clusters=tuple((each, examples[each] if each < len(examples) else ()) for each in clusters),
        by_alpha=tuple(by_alpha),
        why_not=why_not,
        from_text=from_text,
    )


def _reasons(
    gateway: "Gateway", row: Mapping[str, Any], asked: dict[str, Any], *, is_same: bool
) -> tuple[dict[str, str], tuple[Stretch, ...], str, bool]:
    """Return why models were removed and what every alpha would choose, from the kept text where that can be."""
    if row["alpha"] is None and not {"target", "budget"} & asked.keys():
        return {}, (), "The client named the model; nothing was chosen.", False
    if not is_same:
        return (
            {},
            (),
            "The router that decided is no longer in use, so its choices at other alphas are not known.",
            False,
        )
    if row["text"] is None:
        return {}, (), "", False
    try:
        found = gateway.decider.router.explain(row["text"], msgspec.convert(asked, Policy))
    except (AvengersProError, msgspec.ValidationError) as error:
        return {}, (), f"The kept prompt cannot be decided again: {error}", False
    removed = {each.model: each.removed for each in found.decision.candidates if each.removed is not None}
    return removed, found.stretches, "", True


def _by_policy(name: str, asked: Mapping[str, Any]) -> str:
    if name in asked.get("exclude", ()):
        return "excluded by the policy"
    if asked.get("models") is not None and name not in asked["models"]:
        return "not among the models that the policy, the key and the request's needs leave"
    limits = [f"{limit} {asked[limit]:g}" for limit in ("min_score", "max_cost", "max_latency") if limit in asked]
    return f"not within {' or '.join(limits)}" if limits else "ruled out; the reason was not kept"


def _from_logged(
    router: Router, asked: dict[str, Any], logged: list[tuple[Any, ...]]
) -> tuple[tuple[Stretch, ...], str]:
    """Weigh the logged expectations at every alpha, at the prices that the router's calibration gives alphas."""
    fitted = router.fitted
    if not isinstance(fitted, FittedMultiResolution):
        return (), f"The method {router.method.name} keeps no calibration, and the prompt was not kept."
    known = [(name, score, cost) for name, score, cost, *_ in logged if score is not None and cost is not None]
    if len(known) < 2:  # noqa: PLR2004 - a choice needs two
        return (), "There was no other candidate of known score and cost."
    try:
        allowed = replace(msgspec.convert(asked, Policy), requires=()).allowed(router.models)
    except (AvengersProError, msgspec.ValidationError) as error:
        return (), f"The policy cannot be read any more: {error}"
    calibration = fitted.tuned(Policy(alpha=1.0), None if allowed.all() else allowed).calibration
    scores, costs = np.array([each[1] for each in known]), np.array([each[2] for each in known])
    names = [each[0] for each in known]
    reference = router.models[calibration.reference]
    chosen: list[str | None] = []
    for alpha in np.linspace(0, 1, ALPHAS):
        price = calibration.price_at(float(alpha))
        if price is None:
            chosen.append(reference if reference in names else names[int(scores.argmax())])
        else:
            chosen.append(names[int((scores - price * costs).argmax())])
    return stretches(chosen), ""
