"""Bringing a router up to date with what a gateway's clients said of the answers they got."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import LearningError
from avengers_pro.learning.learnt import Learnt, frontier_points, model_lessons
from avengers_pro.learning.newcomers import with_pool_of
from avengers_pro.learning.traffic import Traffic
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing import Router, change
from avengers_pro.routing.pool import ModelCard
from avengers_pro.routing.queries import Queries

LATE_S = 30 * 86_400.0
"""Feedback may come so long after its decision, in seconds, and is still learnt by the next run."""
_MOST_SHOWN = 5000
"""Newest queries of which the choices before and after are compared."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HalfLife:
    """After how much traffic older evidence counts half; one of the two.

    Attributes:
        decisions: Number of decisions.
        seconds: Time between decisions.
    """

    decisions: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse both, none, and what is not more than 0."""
        given = [value for value in (self.decisions, self.seconds) if value is not None]
        if len(given) != 1 or not 0 < given[0] < float("inf"):
            raise LearningError(f"a half-life is a number of decisions or of seconds, more than 0; got {self}")


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to where a router has learnt from traffic.

    Attributes:
        decisions: When the last decision that was read began, Unix seconds.
        feedback: When the last feedback that was read came, Unix seconds.
    """

    decisions: float
    feedback: float

    @classmethod
    def of(cls, router: Router) -> "Mark | None":
        """Read it off the lineage; None = the router has learnt from no traffic."""
        for step in reversed(router.lineage):
            if step.action == "traffic":
                return cls(float(step.detail["until"]), float(step.detail["feedback_until"]))
        return None

    @property
    def since(self) -> float:
        """From when on decisions are to be read again, because feedback on them may have come late."""
        return self.decisions - LATE_S


