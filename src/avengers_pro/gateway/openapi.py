"""The description of the HTTP interface, in OpenAPI 3.1; chat completions only as far as the gateway reads them."""

from importlib import metadata
from typing import Any

from avengers_pro.gateway.controls import Controls

_ERROR = {"$ref": "#/components/responses/Error"}
_NUMBERS = {
    "alpha": {"minimum": 0, "maximum": 1},
    "target": {"minimum": 0, "maximum": 10},
    "budget": {"minimum": 0},
    "max_cost": {"minimum": 0},
    "min_score": {"minimum": 0, "maximum": 1},
    "max_latency": {"minimum": 0},
}
_NAMES: dict[str, Any] = {"type": "array", "items": {"type": "string"}}


def _controls() -> dict[str, Any]:
    properties: dict[str, Any] = {name: {"type": "number", **bounds} for name, bounds in _NUMBERS.items()}
    properties |= {"models": _NAMES, "exclude": _NAMES, "requires": _NAMES, "session": {"type": "string"}}
    properties["on_infeasible"] = {"enum": ["refuse", "cheapest", "best"]}
    return {
        "type": "object",
        "description": "The policy of this request. At most one of alpha, target and budget.",
        "additionalProperties": False,
        "properties": {name: properties[name] for name in Controls.__struct_fields__},
    }


_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string"},
        "content": {
            "anyOf": [
                {"type": "string"},
                {"type": "null"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"type": {"type": "string"}, "text": {"type": ["string", "null"]}},
                    },
                },
            ]
        },
        "tool_calls": {"type": ["array", "null"]},
    },
}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _answers(schema: str, text: str, *errors: int, **more: dict[str, Any]) -> dict[str, Any]:
    good = {"description": text, **_json({"$ref": f"#/components/schemas/{schema}"})}
    good["content"] |= more
    return {"200": good} | {str(status): _ERROR for status in (401, *errors)}


def _operation(summary: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"summary": summary, "responses": responses, **more}


def _named(name: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}]


def document() -> dict[str, Any]:
    """Return the description as plain values."""
    chat = {"required": True, **_json({"$ref": "#/components/schemas/ChatRequest"})}
    feedback = {"required": True, **_json({"$ref": "#/components/schemas/Feedback"})}
    asked = (400, 403, 404, 413, 422, 429)
    stream = {"text/event-stream": {"schema": {"type": "string"}}}
    paths = {
        "/v1/chat/completions": {
            "post": _operation(
                "Have the right model answer",
                _answers("Completion", "The model's answer.", *asked, 502, 503, 504, **stream),
                requestBody=chat,
            )
        },
        "/v1/route": {
            "post": _operation(
                "Decide and explain, without an answer",
                _answers("Decision", "The decision with its grounds.", *asked),
                requestBody=chat,
            )
        },
        "/v1/models": {"get": _operation("List the models", _answers("Models", "The pool, and avengers-pro."))},
        "/v1/models/{model}": {
            "get": _operation("Describe a model", _answers("Model", "A model.", 404), parameters=_named("model"))
        },
        "/v1/feedback": {
            "post": _operation(
                "Say how good an answer was", _answers("Feedback", "What was noted.", 400, 404), requestBody=feedback
            )
        },
        "/v1/decisions/{decision}": {
            "get": _operation(
                "Look a decision up", _answers("Decision", "The ledger's row.", 404), parameters=_named("decision")
            )
        },
        "/healthz": {"get": _operation("Whether the process lives", {"200": {"description": "It does."}})},
        "/readyz": {
            "get": _operation(
                "Whether it takes requests", {"200": {"description": "It does."}, "503": {"description": "Not now."}}
            )
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Avengers-Pro", "version": metadata.version("avengers-pro")},
        "paths": paths,
        "security": [{"key": []}, {}],
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": {"description": "An error.", **_json({"$ref": "#/components/schemas/Error"})}},
            "schemas": _schemas(),
        },
    }


def _schemas() -> dict[str, Any]:
    return {
        "Controls": _controls(),
        "ChatRequest": {
            "type": "object",
            "required": ["model", "messages"],
            "properties": {
                "model": {"type": "string", "description": "avengers-pro, avengers-pro@ALPHA, a preset or a model."},
                "messages": {"type": "array", "items": _MESSAGE},
                "stream": {"type": ["boolean", "null"]},
                "avengers_pro": {"$ref": "#/components/schemas/Controls"},
            },
        },
        "Completion": {"type": "object", "required": ["choices"]},
        "Decision": {"type": "object", "required": ["model"]},
        "Model": {"type": "object", "required": ["id", "object"]},
        "Models": {
            "type": "object",
            "required": ["data"],
            "properties": {"data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}},
        },
        "Feedback": {
            "type": "object",
            "required": ["decision"],
            "additionalProperties": False,
            "properties": {
                "decision": {"type": "string"},
                "score": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                "thumbs": {"type": ["boolean", "null"]},
                "comment": {"type": ["string", "null"], "maxLength": 10000},
            },
        },
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["message", "type", "param", "code"],
                    "properties": {"message": {"type": "string"}, "type": {"type": "string"}},
                }
            },
        },
    }
