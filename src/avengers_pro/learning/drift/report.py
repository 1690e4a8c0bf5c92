"""All checks of a gateway's traffic, judged together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.gateway.prices import price_sources
from avengers_pro.learning.drift.clusters import CHECK as MIX
from avengers_pro.learning.drift.clusters import check_clusters
from avengers_pro.learning.drift.collapse import CHECK as COLLAPSE
from avengers_pro.learning.drift.collapse import check_collapse
from avengers_pro.learning.drift.finding import FALSE_ALARMS, Finding, Measurement, judge
from avengers_pro.learning.drift.novel import CHECK as NOVEL
from avengers_pro.learning.drift.novel import check_novel, usual_novelty
from avengers_pro.learning.drift.prices import LISTED, PAID, check_listed, check_paid
from avengers_pro.learning.drift.quality import CHECK as QUALITY
from avengers_pro.learning.drift.quality import check_quality
from avengers_pro.learning.drift.queries import Placed, placed
from avengers_pro.learning.drift.replay import Replay, replay
from avengers_pro.learning.drift.reported import CHECK as REPORTED
from avengers_pro.learning.drift.reported import check_reported, check_snapshot
from avengers_pro.learning.drift.vectors import CHECK as VECTORS
from avengers_pro.learning.drift.vectors import check_vectors, sampled
from avengers_pro.learning.traffic import Traffic
from avengers_pro.routing import Router
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution
from avengers_pro.routing.pool import ModelCard
from avengers_pro.routing.stability import training_clusters

ANSWERED = "ok"
_NO_POOL = "prices and names at the upstreams are in gateway.toml (--pool)"
_NO_ROWS = "the router's method keeps no training rows; fit avengers-pro"
_OTHER_ROUTERS = "none of the requests was decided by this router, and no vectors were kept ([store] log_vectors)"


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks came to.

    Attributes:
        findings: One for each check, and for each model where a check is of models.
        requests: Requests that were looked at.
        own: Of these, decided by the router that is looked at.
        since: When the first of them came, Unix seconds; NaN = there is none.
        until: When the last of them came.
        false_alarms: Probability, at most, that a quiet gateway is said to have drifted.
    """

    findings: tuple[Finding, ...]
    requests: int
    own: int
    since: float
    until: float
    false_alarms: float

    @property
    def drifted(self) -> tuple[Finding, ...]:
        """The findings that are drift."""
        return tuple(finding for finding in self.findings if finding.verdict == "drift")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "drift": bool(self.drifted),
            "requests": self.requests,
            "decided_by_this_router": self.own,
            "since": None if np.isnan(self.since) else self.since,
            "until": None if np.isnan(self.until) else self.until,
            "false_alarms": self.false_alarms,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def find_drift(
    traffic: Traffic,
    router: Router,
    *,
    fingerprint: str | None = None,
    cards: Sequence[ModelCard] | None = None,
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Check whether traffic and pool are still what a router was trained on.

    Args:
        traffic: Finished requests, oldest first, with the router's models first.
        router: The router that decides.
        fingerprint: Of its folder: decisions of other routers are left out where it matters; None = there are none.
        cards: The pool table, for prices and for names at the upstreams; None = these are not checked.
        false_alarms: Permitted probability of any false alarm, in (0, 1).
        seed: Of resampling.
        progress: Called with the name of each check before it runs.
    """
    tell = progress or (lambda _: None)
    priced = {source.card.name: source.card for source in price_sources(cards or ())}
    if priced:
        router = router.with_pool(list(priced.values()))
    own = np.array([fingerprint in {None, author} for author in traffic.routers], dtype=np.bool_)
    tell("queries")
    routed = traffic if traffic.routed.all() else traffic.take(traffic.routed)
    measured = _of_queries(routed, placed(routed, router, fingerprint), router, seed, tell)
    tell(COLLAPSE)
    usual = replay(router, routed.policies)
    measured.append(_collapse(routed, usual, seed))
    tell("models")
    measured += _of_models(traffic, own, usual, priced)
    if cards is None:
        measured += [Measurement(check=check, problem=_NO_POOL) for check in (REPORTED, PAID, LISTED)]
    measured += [check_listed(card) for card in cards or ()]
    ends = (float(traffic.at[0]), float(traffic.at[-1])) if len(traffic) else (np.nan, np.nan)
    return Report(judge(measured, false_alarms), len(traffic), int(own.sum()), *ends, false_alarms)


def _of_queries(
    traffic: Traffic, where: Placed, router: Router, seed: int, tell: Callable[[str], None]
) -> list[Measurement]:
    fitted = router.fitted
    training = training_clusters(fitted)
    if not isinstance(fitted, FittedMultiResolution) or training is None:
        return [Measurement(check=check, problem=_NO_ROWS) for check in (NOVEL, MIX, VECTORS)]
    tell(NOVEL)
    known = where.known
    if not len(traffic) or not known.any():
        why = _OTHER_ROUTERS if len(traffic) else "the router decided no request"
        return [Measurement(check=check, problem=why) for check in (NOVEL, MIX, VECTORS)]
    if fitted.novelty is None:
        found = [Measurement(check=NOVEL, problem="the router was fitted without novelty")]
    else:
        usual = usual_novelty(fitted.novelty, fitted.evidence.sample.vectors)
        found = [check_novel(where.novel[known], usual)]
    tell(MIX)
    found.append(check_clusters(training, np.bincount(where.cluster[known], minlength=len(training)), seed))
    tell(VECTORS)
    found.append(_vectors(traffic, router, fitted, seed))
    return found


def _vectors(traffic: Traffic, router: Router, fitted: FittedMultiResolution, seed: int) -> Measurement:
    vectors = traffic.vectors
    if vectors is None or vectors.shape[1] != router.embedding.dimension:
        return Measurement(check=VECTORS, problem="no vectors of its embedder are kept ([store] log_vectors)")
    rows = sampled(vectors, seed)
    if fitted.scaler is not None:
        rows = fitted.scaler.apply(rows)
    return check_vectors(sampled(fitted.evidence.sample.vectors, seed), rows, seed)


def _collapse(traffic: Traffic, usual: Replay | None, seed: int) -> Measurement:
    if usual is None:
        return Measurement(check=COLLAPSE, problem=_NO_ROWS if len(traffic) else "the router decided no request")
    expected = np.zeros(len(traffic.models))
    expected[: len(usual.models)] = usual.model_shares
    served = traffic.served[traffic.served >= 0]
    return check_collapse(served, expected, usual.chosen.shape[1], traffic.models, seed)


def _of_models(
    traffic: Traffic, own: NDArray[np.bool_], usual: Replay | None, cards: Mapping[str, ModelCard]
) -> list[Measurement]:
    found = []
    answered = np.array([outcome == ANSWERED for outcome in traffic.outcomes], dtype=np.bool_) & (traffic.served >= 0)
    for column in np.unique(traffic.served[answered]).tolist():
        model = traffic.models[column]
        rows = np.flatnonzero(answered & (traffic.served == column))
        reported = [traffic.reported_models[row] for row in rows]
        found.append(_quality(traffic, rows[own[rows]], column, usual))
        found.append(check_snapshot(model, traffic.at[rows], reported))
        if model in cards:
            tokens = traffic.prompt_tokens[rows], traffic.completion_tokens[rows]
            found += [check_reported(cards[model], reported), check_paid(cards[model], traffic.costs[rows], *tokens)]
    return found


def _quality(traffic: Traffic, rows: NDArray[np.intp], column: int, usual: Replay | None) -> Measurement:
    """Take the answers of first choices that were routed and scored: of others the expectation has another bias."""
    model = traffic.models[column]
    if not len(rows):
        return Measurement(check=QUALITY, model=model, problem="this router decided none of the requests it answered")
    differences = traffic.scores[rows] - traffic.expected_scores[rows, column]
    fit = traffic.routed[rows] & (traffic.chosen[rows] == column) & ~np.isnan(differences)
    known = None if usual is None or model not in usual.models else usual.surprise(model)
    order = np.argsort(traffic.scored_at[rows][fit], kind="stable")
    return check_quality(differences[fit][order], traffic.scored_at[rows][fit][order], model, known)