def learn(
    router: Router,
    traffic: Traffic,
    *,
    half_life: HalfLife | None = None,
    pool: Sequence[ModelCard] | None = None,
    records: Records | None = None,
    again: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Learnt:
    """Learn the feedback in a gateway's traffic; what the router has learnt already is not learnt again.

    Feedback counts for the model that answered. Of each decision the latest score counts, in the run that comes first
    after its first score: feedback that comes late is learnt by the next run, feedback that corrects a score that was
    learnt is not.

    Args:
        router: To bring up to date; stays as it is.
        traffic: As ``read_traffic`` gives it for this router, at least from ``Mark.of(router).since`` on.
        half_life: After how much traffic older evidence counts half, the records included; None = all counts the same.
        pool: Models there are now: new ones enter, others go; None = the router's.
        records: To fit the clusters anew on, together with the traffic's queries; everything in the traffic is then
            learnt, whatever was learnt before. None = the clusters are kept.
        again: Learn everything in the traffic, whatever was learnt before.
        progress: Told what is being done, how much of it is done, and how much there is.

    Raises:
        LearningError: If there is nothing new, or nothing of it can be learnt.
        MethodError: If the router's method cannot learn without its records.
    """
    show = progress or _quiet
    mark = None if again or records is not None else Mark.of(router)
    fresh = np.isfinite(traffic.scores) & (traffic.scored_at > (-np.inf if mark is None else mark.feedback))
    vectors = _vectors(traffic, fresh, mark)
    started = router
    if records is not None:
        show("fitting clusters", 0, 3)
        seen = ~_unseen(vectors)
        started = change.recluster(started, _complete(router, records), vectors[seen], vectors[seen & fresh])
    show("matching the pool", 1, 3)
    started, entered, gone = (started, (), ()) if pool is None else with_pool_of(started, pool)
    show("learning", 2, 3)
    rows, left_out = _usable(started, traffic, vectors, fresh)
    weights, keep = _ages(traffic, mark, half_life)
    names = [traffic.models[column] for column in traffic.served[rows]]
    after = change.learn(
        started,
        vectors[rows],
        names,
        traffic.scores[rows],
        weights=weights[rows],
        keep=keep,
        detail=_detail(traffic, mark, fresh, rows),
    )
    shown = np.flatnonzero(~_unseen(vectors))[-_MOST_SHOWN:]
    show("learning", 3, 3)
    return Learnt(
        router=after,
        decisions=_new_decisions(traffic, mark),
        scores=len(rows),
        left_out=left_out,
        offset=_offset(after),
        models=model_lessons(router, started, after, names, vectors[rows], traffic.scores[rows]),
        frontier=frontier_points(router, after, vectors[shown]),
        entered=entered,
        gone=gone,
    )


def _quiet(_what: str, _done: int, _total: int) -> None:
    return


def _new_decisions(traffic: Traffic, mark: Mark | None) -> int:
    return len(traffic) if mark is None else int(np.count_nonzero(traffic.at > mark.decisions))


def _vectors(traffic: Traffic, fresh: Mask, mark: Mark | None) -> Vectors:
    """Return the queries' vectors.

    Raises:
        LearningError: If there is no new feedback, or no vector of a query that has some.
    """
    new = _new_decisions(traffic, mark)
    if not fresh.any():
        since = "" if mark is None else " since the router last learnt"
        raise LearningError(
            f"nothing new to learn: {new} decisions{since}, and no feedback among them that was not learnt before. "
            "Clients give it by POST /v1/feedback"
        )
    if traffic.vectors is None or _unseen(traffic.vectors[fresh]).all():
        raise LearningError(
            f"{int(fresh.sum())} scores are new, but the ledger kept neither vector nor text of their queries. Set "
            "[store] log_vectors = true in the gateway's settings (a vector is not the text); feedback from then on "
            "can be learnt"
        )
    return traffic.vectors


def _complete(router: Router, records: Records) -> Records:
    """Keep the router's models.

    Raises:
        LearningError: If the records lack one.
    """
    missing = [name for name in router.models if name not in records.models]
    if missing:
        raise LearningError(
            f"the records have no scores of {', '.join(missing)}, which the router knows; give all of them, or remove "
            "these models first (avengers-pro models remove)"
        )
    return records.select_models(router.models).deduplicated()


def _unseen(vectors: Vectors) -> Mask:
    """Return (n,) True for rows of NaN."""
    return np.asarray(np.isnan(vectors).any(axis=1))


def _usable(router: Router, traffic: Traffic, vectors: Vectors, fresh: Mask) -> tuple[NDArray[np.intp], dict[str, int]]:
    """Return the rows to learn, and why how many others are left out.

    Raises:
        LearningError: If there is none.
    """
    left = fresh.copy()
    reasons: dict[str, int] = {}

    def drop(bad: Mask, reason: str) -> None:
        if count := int(np.count_nonzero(left & bad)):
            reasons[reason] = count
        left[bad] = False

    scored = {fact.name for fact in router.facts if fact.mean_score is not None}
    unknown = np.array([*(name not in scored for name in traffic.models), True], dtype=np.bool_)
    drop(
        np.array([outcome != "ok" for outcome in traffic.outcomes], dtype=np.bool_), "of requests that did not end well"
    )
    drop(unknown[traffic.served], "of models that the router does not know")
    drop(_unseen(vectors), "without vector or text")
    rows = np.flatnonzero(left)
    novel = router.fitted.estimate(Queries(vectors[rows])).novel if rows.size else None
    if novel is not None:
        unlike = np.zeros(len(left), dtype=np.bool_)
        unlike[rows[novel]] = True
        drop(unlike, "on queries unlike all records, which --recluster can learn")
    if not left.any():
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        raise LearningError(f"none of the {int(fresh.sum())} new scores can be learnt: {why}")
    return np.flatnonzero(left), reasons


def _ages(traffic: Traffic, mark: Mark | None, half_life: HalfLife | None) -> tuple[Floats, float]:
    """Return (n,) weights of the rows by their age, and the share that what was known before keeps of its own."""
    if half_life is None:
        return np.ones(len(traffic)), 1.0
    if half_life.decisions is not None:
        later = len(traffic) - np.searchsorted(np.sort(traffic.at), traffic.at, side="right")
        return 0.5 ** (later / half_life.decisions), float(0.5 ** (_new_decisions(traffic, mark) / half_life.decisions))
    last = traffic.at.max()
    begun = traffic.at.min() if mark is None else mark.decisions
    seconds = half_life.seconds
    return 0.5 ** ((last - traffic.at) / seconds), float(0.5 ** (max(last - begun, 0.0) / seconds))


def _detail(traffic: Traffic, mark: Mark | None, fresh: Mask, rows: NDArray[np.intp]) -> dict[str, str | int | float]:
    """Return what the lineage keeps: enough not to learn the same twice."""
    ids = hashlib.sha256("\n".join(traffic.ids[row] for row in rows).encode()).hexdigest()
    until = max(float(traffic.at.max()), -np.inf if mark is None else mark.decisions)
    return {
        "records": ids,
        "decisions": _new_decisions(traffic, mark),
        "scores": len(rows),
        "until": until,
        "feedback_until": float(traffic.scored_at[fresh].max()),
    }


def _offset(router: Router) -> float:
    lessons = router.fitted.evidence.lessons  # type: ignore[attr-defined]  # a router that has learnt has them
    return float(lessons.offset)
