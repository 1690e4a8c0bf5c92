"""Counters and histograms for Prometheus; names and units by its conventions.

Where several worker processes answer on one port, each scrape meets any of them: they keep their values in files of
one folder (PROMETHEUS_MULTIPROC_DIR), and every one of them answers for all.
"""

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable by which prometheus_client learns, on import, where workers keep their values."""
_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True, slots=True)
class Finished:
    """What is counted when a request has ended; None = not known."""

    status: int
    outcome: str
    chosen: str | None
    explores: bool
    served: str | None
    fallbacks: int
    decision_seconds: float | None
    first_byte_seconds: float | None
    total_seconds: float
    prompt_tokens: int | None
    completion_tokens: int | None
    expected_cost: float | None
    cost: float | None
    saved: float | None


class Telemetry:
    """The gateway's metrics, in a registry of their own so that two gateways can live in one process."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"avengers_pro_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"avengers_pro_{name}", text, labels, registry=registry, buckets=buckets)

        self._requests = counter("requests", "Chat completion requests.", "outcome", "status")
        self._decisions = counter("decisions", "Decisions by first choice.", "model")
        self._explored = counter("explored", "Decisions whose first choice was drawn, and is not the best-ranked one.")
        self._shadow = counter(
            "shadow_decisions", "Decisions of the shadow router, by how they compare with those in use.", "result"
        )
        self._reloads = counter("router_reloads", "Attempts to load the router again.", "result")
        self._served = counter("answers", "Answers by the model that gave them.", "model")
        self._fallbacks = counter("fallbacks", "Attempts after the first of a request.")
        self._tokens = counter("tokens", "Tokens as providers counted them.", "model", "kind")
        self._expected_cost = counter("expected_cost_dollars", "Expected cost of the first choices.")
        self._cost = counter("cost_dollars", "Cost of answers, where it is known.", "model")
        self._unpriced = counter("unpriced", "Answers whose cost is not known.", "model")
        self._saved = counter("saved_dollars", "Expected cost of the best single model minus cost, where positive.")
        self._overspent = counter("overspent_dollars", "The same where it is negative.")
        self._decision = histogram("decision_seconds", "Time to decide.", _FAST)
        self._first = histogram("first_byte_seconds", "Time from the request to the answer's first byte.", _SLOW)
        self._total = histogram("request_seconds", "Time from the request to the answer's last byte.", _SLOW)
        self.in_flight = Gauge(
            "avengers_pro_in_flight", "Requests being answered.", registry=registry, multiprocess_mode="livesum"
        )
        self.upstream_state = Gauge(
            "avengers_pro_upstream_open",
            "1 = left alone because it fails.",
            ["upstream"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.upstream_in_flight = Gauge(
            "avengers_pro_upstream_in_flight",
            "Requests at an upstream.",
            ["upstream"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.ledger_queue = Gauge(
            "avengers_pro_ledger_queue", "Ledger rows not written yet.", registry=registry, multiprocess_mode="livesum"
        )
        self.ledger_lost = Gauge(
            "avengers_pro_ledger_lost", "Ledger rows given up.", registry=registry, multiprocess_mode="sum"
        )
        self._child = cache(lambda metric, *values: metric.labels(*values))

    def refused(self, status: int) -> None:
        """Count a request that was turned away before a decision."""
        self._child(self._requests, "refused", str(status)).inc()

    def shadowed(self, result: str) -> None:
        """Count a decision of the shadow router: the ``same``, ``different``, ``infeasible`` or ``failed``."""
        self._child(self._shadow, result).inc()

    def reloaded(self, result: str) -> None:
        """Count an attempt to load the router again: ``done`` or ``failed``."""
        self._child(self._reloads, result).inc()

    def count(self, done: Finished) -> None:
        """Count a request that has ended."""
        child = self._child
        child(self._requests, done.outcome, str(done.status)).inc()
        if done.chosen is not None:
            child(self._decisions, done.chosen).inc()
        if done.explores:
            self._explored.inc()
        if done.fallbacks:
            self._fallbacks.inc(done.fallbacks)
        self._observe(done)
        if done.served is None:
            return
        child(self._served, done.served).inc()
        for kind, tokens in (("prompt", done.prompt_tokens), ("completion", done.completion_tokens)):
            if tokens is not None:
                child(self._tokens, done.served, kind).inc(tokens)
        if done.cost is None:
            child(self._unpriced, done.served).inc()
        else:
            child(self._cost, done.served).inc(done.cost)
        if done.expected_cost is not None:
            self._expected_cost.inc(done.expected_cost)
        if done.saved is not None:
            (self._saved if done.saved >= 0 else self._overspent).inc(abs(done.saved))

    def _observe(self, done: Finished) -> None:
        if done.decision_seconds is not None:
            self._decision.observe(done.decision_seconds)
        if done.first_byte_seconds is not None:
            self._first.observe(done.first_byte_seconds)
        self._total.observe(done.total_seconds)

    def page(self) -> bytes:
        """Return what Prometheus scrapes, of all workers if there are several."""
        registry = self.registry
        if self.is_one_of_many:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        text: Any = generate_latest(registry)
        return bytes(text)

    @property
    def is_one_of_many(self) -> bool:
        """Whether other workers answer on the same port."""
        return METRICS_FOLDER in os.environ
