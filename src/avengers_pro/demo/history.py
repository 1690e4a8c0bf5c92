"""A simulated history of a gateway, with known truth, written into a real ledger.

A router decides on queries of which every model's score and cost is known, so that what was learnt from the history
can be held against the truth. Everything is drawn from a seed; the queries are those of the demo's pool.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from avengers_pro.demo.generate import generate
from avengers_pro.demo.pool import MODELS
from avengers_pro.errors import RecordsError
from avengers_pro.gateway.ledger import Closing, Ledger, Opening
from avengers_pro.records import Records
from avengers_pro.records.table import Floats
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.decision import Decision

START = 1_780_000_000.0
"""Unix seconds of the first request, unless said otherwise: 2026-05-28."""
_DAY_S = 86_400.0
_MOST_QUEUED = 2000
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a simulated history goes.

    Attributes:
        policies: The policy behind each model name that clients ask for; drawn evenly.
        days: Over how many the requests are spread evenly.
        start: Unix seconds of the first.
        feedback: Share of the answered requests that get feedback.
        flipped: Share of the feedback that says the opposite, 1 - score.
        kinder: How much kinder clients are than the truth: 0.5 halves what an answer lacks to a full score.
        thumbs: Whether feedback is 1 or 0, drawn with the score as probability, instead of the score itself.
        explored: Probability with which the first choice is drawn evenly from the near ties, itself among them.
        near: How much lower the expected score of a near tie may be.
        dearer: How many times as much as the best choice a near tie may be expected to cost.
        failed: Share of the requests that nobody answered (``upstream-error``).
        fallbacks: Share that the second choice answered.
        named: Share for which the client named the model, drawn evenly.
        keep: What the ledger keeps of a query: ``vector``, ``text`` or ``nothing``.
        seed: Of all that is random.
    """

    policies: Mapping[str, Policy] = field(default_factory=lambda: {"avengers-pro": Policy()})
    days: float = 14.0
    start: float = START
    feedback: float = 0.1
    flipped: float = 0.0
    kinder: float = 0.0
    thumbs: bool = False
    explored: float = 0.15
    near: float = 0.1
    dearer: float = 2.0
    failed: float = 0.01
    fallbacks: float = 0.01
    named: float = 0.0
    keep: str = "vector"
    seed: int = 0


def simulated_records(rows: int, seed: int = 42) -> Records:
    """Return records of the demo's pool with every model's true score and cost, rows in random order.

    Where the publication has no score of a model on a dataset, it is NaN; ``Records.complete_models`` names the
    others.
    """
    drawn = list(generate(rows, seed))
    names = [model.name for model in MODELS]
    usages = [[row["usages"].get(name) for name in names] for row in drawn]

    def table(key: str) -> Floats:
        return np.array([[math.nan if use is None else use[key] for use in line] for line in usages], dtype=np.float64)  # type: ignore[literal-required]

    scores = [[row["records"][name] for name in names] for row in drawn]
    records = Records.from_arrays(
        [row["query"] for row in drawn],
        names,
        np.array(scores, dtype=np.float64),
        table("cost"),
        datasets=[row["dataset"] for row in drawn],
    )
    records = replace(
        records,
        prompt_tokens=table("prompt_tokens"),
        completion_tokens=table("completion_tokens"),
        latency_ms=table("latency_ms"),
    )
    return records.take(np.random.default_rng(seed).permutation(len(drawn)))


def worse(records: Records, model: str, share: float, *, first: int = 0, seed: int = 0) -> Records:
    """Return records in which a model got worse: of its scores from row ``first`` on, this share becomes 0.

    Raises:
        RecordsError: If there is no such model.
    """
    if model not in records.models:
        raise RecordsError(f"no model is named {model!r}; there are {', '.join(records.models)}")
    scores = records.scores.copy()
    hit = np.random.default_rng(seed).random(len(records)) < share
    hit[:first] = False
    scores[hit, records.models.index(model)] *= 0.0
    return replace(records, scores=scores)


async def write_history(url: str, router: Router, truth: Records, course: Course | None = None) -> None:
    """Write a decision for each row of the truth, in order, with outcome, cost, and feedback for a share.

    Args:
        url: Of the ledger; a SQLite file is made.
        router: What decides; models that the truth does not know on a row are no candidates there.
        truth: n queries with the scores and costs of the router's models.
        course: How it goes.

    Raises:
        StoreError: If the ledger cannot be written.
        RecordsError: If the truth does not know a model of the router.
    """
    course = course or Course()
    missing = [name for name in router.models if name not in truth.models]
    if missing:
        raise RecordsError(f"the truth has no scores of {', '.join(missing)}, which the router may choose")
    rng = np.random.default_rng(course.seed)
    simulation = _Simulation(router, truth.select_models(router.models), course, rng)
    async with await Ledger.open(url, queue_limit=2 * _MOST_QUEUED) as ledger:
        said: list[tuple[str, float, float]] = []
        for row, decision in enumerate(simulation.decisions()):
            opening, closing, score = simulation.request(row, decision)
            ledger.begin(opening).add_done_callback(lambda done: done.exception())
            ledger.finish(closing)
            if score is not None:
                said.append((opening.id, score, closing.at + 60.0))
            if row % _MOST_QUEUED == _MOST_QUEUED - 1:
                await ledger.flush()
        await ledger.flush()
        for decision_id, score, at in said:
            await ledger.feedback(decision_id, score=score, comment=None, key=None, at=at)


