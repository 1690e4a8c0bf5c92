"""Two routers, or one and the traffic as it was, on what a gateway's ledger holds: off-policy values and a verdict."""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from avengers_pro.errors import EvaluationError
from avengers_pro.learning.contrast import Contrast
from avengers_pro.learning.off_policy import Estimate, Logged, Target
from avengers_pro.learning.redecide import REFUSED, UNDECIDED, Candidate, Decided, decide_again
from avengers_pro.learning.switch import COST, COST_MARGIN, MARGIN, SCORE, Change
from avengers_pro.learning.traffic import Traffic
from avengers_pro.records.table import Floats
from avengers_pro.routing import Router

ASSUMPTIONS = (
    (
        "The logged propensities are exact. What a request earns with a model depends on that request and that model "
        "alone, not on other requests or on earlier turns of its conversation."
    ),
    (
        "Feedback is missing at random given the query and the model. What differs by model is corrected for, by the "
        "share of its requests that got feedback; what differs by query within a model is not, but for what expected "
        "scores explain."
    ),
    "Requests that nobody answered rarely get feedback: the score speaks of answers, not of failures.",
    "Feedback measures what you care about, and means the same whichever model answered.",
    "Neither router has learnt from these requests, and coming ones will be like them.",
    "Requests count as independent: many turns of few conversations are worth less than the intervals say.",
)
"""What has to hold beside, which no number here can show."""
_LEARNT = frozenset({"update", "learn", "merge"})
"""Steps of a lineage that bring new evidence, of which it is not known whether it is this traffic."""
_TRAFFIC = "traffic"
"""The step that says until when traffic was learnt."""


class Judged(msgspec.Struct, kw_only=True):
    """One policy on logged traffic.

    Attributes:
        name: What it is called here.
        shares: Share of the rows that it sends to each model.
        score: Value in [0, 1] by ``ips``, ``snips`` and ``dr``, each with its 95 % interval; None = nothing is known.
        cost: The same in US dollars a request.
        matched: Rows on which the logged choice is its choice.
        effective_size: Rows with feedback on which its choice was seen where the two differ, as if of equal weight;
            None = they do not differ, or it is the logged policy, which is always seen.
        unsupported: Share of the rows on which its choice had no chance to be logged.
        never: Models that it would pick and the log never chose, with the number of rows.
    """

    name: str
    shares: dict[str, float]
    score: dict[str, tuple[float, float, float] | None]
    cost: dict[str, tuple[float, float, float] | None]
    matched: int
    effective_size: float | None
    unsupported: float
    never: dict[str, int]


class TrafficComparison(msgspec.Struct, kw_only=True):
    """Off-policy comparison of B with A, or with the logged policy.

    Attributes:
        a: The router in use; or the logged policy, exploration included.
        b: The one that may take its place.
        requests: Finished ones that were read.
        left_out: How many of them were left out, by reason.
        rows: Requests that are judged.
        rated: Of them, those with feedback.
        priced: Of them, those of known cost.
        flipped: Share of the rows that B sends elsewhere than A does; of the logged policy, than the log did.
        score: B against A, doubly robust.
        cost: Likewise.
        by_estimator: Differences in score, and ratios of cost less 1, by each estimator, with 95 % intervals.
        warnings: What may make the numbers wrong, as far as it can be seen.
        assumptions: What has to hold beside, which no number here can show.
    """

    a: Judged
    b: Judged
    requests: int
    left_out: dict[str, int]
    rows: int
    rated: int
    priced: int
    flipped: float
    score: Change
    cost: Change
    by_estimator: dict[str, dict[str, tuple[float, float, float] | None]]
    warnings: list[str]
    assumptions: list[str]


def compare_on_traffic(
    traffic: Traffic,
    b: Candidate,
    a: Candidate | None = None,
    *,
    margin: float = MARGIN,
    cost_margin: float = COST_MARGIN,
) -> TrafficComparison:
    """Estimate what B would have earned and cost on logged requests, and A, or the log itself.

    Every request is decided under the policy that it was decided under then.

    Args:
        traffic: As ``read_traffic`` gives it; requests for which the client named the model are left out.
        b: The one that may take over.
        a: The one in use; None = the logged policy as it was, exploration included.
        margin: Points of score, of 1, by which B may be lower.
        cost_margin: Share by which B may be dearer.

    Raises:
        EvaluationError: If no request is left on which both can be judged.
    """
    kept, left_out = _usable(traffic, [one for one in (b, a) if one is not None])
    names = list(kept.models)
    of_b = decide_again(kept, b, names)
    of_a = None if a is None else decide_again(kept, a, names)
    known = np.ones(len(kept), dtype=np.bool_)
    for candidate, decided in ((b, of_b), (a, of_a)):
        if candidate is not None and decided is not None:
            known &= decided.chosen >= 0
            for code, why in (
                (UNDECIDED, "no vector, text or shadow choice was kept"),
                (REFUSED, "no model for the policy"),
            ):
                left_out[f"{candidate.name}: {why}"] = int((decided.chosen == code).sum())
    left_out = {why: count for why, count in left_out.items() if count}
    if not known.any():
        reasons = "; ".join(f"{why}: {count}" for why, count in left_out.items()) or "the ledger holds none"
        raise EvaluationError(
            f"none of {len(traffic)} requests can be judged ({reasons}). Keep vectors with [store] log_vectors = true, "
            f"or let {b.name} run as [shadow] router for a while"
        )
    compared = _Compared(
        kept.take(known), (b, a), (of_b.take(known), None if of_a is None else of_a.take(known)), names
    )
    return TrafficComparison(
        a=compared.judged(1),
        b=compared.judged(0),
        requests=len(traffic),
        left_out=left_out,
        rows=int(known.sum()),
        rated=int(compared.contrasts[SCORE].logged.observed.sum()),
        priced=int(compared.contrasts[COST].logged.observed.sum()),
        flipped=compared.flipped,
        score=compared.change(SCORE, margin),
        cost=compared.change(COST, cost_margin),
        by_estimator={
            measure: {name: _plain(one) for name, one in compared.differences[measure].items()}
            for measure in (SCORE, COST)
        },
        warnings=compared.warnings(),
        assumptions=list(ASSUMPTIONS),
    )


