"""Simulated clients of a gateway: generated queries, and feedback that says how good the simulated answers were."""

import asyncio
import json
import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from avengers_pro.demo.pool import DATASETS
from avengers_pro.demo.queries import draw

if TYPE_CHECKING:
    from aiohttp import ClientSession

_ASKED = ("avengers-pro",) * 6 + ("avengers-pro/cheap", "avengers-pro/cheap", "avengers-pro/best", "avengers-pro@0.4")
_STREAMED = 0.3
_RATED = 0.6
_MOST_AT_ONCE = 64
_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Traffic:
    """What came of the requests sent so far.

    Attributes:
        sent: Requests.
        answered: Those with an answer.
        rated: Those for which feedback was given.
    """

    sent: int = 0
    answered: int = 0
    rated: int = 0


async def send_traffic(
    base_url: str, requests_per_second: float, traffic: Traffic, *, seed: int = 0, most: float = math.inf
) -> None:
    """Send requests at random times, until cancelled or so many were sent; failures are not minded.

    Args:
        base_url: Of the gateway, without ``/v1``.
        requests_per_second: On average, at least 0; fewer are sent while too many are unanswered.
        traffic: Counted in.
        seed: Of the queries and the times.
        most: Requests to send.
    """
    import aiohttp

    rng = Random(seed)
    places = asyncio.Semaphore(_MOST_AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(base_url, timeout=timeout) as session, asyncio.TaskGroup() as running:
        if requests_per_second == 0:
            await asyncio.Event().wait()
        while traffic.sent < most:
            await asyncio.sleep(rng.expovariate(requests_per_second))
            await places.acquire()
            traffic.sent += 1
            task = running.create_task(_ask(session, traffic, Random(rng.random())))
            task.add_done_callback(lambda _: places.release())


async def _ask(session: "ClientSession", traffic: Traffic, rng: Random) -> None:
    """Send one request, and say what its answer was worth."""
    import aiohttp

    weights = [math.sqrt(dataset.queries) for dataset in DATASETS]
    query = draw(rng.choices(DATASETS, weights)[0].name, rng).text
    body = {
        "model": rng.choice(_ASKED),
        "messages": [{"role": "user", "content": query}],
        "stream": rng.random() < _STREAMED,
    }
    try:
        async with session.post("/v1/chat/completions", json=body) as response:
            await response.read()
        if not response.ok:
            return
        traffic.answered += 1
        score = response.headers.get("x-simulated-score")
        if score is None or rng.random() >= _RATED:
            return
        said = json.dumps({"decision": response.headers["x-avengers-pro-decision"], "score": float(score)})
        async with session.post("/v1/feedback", data=said) as response:
            traffic.rated += response.ok
    except (aiohttp.ClientError, TimeoutError):
        return
