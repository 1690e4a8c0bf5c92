"""avengers-pro-paper and avengers against plain references and the invariances of their formulas."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.records import Records
from avengers_pro.routing.published import AVENGERS, PAPER, ClusterMethod, ClusterParams
from avengers_pro.routing.queries import Queries
from simulated import synthetic

PAPER_METHOD = ClusterMethod("avengers-pro-paper", ClusterParams(clusters=6, top_clusters=3))


def paper_by_hand(fitted, vector, alpha):
    """Sum alpha * scaled accuracy + (1 - alpha) * (1 - scaled cost) over the nearest clusters, cell by cell."""
    centroids = fitted.centers.centroids.astype(float)
    distance = [1 - float(np.dot(vector.astype(float), centroid)) for centroid in centroids]
    near = sorted(range(len(centroids)), key=lambda j: distance[j])[: fitted.settings.top_clusters]
    total, speaking = np.zeros(len(fitted.models)), np.zeros(len(fitted.models))
    for j in near:
        p, q = fitted.profile.mean_score[j], fitted.profile.mean_cost[j]
        known, priced = p[~np.isnan(p)], q[~np.isnan(q)]
        for m in range(len(total)):
            if np.isnan(p[m]):
                continue
            quality = 1.0 if known.max() == known.min() else (p[m] - known.min()) / (known.max() - known.min())
            if np.isnan(q[m]):
                dear = 1.0
            else:
                dear = 0.0 if priced.max() == priced.min() else (q[m] - priced.min()) / (priced.max() - priced.min())
            total[m] += alpha * quality + (1 - alpha) * (1 - dear)
            speaking[m] += 1
    return np.divide(total * len(near), speaking, out=np.full(len(total), -np.inf), where=speaking > 0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1), missing=st.sampled_from([0.0, 0.3]))
def test_equals_the_formula_written_out(seed, alpha, missing):
    records, vectors = synthetic(n=80, seed=seed, missing=missing)
    fitted = PAPER_METHOD.fit(records, vectors, seed=0)
    utility = fitted.estimate(Queries(vectors[:5])).utility(alpha)
    for row in range(5):
        np.testing.assert_allclose(utility[row], paper_by_hand(fitted, vectors[row], alpha), atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(1e-6, 1e6))
def test_scaling_all_costs_changes_no_choice(seed, scale):
    records, vectors = synthetic(seed=seed)
    dearer = Records.from_arrays(records.queries, records.models, records.scores, records.costs * scale)
    for method in (PAPER_METHOD, ClusterMethod("avengers", AVENGERS)):
        one = method.fit(records, vectors, 0).estimate(Queries(vectors))
        two = method.fit(dearer, vectors, 0).estimate(Queries(vectors))
        for alpha in (0.0, 0.4, 1.0):
            np.testing.assert_allclose(one.utility(alpha), two.utility(alpha), atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_within_one_cluster_cost_never_rises_as_alpha_falls(seed):
    records, vectors = synthetic(seed=seed)
    fitted = ClusterMethod("one", ClusterParams(clusters=1, top_clusters=1)).fit(records, vectors, 0)
    estimate = fitted.estimate(Queries(vectors[:1]))
    cost = fitted.profile.mean_cost[0]
    chosen = [cost[estimate.utility(alpha)[0].argmax()] for alpha in np.linspace(0, 1, 41)]
    assert all(low <= high + 1e-15 for low, high in pairwise(chosen))
    assert chosen[0] == cost.min()
    assert fitted.profile.mean_score[0][estimate.utility(1.0)[0].argmax()] == fitted.profile.mean_score[0].max()


def test_a_model_never_observed_near_a_query_is_never_chosen():
    records, vectors = synthetic(n=90)
    scores, costs = records.scores.copy(), records.costs.copy()
    scores[:, 2] = np.nan
    costs[:, 2] = 1e-9
    blind = Records.from_arrays(records.queries, records.models, scores, costs)
    estimate = PAPER_METHOD.fit(blind, vectors, 0).estimate(Queries(vectors))
    for alpha in (0.0, 0.5, 1.0):
        assert not (estimate.utility(alpha).argmax(axis=1) == 2).any()
        assert (estimate.utility(alpha)[:, 2] == -np.inf).all()
    assert np.isnan(estimate.expected_score[:, 2]).all()
    assert (estimate.observations[:, 2] == 0).all()


def test_an_unpriced_model_never_wins_on_cost():
    records, vectors = synthetic()
    costs = records.costs.copy()
    costs[:, 1] = np.nan
    unpriced = Records.from_arrays(records.queries, records.models, records.scores, costs)
    for method in (PAPER_METHOD, ClusterMethod("max", ClusterParams(clusters=6, cost_norm="max"))):
        estimate = method.fit(unpriced, vectors, 0).estimate(Queries(vectors))
        assert not (estimate.utility(0.0).argmax(axis=1) == 1).any()
        assert np.isnan(estimate.expected_cost[:, 1]).all()


def test_expectations_are_the_pooled_means_of_the_nearest_clusters():
    records, vectors = synthetic(missing=0.2)
    fitted = PAPER_METHOD.fit(records, vectors, 0)
    estimate = fitted.estimate(Queries(vectors[:1]))
    labels = fitted.centers.assign(vectors)
    near = np.isin(labels, estimate.clusters[0])
    np.testing.assert_allclose(estimate.expected_score[0], np.nanmean(records.scores[near], axis=0))
    np.testing.assert_allclose(estimate.expected_cost[0], np.nanmean(records.costs[near], axis=0))
    assert estimate.observations[0].tolist() == np.isfinite(records.scores[near]).sum(axis=0).tolist()


def test_equal_prices_are_equal_whatever_they_were_summed_from():
    """A flat price seen three times and ten times differs in its last bit; that is no difference."""
    n = 40
    costs = np.full((n, 2), 0.1)
    costs[3:, 0] = np.nan
    scores = np.where(np.isnan(costs), np.nan, 1.0)
    records = Records.from_arrays([f"q{i}" for i in range(n)], ["few", "many"], scores, costs)
    _, vectors = synthetic(n=n)
    fitted = ClusterMethod("flat", ClusterParams(clusters=1, top_clusters=1)).fit(records, vectors, 0)
    np.testing.assert_array_equal(fitted.balance(0.0), [[1.0, 1.0]])


def test_avengers_ranks_by_score_alone():
    records, vectors = synthetic()
    fitted = ClusterMethod("avengers", ClusterParams(clusters=1, top_clusters=1, rank_offset=0.1, cost_norm=None)).fit(
        records, vectors, 0
    )
    estimate = fitted.estimate(Queries(vectors[:1]))
    order = np.argsort(-fitted.profile.mean_score[0], kind="stable")
    expected = np.empty(4)
    expected[order] = 1 / (np.arange(4) + 0.1)
    np.testing.assert_allclose(estimate.utility(0.0)[0], expected)
    np.testing.assert_allclose(estimate.utility(1.0)[0], expected)


@pytest.mark.parametrize("k", [1, 3, 500])
def test_any_number_of_clusters_fits_any_number_of_rows(k):
    """More clusters than distinct rows is capped, and no cluster is empty."""
    records, vectors = synthetic(n=30)
    twice = Records.from_arrays(
        [*records.queries, *(query + "!" for query in records.queries)],
        records.models,
        np.vstack([records.scores] * 2),
        np.vstack([records.costs] * 2),
    )
    fitted = ClusterMethod("k", ClusterParams(clusters=k)).fit(twice, np.vstack([vectors] * 2), 0)
    assert 0.8 * min(k, 30) <= len(fitted.centers) <= min(k, 30)
    assert (fitted.profile.sizes > 0).all()
    assert PAPER.clusters == 60
