"""What requests and answers hold, as JSON Schemas: made from what reads and writes them, where that is possible."""

from typing import Any

import msgspec

from avengers_pro.gateway.controls import Controls
from avengers_pro.gateway.ledger import Closing, Opening
from avengers_pro.gateway.request import LONGEST_NAME, FeedbackBody
from avengers_pro.routing.policy import CAPABILITIES, ON_INFEASIBLE

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
_ANYTHING: Schema = {}
_BOUNDS: dict[str, Schema] = {
    "alpha": {"minimum": 0, "maximum": 1, "description": "1 = quality alone counts, 0 = cost alone."},
    "target": {"minimum": 0, "maximum": 10, "description": "Share of the best single model's score to keep."},
    "budget": {"minimum": 0, "description": "US dollars a request in the mean."},
    "max_cost": {"minimum": 0, "description": "Most expected US dollars of this request."},
    "min_score": {"minimum": 0, "maximum": 1, "description": "Least expected score."},
    "max_latency": {"minimum": 0, "description": "Most expected milliseconds."},
}
_CHOICES: dict[str, Schema] = {
    "models": {"type": "array", "items": TEXT, "description": "Only these of /v1/models."},
    "exclude": {"type": "array", "items": TEXT, "description": "None of these."},
    "requires": {
        "type": "array",
        "items": {"enum": list(CAPABILITIES)},
        "description": "What a model must be able to.",
    },
    "on_infeasible": {"enum": list(ON_INFEASIBLE), "description": "What to do if no model meets the limits."},
    "session": {"type": "string", "description": "Name of the conversation, which keeps its model while that pays."},
}
CONTROLS: dict[str, Schema] = {
    name: {"type": "number", **_BOUNDS[name]} if name in _BOUNDS else _CHOICES[name]
    for name in Controls.__struct_fields__
}
"""Settings of one request, by name, as they are where they are given."""


def object_of(properties: dict[str, Schema], *required: str, **more: Any) -> Schema:
    """Return the schema of an object; with no names all of the properties are required."""
    return {"type": "object", "required": list(required or properties), "properties": properties, **more}


