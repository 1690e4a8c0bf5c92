"""What outlives a request: router and pool, upstreams, ledger, keys, sessions, metrics."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from avengers_pro.errors import AvengersProError, UnreachableRouterError
from avengers_pro.gateway.access import Access, Keys, check_binding, read_session_secret
from avengers_pro.gateway.access.limits import Caller, Limits
from avengers_pro.gateway.access.sharing import Sharing
from avengers_pro.gateway.dashboard.drawing import Drawings
from avengers_pro.gateway.deciding import Decider, Plan, fingerprint_of
from avengers_pro.gateway.http_client import HttpClient
from avengers_pro.gateway.ledger import Ledger
from avengers_pro.gateway.loading import load_router
from avengers_pro.gateway.prices import PriceSource, price_sources, priced
from avengers_pro.gateway.sessions import Sessions
from avengers_pro.gateway.settings import Settings
from avengers_pro.gateway.shadowing import Shadow, Shadowing, load_shadow
from avengers_pro.gateway.telemetry import Telemetry
from avengers_pro.gateway.tracing import Tracing
from avengers_pro.gateway.transcript import Transcript
from avengers_pro.gateway.upstreams import Upstreams
from avengers_pro.gateway.walk import Walker
from avengers_pro.gateway.watching import Watching
from avengers_pro.routing.place import RouterPlace

_log = logging.getLogger(__name__)
_UNLIMITED = Limits()
Stamps = tuple[str | None, ...]
"""Of the router's place, and of the shadow's; None = nothing is there."""
_FAREWELL_S = 1.0
"""How long requests that were cancelled may take to write their ends into the ledger."""


class Gateway:
    """A running gateway, without the server around it; made by ``start``.

    Attributes:
        settings: As read.
        place: Where the router is looked for.
        folder: Of this machine, with the files of the router in use.
        decider: The router in use, with the pool; replaced as a whole by ``reload``.
        shadowing: The router that is tried out beside it; None = there is none.
        upstreams: The endpoints.
        client: Connections to them.
        walker: Fallback over them.
        ledger: Of decisions.
        keys: Of the API.
        session_secret: What the dashboard's sessions are signed with, the same in all gateways of a ledger.
        access: Who may do how much.
        sessions: Conversations.
        telemetry: Metrics.
        watching: Metrics that show drift.
        tracing: Spans.
        running: Requests being answered.
        cancelled_by: What it means if the server cancels a request.
        drawings: What draws the charts of the dashboard.
    """

    settings: Settings
    folder: Path
    decider: Decider
    shadowing: Shadowing | None = None
    upstreams: Upstreams
    walker: Walker
    ledger: Ledger
    keys: Keys
    session_secret: bytes
    access: Access
    sessions: Sessions
    telemetry: Telemetry
    watching: Watching
    tracing: Tracing
    client: HttpClient

    def __init__(self, router: str | Path, settings: Settings, environ: Mapping[str, str]) -> None:
        """Prepare; ``start`` does the work.

        Args:
            router: Folder or URL of the router, or of a place with versions of it.
            settings: As read.
            environ: Where secrets are; the process's environment as a rule.
        """
        self.place, self.settings, self._environ = RouterPlace(router), settings, environ
        shadow = settings.shadow.router
        self._places = [self.place] if shadow is None else [self.place, RouterPlace(shadow)]
        self._tried: Stamps = ()
        self._reloading = asyncio.Lock()
        self._told = ""
        self._stated = settings.models
        self.running = 0
        self.cancelled_by: Literal["shutdown", "client-gone"] = "shutdown"
        self.drawings = Drawings()
        self.is_ready = False
        self._redact = settings.store.patterns
        self._stack = AsyncExitStack()

    @cached_property
    def price_sources(self) -> tuple[PriceSource, ...]:
        """Where the prices of the models come from, in the order of the settings."""
        return price_sources(self._stated)

    async def start(self) -> None:
        """Open the ledger, load the router, prepare the upstreams.

        Raises:
            AvengersProError: If any of it cannot be done; nothing is left open.
        """
        settings = self.settings
        async with AsyncExitStack() as stack:
            self.settings = settings = _with_prices(settings)
            self.sessions, self.telemetry = Sessions(settings.sessions), Telemetry()
            self.watching = Watching(self.telemetry.registry)
            self.tracing = Tracing(settings.telemetry)
            stack.callback(self.tracing.close)
            self._tried = await asyncio.to_thread(self._stamps)
            self.folder, self.decider, shadow = await asyncio.to_thread(self._routers)
            store = settings.store
            spool = None if store.required or store.spool is None else Path(store.spool)
            self.ledger = await Ledger.open(store.database_url(self._environ), spool=spool)
            stack.push_async_callback(self.ledger.close)
            if shadow is not None:
                self.shadowing = Shadowing(shadow, self.ledger.finish, self.telemetry.shadowed)
                stack.push_async_callback(self.shadowing.close)
            self.keys = await Keys.open(self.ledger.engine, refresh_s=settings.access.refresh)
            stack.push_async_callback(self.keys.close)
            self.session_secret = await read_session_secret(self.ledger.engine)
            has_keys = self.keys.active > 0
            check_binding(settings.server.host, has_keys, settings.server.insecure)
            required = has_keys if settings.access.required is None else settings.access.required
            sharing = Sharing(self.ledger.usage, is_strict=settings.store.required)
            self.access = Access(self.keys, required=required, sharing=sharing)
            await self._remember_spending()
            sharing.open()
            stack.push_async_callback(sharing.close)
            self.upstreams = Upstreams(settings.models, settings.breaker, self._environ)
            self.client = HttpClient()
            stack.push_async_callback(self.client.close)
            self.walker = Walker(self.client, self.upstreams, settings.fallback)
            self._stack = stack.pop_all()
        self.is_ready = True

    async def stop(self) -> None:
        """Write what is still to be written, and close everything."""
        self.is_ready = False
        deadline = time.monotonic() + _FAREWELL_S
        while self.running and time.monotonic() < deadline:  # noqa: ASYNC110  # no request should pay for an event
            await asyncio.sleep(0.01)
        await self.drawings.close()
        await self._stack.aclose()

    def _stamps(self) -> Stamps:
        return tuple(place.stamp() for place in self._places)

    def _routers(self) -> tuple[Path, Decider, Shadow | None]:
        embedder = self.settings.embedder
        remote = embedder.base_url is not None
        options = embedder.options(self._environ) if remote else None
        router, folder = load_router(self.place, options)
        decider = Decider(router, self.settings, self.sessions, fingerprint_of(folder))
        shadow = load_shadow(self.settings, router)
        self.watching.expect(decider.router, self.settings.models)
        return (folder if self.place.is_remote else self.place.folder()), decider, shadow

    async def reload(self) -> str:
        """Load the router again and use it, and the shadow's; if one is bad, the old ones go on.

        Returns:
            Fingerprint of the router now in use.

        Raises:
            AvengersProError: If the new one cannot be used.
        """
        async with self._reloading:
            await self._reload(only_changes=False)
            return self.decider.fingerprint

    async def follow(self) -> None:
        """Load the routers again if there is something else to load where they are.

        What cannot be used is left alone until it changes; a place that does not answer is asked again next time.

        Raises:
            AvengersProError: If it cannot be used; the old ones go on.
        """
        async with self._reloading:
            await self._reload(only_changes=True)

    async def _reload(self, *, only_changes: bool) -> None:
        stamps = self._tried
        try:
            stamps = await asyncio.to_thread(self._stamps)
            if only_changes and not _changed(stamps, self._tried):
                return
            folder, decider, shadow = await asyncio.to_thread(self._routers)
        except AvengersProError as error:
            if not isinstance(error, UnreachableRouterError):
                self._tried = stamps
            self.telemetry.reloaded("failed")
            if not only_changes or str(error) != self._told:  # said once, however often it is tried by itself
                self._told = str(error)
                _log.error("reload refused, the old router goes on: %s", error)
            raise
        before, self._tried, self._told = self.decider.fingerprint, stamps, ""
        self.folder, self.decider = folder, decider
        if self.shadowing is not None and shadow is not None:
            self.shadowing.shadow = shadow
        self.telemetry.reloaded("done")
        _log.info("router %s in use, before it %s", decider.fingerprint[:12], before[:12])

    async def _remember_spending(self) -> None:
        """Go on with what the keys have spent this day and month: a restart is no new budget."""
        now = datetime.now(UTC)
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        spend_day = await self.ledger.spend(day.timestamp())
        spend_month = await self.ledger.spend(day.replace(day=1).timestamp())
        self.access.restore(spend_day, spend_month, now.timestamp())

    def caller(self, authorization: str | None, api_key: str | None) -> Caller:
        """Say who calls; with the first key, which may be made while the gateway runs, every client needs one.

        Raises:
            AccessDenied: If a key is missing, unknown or revoked.
        """
        self.needs_keys()
        return self.access.authenticate(authorization, api_key)

    def needs_keys(self) -> bool:
        """Whether every client needs a key now."""
        if not self.access.required and self.settings.access.required is None:
            self.access.required = self.keys.active > 0
        return self.access.required

    @property
    def is_open_to_all(self) -> bool:
        """Whether whoever reaches it may use it, and nobody said that something else checks who does."""
        return not (self.needs_keys() or self.settings.server.insecure)

    def measure(self) -> None:
        """Bring the gauges up to date."""
        metrics, now = self.telemetry, asyncio.get_running_loop().time()
        metrics.in_flight.set(self.running)
        metrics.ledger_queue.set(self.ledger.queued)
        metrics.ledger_lost.set(self.ledger.lost_closings)
        self.watching.measure()
        for upstream in self.upstreams:
            metrics.upstream_state.labels(upstream.label).set(upstream.breaker.state(now) == "open")
            metrics.upstream_in_flight.labels(upstream.label).set(upstream.in_flight)

    def limits(self, caller: Caller) -> bool:
        """Whether a caller's key bounds what may be asked for."""
        return caller.limits is not _UNLIMITED and caller.limits != _UNLIMITED

    def kept_vector(self, plan: Plan) -> bytes | None:
        """Return what was embedded as the ledger keeps it: nothing, unless it is asked to."""
        if not self.settings.store.log_vectors or plan.grounds is None or plan.grounds.vector is None:
            return None
        return plan.grounds.vector.astype("<f2").tobytes()

    def transcript(self) -> Transcript | None:
        """Return what collects an answer's text; None if texts are not kept."""
        store = self.settings.store
        return Transcript(store.text_bytes) if store.log_text else None

    def kept_text(self, text: str) -> str | None:
        """Return a text as the ledger may keep it: nothing, unless it is asked to; cut, and with secrets blanked."""
        store = self.settings.store
        if not store.log_text:
            return None
        for pattern in self._redact:
            text = pattern.sub("[redacted]", text)
        return text.encode("utf-8", "replace")[: store.text_bytes].decode("utf-8", "ignore")


def _changed(now: Stamps, before: Stamps) -> bool:
    """Whether one is different that is there: what is gone may come back."""
    return any(stamp is not None and stamp != old for stamp, old in zip(now, before, strict=True))


def _with_prices(settings: Settings) -> Settings:
    import msgspec

    return msgspec.structs.replace(settings, models=priced(settings.models))
