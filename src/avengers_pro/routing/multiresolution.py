"""Our method, ``avengers-pro``: shrunk soft tables at several resolutions, one global utility, calibrated policies.

Expected score and cost of a model are its overall mean plus what each level of clusters adds, believed as far as
leave-one-out predictions on the training rows bear it out. See docs/concepts/how-it-routes.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import MethodError
from avengers_pro.records.table import Floats, Records
from avengers_pro.routing.clusters import POINTS_PER_CENTROID
from avengers_pro.routing.evidence import Evidence
from avengers_pro.routing.levels import SIZES, Levels, fit_levels
from avengers_pro.routing.method import Arrays
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution, restored
from avengers_pro.routing.representation import FormatScaler
from avengers_pro.routing.sampling import LEARNING_ROWS, first_rows, keys_of, order_of

LEAST_ROWS = 40
"""Fewer records get one cluster: the overall means."""


@dataclass(frozen=True, slots=True)
class MultiResolution:
    """The method with its parameters.

    Attributes:
        levels: Clusters of each level.
        features: ``format`` adds 22 numbers on how a text is written; ``none`` leaves the embedding alone.
        novelty: Whether queries unlike any training row are decided by the overall means: insurance, not free.
        objective: Whether training rows (``micro``) or datasets (``macro``) count the same.
    """

    levels: tuple[int, ...] = SIZES
    features: str = "format"
    objective: str = "micro"
    novelty: bool = True
    name: str = "avengers-pro"
    uses_alpha: bool = True

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        object.__setattr__(self, "levels", tuple(self.levels))
        if not self.levels or not all(size == int(size) and size >= 1 for size in self.levels):
            raise MethodError(f"levels must be numbers of clusters, at least 1, got {self.levels}")
        for value, known in ((self.features, ("format", "none")), (self.objective, ("micro", "macro"))):
            if value not in known:
                raise MethodError(f"must be {' or '.join(known)}, got {value!r}")

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> FittedMultiResolution:
        """Rebuild from ``FittedMultiResolution.arrays``.

        Raises:
            DamagedArtifactError: If an array is missing or has the wrong shape.
        """
        return restored(self, models, arrays)

    def params(self) -> Mapping[str, Any]:
        """Return the parameters as plain values."""
        return {
            "levels": list(self.levels),
            "features": self.features,
            "objective": self.objective,
            "novelty": self.novelty,
        }

    def fit(self, records: Records, vectors: Vectors, seed: int) -> FittedMultiResolution:
        """Cluster at every level, sum up, and calibrate on leave-one-out predictions.

        Args:
            records: n queries x m models; gaps are left out everywhere.
            vectors: (n, d) as the method's ``features`` ask: plain rows, or rows of ``WithFormat``.
            seed: Of clusters and sample.
        """
        order = order_of(keys_of(records.queries), seed)
        learning = vectors[first_rows(order, self.learning_rows)] if len(order) > self.learning_rows else vectors
        scaler, levels = self.partition(learning, seed)
        weights = row_weights(records, self.objective)
        return FittedMultiResolution.derive(
            self, scaler, levels, Evidence.of(records, vectors, levels, weights, seed, scaler)
        )

    @property
    def learning_rows(self) -> int:
        """Rows that scale and clusters are learnt from; larger tables are sampled by ``sampling.order_of``."""
        return max(LEARNING_ROWS, POINTS_PER_CENTROID * max(self.levels))

    def partition(self, vectors: Vectors, seed: int) -> tuple[FormatScaler | None, Levels]:
        """Learn the scale of the format features and the clusters from (n, d) rows, in the order of the table."""
        scaler = FormatScaler.fit(vectors) if self.features == "format" else None
        rows = scaler.apply(vectors) if scaler is not None else vectors
        return scaler, fit_levels(rows, self.levels if len(vectors) >= LEAST_ROWS else (1,), seed)


def row_weights(records: Records, objective: str) -> Floats:
    """Return (n,) weights of mean 1: all the same, or such that every dataset has the same total."""
    if objective == "micro":
        return np.ones(len(records))
    codes = records.dataset_codes
    return dataset_weights(np.bincount(codes))[codes]


def dataset_weights(sizes: NDArray[np.integer]) -> Floats:
    """Return the weight of a row of each dataset, such that all have the same total and the mean over rows is 1.

    Args:
        sizes: Rows of each.
    """
    weights: Floats = sizes.sum() / (len(sizes) * sizes)
    return weights
