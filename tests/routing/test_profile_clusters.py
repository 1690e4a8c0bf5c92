"""Profiles add up like plain sums; clusters say one thing about what is nearest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.embedding.embedder import unit_rows
from avengers_pro.errors import MethodError
from avengers_pro.routing.clusters import Clusters, fit_raw_clusters, fit_unit_clusters
from avengers_pro.routing.profile import Profile


def table(seed: int, n: int, m: int, k: int):
    rng = np.random.default_rng(seed)
    scores = np.where(rng.random((n, m)) < 0.3, np.nan, rng.random((n, m)))
    costs = np.where(rng.random((n, m)) < 0.3, np.nan, rng.random((n, m)))
    return scores, costs, rng.integers(0, k, n)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(0, 40), k=st.integers(1, 6))
def test_profile_equals_plain_sums_and_adds_up(seed, n, k):
    scores, costs, labels = table(seed, n, 3, k)
    profile = Profile.of(scores, costs, labels, k)
    for j in range(k):
        for m in range(3):
            seen = [scores[i, m] for i in range(n) if labels[i] == j and not np.isnan(scores[i, m])]
            paid = [costs[i, m] for i in range(n) if labels[i] == j and not np.isnan(costs[i, m])]
            assert profile.score_counts[j, m] == len(seen)
            assert profile.score_sums[j, m] == pytest.approx(sum(seen))
            assert profile.cost_counts[j, m] == len(paid)
            assert np.isnan(profile.mean_cost[j, m]) == (not paid)
    half = n // 2
    parts = Profile.of(scores[:half], costs[:half], labels[:half], k) + Profile.of(
        scores[half:], costs[half:], labels[half:], k
    )
    np.testing.assert_allclose(parts.score_sums, profile.score_sums)
    np.testing.assert_allclose(parts.totals().cost_sums, np.nansum(costs, axis=0, keepdims=True))


def test_nearest_orders_by_similarity_and_agrees_with_assign():
    rng = np.random.default_rng(3)
    vectors = unit_rows(rng.normal(size=(50, 8)))
    clusters, labels = fit_unit_clusters(vectors, 7, seed=1)
    near, similarity = clusters.nearest(vectors, 3)
    every = vectors @ clusters.centroids.T
    np.testing.assert_array_equal(near, np.argsort(-every, axis=1, kind="stable")[:, :3])
    assert (np.diff(similarity, axis=1) <= 0).all()
    np.testing.assert_array_equal(near[:, 0], clusters.assign(vectors))
    np.testing.assert_array_equal(near[:, 0], labels)
    np.testing.assert_array_equal(clusters.nearest(vectors, 7)[0], np.argsort(-every, axis=1, kind="stable"))


def test_raw_clusters_assign_by_euclidean_distance():
    rng = np.random.default_rng(4)
    vectors = unit_rows(rng.normal(size=(60, 5)))
    clusters, labels = fit_raw_clusters(vectors, 4, seed=1)
    distance = ((vectors[:, None, :] - clusters.centroids[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(labels, distance.argmin(axis=1))


def test_the_same_seed_gives_the_same_clusters_and_no_rows_is_an_error():
    vectors = unit_rows(np.random.default_rng(5).normal(size=(300, 6)))
    one, two = (fit_unit_clusters(vectors, 5, seed=9)[0] for _ in range(2))
    np.testing.assert_array_equal(one.centroids, two.centroids)
    with pytest.raises(MethodError, match="no row to cluster"):
        fit_unit_clusters(vectors[:0], 5, seed=9)
    with pytest.raises(MethodError, match="at least 1"):
        fit_raw_clusters(vectors, 0, seed=9)
    assert len(Clusters(vectors[:3])) == 3
