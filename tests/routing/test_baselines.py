"""The baselines against slow, plain references."""

import numpy as np
import pytest

from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records import Records
from avengers_pro.routing import build_method
from avengers_pro.routing.baselines import best_single
from avengers_pro.routing.queries import Queries
from simulated import synthetic


def test_knn_averages_the_nearest_rows():
    records, vectors = synthetic(missing=0.3)
    estimate = build_method("knn", {"neighbours": 7}).fit(records, vectors, 0).estimate(Queries(vectors[:6]))
    for row in range(6):
        near = np.argsort(-(vectors @ vectors[row]), kind="stable")[:7]
        seen = np.isfinite(records.scores[near]).sum(axis=0)
        assert estimate.observations[row].tolist() == seen.tolist()
        for column in range(4):
            known = [records.scores[i, column] for i in near if np.isfinite(records.scores[i, column])]
            if known:
                assert estimate.expected_score[row, column] == pytest.approx(np.mean(known))
            else:
                assert np.isnan(estimate.expected_score[row, column])
                assert estimate.utility(1.0)[row, column] == -np.inf


def test_best_single_is_the_best_mean_and_of_equals_the_cheapest():
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    costs = np.array([[2.0, 1.0, 0.1], [2.0, 1.0, 0.1]])
    records = Records.from_arrays(["a", "b"], ["x", "y", "z"], scores, costs)
    assert records.models[best_single(records, ())] == "z"
    assert records.models[best_single(records, ("x", "y"))] == "y"


def test_oracle_takes_the_cheapest_of_the_best():
    records, vectors = synthetic()
    estimate = (
        build_method("oracle").fit(records, vectors, 0).estimate(Queries(vectors, None, records.scores, records.costs))
    )
    chosen = estimate.utility(0.5).argmax(axis=1)
    for row, column in enumerate(chosen):
        best = [m for m in range(4) if records.scores[row, m] == records.scores[row].max()]
        assert column == min(best, key=lambda m: records.costs[row, m])


def test_dataset_label_knows_each_dataset_and_falls_back_to_the_whole():
    records, vectors = synthetic()
    fitted = build_method("dataset-label").fit(records, vectors, 0)
    estimate = fitted.estimate(Queries(vectors[:2], np.array([records.datasets[0], "never seen"])))
    mine = np.array(records.datasets) == records.datasets[0]
    np.testing.assert_allclose(estimate.expected_score[0], records.scores[mine].mean(axis=0))
    np.testing.assert_allclose(estimate.expected_score[1], records.scores.mean(axis=0))
    np.testing.assert_allclose(estimate.expected_cost[1], records.costs.mean(axis=0))


def test_random_spreads_over_the_models_and_repeats_itself():
    records, vectors = synthetic(n=2000)
    method = build_method("random")
    chosen = method.fit(records, vectors, 1).estimate(Queries(vectors)).utility(0.5).argmax(axis=1)
    again = method.fit(records, vectors, 1).estimate(Queries(vectors[::-1])).utility(0.5).argmax(axis=1)
    np.testing.assert_array_equal(chosen, again[::-1])
    assert np.bincount(chosen, minlength=4).min() > 400


@pytest.mark.parametrize("name", ["dataset-label", "oracle"])
def test_references_say_that_they_cannot_serve(name):
    records, vectors = synthetic()
    method = build_method(name)
    fitted = method.fit(records, vectors, 0)
    with pytest.raises(MethodError, match="for evaluations"):
        fitted.estimate(Queries(vectors))
    with pytest.raises(MethodError, match="for evaluations"):
        method.restore(records.models, fitted.arrays())


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("avengers-pro-papr", {}, "did you mean 'avengers-pro-paper'"),
        ("zzz", {}, "known: avengers-pro,"),
        ("knn", {"clusters": 3}, "its parameters: neighbours"),
    ],
)
def test_unknown_names_are_errors_with_advice(name, params, message):
    with pytest.raises(MethodError, match=message):
        build_method(name, params)


def test_methods_that_cannot_be_fitted_say_why():
    records, vectors = synthetic()
    with pytest.raises(MethodError, match="at least 1 neighbour"):
        build_method("knn", {"neighbours": 0})
    with pytest.raises(MethodError, match="no model is named 'nobody'"):
        build_method("single:nobody").fit(records, vectors, 0)


@pytest.mark.parametrize("name", ["avengers-pro-paper", "knn", "best-single"])
def test_restoring_from_missing_arrays_is_an_error(name):
    records, vectors = synthetic()
    method = build_method(name)
    arrays = method.fit(records, vectors, 0).arrays()
    arrays.pop("scores" if name == "knn" else "score_sums")
    with pytest.raises(DamagedArtifactError):
        method.restore(records.models, arrays)


def test_without_any_cost_alpha_one_still_works():
    records, vectors = synthetic()
    free = Records.from_arrays(records.queries, records.models, records.scores)
    for name in ("avengers-pro-paper", "knn"):
        estimate = build_method(name).fit(free, vectors, 0).estimate(Queries(vectors))
        assert np.isfinite(estimate.utility(1.0)).all()
        assert np.isnan(estimate.expected_cost).all()
