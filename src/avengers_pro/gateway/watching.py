"""What a running gateway counts to show that its traffic is changing; ``avengers-pro drift`` tests it.

Cheap by design: a few additions a request. What takes longer waits until the metrics are read.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge

from avengers_pro.gateway.deciding import Plan
from avengers_pro.gateway.reported import is_same_model
from avengers_pro.gateway.settings import OWN_MODEL_NAME
from avengers_pro.routing import Router
from avengers_pro.routing.pool import ModelCard
from avengers_pro.routing.stability import population_stability, stability_without_shift, training_clusters

WINDOW = 2000
"""Decisions that the population stability index is of, the latest."""
_same_model = lru_cache(maxsize=4096)(is_same_model)
_candidates = msgspec.json.Decoder(list[tuple[str, float | None, float | None, str | None]])


class Watching:
    """Counters and gauges of drift, in a gateway's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Begin at zero, without a router."""
        self._recent: deque[int] = deque(maxlen=WINDOW)
        self._training: NDArray[np.intp] | None = None
        self._names: dict[str, tuple[str, ...]] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"avengers_pro_{name}", text, labels, registry=registry)

        self._seen = counter("embedded", "Decisions made by looking at the query.")
        self._novel = counter("novel", "Of these, decisions on queries unlike any training row.")
        self._others = counter("reported_other_model", "Answers that report another model than was asked for.", "model")
        self._feedback = counter("feedback", "First feedback scores on routed answers.", "model")
        self._score = counter("feedback_score", "Sum of these scores.", "model")
        self._expected = counter("feedback_expected_score", "Sum of the scores that were expected of them.", "model")
        self._stability = Gauge(
            "avengers_pro_cluster_stability_index",
            f"Population stability index of the latest {WINDOW} decisions against the training rows, by cluster.",
            registry=registry,
        )
        self._by_chance = Gauge(
            "avengers_pro_cluster_stability_index_by_chance",
            "About what the index is without any drift, only because rows are few.",
            registry=registry,
        )
        self._child = cache(lambda metric, model: metric.labels(model))

    def expect(self, router: Router, cards: Sequence[ModelCard]) -> None:
        """Hold what follows against this router's training rows and the names that the cards ask for.

        Takes some milliseconds; may be called from another thread.
        """
        self._names = {
            card.name: tuple({endpoint.upstream_model or card.name for endpoint in card.endpoints}) for card in cards
        }
        self._training = training_clusters(router.fitted)
        self._recent.clear()

    def closed(self, plan: Plan, served: ModelCard | None, reported: str | None) -> None:
        """Count a request that has ended.

        Args:
            plan: What was decided.
            served: Card of the model that answered; None = none did.
            reported: Model id that its upstream reported; None = it did not.
        """
        if plan.decision is not None and (clusters := plan.decision.clusters):
            self._seen.inc()
            self._recent.append(clusters[0])
            if plan.decision.novel:
                self._novel.inc()
        if served is not None and reported is not None:
            names = self._names.get(served.name, ())
            if names and not any(_same_model(name, reported) for name in names):
                self._child(self._others, served.name).inc()

    def scored(self, row: Mapping[str, Any], score: float) -> None:
        """Count the first feedback score of a routed answer, beside the score that was expected.

        Args:
            row: Of the ledger, as it was before.
            score: In [0, 1].
        """
        model = row["served_by"]
        if model is None or row["feedback_score"] is not None or not row["asked"].startswith(OWN_MODEL_NAME):
            return
        expected = next((known for name, known, *_ in _candidates.decode(row["candidates"]) if name == model), None)
        if expected is not None:
            self._child(self._feedback, model).inc()
            self._child(self._score, model).inc(score)
            self._child(self._expected, model).inc(expected)

    def measure(self) -> None:
        """Bring the gauges up to date; NaN where there is nothing to compare."""
        stability, by_chance, _ = self.stability()
        self._stability.set(stability)
        self._by_chance.set(by_chance)

    def stability(self) -> tuple[float, float, int]:
        """Return the index, about what it is without any drift, and of how many decisions; NaN = nothing to compare."""
        training, recent = self._training, np.array(self._recent, dtype=np.intp)
        if training is None or not recent.size or recent.max() >= len(training):
            return np.nan, np.nan, len(recent)
        counts = np.bincount(recent, minlength=len(training))
        by_chance = stability_without_shift(len(training), int(training.sum()), len(recent))
        return float(population_stability(training, counts)), by_chance, len(recent)
