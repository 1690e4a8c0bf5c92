"""The smallest JSON value that fits a JSON Schema."""

import math
from collections.abc import Mapping
from typing import Any

from avengers_pro.errors import SettingsError

_ROOT = "#"
_TEXT = "simulated"
_FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "simulated@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def minimal_value(schema: Any) -> Any:
    """Return a value that fits: required properties only, "simulated" for texts, 1 for numbers.

    Understood: type, enum, const, properties, required, items, prefixItems, minItems, the bounds of numbers
    and lengths, format, anyOf, oneOf, allOf and ``$ref`` within the schema. Not understood: pattern, not, if.
    Where a schema cannot end because it requires itself, None stands.

    Raises:
        SettingsError: If the schema is wrong, such as a bound that is no number.
    """
    try:
        return _value(schema, schema, frozenset({_ROOT}))
    except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise SettingsError(f"the JSON schema cannot be followed: {error}") from error


def _value(schema: Any, root: Any, entered: frozenset[str]) -> Any:
    """Return a value; ``entered`` are the references on the way here, which must not be followed again."""
    if not isinstance(schema, Mapping):  # true: anything fits
        return _TEXT
    fixed = [schema["const"]] if "const" in schema else schema.get("enum")
    if fixed:
        return fixed[0]
    if "$ref" in schema:
        reference = str(schema["$ref"])
        return None if reference in entered else _value(_target(reference, root), root, entered | {reference})
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            others = {key: value for key, value in schema.items() if key != word}
            option = _ending(schema[word], entered)
            return _value({**others, "allOf": [*others.get("allOf", ()), option]} if others else option, root, entered)
    if schema.get("allOf"):
        return _value(_merged(schema, root, entered), root, entered | _references(schema["allOf"]))
    return _of_type(_type(schema), schema, root, entered)


def _of_type(kind: str, schema: Mapping[str, Any], root: Any, entered: frozenset[str]) -> Any:
    match kind:
        case "object":
            properties = schema.get("properties", {})
            return {name: _value(properties.get(name, {}), root, entered) for name in schema.get("required", ())}
        case "array":
            first = [_value(item, root, entered) for item in schema.get("prefixItems", ())]
            missing = schema.get("minItems", 0) - len(first)
            return first + [_value(schema.get("items", {}), root, entered) for _ in range(missing)]
        case "integer" | "number":
            return _number(schema, kind)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema)


def _type(schema: Mapping[str, Any]) -> str:
    """Return the first type that is not null; what is not stated follows from the other words."""
    stated = schema.get("type")
    if isinstance(stated, list):
        return next((str(kind) for kind in stated if kind != "null"), "null")
    if stated is not None:
        return str(stated)
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _references(options: list[Any]) -> frozenset[str]:
    return frozenset(str(option["$ref"]) for option in options if isinstance(option, Mapping) and "$ref" in option)


def _ending(options: list[Any], entered: frozenset[str]) -> Any:
    """Take the first option that does not begin again what was begun, such as null for the rest of a linked list."""
    return next((option for option in options if not _references([option]) & entered), options[0])


def _merged(schema: Mapping[str, Any], root: Any, entered: frozenset[str]) -> dict[str, Any]:
    """Join a schema with the members of its allOf; properties and required add up, else the later one holds."""
    merged: dict[str, Any] = {}
    for part in (*schema["allOf"], {key: value for key, value in schema.items() if key != "allOf"}):
        if not isinstance(part, Mapping) or _references([part]) & entered:
            continue
        resolved = _target(str(part["$ref"]), root) if "$ref" in part else part
        properties = {**merged.get("properties", {}), **resolved.get("properties", {})}
        required = list(dict.fromkeys([*merged.get("required", ()), *resolved.get("required", ())]))
        merged |= resolved
        merged |= {"properties": properties} if properties else {}
        merged |= {"required": required} if required else {}
    return merged


def _target(reference: str, root: Any) -> Any:
    """Follow ``#/a/b``; what is not there fits anything."""
    found = root
    for part in reference.removeprefix(_ROOT).strip("/").split("/"):
        if part:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name, {}) if isinstance(found, Mapping) else {}
    return found


def _number(schema: Mapping[str, Any], kind: str) -> float:
    """Return 1 if it fits, else the number nearest to a bound that does."""
    step = schema.get("multipleOf", 1)
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    candidates = [1, step]
    if low > -math.inf:
        candidates += [step * math.ceil(low / step), step * math.ceil(low / step) + step]
    if high < math.inf:
        candidates += [step * math.floor(high / step), step * math.floor(high / step) - step]
    if kind == "number" and low > -math.inf and high < math.inf:
        candidates.append((low + high) / 2)
    return next((value for value in candidates if _fits(value, schema, kind)), 1)


def _fits(value: float, schema: Mapping[str, Any], kind: str) -> bool:
    return (
        schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
        and ("multipleOf" not in schema or value % schema["multipleOf"] == 0)
        and (kind == "number" or value == int(value))
    )


def _string(schema: Mapping[str, Any]) -> str:
    text = _FORMATS.get(schema.get("format", ""), _TEXT)
    return text[: schema.get("maxLength")].ljust(schema.get("minLength", 0), "x")
