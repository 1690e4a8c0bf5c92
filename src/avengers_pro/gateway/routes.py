"""Every route but chat completions: models, decisions without an answer, feedback, health, metrics, reload."""

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from avengers_pro.errors import AvengersProError, StoreError
from avengers_pro.gateway.access import AccessDenied
from avengers_pro.gateway.access.limits import Caller
from avengers_pro.gateway.asgi import ClientGoneError, internal_error, read_body
from avengers_pro.gateway.chat import plan_of
from avengers_pro.gateway.controls import read_controls
from avengers_pro.gateway.dashboard import dashboard_routes
from avengers_pro.gateway.openapi import document
from avengers_pro.gateway.refused import RefusedError, error_body
from avengers_pro.gateway.request import read_chat, read_feedback
from avengers_pro.gateway.settings import OWN_MODEL_NAME

if TYPE_CHECKING:
    from avengers_pro.gateway.state import Gateway

_STARTED = int(time.time())
_log = logging.getLogger(__name__)


def make_routes(gateway: "Gateway") -> Starlette:
    """Return the application that serves them."""
    api = _Api(gateway)
    routes: list[BaseRoute] = [
        Route("/v1/chat/completions", _elsewhere, methods=["POST"]),
        Route("/v1/models", api.models),
        Route("/v1/models/{model:path}", api.model),
        Route("/v1/route", api.route, methods=["POST"]),
        Route("/v1/feedback", api.feedback, methods=["POST"]),
        Route("/v1/decisions/{decision}", api.decision),
        Route("/openapi.json", api.openapi),
        Route("/healthz", api.healthz),
        Route("/readyz", api.readyz),
        Route("/admin/reload", api.reload, methods=["POST"]),
    ]
    if gateway.settings.telemetry.metrics:
        routes.append(Route("/metrics", api.metrics))
    if gateway.settings.dashboard.enabled:
        routes += dashboard_routes(gateway)
    app = Starlette(
        routes=routes,
        exception_handlers={
            RefusedError: _refused,
            AccessDenied: _denied,
            HTTPException: _http,
            ClientGoneError: _gone,
            StoreError: _store,
            Exception: _fault,
        },
    )
    app.router.redirect_slashes = False  # a redirection would repeat whatever the Host header says
    return app


