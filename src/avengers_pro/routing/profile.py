"""What is known about each model in each cluster, as sums that can be added up."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from avengers_pro.records.table import Floats
from avengers_pro.routing.clusters import Labels


@dataclass(frozen=True)
class Profile:
    """Counts and sums for k clusters and m models; profiles of disjoint rows add.

    Attributes:
        score_counts: (k, m) scores observed.
        score_sums: (k, m) their sum.
        cost_counts: (k, m) costs known.
        cost_sums: (k, m) their sum in US dollars.
    """

    score_counts: Floats
    score_sums: Floats
    cost_counts: Floats
    cost_sums: Floats

    @classmethod
    def of(cls, scores: Floats, costs: Floats, labels: Labels, k: int) -> "Profile":
        """Sum up rows by cluster, skipping what was not observed.

        Args:
            scores: (n, m) in [0, 1]; NaN = not observed.
            costs: (n, m) US dollars; NaN = not known.
            labels: (n,) cluster of each row, 0-based.
            k: Number of clusters.
        """
        return cls(*_count_and_sum(scores, labels, k), *_count_and_sum(costs, labels, k))

    @classmethod
    def of_members(cls, scores: Floats, costs: Floats, clusters: Labels, weights: Floats, k: int) -> "Profile":
        """Sum up rows by soft membership.

        Args:
            scores: (n, m) as in ``of``.
            costs: (n, m) as in ``of``.
            clusters: (n, q) clusters of each row.
            weights: (n, q) how much of the row each gets.
            k: Number of clusters.
        """
        return cls(
            *weighted_count_and_sum(scores, clusters, weights, k),
            *weighted_count_and_sum(costs, clusters, weights, k),
        )

    def __add__(self, other: "Profile") -> "Profile":
        """Combine the evidence of disjoint rows."""
        return Profile(
            self.score_counts + other.score_counts,
            self.score_sums + other.score_sums,
            self.cost_counts + other.cost_counts,
            self.cost_sums + other.cost_sums,
        )

    @cached_property
    def mean_score(self) -> Floats:
        """(k, m) mean scores; NaN where none was observed."""
        return _ratio(self.score_sums, self.score_counts)

    @cached_property
    def mean_cost(self) -> Floats:
        """(k, m) mean US dollars a query; NaN where none is known."""
        return _ratio(self.cost_sums, self.cost_counts)

    @cached_property
    def sizes(self) -> Floats:
        """(k,) most scores that any model has in each cluster."""
        most: Floats = self.score_counts.max(axis=1)
        return most

    def totals(self) -> "Profile":
        """Return the same for all clusters together, k = 1."""
        return Profile(*(values.sum(axis=0, keepdims=True) for values in self.arrays().values()))

    def arrays(self) -> dict[str, Floats]:
        """Return the four arrays by name."""
        return {
            "score_counts": self.score_counts,
            "score_sums": self.score_sums,
            "cost_counts": self.cost_counts,
            "cost_sums": self.cost_sums,
        }


def _count_and_sum(values: Floats, labels: Labels, k: int) -> tuple[Floats, Floats]:
    """Sum each cluster's cells model by model.

    Summing along a contiguous axis is pairwise, as in ``numpy.mean`` of a list: sums that are equal on paper
    mostly are equal, and what the released code finds tied is tied here.
    """
    counts, sums = np.zeros((2, k, values.shape[1]))
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(k + 1))
    for cluster in range(k):
        rows = np.ascontiguousarray(values[order[ends[cluster] : ends[cluster + 1]]].T)
        known = ~np.isnan(rows)
        counts[cluster] = known.sum(axis=1)
        sums[cluster] = np.where(known, rows, 0.0).sum(axis=1)
    return counts, sums


def weighted_count_and_sum(values: Floats, clusters: Labels, weights: Floats, k: int) -> tuple[Floats, Floats]:
    """Return (k, m) counts and sums of (n, m) values by soft membership, skipping NaN; see ``Profile.of_members``."""
    flat = clusters.ravel()
    everything = np.bincount(flat, weights.ravel(), k)
    counts, sums = np.zeros((2, k, values.shape[1]))
    for column in range(values.shape[1]):
        known = ~np.isnan(values[:, column])
        whole = bool(known.all())
        counts[:, column] = everything if whole else np.bincount(flat, (weights * known[:, None]).ravel(), k)
        filled = values[:, column] if whole else np.where(known, values[:, column], 0.0)
        sums[:, column] = np.bincount(flat, (weights * filled[:, None]).ravel(), k)
    return counts, sums


def _ratio(sums: Floats, counts: Floats) -> Floats:
    means: Floats = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return means
