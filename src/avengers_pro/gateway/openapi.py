"""The description of the HTTP interface, in OpenAPI 3.1; chat completions only as far as the gateway reads them."""

from functools import cache
from http import HTTPStatus
from importlib import metadata
from typing import Any

from avengers_pro.gateway.controls import HEADER_PREFIX
from avengers_pro.gateway.schemas import CONTROLS, TEXT, Schema, reference, schemas

_BODY = (400, 408, 413, 431)
"""What can be wrong with a body."""
_KEY = (401,)
_LEDGER = (503,)
_DECIDING = (403, 404, 422)
_FAULT = (500,)
_MEANINGS = {
    400: "The request is wrong; error.param names the field or the header.",
    401: "An API key is needed, unknown or revoked.",
    403: "The key may not do this.",
    404: "There is no such model, preset or decision.",
    408: "The body did not arrive in time.",
    409: "The new router cannot be used; the old one goes on.",
    413: "The body is too long.",
    422: "No model can take the request, or meets the policy's limits.",
    429: "The key's limits or budget are used up, or the providers' are.",
    431: "The headers are too large.",
    500: "The gateway failed.",
    502: "No provider gave an answer that can be used.",
    503: "The gateway, its ledger or the providers cannot take the request now.",
    504: "The providers took too long.",
}
_ANSWERED: dict[str, Schema] = {
    "decision": {"type": "string", "description": "Id of the decision, for /v1/feedback and /v1/decisions."},
    "model": {"type": "string", "description": "The model that answered."},
    "fallbacks": {"type": "integer", "minimum": 0, "description": "Upstreams asked after the first."},
    "alpha": {"type": "number", "minimum": 0, "maximum": 1},
    "expected-score": {"type": "number"},
    "expected-cost": {"type": "number", "description": "US dollars."},
}


@cache
def document(*, needs_key: bool, has_metrics: bool) -> dict[str, Any]:
    """Return the description as plain values, which are not to be changed.

    Args:
        needs_key: Whether clients must have an API key.
        has_metrics: Whether there is ``/metrics``.
    """
    keys: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Avengers-Pro",
            "version": metadata.version("avengers-pro"),
            "description": "A gateway that sends each chat completion request to the model that is worth it.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": keys if needs_key else [*keys, {}],
        "tags": [{"name": "chat"}, {"name": "decisions"}, {"name": "operation"}],
        "paths": _paths(has_metrics=has_metrics),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "responses": {_component(status): _error(status) for status in _MEANINGS},
            "headers": {name: {"schema": schema} for name, schema in _ANSWERED.items()},
            "parameters": {name: _control(name, schema) for name, schema in CONTROLS.items()},
            "links": _links(),
            "schemas": schemas(),
        },
    }


def _paths(*, has_metrics: bool) -> dict[str, Any]:
    paths: dict[str, Any] = {
        "/v1/chat/completions": {"post": _chat()},
        "/v1/route": {"post": _route()},
        "/v1/feedback": {"post": _feedback()},
        "/v1/decisions/{decision}": {
            "get": _operation(
                "getDecision",
                "decisions",
                "Look a decision up; another key's is there for administrators alone",
                _good("Decision", "The ledger's row."),
                (*_KEY, 404, *_FAULT, *_LEDGER),
                parameters=[_in_path("decision")],
            )
        },
        "/v1/models": {
            "get": _operation(
                "listModels", "chat", "List the models", _good("Models", "All names to ask for."), (*_KEY, *_FAULT)
            )
        },
        "/v1/models/{model}": {
            "get": _operation(
                "getModel",
                "chat",
                "Describe a model, whose name may hold slashes",
                _good("Model", "The model."),
                (*_KEY, 404, *_FAULT),
                parameters=[_in_path("model")],
            )
        },
        "/admin/reload": {
            "post": _operation(
                "reload",
                "operation",
                "Load the router's folder again; needs a key of the role admin",
                _good("Reloaded", "The router in use."),
                (*_KEY, 403, 409, *_FAULT),
            )
        },
        "/healthz": {"get": _open("isAlive", "Whether the process lives", _good("Health", "It does."))},
        "/readyz": {
            "get": _open(
                "isReady",
                "Whether requests are taken",
                _good("Health", "They are.") | {"503": {"description": "Not now.", **_json(reference("Health"))}},
            )
        },
        "/openapi.json": {
            "get": _open("describe", "This description", _answer("OpenAPI 3.1.", _json({"type": "object"})))
        },
    }
    if has_metrics:
        page = {"content": {"text/plain": {"schema": TEXT}}}
        paths["/metrics"] = {
            "get": _operation(
                "getMetrics", "operation", "Metrics for Prometheus", _answer("A page.", page), (*_KEY, 403, *_FAULT)
            )
        }
    return paths