class _Simulation:
    """Draws what happens to each request."""

    def __init__(self, router: Router, truth: Records, course: Course, rng: np.random.Generator) -> None:
        self.router, self.truth, self.course, self.rng = router, truth, course, rng
        self.vectors = router.embed(truth.queries)
        self.asked = rng.integers(len(course.policies), size=len(truth))
        self.names = list(course.policies)
        self.fingerprint = f"simulated-{router.fingerprint[:16]}"

    def decisions(self) -> Sequence[Decision]:
        """Decide on every row under the policy asked for."""
        found: dict[int, Decision] = {}
        for place, policy in enumerate(self.course.policies.values()):
            rows = np.flatnonzero(self.asked == place)
            found |= dict(zip(rows.tolist(), self.router.iter_decisions(self.vectors[rows], policy), strict=True))
        return [found[row] for row in range(len(self.truth))]

    def request(self, row: int, decision: Decision) -> tuple[Opening, Closing, float | None]:
        """Return what the ledger gets, and the feedback; None = none is given."""
        course, rng, truth = self.course, self.rng, self.truth
        known = ~np.isnan(truth.scores[row])
        ranking = [each for each in decision.ranking() if known[truth.models.index(each[0])]]
        named = bool(rng.random() < course.named)
        if named:
            ranking, propensity = [ranking[int(rng.integers(len(ranking)))]], 1.0
        else:
            ranking, propensity = _explored(ranking, course, rng)
        at = course.start + course.days * _DAY_S * row / len(truth)
        decision_id = f"dec_{int(at * 1000):012x}{rng.bytes(8).hex()}"
        opening = self._opening(decision_id, at, row, decision, ranking, propensity, named=named)
        failed, second = rng.random() < course.failed, rng.random() < course.fallbacks
        served = None if failed else ranking[1 if second and len(ranking) > 1 else 0][0]
        closing = self._closing(decision_id, at, row, ranking[0][0], served)
        if served is None or rng.random() >= course.feedback:
            return opening, closing, None
        score = 1 - (1 - course.kinder) * (1 - float(truth.scores[row, truth.models.index(served)]))
        if course.thumbs:
            score = float(rng.random() < score)
        return opening, closing, 1 - score if rng.random() < course.flipped else score

    def _opening(
        self,
        decision_id: str,
        at: float,
        row: int,
        decision: Decision,
        ranking: Sequence[tuple[str, float, float]],
        propensity: float,
        *,
        named: bool,
    ) -> Opening:
        policy, best = decision.policy, self.router.best_single
        score, cost = decision.expectation(best)
        text = self.truth.queries[row]
        return Opening(
            id=decision_id,
            at=at,
            key=None,
            session=None,
            asked=ranking[0][0] if named else self.names[self.asked[row]],
            model=ranking[0][0],
            policy=_encode({"alpha": policy.alpha}).decode(),
            alpha=policy.alpha,
            expected_score=ranking[0][1],
            expected_cost_usd=ranking[0][2],
            baseline_model=best,
            baseline_cost_usd=cost,
            baseline_score=score,
            candidates=_encode([(*each, None) for each in ranking]).decode(),
            clusters=_encode(() if named else decision.clusters).decode(),
            novel=decision.novel,
            propensity=propensity,
            prompt_tokens_estimate=len(text) // 4,
            stream=False,
            router=self.fingerprint,
            decision_us=200.0,
            text=text if self.course.keep == "text" else None,
            vector=self.vectors[row].astype("<f2").tobytes() if self.course.keep == "vector" else None,
        )

    def _closing(self, decision_id: str, at: float, row: int, first: str, served: str | None) -> Closing:
        truth = self.truth

        def of(values: Floats | None) -> float | None:
            found = math.nan if values is None or served is None else values[row, truth.models.index(served)]
            return None if math.isnan(found) else float(found)

        prompt, completion, latency = map(of, (truth.prompt_tokens, truth.completion_tokens, truth.latency_ms))
        return Closing(
            id=decision_id,
            at=at + (latency or 0.0) / 1000,
            outcome="upstream-error" if served is None else "ok",
            status=502 if served is None else 200,
            served_by=served,
            endpoint=None if served is None else "simulated",
            fallbacks=int(served is not None and served != first),
            attempts="[]",
            prompt_tokens=None if prompt is None else int(prompt),
            completion_tokens=None if completion is None else int(completion),
            cached_tokens=None,
            cost_usd=of(truth.costs) if served is not None else 0.0,
            finish_reason=None if served is None else "stop",
            first_byte_ms=None,
            total_ms=latency,
            reported_model=served,
        )


def _explored(
    ranking: list[tuple[str, float, float]], course: Course, rng: np.random.Generator
) -> tuple[list[tuple[str, float, float]], float]:
    """Draw the first choice, and return the ranking that begins with it and the probability with which it does."""
    _, score, cost = ranking[0]
    ties = [
        place
        for place, (_, expected, dollars) in enumerate(ranking)
        if place == 0 or (expected >= score - course.near and dollars <= course.dearer * cost)
    ]
    place = int(ties[rng.integers(len(ties))]) if rng.random() < course.explored else 0
    each = course.explored / len(ties)
    propensity = 1 - course.explored + each if place == 0 else each
    return [ranking[place], *ranking[:place], *ranking[place + 1 :]], propensity
