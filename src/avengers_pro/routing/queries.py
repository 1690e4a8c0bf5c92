"""What a method may look at when it decides."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.records.table import Floats


@dataclass(frozen=True, slots=True)
class Queries:
    """A batch of n queries to route.

    Attributes:
        vectors: (n, d) unit rows.
        datasets: (n,) names, known only in an evaluation; read only by the reference ``dataset-label``.
        scores: (n, m) true scores, known only in an evaluation; read only by the reference ``oracle``.
        costs: (n, m) true costs, likewise.
    """

    vectors: Vectors
    datasets: NDArray[np.str_] | None = None
    scores: Floats | None = None
    costs: Floats | None = None

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.vectors)