def _usable(traffic: Traffic, candidates: Sequence[Candidate]) -> tuple[Traffic, dict[str, int]]:
    """Keep the requests that a router decided with a known chance and nobody learnt; count the others by reason."""
    chosen, chance = traffic.chosen >= 0, np.isfinite(traffic.propensity)
    reasons = {
        "the client named the model": ~traffic.routed,
        "no model was chosen": traffic.routed & ~chosen,
        "the propensity is not known": traffic.routed & chosen & ~chance,
    }
    usable = traffic.routed & chosen & chance
    for candidate in candidates:
        learnt = usable & (traffic.at <= _learnt_until(candidate.router))
        reasons[f"{candidate.name} has learnt from them or from later ones"] = learnt
        usable &= ~learnt
    return traffic.take(usable), {why: int(rows.sum()) for why, rows in reasons.items()}


def _learnt_until(router: Router) -> float:
    """Return when the last request began that a router has learnt, Unix seconds; -infinity = none that is known."""
    known = [
        float(step.detail["until"]) for step in router.lineage if step.action == _TRAFFIC and "until" in step.detail
    ]
    return max(known, default=-math.inf)


class _Compared:
    """The two policies on the rows that both can be judged on."""

    def __init__(
        self,
        rows: Traffic,
        candidates: tuple[Candidate, Candidate | None],
        decided: tuple[Decided, Decided | None],
        names: Sequence[str],
    ) -> None:
        self.rows, self.candidates, self.decided, self.names = rows, candidates, decided, names
        every = np.arange(len(rows))

        def contrast(rewards: Floats, expected: Floats, of: str) -> Contrast:
            targets = [None if one is None else Target(one.chosen, getattr(one, of)) for one in decided]
            logged = Logged(rows.chosen, rows.propensity, rewards, expected[every, rows.chosen])
            return Contrast(logged, Target(decided[0].chosen, getattr(decided[0], of)), targets[1])

        self.contrasts = {
            SCORE: contrast(rows.scores, rows.expected_scores, "scores"),
            COST: contrast(rows.costs, rows.expected_costs, "costs"),
        }
        self.differences = {
            measure: found.difference(as_ratio=measure == COST) for measure, found in self.contrasts.items()
        }
        self.values = {measure: found.values() for measure, found in self.contrasts.items()}

    @property
    def flipped(self) -> float:
        """Share of the rows on which B chooses otherwise than A, or than the log."""
        other = self.rows.chosen if self.decided[1] is None else self.decided[1].chosen
        return float((self.decided[0].chosen != other).mean())

    def judged(self, side: int) -> Judged:
        """Describe B (0) or A (1)."""
        candidate, decided, support = self.candidates[side], self.decided[side], self.contrasts[SCORE].support[side]
        chosen = self.rows.chosen if decided is None else decided.chosen
        counts = Counter(self.names[column] for column in chosen.tolist())
        size = self.contrasts[SCORE].sizes[side]
        return Judged(
            name="the logged policy" if candidate is None else candidate.name,
            shares={model: count / len(chosen) for model, count in counts.most_common()},
            score={name: _plain(one) for name, one in self.values[SCORE][side].items()},
            cost={name: _plain(one) for name, one in self.values[COST][side].items()},
            matched=len(chosen) if support is None else support.matched,
            effective_size=size if math.isfinite(size) else None,
            unsupported=0.0 if support is None else support.unsupported,
            never={} if support is None else {self.names[column]: count for column, count in support.never.items()},
        )

    def change(self, measure: str, margin: float) -> Change:
        """Draw the verdict on one measure."""
        names = tuple("the log" if one is None else one.name for one in self.candidates)
        return self.contrasts[measure].change(measure, margin, names=(names[0], names[1]), models=self.names)

    def warnings(self) -> list[str]:
        """Say what may make the numbers wrong, as far as it shows."""
        found = []
        for candidate in self.candidates:
            if candidate is not None and math.isfinite(_learnt_until(candidate.router)):
                continue
            steps = (
                []
                if candidate is None
                else [step.action for step in candidate.router.lineage if step.action in _LEARNT]
            )
            if candidate is not None and steps:
                found.append(
                    f"{candidate.name} has learnt since it was fitted ({', '.join(steps)}): if from these requests, "
                    "they flatter it; judge it on later ones, with --since"
                )
        unpriced = 1 - float(self.contrasts[COST].logged.observed.mean())
        if unpriced > 0:
            found.append(f"the cost of {unpriced:.1%} of the requests is not known; they count as missing at random")
        return found


def _plain(estimate: Estimate) -> tuple[float, float, float] | None:
    """Return value and interval; None = nothing is known."""
    if not (math.isfinite(estimate.value) and math.isfinite(estimate.standard_error)):
        return None
    return (estimate.value, *estimate.interval)