def _chat() -> dict[str, Any]:
    answers = _good("Completion", "The model's answer, as the provider gave it; server-sent events if stream is true.")
    answers["200"]["content"]["text/event-stream"] = {"schema": reference("Event")}
    answers["200"]["headers"] = {
        f"{HEADER_PREFIX.decode()}{name}": {"$ref": f"#/components/headers/{name}"} for name in _ANSWERED
    }
    answers["200"]["links"] = {name: {"$ref": f"#/components/links/{name}"} for name in _links()}
    theirs = {"description": "What else the provider said, as it came.", "content": {"*/*": {}}}
    return _operation(
        "createChatCompletion",
        "chat",
        "Have the right model answer",
        answers | {"4XX": theirs, "5XX": {"$ref": f"#/components/responses/{_component(502)}"}},
        (*_BODY, *_KEY, *_DECIDING, 429, *_FAULT, 502, *_LEDGER, 504),
        description="A 400, 404, 413 or 422 may be the provider's: it is passed on as it came.",
        parameters=_controls(),
        requestBody=_body("ChatRequest"),
    )


def _route() -> dict[str, Any]:
    return _operation(
        "explainRoute",
        "decisions",
        "Decide and explain, without an answer",
        _good("Explanation", "The decision with its grounds."),
        (*_BODY, *_KEY, *_DECIDING, *_FAULT),
        parameters=_controls(),
        requestBody=_body("ChatRequest"),
    )


def _feedback() -> dict[str, Any]:
    return _operation(
        "giveFeedback",
        "decisions",
        "Say how good an answer was",
        _good("Noted", "What was noted."),
        (*_BODY, *_KEY, 404, *_FAULT, *_LEDGER),
        requestBody=_body("Feedback"),
    )


def _operation(
    name: str, tag: str, summary: str, answers: dict[str, Any], errors: tuple[int, ...], **more: Any
) -> dict[str, Any]:
    refused = {str(status): {"$ref": f"#/components/responses/{_component(status)}"} for status in errors}
    return {"operationId": name, "tags": [tag], "summary": summary, **more, "responses": answers | refused}


def _open(name: str, summary: str, answers: dict[str, Any]) -> dict[str, Any]:
    """Return an operation that needs no key and cannot go wrong."""
    return _operation(name, "operation", summary, answers, (), security=[])


def _good(schema: str, text: str) -> dict[str, Any]:
    return _answer(text, _json(reference(schema)))


def _answer(text: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"description": text, **content}}


def _json(schema: Schema) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _body(schema: str) -> dict[str, Any]:
    return {"required": True, **_json(reference(schema))}


def _component(status: int) -> str:
    return HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")


def _error(status: int) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = {"required": True, "schema": TEXT}
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers["Retry-After"] = {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}
    return {"description": _MEANINGS[status], **({"headers": headers} if headers else {}), **_json(reference("Error"))}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _controls() -> list[dict[str, Any]]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in CONTROLS]


def _control(name: str, schema: Schema) -> dict[str, Any]:
    """Describe the header that says the same as a field of ``avengers_pro``; lists are separated by commas."""
    header = HEADER_PREFIX.decode() + name.replace("_", "-")
    return {"name": header, "in": "header", "schema": schema, "description": f"As avengers_pro.{name}; give one."}


def _links() -> dict[str, Any]:
    decision = f"$response.header.{HEADER_PREFIX.decode()}decision"
    return {
        "decision": {"operationId": "getDecision", "parameters": {"decision": decision}},
        "feedback": {"operationId": "giveFeedback", "requestBody": {"decision": decision, "thumbs": True}},
    }
