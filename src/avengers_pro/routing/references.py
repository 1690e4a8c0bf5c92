"""References that see what no router can: the dataset's label, or the answers themselves. For evaluations only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from avengers_pro.embedding.embedder import Vectors
from avengers_pro.errors import MethodError
from avengers_pro.records.table import Records
from avengers_pro.routing.estimates import FixedEstimate, TableEstimate, totals
from avengers_pro.routing.method import Arrays
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries


@dataclass(frozen=True, slots=True)
class DatasetLabel:
    """A reference that is told which dataset each query comes from, and knows each model's means there."""

    name: str = "dataset-label"
    uses_alpha: bool = True
    features: str = "none"

    def params(self) -> Mapping[str, Any]:
        """No parameters."""
        return {}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedDatasetLabel":  # noqa: ARG002
        """Sum up each dataset."""
        profile = Profile.of(records.scores, records.costs, records.dataset_codes, len(records.dataset_names))
        return FittedDatasetLabel(records.models, records.dataset_names, profile)

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedDatasetLabel":  # noqa: ARG002
        """Refuse: queries carry no dataset outside an evaluation."""
        raise MethodError("dataset-label is a reference for evaluations; it cannot serve as a router")


@dataclass(frozen=True, slots=True)
class FittedDatasetLabel:
    """One profile row for each dataset."""

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    profile: Profile
    cluster_profile: Profile | None = None

    def arrays(self) -> Arrays:
        """Return the profile."""
        return {**self.profile.arrays()}

    def estimate(self, queries: Queries) -> TableEstimate:
        """Expect a dataset's means on its queries; a dataset never seen gets the overall means."""
        if queries.datasets is None:
            raise MethodError("dataset-label is a reference for evaluations; queries here carry no dataset")
        position = {name: row for row, name in enumerate(self.datasets)}
        rows = [position.get(str(name), len(position)) for name in queries.datasets]
        means = self.profile.totals()
        score = np.vstack([self.profile.mean_score, means.mean_score])[rows]
        cost = np.vstack([self.profile.mean_cost, means.mean_cost])[rows]
        return TableEstimate(score, cost, np.vstack([self.profile.score_counts, means.score_counts])[rows], means)


@dataclass(frozen=True, slots=True)
class Oracle:
    """The ceiling: sees every model's true score and takes the cheapest of the best."""

    name: str = "oracle"
    uses_alpha: bool = False
    features: str = "none"

    def params(self) -> Mapping[str, Any]:
        """No parameters."""
        return {}

    def fit(self, records: Records, vectors: Vectors, seed: int) -> "FittedOracle":  # noqa: ARG002
        """Nothing to learn."""
        return FittedOracle(records.models, totals(records))

    def restore(self, models: tuple[str, ...], arrays: Arrays) -> "FittedOracle":  # noqa: ARG002
        """Refuse: nobody knows the answers outside an evaluation."""
        raise MethodError("oracle is a reference for evaluations; it cannot serve as a router")


@dataclass(frozen=True, slots=True)
class FittedOracle:
    """Knows nothing until it is shown the answers."""

    models: tuple[str, ...]
    means: Profile
    cluster_profile: Profile | None = None

    def arrays(self) -> Arrays:
        """Return the means."""
        return {**self.means.arrays()}

    def estimate(self, queries: Queries) -> FixedEstimate:
        """Prefer by true score, then by true cost; an unpriced model is the dearest."""
        if queries.scores is None or queries.costs is None:
            raise MethodError("oracle is a reference for evaluations; queries here carry no answers")
        score, cost = queries.scores, np.nan_to_num(queries.costs, nan=np.inf)
        cost_rank = cost.argsort(axis=1, kind="stable").argsort(axis=1)
        best = score == np.fmax.reduce(score, axis=1)[:, None]
        preference = np.where(best, 1.0 - cost_rank / score.shape[1], 0.0)
        table = TableEstimate(score, queries.costs, (~np.isnan(score)).astype(np.float64), self.means)
        return FixedEstimate(table, preference)
