"""What a router would have chosen on logged requests: decided anew, or read where it ran as the shadow."""

from dataclasses import dataclass, fields, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding import Vectors
from avengers_pro.errors import EvaluationError, PolicyError
from avengers_pro.learning.off_policy import Choices
from avengers_pro.learning.traffic import Traffic
from avengers_pro.records.table import Floats
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.prompt import Prompt

UNDECIDED, REFUSED = -2, -1
_KNOWN = frozenset(field.name for field in fields(Policy))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A router that is judged on traffic.

    Attributes:
        name: What it is called here.
        router: Decides anew from vectors.
        fingerprint: As the ledger knows it; where it ran as the shadow, its choices are read instead.
    """

    name: str
    router: Router
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Decided:
    """The choices of one router on n logged requests.

    Attributes:
        chosen: (n,) columns of the models; ``REFUSED`` = no model met the policy; ``UNDECIDED`` = there is nothing to
            decide from.
        scores: (n,) expected score of the choice in [0, 1], as logged, or else as the router expects; NaN = unknown.
        costs: (n,) the same in US dollars.
        shadowed: How many choices were read, not made.
    """

    chosen: Choices
    scores: Floats
    costs: Floats
    shadowed: int

    def take(self, rows: NDArray[np.bool_]) -> "Decided":
        """Keep the rows of a mask."""
        return replace(self, chosen=self.chosen[rows], scores=self.scores[rows], costs=self.costs[rows])


def decide_again(traffic: Traffic, candidate: Candidate, names: list[str]) -> Decided:
    """Let a router decide each request under the policy of its time.

    Args:
        traffic: n requests.
        candidate: The router.
        names: Models by column, those of the traffic first; models that only this router knows are appended.

    Raises:
        EvaluationError: If a policy in the ledger cannot be read.
    """
    n = len(traffic)
    chosen = np.full(n, UNDECIDED, dtype=np.intp)
    scores, costs = np.full((2, n), np.nan)
    read = [one == candidate.fingerprint for one in traffic.shadow_routers]
    shadowed = np.array(read, dtype=np.bool_) & (traffic.shadow >= 0)
    chosen[shadowed] = traffic.shadow[shadowed]
    if traffic.vectors is not None and traffic.vectors.shape[1] == candidate.router.embedding.dimension:
        decidable = ~shadowed & np.isfinite(traffic.vectors).all(axis=1)
        texts, of = np.unique(np.array(traffic.policies, dtype=np.str_), return_inverse=True)
        for code, text in enumerate(texts.tolist()):
            rows = np.flatnonzero(decidable & (of == code))
            if rows.size:
                policy = _policy(text, candidate.router)
                found = _decide(candidate.router, traffic.vectors[rows], policy, traffic.prompt_tokens[rows], names)
                chosen[rows], scores[rows], costs[rows] = found
    for values, logged in ((scores, traffic.expected_scores), (costs, traffic.expected_costs)):
        inside = np.flatnonzero((chosen >= 0) & (chosen < logged.shape[1]))
        at_hand = logged[inside, chosen[inside]]
        values[inside] = np.where(np.isfinite(at_hand), at_hand, values[inside])
    return Decided(chosen, scores, costs, int(shadowed.sum()))


def _decide(
    router: Router, vectors: Vectors, policy: Policy | None, tokens: Floats, names: list[str]
) -> tuple[Choices, Floats, Floats]:
    """Return (k,) columns, expected scores and expected costs; None = the policy leaves the router no model."""
    chosen = np.full(len(vectors), REFUSED, dtype=np.intp)
    scores, costs = np.full((2, len(vectors)), np.nan)
    if policy is None:
        return chosen, scores, costs
    prompts = [Prompt(one) for one in tokens.tolist()]
    for row, decision in enumerate(router.iter_decisions(vectors, policy, prompts)):
        if decision.model is not None:
            if decision.model not in names:
                names.append(decision.model)
            chosen[row] = names.index(decision.model)
            scores[row], costs[row] = decision.expectation(decision.model)
    return chosen, scores, costs


def _policy(text: str, router: Router) -> Policy | None:
    """Read a policy of the ledger; models that the router does not know are no choice of its. None = none is left."""
    try:
        policy = msgspec.json.decode(text, type=Policy)
        unknown = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).keys() - _KNOWN
    except (msgspec.DecodeError, PolicyError) as error:
        raise EvaluationError(f"a policy in the ledger cannot be read: {error}: {text}") from error
    if unknown:
        raise EvaluationError(f"a policy in the ledger has {min(unknown)!r}, which this version does not know: {text}")
    exclude = tuple(name for name in policy.exclude if name in router.models)
    models = None if policy.models is None else tuple(name for name in policy.models if name in router.models)
    left = [name for name in models or router.models if name not in exclude]
    return replace(policy, models=models, exclude=exclude) if left and models != () else None
