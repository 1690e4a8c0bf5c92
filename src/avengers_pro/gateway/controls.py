"""What a client says about its one request: a policy in the model's name, in headers, or in the body."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache

import msgspec

from avengers_pro.errors import PolicyError
from avengers_pro.gateway.refused import RefusedError
from avengers_pro.gateway.request import CONTROLS_FIELD
from avengers_pro.gateway.settings import OWN_MODEL_NAME
from avengers_pro.routing import Policy

HEADER_PREFIX = b"x-avengers-pro-"
_OBJECTIVES = ("alpha", "target", "budget")
_LISTS = ("models", "exclude", "requires")
_LONGEST = 16_384
"""Bytes of a request's settings; they are remembered, so that they are worked out once."""


class Controls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of one request; None = not given. The names mean what they mean in a policy.

    Attributes:
        session: Name of the conversation, which keeps its model as long as that pays.
    """

    alpha: float | None = None
    target: float | None = None
    budget: float | None = None
    max_cost: float | None = None
    min_score: float | None = None
    max_latency: float | None = None
    models: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    requires: tuple[str, ...] | None = None
    on_infeasible: str | None = None
    session: str | None = None


NOTHING = Controls()
_BODY = msgspec.json.Decoder(Controls)
_NAMES = {name.replace("_", "-").encode(): name for name in Controls.__struct_fields__}


def read_controls(body: msgspec.Raw | None, headers: Iterable[tuple[bytes, bytes]]) -> Controls:
    """Read the settings of a request from its body and its headers.

    Raises:
        RefusedError: With status 400, naming the setting, if it is unknown, of the wrong type, or given twice.
    """
    given = NOTHING
    if body is not None:
        if len(body) > _LONGEST:
            raise RefusedError(400, f"{CONTROLS_FIELD} has more than {_LONGEST} bytes", param=CONTROLS_FIELD)
        try:
            given = _BODY.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RefusedError(
                400,
                f"{CONTROLS_FIELD}: {error}; it may hold {', '.join(Controls.__struct_fields__)}",
                param=CONTROLS_FIELD,
            ) from error
    for name, value in headers:
        if name.startswith(HEADER_PREFIX):
            given = _with_header(given, name, value)
    return given


def _with_header(given: Controls, key: bytes, value: bytes) -> Controls:
    header = key.decode("latin-1")
    name = _NAMES.get(key[len(HEADER_PREFIX) :])
    if name is None:
        known = ", ".join(sorted(key.decode() for key in _NAMES))
        raise RefusedError(
            400, f"unknown header {header}; after {HEADER_PREFIX.decode()} may come {known}", param=header
        )
    if getattr(given, name) is not None:
        raise RefusedError(400, f"{name} is given in the header {header} and elsewhere; give it once", param=header)
    text = value.decode("latin-1").strip()
    said = [part.strip() for part in text.split(",") if part.strip()] if name in _LISTS else text
    try:
        read = msgspec.convert({name: said}, Controls, strict=False)
    except msgspec.ValidationError as error:
        raise RefusedError(400, f"header {header}: {error}", param=header) from error
    return msgspec.structs.replace(given, **{name: getattr(read, name)})


def asked_policy(model: str, controls: Controls, default: Policy, presets: Mapping[str, Policy]) -> Policy | None:
    """Return what a model name and a request's settings ask for together; None = it is a model's own name.

    Raises:
        RefusedError: With status 400 or 404 if either means nothing, or they contradict each other.
    """
    base = named_policy(model, default, presets)
    if base is None:
        return None
    objective = next((name for name in _OBJECTIVES if getattr(controls, name) is not None), None)
    if objective is not None and model.startswith(f"{OWN_MODEL_NAME}@"):
        raise RefusedError(
            400, f"{objective} contradicts model {model!r}, which gives alpha; give one of them", param=objective
        )
    return with_controls(base, controls)


def with_controls(base: Policy, controls: Controls) -> Policy:
    """Apply a request's settings to a policy; an objective replaces the one that is there.

    Raises:
        RefusedError: With status 400 if they contradict each other or are out of range.
    """
    if controls.session is not None:  # the policy does not depend on it
        controls = msgspec.structs.replace(controls, session=None)
    return base if controls == NOTHING else _changed(base, controls)


@lru_cache(maxsize=1024)
def _changed(base: Policy, controls: Controls) -> Policy:
    given = {name: value for name in Controls.__struct_fields__ if (value := getattr(controls, name)) is not None}
    if given.keys() & set(_OBJECTIVES):
        given = dict.fromkeys(_OBJECTIVES) | given
    try:
        return replace(base, **given)
    except PolicyError as error:
        raise RefusedError(400, str(error), param=CONTROLS_FIELD) from error


def named_policy(model: str, default: Policy, presets: Mapping[str, Policy]) -> Policy | None:
    """Return the policy that a model name stands for; None = it is a model's own name.

    ``avengers-pro`` is the default, ``avengers-pro@0.3`` sets alpha, ``avengers-pro/cheap`` is a preset.

    Raises:
        RefusedError: With status 400 or 404 if what follows ``avengers-pro`` means nothing.
    """
    if model == OWN_MODEL_NAME:
        return default
    if model.startswith(f"{OWN_MODEL_NAME}@"):
        try:
            return with_controls(default, Controls(alpha=_number(model.partition("@")[2])))
        except (ValueError, RefusedError) as error:
            raise RefusedError(400, f"model {model!r}: after @ must come an alpha in [0, 1]", param="model") from error
    if model.startswith(f"{OWN_MODEL_NAME}/"):
        name = model.partition("/")[2]
        if name not in presets:
            near = get_close_matches(name, presets, n=1)
            hint = f"did you mean {OWN_MODEL_NAME}/{near[0]}?" if near else f"there are {', '.join(presets) or 'none'}"
            raise RefusedError(404, f"no preset is named {name!r}; {hint}", code="model_not_found", param="model")
        return presets[name]
    return None


def _number(text: str) -> float:
    """Read a number as JSON writes it; Python's own reading takes ``0_1`` and the digits of any script.

    Raises:
        ValueError: If it is none.
    """
    if not text.isascii() or "_" in text:
        raise ValueError(text)
    return float(text)
