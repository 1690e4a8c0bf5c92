"""A small simulated gateway history that the learning tests share."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avengers_pro.demo.history import Course, simulated_records, write_history
from avengers_pro.learning import Traffic, read_traffic
from avengers_pro.records import Records
from avengers_pro.routing import Router

POOL = ("deepseek/deepseek-r1", "openai/gpt-5", "qwen/qwen3-235b", "qwen/qwen3-235b-thinking")
LABELLED = 150


@dataclass(frozen=True)
class Logged:
    """Truth, a router fitted on its first rows, and the ledger of the others."""

    truth: Records
    router: Router
    url: str

    def traffic(self, **how) -> Traffic:
        return asyncio.run(read_traffic(self.url, router=self.router, **how))


def logged(folder: Path, rows: int = 300, *, router: Router | None = None, **course) -> Logged:
    """Write a history of so many rows into a ledger in the folder."""
    truth = simulated_records(LABELLED + rows, 5).select_models(POOL)
    router = router or Router.fit(truth.take(range(LABELLED)))
    url = f"sqlite:///{folder}/ledger.db"
    asked = truth.take(range(LABELLED, LABELLED + rows))
    asyncio.run(write_history(url, router, asked, Course(**{"feedback": 0.5, **course})))
    return Logged(truth, router, url)


def saying(traffic: Traffic, scores: np.ndarray) -> Traffic:
    """Return the traffic with other feedback, NaN = none."""
    return replace(traffic, scores=scores, scored_at=np.where(np.isnan(scores), np.nan, traffic.at + 60))