def reference(name: str) -> Schema:
    """Refer to one of ``schemas()``."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def schemas() -> dict[str, Schema]:
    """Return all of them by name."""
    return {
        "Controls": _controls(),
        "Message": _MESSAGE,
        "ChatRequest": _CHAT_REQUEST,
        "Completion": _COMPLETION,
        "Event": _EVENT,
        "Explanation": _EXPLANATION,
        "Decision": _decision(),
        "Model": _MODEL,
        "Models": object_of({"object": {"const": "list"}, "data": list_of(reference("Model"))}),
        "Feedback": _feedback(),
        "Noted": object_of({"decision": TEXT, "score": {"type": "number", "minimum": 0, "maximum": 1}}),
        "Health": object_of({"status": TEXT}),
        "Reloaded": object_of({"router": {"type": "string", "description": "Fingerprint of the router in use."}}),
        "Error": object_of(
            {
                "error": object_of(
                    {"message": TEXT, "type": TEXT, "param": _TEXT_OR_NULL, "code": _TEXT_OR_NULL},
                    additionalProperties=False,
                )
            },
            additionalProperties=False,
        ),
    }


_MODEL = object_of({"id": TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": TEXT})

_MESSAGE: Schema = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"type": "string", "description": "The gateway takes any; the provider may not."},
        "content": {
            "anyOf": [
                {"type": "string"},
                {"type": "null"},
                list_of({"type": "object", "properties": {"type": TEXT, "text": _TEXT_OR_NULL}}),
            ]
        },
        "tool_calls": {"type": ["array", "null"]},
    },
}

_CHAT_REQUEST: Schema = {
    "type": "object",
    "description": "As OpenAI's. Here stands what the gateway insists on; all other fields reach the provider as "
    "they came, and are its to judge.",
    "required": ["model", "messages"],
    "properties": {
        "model": {
            "type": "string",
            "maxLength": LONGEST_NAME,
            "description": "avengers-pro, avengers-pro@ALPHA, avengers-pro/PRESET, or a model of /v1/models.",
        },
        "messages": list_of(reference("Message")),
        "stream": {"type": ["boolean", "null"]},
        "avengers_pro": {"anyOf": [reference("Controls"), {"type": "null"}]},
    },
}

_COMPLETION: Schema = {
    "type": "object",
    "description": "The provider's answer, byte by byte.",
    "required": ["choices"],
    "properties": {"choices": {"type": "array", "minItems": 1}},
}

_EVENT: Schema = object_of(
    {"data": {"type": "string", "description": "A chunk as JSON; after the last one [DONE]; or an error as JSON."}},
    "data",
    description="Each event of a stream.",
)

_EXPLANATION: Schema = object_of(
    {
        "model": {"type": "string", "description": "The first choice."},
        "reason": TEXT,
        "candidates": list_of(
            object_of(
                {
                    "model": TEXT,
                    "expected_score": _NUMBER_OR_NULL,
                    "interval": {"type": "array", "items": _NUMBER_OR_NULL, "minItems": 2, "maxItems": 2},
                    "expected_cost": _NUMBER_OR_NULL,
                    "observations": {"type": "integer"},
                    "utility": _NUMBER_OR_NULL,
                    "removed": _TEXT_OR_NULL,
                }
            )
        ),
        "order": {"type": "array", "items": TEXT, "description": "Models in the order in which they would be asked."},
        "alpha": _NUMBER_OR_NULL,
        "objective": TEXT,
        "clusters": list_of({"type": "integer"}),
        "novel": {"type": "boolean", "description": "Whether the query is unlike all records."},
        "relaxed": {"type": "boolean", "description": "Whether a limit was set aside, as on_infeasible says."},
        "decision_us": {"type": "number", "description": "Microseconds that deciding took."},
    },
    "model",
    "reason",
    "candidates",
    description="Why this model. Of a request that names its model: model, reason, and no candidates.",
)


def _controls() -> Schema:
    """Whatever is null counts as not given."""
    properties = {name: {"anyOf": [schema, {"type": "null"}]} for name, schema in CONTROLS.items()}
    null: Schema = {"type": "null"}
    pairs = ({"target": null, "budget": null}, {"alpha": null, "budget": null}, {"alpha": null, "target": null})
    return {
        "type": "object",
        "description": "The policy of this request; it cannot go with a model that is named. At most one of alpha, "
        "target and budget.",
        "additionalProperties": False,
        "properties": properties,
        "anyOf": [{"properties": pair} for pair in pairs],
    }


def _feedback() -> Schema:
    schema = _schema_of(FeedbackBody)
    kinds = {"score": _NUMBER, "thumbs": {"type": "boolean"}}
    given = [
        {
            "required": [name],
            "properties": {name: kind, **{other: {"type": "null"} for other in kinds if other != name}},
        }
        for name, kind in kinds.items()
    ]
    return {**schema, "description": "A score or thumbs, one of them.", "oneOf": given}


def _decision() -> Schema:
    """Return a row of the ledger: an opening and, once the request is over, its closing."""
    opening, closing = (_schema_of(kind)["properties"] for kind in (Opening, Closing))
    of_opening = {name: _unknown_is_null(schema) for name, schema in opening.items()}
    of_closing = {name: _or_null(schema) for name, schema in closing.items() if name not in {"id", "at"}}
    decoded: dict[str, Schema] = {
        "policy": {"type": "object"},
        "candidates": {"type": "array"},
        "clusters": {"type": "array"},
        "attempts": {"type": ["array", "null"]},
    }
    said = {"at": _NUMBER, "score": _NUMBER_OR_NULL, "comment": _TEXT_OR_NULL, "key": _TEXT_OR_NULL}
    more: dict[str, Schema] = {
        "closed_at": _NUMBER_OR_NULL,
        "feedback_score": _NUMBER_OR_NULL,
        "feedback_comment": _TEXT_OR_NULL,
        "feedback": list_of(object_of(said)),
    }
    return object_of({**of_opening, **of_closing, **decoded, **more}, description="The ledger's row.")


def _schema_of(kind: type) -> Schema:
    """Return a struct's schema, without what the docstrings say to programmers."""
    _, found = msgspec.json.schema_components((kind,), ref_template="#/components/schemas/{name}")
    schema: Schema = next(iter(found.values()))
    return {key: value for key, value in schema.items() if key not in {"title", "description"}}


def _unknown_is_null(schema: Schema) -> Schema:
    """NaN is stored as unknown."""
    return _or_null(schema) if schema.get("type") == "number" else schema


def _or_null(schema: Schema) -> Schema:
    without = {key: value for key, value in schema.items() if key != "default"}
    return without if "anyOf" in without else {"anyOf": [without, {"type": "null"}]}
