"""The one interface behind which every router, published, ours or baseline, can be fitted and asked."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.clusters import Clusters
from avengers_pro.routing.queries import Queries

Arrays = dict[str, NDArray[Any]]


class Estimate(Protocol):
    """What a fitted method expects of m models on n queries.

    Attributes:
        expected_score: (n, m) in [0, 1]; NaN = nothing is known of that model there.
        expected_cost: (n, m) US dollars; NaN = not known.
        observations: (n, m) scores behind the expectation.
        clusters: (n, p) nearest clusters, nearest first; None for methods without clusters.
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

    def utility(self, alpha: float) -> Floats:
        """Return (n, m): the model with the largest value is chosen, the first one of equals; -inf = never."""
        ...


class FittedMethod(Protocol):
    """A method after fitting.

    Attributes:
        models: The m models it can choose, in the order of every array.
        centers: The clusters it uses; None for methods without clusters.
    """

    @property
    def models(self) -> tuple[str, ...]:
        """The m models it can choose, in the order of every array."""
        ...

    @property
    def centers(self) -> Clusters | None:
        """The clusters it uses; None for methods without clusters."""
        ...

    def estimate(self, queries: Queries) -> Estimate:
        """Say what to expect of every model on these queries."""
        ...

    def arrays(self) -> Arrays:
        """Return what ``Method.restore`` needs, by name."""
        ...


class Method(Protocol):
    """A way to route, with its parameters, not yet fitted.

    Attributes:
        name: As on the command line.
        uses_alpha: False if every alpha gives the same choice.
    """

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def uses_alpha(self) -> bool:
        """False if every alpha gives the same choice."""
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
