"""What pages about the router show, worked out once for each router."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avengers_pro.gateway.dashboard.colouring import coloured
from avengers_pro.gateway.dashboard.kinds import QueryMap, query_map
from avengers_pro.gateway.dashboard.operating import Frontier, Operating, frontier
from avengers_pro.gateway.dashboard.overview import Overview
from avengers_pro.gateway.dashboard.wording import percent
from avengers_pro.routing.policy import DEFAULT_ALPHA

if TYPE_CHECKING:
    from avengers_pro.gateway.deciding import Decider
    from avengers_pro.gateway.state import Gateway

_NOT_KNOWN = "not known"
_NAME_DECADES, _NAME_SCORE = 0.25, 0.012
"""Room that a name needs in the chart: decades of cost, and score."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a router knows, as the pages show it.

    Attributes:
        decider: The router in use, by which it is seen whether this is up to date.
        frontier: Of its pool.
        map: Of its clusters.
    """

    decider: "Decider"
    frontier: Frontier
    map: QueryMap


class Learning:
    """Works out what the router in use knows, again when it was replaced."""

    def __init__(self, gateway: "Gateway") -> None:
        """Work out nothing yet."""
        self._gateway = gateway
        self._learnt: Learnt | None = None
        self._lock = asyncio.Lock()

    @property
    def alpha(self) -> float:
        """Of requests that ask for nothing else; the usual one if the policy has another objective."""
        alpha = self._gateway.settings.policy.alpha
        return DEFAULT_ALPHA if alpha is None else alpha

    async def get(self) -> Learnt:
        """Return it; the first time takes some tenths of a second, in a thread."""
        async with self._lock:
            decider = self._gateway.decider
            if self._learnt is None or self._learnt.decider is not decider:
                self._learnt = await asyncio.to_thread(_learnt, decider, self.alpha)
            return self._learnt


def _learnt(decider: "Decider", alpha: float) -> Learnt:
    return Learnt(
        decider,
        frontier(decider.router, decider.pool, decider.best_single),
        query_map(decider.router, decider.pool, alpha),
    )


def frontier_values(found: Frontier, alpha: float, traffic: Overview) -> dict[str, Any]:
    """Return what the template of the frontier needs; costs are of 1,000 queries.

    Args:
        found: The frontier.
        alpha: Where the slider stands.
        traffic: Of the last 24 hours.
    """
    singles = [
        {
            "label": each.model,
            "short": each.model.rpartition("/")[2],
            "under": "",
            "score": each.score,
            "cost": _thousand(each.cost),
        }
        for each in sorted(found.singles, key=lambda single: -1.0 if single.score is None else -single.score)
    ]
    _keep_apart(singles)
    best = next(each for each in singles if each["label"] == found.best_single)
    points = [_point(each, best) for each in found.points]
    at = dict(points[round(alpha * (len(points) - 1))]) if points else {}
    if at:
        named = zip(found.models, at["shares"], strict=True)
        at["shares"] = sorted(((name, share) for name, share in named if share > 0), key=lambda each: -each[1])
    return {
        "points": points,
        "singles": singles,
        "models": found.models,
        "now_points": _now(traffic),
        "traffic": traffic.total.requests,
        "alpha": alpha,
        "at": at,
        "best": best,
        "best_name": found.best_single,
        "rows": found.rows,
    }


def _keep_apart(singles: list[dict[str, Any]]) -> None:
    """Write a name below its point where another point lies under the place beside it."""
    for one in singles:
        for other in singles:
            if one is other or not one["cost"] or not other["cost"] or one["score"] is None or other["score"] is None:
                continue
            right, up = math.log10(other["cost"] / one["cost"]), other["score"] - one["score"]
            if 0 <= right < _NAME_DECADES and abs(up) < _NAME_SCORE:
                one["short"], one["under"] = "", one["short"]
                break


def _point(point: Operating, best: dict[str, Any]) -> dict[str, Any]:
    gain = None if best["score"] is None else point.score - best["score"]
    cost = _thousand(point.cost)
    saved = None if cost is None or not best["cost"] else 1 - cost / best["cost"]
    return {
        "alpha": round(point.alpha, 4),
        "score": round(point.score, 5),
        "low": round(point.low, 5),
        "high": round(point.high, 5),
        "cost": None if cost is None else round(cost, 6),
        "shares": point.shares,
        "saved": _NOT_KNOWN if saved is None else f"{percent(abs(saved), 0)} {'cheaper' if saved >= 0 else 'dearer'}",
        "change": _NOT_KNOWN if gain is None else f"score {_signed(100 * gain)} points",
    }


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _now(traffic: Overview) -> list[dict[str, Any]]:
    """Return the traffic's point, and that of the best single model on the same requests."""
    priced = traffic.total.requests - traffic.total.unpriced
    found = []
    if priced and traffic.expected_score is not None:
        cost = 1000 * traffic.total.cost_usd / priced
        found.append(_diamond("traffic now", "now", cost, traffic.expected_score))
    if traffic.compared and traffic.baseline_score is not None:
        cost = 1000 * traffic.total.baseline_cost_usd / traffic.compared
        found.append(_diamond("best single, same traffic", "best single", cost, traffic.baseline_score))
    return found


def _diamond(label: str, brief: str, cost: float, score: float) -> dict[str, Any]:
    return {"label": label, "short": label, "brief": brief, "cost": cost, "score": score}


def map_values(found: QueryMap, counts: dict[int, int], pool: Sequence[str]) -> dict[str, Any]:
    """Return what the template of the map needs.

    Args:
        found: The map.
        counts: Requests by cluster.
        pool: Names of the models.
    """
    total = sum(counts.values())
    kinds: list[dict[str, Any]] = [
        {
            "cluster": kind.number,
            "x": kind.x,
            "y": kind.y,
            "rows": kind.rows,
            "traffic": counts.get(kind.number, 0),
            "size": counts.get(kind.number, 0) if total else kind.rows,
            "model": kind.model or _NOT_KNOWN,
            "share": kind.share,
            "examples": kind.examples,
            "candidates": kind.candidates,
        }
        for kind in found.kinds
    ]
    chosen = [name for name in pool if any(kind.model == name for kind in found.kinds)]
    if any(kind.model is None for kind in found.kinds):
        chosen.append(_NOT_KNOWN)
    return {
        "kinds": kinds,
        "first": max(kinds, key=lambda kind: kind["size"]) if kinds else None,
        "traffic": total,
        "spread": found.spread,
        "alpha": found.alpha,
        "shown": coloured(chosen, pool),
    }


def _thousand(cost: float | None) -> float | None:
    return None if cost is None or not math.isfinite(cost) else 1000 * cost


def age_of(seconds: float) -> str:
    """Return an age in its largest unit."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
