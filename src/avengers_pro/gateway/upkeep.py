"""What goes on beside requests: following the router's place, asking upstreams how they are, pruning the ledger."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from avengers_pro.errors import AvengersProError, StoreError

if TYPE_CHECKING:
    from avengers_pro.gateway.state import Gateway
    from avengers_pro.gateway.upstreams import Upstream

_PRUNE_EVERY = 3600.0
_MEASURE_EVERY = 1.0
_DAY = 86_400.0
_log = logging.getLogger(__name__)


def chores(gateway: "Gateway") -> list[Coroutine[Any, Any, None]]:
    """Return what is to be run until the gateway stops."""
    settings = gateway.settings
    found = [follow_router(gateway)]
    if gateway.telemetry.is_one_of_many:
        found.append(_measure(gateway))
    if settings.health.probe:
        found += [_probe(gateway, upstream) for upstream in gateway.upstreams]
    if settings.store.retention_days is not None or settings.store.max_bytes is not None:
        found.append(_prune(gateway))
    return found


async def follow_router(gateway: "Gateway") -> None:
    """Load the routers again whenever their places say so."""
    while True:
        await asyncio.sleep(gateway.settings.server.reload_interval)
        with suppress(AvengersProError):  # the gateway said why, and the old router goes on
            await gateway.follow()


async def _probe(gateway: "Gateway", upstream: "Upstream") -> None:
    """Ask one upstream regularly; its answers count like those to requests."""
    health, clock = gateway.settings.health, asyncio.get_running_loop().time
    head = upstream.request_head("GET", health.path, {})
    timeout = min(health.interval, 10.0)
    while True:
        await asyncio.sleep(health.interval)
        until = clock() + timeout
        try:
            response = await gateway.client.ask(
                upstream.origin, head, b"", connect_by=until, head_by=until, whole_by=until
            )
        except OSError:
            well = False
        else:
            well = response.status < 500  # noqa: PLR2004  it is there, whatever it thinks of the question
            response.close()
        now = clock()
        if upstream.breaker.resting(now) == 0:
            upstream.breaker.record(now, ok=well)


async def _measure(gateway: "Gateway") -> None:
    """Keep the gauges fresh for whichever worker is scraped."""
    while True:
        gateway.measure()
        await asyncio.sleep(_MEASURE_EVERY)


async def _prune(gateway: "Gateway") -> None:
    """Delete what the ledger need not keep any longer."""
    store = gateway.settings.store
    while True:
        oldest = None if store.retention_days is None else time.time() - store.retention_days * _DAY
        try:
            removed = await gateway.ledger.prune(older_than=oldest, max_bytes=store.max_bytes)
        except StoreError as error:
            _log.warning("the ledger could not be pruned: %s", error)
        else:
            if removed:
                _log.info("%d old decisions removed from the ledger", removed)
        await asyncio.sleep(_PRUNE_EVERY)