class _Api:
    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    def _caller(self, request: Request, role: str | None = None) -> Caller:
        headers = request.headers
        caller = self._gateway.caller(headers.get("authorization"), headers.get("x-api-key"))
        if role is not None and caller.role != role:
            raise RefusedError(403, f"this needs a key of the role {role}", code="role_needed")
        return caller

    async def models(self, request: Request) -> Response:
        names = self._names(self._caller(request))
        return _json({"object": "list", "data": [self._described(name) for name in names]})

    async def model(self, request: Request) -> Response:
        caller, name = self._caller(request), request.path_params["model"]
        if name not in self._names(caller):
            raise RefusedError(404, f"no model is named {name!r}", code="model_not_found", param="model")
        return _json(self._described(name))

    def _names(self, caller: Caller) -> list[str]:
        """Return what a caller may ask for by name."""
        gateway, limits = self._gateway, caller.limits
        return [
            OWN_MODEL_NAME,
            *(f"{OWN_MODEL_NAME}/{name}" for name in gateway.settings.presets),
            *(
                name
                for name in gateway.decider.cards
                if (limits.models is None or name in limits.models) and name not in limits.exclude
            ),
        ]

    def _described(self, name: str) -> dict[str, Any]:
        owner = OWN_MODEL_NAME if name.startswith(OWN_MODEL_NAME) else name.partition("/")[0]
        return {"id": name, "object": "model", "created": _STARTED, "owned_by": owner}

    async def route(self, request: Request) -> Response:
        """Decide and explain; no model is called, nothing is recorded."""
        caller = self._caller(request)
        gateway = self._gateway
        raw = request.scope["headers"]
        chat = read_chat(await read_body(request.receive, raw, gateway.settings.server))
        plan = await plan_of(gateway, caller, chat, read_controls(chat.controls, raw))
        if plan.decision is None:
            return _json({"model": chat.model, "reason": "the request names this model", "candidates": []})
        found = plan.decision.to_dict() if not plan.text else gateway.decider.explain(plan)
        if caller.role != "admin":
            for cluster in found.get("nearest_clusters", ()):
                del cluster["examples"]  # texts of the operator's records
        order = [name for name, _, _ in plan.ranking]
        return _json({**found, "model": order[0], "order": order, "decision_us": round(plan.micros, 1)})

    async def feedback(self, request: Request) -> Response:
        caller = self._caller(request)
        body = await read_body(request.receive, request.scope["headers"], self._gateway.settings.server)
        given = read_feedback(body)
        score = given.score if given.score is not None else 1.0 if given.thumbs else 0.0
        row = await self._own(caller, given.decision)
        await self._gateway.ledger.feedback(
            given.decision, score=score, comment=given.comment, key=caller.key, at=time.time()
        )
        self._gateway.watching.scored(row, score)
        return _json({"decision": given.decision, "score": score})

    async def decision(self, request: Request) -> Response:
        caller = self._caller(request)
        found = await self._own(caller, request.path_params["decision"])
        return _json({key: _decoded(key, value) for key, value in found.items()})

    async def _own(self, caller: Caller, name: str) -> dict[str, Any]:
        """Return a decision's row; those of other keys are there for administrators alone."""
        sane = name.isascii() and name.isprintable()  # PostgreSQL would call anything else an error
        found = await self._gateway.ledger.decision(name) if sane else None
        if found is None or (caller.role != "admin" and found["key"] != caller.key):
            raise RefusedError(404, f"no decision has the id {name!r}", code="decision_not_found")
        return found

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002
        return _json({"status": "ok"})

    async def openapi(self, request: Request) -> Response:  # noqa: ARG002
        gateway = self._gateway
        asked = gateway.settings.access.required
        needs_key = gateway.access.required or (asked is None and gateway.keys.active > 0)
        return _json(document(needs_key=needs_key, has_metrics=gateway.settings.telemetry.metrics))

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002
        ready = self._gateway.is_ready
        return _json({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        self._caller(request, "admin")
        self._gateway.measure()
        return Response(self._gateway.telemetry.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def reload(self, request: Request) -> Response:
        self._caller(request, "admin")
        try:
            return _json({"router": await self._gateway.reload()})
        except AvengersProError as error:
            raise RefusedError(409, f"the old router goes on: {error}", code="reload_refused") from error


def _decoded(key: str, value: Any) -> Any:
    return msgspec.json.decode(value) if key in {"policy", "candidates", "clusters", "attempts"} and value else value


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(_finite(content)), status, media_type="application/json")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, RefusedError)  # noqa: S101  # what the handler is registered for
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(error.body(), error.status, headers, media_type="application/json")


async def _denied(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, AccessDenied)  # noqa: S101  # likewise
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Response(msgspec.json.encode(error.body), error.status, headers, media_type="application/json")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # likewise
    message = f"{request.method} {request.scope['path']}: {error.detail}"
    body = error_body(message, "invalid_request_error", "not_found" if error.status_code == 404 else None)  # noqa: PLR2004
    return Response(body, error.status_code, error.headers, media_type="application/json")


async def _elsewhere(request: Request) -> Response:  # noqa: ARG001
    """Stand for what is answered without starlette, so that other methods are refused with the right one."""
    raise HTTPException(405)


async def _gone(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return Response(status_code=499)


async def _store(request: Request, error: Exception) -> Response:
    _log.error("ledger: %s", error)
    message = "the ledger cannot be read or written now"
    return await _refused(request, RefusedError(503, message, kind="server_error", code="ledger"))


async def _fault(request: Request, error: Exception) -> Response:  # noqa: ARG001  # what encloses the routes logs it
    return await _refused(request, internal_error())
