"""CARROT and UniRoute against slow, plain references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records import Records
from avengers_pro.routing.baselines import best_single
from avengers_pro.routing.carrot import TUNING_ROWS, Carrot, explained, means_of, others
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.uniroute import SHARPNESS, UniRoute, left_out_error, memberships
from simulated import synthetic

METHODS = (Carrot(), UniRoute(clusters=6))
ALPHAS = (0.0, 0.3, 0.7, 1.0)


def by_name(method):
    return method.name


def mean_known(values):
    known = values[np.isfinite(values)]
    return known.mean() if known.size else np.nan


def test_carrot_averages_neighbours_and_trades_off_as_said():
    records, vectors = synthetic(missing=0.6)
    fitted = Carrot(choices=(3,)).fit(records, vectors, 0)
    estimate = fitted.estimate(Queries(vectors[:20]))
    overall = [[mean_known(column) for column in table.T] for table in (records.scores, records.costs)]
    ranges = [np.ptp(means) for means in overall]
    fell_back = 0
    for row in range(20):
        near = np.argsort(-(vectors @ vectors[row]), kind="stable")[:3]
        for column in range(4):
            score, cost = mean_known(records.scores[near, column]), mean_known(records.costs[near, column])
            fell_back += np.isnan(score)
            score = overall[0][column] if np.isnan(score) else score
            cost = overall[1][column] if np.isnan(cost) else cost
            assert estimate.expected_score[row, column] == pytest.approx(score)
            assert estimate.expected_cost[row, column] == pytest.approx(cost)
            assert estimate.observations[row, column] == np.isfinite(records.scores[near, column]).sum()
            for alpha in ALPHAS:
                mu = 1 - alpha
                value = (1 - mu) * score / ranges[0] - mu * cost / ranges[1]
                assert estimate.utility(alpha)[row, column] == pytest.approx(value)
    assert fell_back


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_carrot_chooses_neighbours_by_leaving_each_row_out(missing):
    records, vectors = synthetic(n=90, missing=missing)
    choices = (2, 5, 20, 80)
    fitted = Carrot(choices=choices).fit(records, vectors, 0)
    for values, chosen in ((records.scores, fitted.score_neighbours), (records.costs, fitted.cost_neighbours)):
        overall = np.array([mean_known(column) for column in values.T])
        quality = []
        for k in choices:
            predicted = np.empty(values.shape)
            for row in range(90):
                similarity = vectors @ vectors[row]
                similarity[row] = -np.inf
                near = np.argsort(-similarity, kind="stable")[:k]
                means = np.array([mean_known(values[near, column]) for column in range(4)])
                predicted[row] = np.where(np.isnan(means), overall, means)
            r2 = []
            for column in range(4):
                seen = np.isfinite(values[:, column])
                mine, found = values[seen, column], predicted[seen, column]
                r2.append(1 - ((mine - found) ** 2).sum() / ((mine - mine.mean()) ** 2).sum())
            quality.append(np.mean(r2))
            assert explained(values, predicted) == pytest.approx(quality[-1])
        assert chosen == choices[int(np.argmax(quality))]


def test_a_row_is_left_out_even_among_many_identical_ones():
    vectors = np.repeat(np.eye(2, 4, dtype=np.float32), 6, axis=0)
    rows = np.arange(12)
    near = others(vectors, rows, 3)
    assert near.shape == (12, 3)
    assert not (near == rows[:, None]).any()
    assert (near // 6 == rows[:, None] // 6).all()


def test_means_for_several_numbers_of_neighbours_agree_with_each_alone():
    records, vectors = synthetic(missing=0.3)
    near = others(vectors, np.arange(120), 50)
    together = means_of(records.scores, near, [2, 10, 50])
    for k, (means, counts) in zip([2, 10, 50], together, strict=True):
        ((alone, alone_counts),) = means_of(records.scores, near, [k])
        np.testing.assert_array_equal(means, alone)
        np.testing.assert_array_equal(counts, alone_counts)


def test_scores_that_do_not_vary_explain_nothing():
    assert explained(np.ones((5, 2)), np.zeros((5, 2))) == 0.0


def test_a_large_table_is_tuned_on_a_seeded_sample():
    records, vectors = synthetic(n=TUNING_ROWS + 100)
    method = Carrot(choices=(2, 64))
    one, two = (method.fit(records, vectors, 5) for _ in range(2))
    assert one.score_neighbours == two.score_neighbours == 64


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_a_handful_of_rows_is_enough(method, n):
    records, vectors = synthetic(n=n)
    estimate = method.fit(records, vectors, 0).estimate(Queries(vectors))
    assert np.isfinite(estimate.utility(0.5)).all()


def test_no_rows_are_an_error():
    records, vectors = synthetic()
    for method in METHODS:
        with pytest.raises(MethodError):
            method.fit(records.take([]), vectors[:0], 0)


@pytest.mark.parametrize("missing", [0.0, 0.7])
def test_uniroute_mixes_error_vectors(missing):
    records, vectors = synthetic(missing=missing)
    fitted = UniRoute(clusters=12).fit(records, vectors, 0)
    estimate = fitted.estimate(Queries(vectors[:15]))
    labels = fitted.centers.assign(vectors)
    for row in range(15):
        similarity = fitted.centers.centroids.astype(float) @ vectors[row]
        phi = np.exp(fitted.sharpness * similarity)
        phi /= phi.sum()
        nearest = np.argsort(-phi)[:4]
        assert estimate.clusters[row].tolist() == nearest.tolist()
        np.testing.assert_allclose(estimate.closeness[row], phi[nearest], rtol=1e-4)
        for column in range(4):
            error, cost, seen = 0.0, 0.0, 0.0
            for cluster in range(len(phi)):
                scores, costs = records.scores[labels == cluster, column], records.costs[labels == cluster, column]
                whole = np.isnan(mean_known(scores))
                error += phi[cluster] * (1 - mean_known(records.scores[:, column] if whole else scores))
                cost += phi[cluster] * mean_known(records.costs[:, column] if whole else costs)
                seen += phi[cluster] * np.isfinite(scores).sum()
            assert estimate.expected_score[row, column] == pytest.approx(1 - error, rel=1e-4)
            assert estimate.expected_cost[row, column] == pytest.approx(cost, rel=1e-4)
            assert estimate.observations[row, column] == pytest.approx(seen, rel=1e-4)


@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_left_out_error_is_that_of_explicit_refits(missing):
    records, vectors = synthetic(n=50, missing=missing)
    fitted = UniRoute(clusters=9).fit(records, vectors, 0)
    labels = fitted.centers.assign(vectors)
    overall = np.array([mean_known(column) for column in records.scores.T])
    errors = []
    for sharpness in SHARPNESS:
        shares = memberships(fitted.centers, vectors, sharpness)
        error = 0.0
        for row in range(50):
            rest = records.scores.copy()
            rest[row] = np.nan
            means = Profile.of(rest, rest, labels, len(fitted.centers)).mean_score
            predicted = shares[row] @ np.where(np.isnan(means), overall, means)
            error += np.nansum((records.scores[row] - predicted) ** 2)
        errors.append(error)
        found = left_out_error(records.scores, labels, fitted.cluster_profile, shares)
        assert found == pytest.approx(error)
    assert fitted.sharpness == SHARPNESS[int(np.argmin(errors))]


def test_memberships_sharpen_to_the_nearest_cluster():
    records, vectors = synthetic()
    centers = UniRoute(clusters=5).fit(records, vectors, 0).centers
    assert memberships(centers, vectors, 1e-9) == pytest.approx(np.full((120, 5), 0.2))
    sharp = memberships(centers, vectors, 1e6)
    np.testing.assert_array_equal(sharp.argmax(axis=1), centers.assign(vectors))
    np.testing.assert_allclose(sharp.sum(axis=1), 1)


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_models_never_observed_or_never_priced(method):
    records, vectors = synthetic()
    scores, costs = records.scores.copy(), records.costs.copy()
    scores[:, 2] = costs[:, 1] = np.nan
    partial = Records.from_arrays(records.queries, records.models, scores, costs)
    estimate = method.fit(partial, vectors, 0).estimate(Queries(vectors))
    assert np.isnan(estimate.expected_score[:, 2]).all()
    assert (estimate.utility(0.5)[:, 2] == -np.inf).all()
    assert np.isnan(estimate.expected_cost[:, 1]).all()
    assert np.isfinite(estimate.expected_score[:, [0, 1, 3]]).all()
    assert np.isfinite(estimate.expected_cost[:, [0, 2, 3]]).all()


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_gaps_are_no_zeros(method):
    records, vectors = synthetic(n=200, missing=0.4, seed=5)
    score = method.fit(records, vectors, 0).estimate(Queries(vectors)).expected_score
    assert score.mean() == pytest.approx(np.nanmean(records.scores), abs=0.05)


@pytest.mark.parametrize("method", METHODS, ids=by_name)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 500), order=st.permutations(range(4)), missing=st.sampled_from([0.0, 0.3]))
def test_permuting_models_permutes_predictions(method, seed, order, missing):
    records, vectors = synthetic(seed=seed, missing=missing)
    names = [records.models[column] for column in order]
    permuted = Records.from_arrays(records.queries, names, records.scores[:, order], records.costs[:, order])
    one, two = (method.fit(table, vectors, 0).estimate(Queries(vectors)) for table in (records, permuted))
    np.testing.assert_allclose(one.expected_score[:, order], two.expected_score, atol=1e-9)
    np.testing.assert_allclose(one.expected_cost[:, order], two.expected_cost)
    np.testing.assert_allclose(one.utility(0.4)[:, order], two.utility(0.4), atol=1e-9)


@pytest.mark.parametrize("method", METHODS, ids=by_name)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 500), factor=st.floats(1e-3, 1e3), alpha=st.floats(0, 1))
def test_scaling_all_costs_changes_no_choice(method, seed, factor, alpha):
    records, vectors = synthetic(seed=seed)
    scaled = Records.from_arrays(records.queries, records.models, records.scores, records.costs * factor)
    one, two = (method.fit(table, vectors, 0).estimate(Queries(vectors)) for table in (records, scaled))
    np.testing.assert_array_equal(one.utility(alpha).argmax(axis=1), two.utility(alpha).argmax(axis=1))


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_alpha_runs_from_cheapest_to_best(method):
    records, vectors = synthetic(n=300)
    estimate = method.fit(records, vectors, 0).estimate(Queries(vectors))
    np.testing.assert_array_equal(estimate.utility(0.0).argmax(axis=1), estimate.expected_cost.argmin(axis=1))
    np.testing.assert_array_equal(estimate.utility(1.0).argmax(axis=1), estimate.expected_score.argmax(axis=1))


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_restored_it_estimates_the_same(method):
    records, vectors = synthetic(missing=0.2)
    fitted = method.fit(records, vectors, 0)
    stored = load(save({name: np.ascontiguousarray(values) for name, values in fitted.arrays().items()}))
    restored = type(method)(**method.params()).restore(fitted.models, stored)
    one, two = (each.estimate(Queries(vectors)) for each in (fitted, restored))
    for alpha in ALPHAS:
        np.testing.assert_array_equal(one.utility(alpha), two.utility(alpha))
    for name in ("expected_score", "expected_cost", "observations"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_damaged_arrays_are_errors(method):
    records, vectors = synthetic()
    arrays = method.fit(records, vectors, 0).arrays()
    for name in arrays:
        with pytest.raises(DamagedArtifactError):
            method.restore(records.models, {key: values for key, values in arrays.items() if key != name})
        with pytest.raises(DamagedArtifactError):
            method.restore(records.models, {**arrays, name: arrays[name][:0]})
        if name in {"centroids", "sharpness", "neighbours"}:
            for value in (np.nan, -1.0, np.inf) if name != "centroids" else (np.nan,):
                with pytest.raises(DamagedArtifactError):
                    method.restore(records.models, {**arrays, name: arrays[name] * 0 + value})


def test_numbers_without_meaning_are_refused():
    with pytest.raises(MethodError, match="clusters must be at least 1, got 0"):
        UniRoute(clusters=0)
    for choices in ((), (0, 5)):
        with pytest.raises(MethodError, match="at least 1, got"):
            Carrot(choices=choices)
    assert Carrot(choices=[8, 2, 8]).params() == {"choices": [2, 8]}


@pytest.mark.parametrize("method", METHODS, ids=by_name)
def test_it_beats_the_best_single_model_on_rows_held_out(method):
    gains = []
    for seed in range(5):
        records, vectors = synthetic(n=400, seed=seed)
        train = records.take(range(280))
        estimate = method.fit(train, vectors[:280], 0).estimate(Queries(vectors[280:]))
        held = records.scores[280:]
        chosen = held[np.arange(120), estimate.utility(1.0).argmax(axis=1)]
        gains.append(chosen.mean() - held[:, best_single(train, ())].mean())
    assert np.mean(gains) > 0.02
