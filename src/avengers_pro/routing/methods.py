"""Every method by name."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from avengers_pro.errors import MethodError
from avengers_pro.routing.baselines import NearestNeighbours, RandomModel, SingleModel
from avengers_pro.routing.carrot import Carrot
from avengers_pro.routing.method import Method
from avengers_pro.routing.multiresolution import MultiResolution
from avengers_pro.routing.on_format import SUFFIX, OnFormat
from avengers_pro.routing.published import AVENGERS, CODE, PAPER, ClusterMethod, ClusterParams
from avengers_pro.routing.references import DatasetLabel, Oracle
from avengers_pro.routing.regression import Logistic, Ridge
from avengers_pro.routing.uniroute import UniRoute

DEFAULT_METHOD = "avengers-pro"


def _cluster_method(name: str, preset: ClusterParams) -> Callable[[Mapping[str, Any]], Method]:
    return lambda params: ClusterMethod(name, replace(preset, **params))


_BUILDERS: dict[str, tuple[Callable[[Mapping[str, Any]], Method], frozenset[str]]] = (
    {
        "avengers-pro": (
            lambda params: MultiResolution(**params),
            frozenset({"levels", "features", "objective", "novelty"}),
        )
    }
    | {
        name: (_cluster_method(name, preset), frozenset(field.name for field in fields(ClusterParams)))
        for name, preset in (("avengers-pro-paper", PAPER), ("avengers-pro-code", CODE), ("avengers", AVENGERS))
    }
    | {
        "ridge": (lambda params: Ridge(**params), frozenset({"penalty"})),
        "logistic": (lambda params: Logistic(**params), frozenset({"penalty"})),
        "carrot": (lambda params: Carrot(**params), frozenset({"choices"})),
        "uniroute": (lambda params: UniRoute(**params), frozenset({"clusters"})),
        "knn": (lambda params: NearestNeighbours(**params), frozenset({"neighbours"})),
        "best-single": (lambda params: SingleModel(**params), frozenset({"model"})),
        "random": (lambda params: RandomModel(**params), frozenset()),
        "dataset-label": (lambda params: DatasetLabel(**params), frozenset()),
        "oracle": (lambda params: Oracle(**params), frozenset()),
    }
)

ROUTERS = (
    "avengers-pro",
    "avengers-pro-paper",
    "avengers-pro-code",
    "avengers",
    "knn",
    "uniroute",
    "carrot",
    "ridge",
    "logistic",
)
"""Methods that can be fitted and served."""
REFERENCES = ("dataset-label", "oracle")
"""Baselines that see what no router can."""
BASELINES = ("best-single", "random", "knn", "dataset-label", "oracle")
"""Methods that every evaluation shows beside the routers."""


def build_method(name: str, params: Mapping[str, Any] | None = None) -> Method:
    """Build a method from its name and any of its parameters.

    ``single:<model>`` is always that model; ``<method>+format`` adds the format features to any method.

    Raises:
        MethodError: If the name or a parameter is unknown, or a value has no meaning.
    """
    if name.startswith("single:"):
        return SingleModel(name.removeprefix("single:"))
    if name.endswith(SUFFIX) and name != "avengers-pro" + SUFFIX:
        return OnFormat(build_method(name.removesuffix(SUFFIX), params))
    if name not in _BUILDERS:
        near = get_close_matches(name, _BUILDERS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_BUILDERS)}"
        raise MethodError(f"no method is named {name!r}; {hint}")
    builder, known = _BUILDERS[name]
    for key in params or {}:
        if key not in known:
            settable = ", ".join(sorted(known)) or "none"
            raise MethodError(f"method {name!r} has no parameter {key!r}; its parameters: {settable}")
    return builder(params or {})


def settable(name: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the parameters that this method has and that are given (not None)."""
    bare = name.removesuffix(SUFFIX)
    known = _BUILDERS[bare][1] if bare in _BUILDERS else frozenset()
    return {key: value for key, value in params.items() if key in known and value is not None}
