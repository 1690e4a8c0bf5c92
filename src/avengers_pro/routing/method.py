"""The one interface behind which every router, published, ours or baseline, can be fitted and asked."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import DamagedArtifactError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.policy import Policy
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries

Arrays = dict[str, NDArray[Any]]


def check_shapes(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check that arrays are there and shaped as expected.

    Raises:
        DamagedArtifactError: If one is missing or has another shape.
    """
    for name, shape in shapes.items():
        if name not in arrays:
            raise DamagedArtifactError(f"the router has no array {name!r}")
        if arrays[name].shape != shape:
            raise DamagedArtifactError(f"array {name!r} has shape {arrays[name].shape}; expected {shape}")


def restored_profile(arrays: Arrays, shape: tuple[int, int]) -> Profile:
    """Read back ``Profile.arrays`` and check every number.

    Raises:
        DamagedArtifactError: If an array is missing, has another shape, or holds impossible counts or sums.
    """
    names = ("score_counts", "score_sums", "cost_counts", "cost_sums")
    check_shapes(arrays, dict.fromkeys(names, shape))
    values = [arrays[name] for name in names]
    profile = Profile(*values)
    sane = all(array.dtype == np.float64 and np.isfinite(array).all() and (array >= 0).all() for array in values)
    if not sane or (profile.score_sums > profile.score_counts * (1 + 1e-6) + 1e-6).any():
        raise DamagedArtifactError("the router's counts and sums are impossible: negative, not finite, or too large")
    return profile


class Estimate(Protocol):
    """What a fitted method expects of m models on n queries.

    Attributes:
        expected_score: (n, m) in [0, 1]; NaN = nothing is known of that model there.
        expected_cost: (n, m) US dollars; NaN = not known.
        observations: (n, m) scores behind the expectation.
        clusters: (n, p) nearest clusters, nearest first; None for methods without clusters.
        closeness: (n, p) how near they are: inner products, or shares of membership; None likewise.
        novel: (n,) queries unlike any training row, if the method looks at that; None = none is known to be.
    """

    @property
    def expected_score(self) -> Floats:
        """(n, m) in [0, 1]; NaN = nothing is known of that model there."""
        ...

    @property
    def expected_cost(self) -> Floats:
        """(n, m) US dollars; NaN = not known."""
        ...

    @property
    def observations(self) -> Floats:
        """(n, m) scores behind the expectation."""
        ...

    @property
    def clusters(self) -> NDArray[np.intp] | None:
        """(n, p) nearest clusters, nearest first; None for methods without clusters."""
        ...

    @property
    def closeness(self) -> NDArray[np.floating[Any]] | None:
        """(n, p) how near they are: inner products, or shares of membership; None likewise."""
        ...

    @property
    def novel(self) -> NDArray[np.bool_] | None:
        """(n,) queries unlike any training row, if the method looks at that; None = none is known to be."""
        ...

    def utility(self, alpha: float) -> Floats:
        """Return (n, m): the model with the largest value is chosen, the first one of equals; -inf = never."""
        ...


class FittedMethod(Protocol):
    """A method after fitting.

    Attributes:
        models: The m models it can choose, in the order of every array.
        cluster_profile: What is known of each model in each cluster; None for methods without clusters.
    """

    @property
    def models(self) -> tuple[str, ...]:
        """The m models it can choose, in the order of every array."""
        ...

    @property
    def cluster_profile(self) -> Profile | None:
        """What is known of each model in each cluster; None for methods without clusters."""
        ...

    def estimate(self, queries: Queries) -> Estimate:
        """Say what to expect of every model on these queries."""
        ...

    def arrays(self) -> Arrays:
        """Return what ``Method.restore`` needs, by name."""
        ...


@runtime_checkable
class Calibrated(Protocol):
    """A fitted method that knows what targets, budgets and smaller pools mean on its records."""

    def tuned(self, policy: Policy, allowed: NDArray[np.bool_] | None) -> FittedMethod:
        """Return itself set to a policy's objective over the allowed models; None = all."""
        ...


class Method(Protocol):
    """A way to route, with its parameters, not yet fitted.

    Attributes:
        name: As on the command line.
        uses_alpha: False if every alpha gives the same choice.
        features: ``format`` if its vectors are those of ``WithFormat``, else ``none``.
    """

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def uses_alpha(self) -> bool:
        """False if every alpha gives the same choice."""
        ...

    @property
    def features(self) -> str:
        """``format`` if its vectors are those of ``WithFormat``, else ``none``."""
        ...

    def params(self) -> Mapping[str, Any]:
        """Return its parameters as plain values, enough to build it again."""
        ...

    def fit(self, records: Records, vectors: Vectors, seed: int) -> FittedMethod:
        """Learn from records and their (n, d) unit vectors.

        Raises:
            MethodError: If the records do not allow it.
        """
        ...

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> FittedMethod:
        """Rebuild a fitted method from its arrays.

        Raises:
            DamagedArtifactError: If an array is missing or has the wrong shape.
        """
        ...
