"""The pages of the dashboard and their addresses."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from avengers_pro.errors import AvengersProError, StoreError
from avengers_pro.gateway.access import AccessDenied, Caller
from avengers_pro.gateway.asgi import read_body
from avengers_pro.gateway.dashboard import rendering
from avengers_pro.gateway.dashboard.colouring import coloured
from avengers_pro.gateway.dashboard.decisions import Asked, listing
from avengers_pro.gateway.dashboard.explaining import opened
from avengers_pro.gateway.dashboard.kinds import traffic_of
from avengers_pro.gateway.dashboard.login import CSRF_FIELD, Door, Visit, drop_cookie, set_cookie
from avengers_pro.gateway.dashboard.overview import overview
from avengers_pro.gateway.dashboard.playground import decide, read_trial, send
from avengers_pro.gateway.dashboard.reading import LATEST, SEARCHED, SPANS, TRIES, Reading, span_of
from avengers_pro.gateway.dashboard.showing import Learning, age_of, frontier_values, map_values
from avengers_pro.gateway.dashboard.signals import learning_signals
from avengers_pro.gateway.dashboard.standing import LOOKED_BACK_S, saved, standings
from avengers_pro.gateway.dashboard.wording import finite
from avengers_pro.gateway.ledger.rows import NO_ERRORS
from avengers_pro.gateway.refused import RefusedError

if TYPE_CHECKING:
    from avengers_pro.gateway.state import Gateway

HOME = "/dashboard"
NAVIGATION = (
    (HOME, "Overview"),
    (f"{HOME}/frontier", "Frontier"),
    (f"{HOME}/clusters", "Query map"),
    (f"{HOME}/decisions", "Decisions"),
    (f"{HOME}/playground", "Playground"),
    (f"{HOME}/models", "Models"),
)
_MOST_FORM_BYTES = 10_000
_EXAMPLE = "Which of these numbers is prime, and why are the others not: 91, 97, 119?"
_MAPPED_S = 7 * 86_400.0
_log = logging.getLogger(__name__)
Show = Callable[[Request, Visit], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


def dashboard_routes(gateway: "Gateway") -> list[BaseRoute]:
    """Return the routes below ``/dashboard``."""
    pages = _Pages(gateway)
    return [
        Route(HOME, pages.visited(pages.overview)),
        Route(f"{HOME}/frontier", pages.visited(pages.frontier)),
        Route(f"{HOME}/clusters", pages.visited(pages.clusters)),
        Route(f"{HOME}/decisions", pages.visited(pages.decisions)),
        Route(f"{HOME}/decisions/{{decision}}", pages.visited(pages.decision)),
        Route(f"{HOME}/playground", pages.visited(pages.playground)),
        Route(f"{HOME}/playground/decide", pages.visited(pages.decide, changes=True, is_data=True), methods=["POST"]),
        Route(f"{HOME}/playground/send", pages.visited(pages.send, changes=True, is_data=True), methods=["POST"]),
        Route(f"{HOME}/models", pages.visited(pages.models)),
        Route(f"{HOME}/reload", pages.visited(pages.reload, changes=True, admin=True), methods=["POST"]),
        Route(f"{HOME}/login", pages.login, methods=["GET", "POST"]),
        Route(f"{HOME}/logout", pages.visited(pages.logout, changes=True), methods=["POST"]),
        Route(f"{HOME}/static/{{name}}", pages.static),
    ]


class _Pages:
    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._door = Door(gateway)
        self._learning = Learning(gateway)

    @property
    def _reading(self) -> Reading:
        return Reading(self._gateway.ledger.engine)

    def visited(self, show: Show, *, changes: bool = False, admin: bool = False, is_data: bool = False) -> Endpoint:
        """Wrap a page: only for who may see it, with errors that people can read.

        Args:
            show: The page.
            changes: Whether it changes something, and so needs a token.
            admin: Whether it is for administrators alone.
            is_data: Whether a script asks, which wants errors as JSON.
        """

        async def endpoint(request: Request) -> Response:
            visit = None
            try:
                visit = self._door.visit(request)
                if visit.caller is None and request.method == "GET":
                    return _to(f"{HOME}/login")
                await self._admit(request, visit, changes=changes, admin=admin)
                response = await show(request, visit)
            except (RefusedError, AccessDenied) as refusal:
                if is_data:
                    return _json({"error": {"message": refusal.message}}, refusal.status)
                return self._problem(request, visit, refusal.status, refusal.message)
            except StoreError as error:
                _log.error("ledger: %s", error)
                return self._problem(request, visit, 503, "The ledger cannot be read now; the gateway's log says why.")
            if visit.cookie is not None:
                set_cookie(response, request, visit.cookie)
            return response

        return endpoint

    async def _admit(self, request: Request, visit: Visit, *, changes: bool, admin: bool) -> None:
        """Refuse who may not, and what did not come from our pages."""
        _caller(visit)
        if admin and not visit.is_admin:
            raise RefusedError(403, "this needs a key of the role admin", code="role_needed")
        if changes:
            self._door.check(request, await _token(request, self._gateway))

    def _page(self, request: Request, visit: Visit | None, template: str, status: int = 200, **values: Any) -> Response:
        return rendering.page(
            request,
            template,
            status,
            visit=visit,
            navigation=NAVIGATION if visit is not None and visit.caller is not None else (),
            needs_keys=self._gateway.needs_keys(),
            drawing=self._gateway.drawings.version if self._gateway.drawings.is_possible else None,
            note=self._gateway.settings.dashboard.note,
            **values,
        )

    def _problem(self, request: Request, visit: Visit | None, status: int, message: str) -> Response:
        return self._page(request, visit, "problem.html", status, code=status, message=message)

    async def overview(self, request: Request, visit: Visit) -> Response:
        span = span_of(request.query_params.get("range", "24h"), time.time())
        found = await overview(self._reading, span, visit.key)
        shown = coloured(found.shown, self._gateway.decider.pool)
        return self._page(request, visit, "overview.html", found=found, shown=shown, spans=SPANS, most=LATEST)

    async def frontier(self, request: Request, visit: Visit) -> Response:
        learnt = await self._learning.get()
        traffic = await overview(self._reading, span_of("24h", time.time()), visit.key)
        values = frontier_values(learnt.frontier, self._learning.alpha, traffic)
        router, policy = learnt.decider.router, self._gateway.settings.policy
        return self._page(
            request, visit, "frontier.html", method=router.method.name, objective=policy.objective, **values
        )

    async def clusters(self, request: Request, visit: Visit) -> Response:
        learnt = await self._learning.get()
        counts = traffic_of(
            await self._reading.clusters(time.time() - _MAPPED_S, visit.key, learnt.decider.fingerprint)
        )
        values = map_values(learnt.map, counts, learnt.decider.pool)
        return self._page(request, visit, "clusters.html", method=learnt.decider.router.method.name, **values)

    async def decisions(self, request: Request, visit: Visit) -> Response:
        asked = Asked.of(request.query_params)
        found = await listing(self._reading, asked, visit.key, time.time())
        keys = await self._gateway.keys.list() if visit.is_admin else ()
        return self._page(
            request,
            visit,
            "decisions.html",
            found=found,
            asked=asked,
            models=self._gateway.decider.pool,
            keys=keys,
            no_errors=NO_ERRORS,
            searched=SEARCHED if self._gateway.settings.store.log_text else 0,
        )

    async def decision(self, request: Request, visit: Visit) -> Response:
        name = request.path_params["decision"]
        row = await self._gateway.ledger.decision(name)
        if row is None or (visit.key is not None and row["key"] != visit.key):
            raise RefusedError(404, f"There is no decision {name!r}, or it is another key's.")
        found = await asyncio.to_thread(opened, self._gateway, row)
        return self._page(request, visit, "decision.html", row=row, opened=found, no_errors=NO_ERRORS)

    async def playground(self, request: Request, visit: Visit) -> Response:
        decider = self._gateway.decider
        example = next((texts[0] for texts in decider.router.examples if texts), _EXAMPLE)
        return self._page(
            request, visit, "playground.html", models=decider.pool, alpha=self._learning.alpha, example=example
        )

    async def decide(self, request: Request, visit: Visit) -> Response:
        trial = read_trial(await read_body(request.receive, request.scope["headers"], self._gateway.settings.server))
        return _json(await decide(self._gateway, _caller(visit), trial))

    async def send(self, request: Request, visit: Visit) -> Response:
        trial = read_trial(await read_body(request.receive, request.scope["headers"], self._gateway.settings.server))
        return _json(await send(self._gateway, _caller(visit), trial, request.receive))

    async def models(self, request: Request, visit: Visit, message: str = "") -> Response:
        gateway, now = self._gateway, time.time()
        decider = gateway.decider
        saved_at = await asyncio.to_thread(saved, gateway.folder)
        return self._page(
            request,
            visit,
            "models.html",
            standings=await standings(gateway, self._reading, now - LOOKED_BACK_S, visit.key),
            signals=await learning_signals(gateway, self._reading, now - LOOKED_BACK_S, visit.key),
            router=decider.router,
            pool=decider.pool,
            best_single=decider.best_single,
            fingerprint=decider.fingerprint,
            folder=gateway.place.shown,
            saved_at=saved_at,
            age=None if saved_at is None else age_of(now - saved_at),
            most=TRIES,
            message=message,
        )

    async def reload(self, request: Request, visit: Visit) -> Response:
        try:
            message = f"Router {(await self._gateway.reload())[:12]} is in use."
        except AvengersProError as error:
            message = f"The old router goes on: {error}"
        return await self.models(request, visit, message)

    async def login(self, request: Request) -> Response:
        """Ask for a key, or take it."""
        try:
            visit = self._door.visit(request)
        except RefusedError as refusal:
            return self._problem(request, None, refusal.status, refusal.message)
        if visit.caller is not None and visit.cookie is None and request.method == "GET":
            return _to(HOME)
        message = ""
        if request.method == "POST":
            try:
                form = await _form(request, self._gateway)
                self._door.check(request, form.get(CSRF_FIELD))
                _, cookie = self._door.enter(form.get("key", "").strip())
            except (RefusedError, AccessDenied) as refusal:
                message = refusal.message
            else:
                response = _to(HOME)
                set_cookie(response, request, cookie)
                return response
        response = self._page(request, visit, "login.html", 403 if message else 200, message=message)
        if visit.cookie is not None:
            set_cookie(response, request, visit.cookie)
        return response

    async def logout(self, request: Request, visit: Visit) -> Response:  # noqa: ARG002  # as every page
        self._door.leave(request)
        response = _to(f"{HOME}/login")
        drop_cookie(response)
        return response

    async def static(self, request: Request) -> Response:
        """Serve scripts and styles; anybody may see them."""
        name = request.path_params["name"]
        if name in {"vega.js", "charts.json"}:
            drawing = await self._gateway.drawings.get()
            if drawing is not None:
                if name == "vega.js":
                    return rendering.ready_made(request, drawing.script, "text/javascript; charset=utf-8")
                return rendering.ready_made(request, drawing.charts, "application/json")
        found = await asyncio.to_thread(rendering.static, request, name)
        return found or self._problem(request, None, 404, f"There is no file {name!r}.")


def _caller(visit: Visit) -> Caller:
    if visit.caller is None:
        raise RefusedError(401, "the session has ended; log in again", code="session")
    return visit.caller


def _json(value: Any, status: int = 200) -> Response:
    return Response(
        msgspec.json.encode(finite(value)),
        status,
        {**rendering.HEADERS, "cache-control": "no-store"},
        "application/json",
    )


def _to(address: str) -> Response:
    return RedirectResponse(address, 303, rendering.HEADERS)


async def _form(request: Request, gateway: "Gateway") -> dict[str, str]:
    """Read a form; of a field given twice the last counts.

    Raises:
        RefusedError: If it is too long.
    """
    body = await read_body(request.receive, request.scope["headers"], gateway.settings.server)
    if len(body) > _MOST_FORM_BYTES:
        raise RefusedError(413, "the form is too long")
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}


async def _token(request: Request, gateway: "Gateway") -> str | None:
    """Return the token of a request that wants to change something."""
    header = request.headers.get("x-csrf-token")
    return header if header is not None else (await _form(request, gateway)).get(CSRF_FIELD)
