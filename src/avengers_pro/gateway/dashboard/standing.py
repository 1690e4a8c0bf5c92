"""How the models, their endpoints and the router stand."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from avengers_pro.gateway.dashboard.overview import Quantiles, quantiles
from avengers_pro.gateway.dashboard.reading import Reading
from avengers_pro.gateway.prices import PriceSource
from avengers_pro.routing.artifact import HEADER, ModelEntry

if TYPE_CHECKING:
    from avengers_pro.gateway.state import Gateway

LOOKED_BACK_S = 3600.0
"""Requests so old say how an endpoint is."""
_NO_ATTEMPTS = {None, "", "[]"}


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint of a model.

    Attributes:
        label: What logs and the ledger call it.
        state: ``closed`` (in use), ``open`` (left alone) or ``half-open`` (being tried).
        in_flight: Requests it is answering.
        answers: It gave, of the latest requests.
        failures: Tries that failed, of the latest requests.
        reasons: Of the failures, most frequent first.
        first_byte: Time until its answers began, in milliseconds.
    """

    label: str
    state: str
    in_flight: int
    answers: int
    failures: int
    reasons: tuple[tuple[str, int], ...]
    first_byte: Quantiles

    @property
    def error_rate(self) -> float | None:
        """Share of its tries that failed; None = there were none."""
        tries = self.answers + self.failures
        return self.failures / tries if tries else None


@dataclass(frozen=True, slots=True)
class Standing:
    """One model.

    Attributes:
        source: Its card, and where its price comes from.
        fact: Its record in training; None = the router does not know it, and never chooses it.
        places: Its endpoints.
    """

    source: PriceSource
    fact: ModelEntry | None
    places: tuple[Place, ...]


async def standings(gateway: "Gateway", reading: Reading, since: float, key: str | None) -> tuple[Standing, ...]:
    """Say how every model stands, by the requests since then; by one key's alone if it is given.

    Raises:
        StoreError: If the database cannot be read.
    """
    rows = await reading.tries(since, key)
    now = asyncio.get_running_loop().time()
    facts = {fact.name: fact for fact in gateway.decider.router.facts}
    failures: dict[str, Counter[str]] = {}
    first_bytes: dict[str, list[float | None]] = {}
    for row in rows:
        first_bytes.setdefault(row.endpoint, []).append(row.first_byte_ms)
        for label, reason, *_ in msgspec.json.decode(row.attempts) if row.attempts not in _NO_ATTEMPTS else ():
            failures.setdefault(str(label), Counter())[str(reason)] += 1
    places: dict[str, list[Place]] = {}
    for upstream in gateway.upstreams:
        failed = failures.get(upstream.label, Counter())
        answered = first_bytes.get(upstream.label, [])
        places.setdefault(upstream.card.name, []).append(
            Place(
                upstream.label,
                upstream.breaker.state(now),
                upstream.in_flight,
                len(answered),
                failed.total(),
                tuple(failed.most_common(3)),
                quantiles(answered),
            )
        )
    sources: Sequence[Any] = await asyncio.to_thread(lambda: gateway.price_sources)
    return tuple(
        Standing(source, facts.get(source.card.name), tuple(places.get(source.card.name, ()))) for source in sources
    )


def saved(folder: Path) -> float | None:
    """Return when a router was saved, in Unix seconds; None = its folder is gone."""
    try:
        return (folder / HEADER).stat().st_mtime
    except OSError:
        return None
