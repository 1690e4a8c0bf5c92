"""Train a router on your own evaluation records, prove it on held-out data, route each query to the right LLM."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avengers_pro.evaluation import Evaluation, evaluate
    from avengers_pro.records import Records, read_records
    from avengers_pro.routing import Decision, Policy, Router

__all__ = ["Decision", "Evaluation", "Policy", "Records", "Router", "evaluate", "read_records"]

_HOMES = {
    "Decision": "routing",
    "Evaluation": "evaluation",
    "Policy": "routing",
    "Records": "records",
    "Router": "routing",
    "evaluate": "evaluation",
    "read_records": "records",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``avengers-pro --help`` does not load numpy."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
