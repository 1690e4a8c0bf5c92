"""What the caller wants."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from avengers_pro.errors import PolicyError
from avengers_pro.routing.pool import Capability

DEFAULT_ALPHA = 0.7
"""The trade-off of the published quick start."""
ON_INFEASIBLE = ("refuse", "cheapest", "best")
CAPABILITIES: tuple[str, ...] = get_args(Capability)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One objective and hard constraints, given with each request.

    Objective, at most one; alpha = DEFAULT_ALPHA if none is given:

    Attributes:
        alpha: In [0, 1]; 1 = quality only, 0 = cost only. None if another objective is given.
        target: Least cost at which the score is at least this share of the best single model's; 1.0 = as good.
        budget: Best score at a mean of at most so many US dollars a query.
        confidence: How sure a target must be, in (0.5, 1).
        window: For how many queries a target is promised; None = in the long run.
        min_score: Least expected score, in [0, 1]; a model below it, or of unknown score, is no candidate.
        max_cost: Most expected cost of the query, in US dollars; a model above it, or of unknown cost, is none.
        max_latency: Most expected milliseconds; a model above it, or of unknown latency, is none.
        models: Only these; None = the whole pool. Objectives then refer to these models alone.
        exclude: Not these.
        requires: Capabilities that a model must be known to have, as in the pool table.
        on_infeasible: What to do if no model meets min_score, max_cost, max_latency and the objective: ``refuse``,
            or take the ``cheapest`` or the ``best`` of the models that are allowed at all.
    """

    alpha: float | None = None
    target: float | None = None
    budget: float | None = None
    confidence: float = 0.9
    window: int | None = None
    min_score: float | None = None
    max_cost: float | None = None
    max_latency: float | None = None
    models: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    on_infeasible: str = "refuse"

    def __post_init__(self) -> None:
        """Refuse contradictions and values out of range."""
        for name in ("models", "exclude", "requires"):
            if isinstance(getattr(self, name), str):
                raise PolicyError(f"{name} must be a list of names, got the text {getattr(self, name)!r}")
        given = [name for name in ("alpha", "target", "budget") if getattr(self, name) is not None]
        if len(given) > 1:
            raise PolicyError(f"{' and '.join(given)} contradict each other; give one objective")
        if not given:
            object.__setattr__(self, "alpha", DEFAULT_ALPHA)
        _within("alpha", self.alpha, 0, 1, "1 = quality only, 0 = cost only")
        _within("target", self.target, 0, 10, "1 = as good as the best single model")
        _within("budget", self.budget, 0, math.inf, "US dollars a query")
        _within("confidence", self.confidence, 0.5, 0.999999, "0.9 = nine times out of ten")
        _within("window", self.window, 1, math.inf, "a number of queries")
        _within("min_score", self.min_score, 0, 1, "an expected score")
        _within("max_cost", self.max_cost, 0, math.inf, "US dollars for this query")
        _within("max_latency", self.max_latency, 0, math.inf, "milliseconds")
        if self.on_infeasible not in ON_INFEASIBLE:
            raise PolicyError(f"on_infeasible must be {', '.join(ON_INFEASIBLE)}; got {self.on_infeasible!r}")
        unknown = [name for name in self.requires if name not in CAPABILITIES]
        if unknown:
            raise PolicyError(f"requires names {unknown[0]!r}; known capabilities: {', '.join(CAPABILITIES)}")
        object.__setattr__(self, "models", None if self.models is None else tuple(self.models))
        object.__setattr__(self, "exclude", tuple(self.exclude))
        object.__setattr__(self, "requires", tuple(self.requires))

    @property
    def objective(self) -> str:
        """The objective in words."""
        if self.target is not None:
            return f"target {self.target:g} (confidence {self.confidence:g})"
        return f"budget ${self.budget:g} a query" if self.budget is not None else f"alpha {self.alpha:g}"

    def allowed(
        self, pool: Sequence[str], capabilities: Sequence[frozenset[str] | None] | None = None
    ) -> NDArray[np.bool_]:
        """Return (m,) True for the models of the pool that may be chosen at all.

        Args:
            pool: The m models.
            capabilities: What each can do; None = not known, of one or of all.

        Raises:
            PolicyError: If a name is not in the pool, or nothing is left.
        """
        for name in (*(self.models or ()), *self.exclude):
            if name not in pool:
                near = get_close_matches(name, pool, n=1, cutoff=0.3)
                hint = f"did you mean {near[0]!r}?" if near else f"the pool is {', '.join(pool)}"
                raise PolicyError(f"no model is named {name!r}; {hint}")
        allowed = np.array([(self.models is None or name in self.models) and name not in self.exclude for name in pool])
        if not allowed.any():
            raise PolicyError("models and exclude leave no model to choose from")
        able = [self.can(each) for each in capabilities or [None] * len(pool)]
        if not (allowed & able).any():
            raise PolicyError(
                f"no allowed model is known to have {', '.join(self.requires)}; say what models can do in the pool "
                "table ([[models]] with capabilities)"
            )
        return np.asarray(allowed & able)

    def can(self, capabilities: frozenset[str] | None) -> bool:
        """Whether a model of these capabilities has all that is required; None = not known."""
        return not self.requires or (capabilities is not None and capabilities.issuperset(self.requires))


def _within(name: str, value: float | None, low: float, high: float, meaning: str) -> None:
    if isinstance(value, bool | str):
        raise PolicyError(f"{name} must be a number ({meaning}), got {value!r}")
    if value is not None and not low <= value <= high:
        top = "" if high == math.inf else f" and at most {high:g}"
        raise PolicyError(f"{name} must be at least {low:g}{top} ({meaning}), got {value:g}")
