"""Any method on embedding and format features together, to compare it with our method on equal terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from avengers_pro.embedding.embedder import Vectors, unit_rows
from avengers_pro.records.table import Records
from avengers_pro.routing.method import Arrays, Estimate, FittedMethod, Method
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.representation import FormatScaler, restored_scaler, scaler_arrays

SUFFIX = "+format"


@dataclass(frozen=True, slots=True)
class OnFormat:
    """Scales the format features by the training rows, makes rows of unit length, and hands them on."""

    inner: Method
    features: str = "format"

    @property
    def name(self) -> str:
        """The inner name with ``+format``."""
        return self.inner.name + SUFFIX

    @property
    def uses_alpha(self) -> bool:
        """As the inner method."""
        return self.inner.uses_alpha

    def params(self) -> Mapping[str, Any]:
        """Return the inner parameters."""
        return self.inner.params()

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedOnFormat":
        """Fit the scaler, then the inner method."""
        scaler = FormatScaler.fit(vectors)
        return FittedOnFormat(scaler, self.inner.fit(records, unit_rows(scaler.apply(vectors)), seed))

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedOnFormat":
        """Rebuild from ``FittedOnFormat.arrays``.

        Raises:
            DamagedArtifactError: If an array is missing or has the wrong shape.
        """
        rest = dict(arrays)
        return FittedOnFormat(restored_scaler(rest), self.inner.restore(models, rest))


@dataclass(frozen=True, slots=True)
class FittedOnFormat:
    """The scaler and the fitted inner method."""

    scaler: FormatScaler
    inner: FittedMethod

    @property
    def models(self) -> tuple[str, ...]:
        """As the inner method."""
        return self.inner.models

    @property
    def cluster_profile(self) -> Profile | None:
        """As the inner method."""
        return self.inner.cluster_profile

    def arrays(self) -> Arrays:
        """Return both."""
        return {**scaler_arrays(self.scaler), **self.inner.arrays()}

    def estimate(self, queries: Queries) -> Estimate:
        """Scale, then ask the inner method."""
        rows = unit_rows(self.scaler.apply(queries.vectors))
        return self.inner.estimate(Queries(rows, queries.datasets, queries.scores, queries.costs))
