"""The map of queries: the router's clusters in two dimensions, with what is known of the models in each."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from avengers_pro.gateway.dashboard.operating import Choosing
from avengers_pro.records.table import Floats
from avengers_pro.routing import Router
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution


@dataclass(frozen=True, slots=True)
class Kind:
    """One cluster.

    Attributes:
        number: As in decisions.
        x: Along the direction in which the centres spread most.
        y: Along the second one.
        rows: Training queries in it.
        model: What is chosen in it at the alpha of the map; None = not known.
        share: Of its training queries, for which that is so; None = worked out from means.
        examples: Training queries near its centre.
        candidates: Model, mean score and mean cost in US dollars; None = not known. Best score first.
    """

    number: int
    x: float
    y: float
    rows: float
    model: str | None
    share: float | None
    examples: tuple[str, ...]
    candidates: tuple[tuple[str, float | None, float | None], ...]


@dataclass(frozen=True, slots=True)
class QueryMap:
    """All clusters.

    Attributes:
        kinds: By number; empty for methods without clusters.
        spread: Share of the centres' variance that the two directions show.
        alpha: At which the models are chosen.
    """

    kinds: tuple[Kind, ...]
    spread: float
    alpha: float


def query_map(router: Router, pool: Sequence[str], alpha: float) -> QueryMap:
    """Lay out the clusters of a router.

    Args:
        router: Any.
        pool: Names of models that may be chosen.
        alpha: Trade-off, in [0, 1].
    """
    profile = router.fitted.cluster_profile
    arrays = router.fitted.arrays()
    if profile is None or "centroids" not in arrays:
        return QueryMap((), 0.0, alpha)
    k = len(profile.score_counts)
    places, spread = flattened(arrays["centroids"][-k:])
    chosen = _chosen(router, pool, alpha, k)
    columns = [(column, name) for column, name in enumerate(router.models) if name in pool]
    kinds = []
    for number in range(k):
        candidates = sorted(
            (
                (name, _known(profile.mean_score[number, c]), _known(profile.mean_cost[number, c]))
                for c, name in columns
            ),
            key=lambda candidate: -1.0 if candidate[1] is None else -candidate[1],
        )
        model, share = chosen.get(number, (None, None))
        kinds.append(
            Kind(
                number,
                round(float(places[number, 0]), 4),
                round(float(places[number, 1]), 4),
                round(float(profile.sizes[number]), 1),
                model,
                share,
                router.examples[number] if number < len(router.examples) else (),
                tuple(candidates),
            )
        )
    return QueryMap(tuple(kinds), spread, alpha)


def flattened(points: NDArray[Any]) -> tuple[Floats, float]:
    """Project points on their two principal directions, each turned so that its largest part is positive.

    The sign of a principal direction is arbitrary; fixing it keeps the map from flipping between two loads.

    Returns:
        (k, 2) coordinates, and the share of the variance that they show.
    """
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    two = directions[:2]
    two = two * np.sign(two[np.arange(len(two)), np.abs(two).argmax(axis=1)])[:, None]
    places = np.zeros((len(points), 2))
    places[:, : len(two)] = centred @ two.T
    total = float((values**2).sum())
    return places, float((values[:2] ** 2).sum() / total) if total else 0.0


def _chosen(router: Router, pool: Sequence[str], alpha: float, k: int) -> dict[int, tuple[str, float | None]]:
    """Return what is chosen most often in each cluster, by training rows and leave-one-out expectations."""
    fitted = router.fitted
    if not isinstance(fitted, FittedMultiResolution):
        return {}
    choosing = Choosing(fitted, np.array([name in pool for name in router.models]))
    vectors = fitted.evidence.sample.vectors[choosing.rows]
    centroids = fitted.levels.centroids[-k:]
    nearest = (vectors @ centroids.T - 0.5 * (centroids * centroids).sum(axis=1)).argmax(axis=1)
    choices = choosing.choices(alpha)
    found: dict[int, tuple[str, float | None]] = {}
    for cluster in range(k):
        counts = np.bincount(choices[nearest == cluster], minlength=len(router.models))
        if counts.any():
            best = int(counts.argmax())
            found[cluster] = (router.models[best], float(counts[best] / counts.sum()))
    return found


def traffic_of(rows: Sequence[Any]) -> Counter[int]:
    """Count requests by their nearest cluster.

    Args:
        rows: With clusters, a JSON list, nearest first.
    """
    found: Counter[int] = Counter()
    for row in rows:
        near = msgspec.json.decode(row.clusters)
        if near:
            found[near[0] if isinstance(near[0], int) else int(near[0][0])] += 1
    return found


def _known(value: Any) -> float | None:
    return round(float(value), 8) if math.isfinite(value) else None
