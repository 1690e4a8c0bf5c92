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
        try:
            given = _BODY.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RefusedError(
                400,
                f"{CONTROLS_FIELD}: {error}; it may hold {', '.join(Controls.__struct_fields__)}",
                param=CONTROLS_FIELD,
            ) from error
    said = {name[len(HEADER_PREFIX) :]: value for name, value in headers if name.startswith(HEADER_PREFIX)}
    return _with_headers(given, said) if said else given


def _with_headers(given: Controls, said: Mapping[bytes, bytes]) -> Controls:
    changes: dict[str, object] = {}
    for key, value in said.items():
        header = (HEADER_PREFIX + key).decode("latin-1")
        name = _NAMES.get(key)
        if name is None:
            known = ", ".join(sorted(key.decode() for key in _NAMES))
            raise RefusedError(
                400, f"unknown header {header}; after {HEADER_PREFIX.decode()} may come {known}", param=header
            )
        if getattr(given, name) is not None:
            raise RefusedError(
                400, f"{name} is given in the body and in the header {header}; give it once", param=header
            )
        text = value.decode("latin-1").strip()
        changes[name] = [part.strip() for part in text.split(",") if part.strip()] if name in _LISTS else text
    try:
        read = msgspec.convert(changes, Controls, strict=False)
    except msgspec.ValidationError as error:
        raise RefusedError(400, f"headers {HEADER_PREFIX.decode()}*: {error}") from error
    return msgspec.structs.replace(given, **{name: getattr(read, name) for name in changes})


@lru_cache(maxsize=1024)
def with_controls(base: Policy, controls: Controls) -> Policy:
    """Apply a request's settings to a policy; an objective replaces the one that is there.

    Raises:
        RefusedError: With status 400 if they contradict each other or are out of range.
    """
    given = {name: value for name in Controls.__struct_fields__ if (value := getattr(controls, name)) is not None}
    given.pop("session", None)
    if not given:
        return base
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
            return with_controls(default, Controls(alpha=float(model.partition("@")[2])))
        except ValueError as error:
            raise RefusedError(400, f"model {model!r}: after @ must come an alpha in [0, 1]", param="model") from error
    if model.startswith(f"{OWN_MODEL_NAME}/"):
        name = model.partition("/")[2]
        if name not in presets:
            near = get_close_matches(name, presets, n=1)
            hint = f"did you mean {OWN_MODEL_NAME}/{near[0]}?" if near else f"there are {', '.join(presets) or 'none'}"
            raise RefusedError(404, f"no preset is named {name!r}; {hint}", code="model_not_found", param="model")
        return presets[name]
    return None
