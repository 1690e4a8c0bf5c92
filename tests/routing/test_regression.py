"""Ridge and logistic regression against slow, plain references."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from avengers_pro.errors import DamagedArtifactError, MethodError
from avengers_pro.records import Records
from avengers_pro.routing import regression
from avengers_pro.routing.baselines import best_single
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.regression import (
    COST_FLOOR,
    PENALTIES,
    Design,
    Designs,
    Logistic,
    Ridge,
    fit_logistic,
    fit_ridge,
    observed_together,
    sigmoid,
    smoothed,
)
from simulated import synthetic

METHODS = (Ridge(), Logistic())
ALPHAS = (0.0, 0.3, 0.7, 1.0)


def plain_ridge(x, y, penalty):
    """Least squares on the augmented system; the last entry is the bias."""
    n, d = x.shape
    rows = np.vstack([np.hstack([x, np.ones((n, 1))]), np.hstack([np.sqrt(penalty) * np.eye(d), np.zeros((d, 1))])])
    return np.linalg.lstsq(rows, np.concatenate([y, np.zeros(d)]), rcond=None)[0]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 30),
    d=st.integers(1, 40),
    penalty=st.sampled_from([0.01, 0.5, 3.0, 1e4]),
)
def test_ridge_is_least_squares_on_the_augmented_system(seed, n, d, penalty):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), rng.random((n, 3))
    weights, bias = Design.of(x).ridge(y, penalty)
    for column in range(3):
        expected = plain_ridge(x, y[:, column], penalty)
        np.testing.assert_allclose(weights[:, column], expected[:-1], atol=1e-7)
        np.testing.assert_allclose(bias[column], expected[-1], atol=1e-7)


@pytest.mark.parametrize(("n", "d"), [(25, 4), (12, 30), (3, 3)])
def test_leave_one_out_error_is_that_of_explicit_refits(n, d):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, d)), rng.random((n, 2))
    penalties = np.array([0.1, 2.0, 50.0])
    expected = []
    for penalty in penalties:
        error = 0.0
        for row in range(n):
            rest = np.arange(n) != row
            for column in range(2):
                found = plain_ridge(x[rest], y[rest, column], penalty)
                error += (y[row, column] - x[row] @ found[:-1] - found[-1]) ** 2
        expected.append(error)
    np.testing.assert_allclose(Design.of(x).leave_one_out_error(y, penalties), expected)


def test_one_row_predicts_its_own_scores():
    records, vectors = synthetic(n=1)
    for method in METHODS:
        estimate = method.fit(records, vectors, 0).estimate(Queries(vectors))
        wanted = records.scores if method.name == "ridge" else (records.scores + 1) / 3
        np.testing.assert_allclose(estimate.expected_score, wanted)
        np.testing.assert_allclose(estimate.expected_cost, records.costs)


def test_the_penalty_is_the_best_over_all_models_each_on_its_own_rows():
    records, vectors = synthetic(n=60, missing=0.3)
    designs = Designs(vectors)
    errors = np.zeros(len(PENALTIES))
    for column in records.scores.T:
        seen = np.isfinite(column)
        errors += Design.of(vectors[seen]).leave_one_out_error(column[seen, None], PENALTIES)
    assert designs.best_penalty(records.scores) == PENALTIES[errors.argmin()]


def test_models_observed_on_the_same_rows_share_one_design():
    values = np.array([[1.0, np.nan, 1.0, np.nan], [1.0, 1.0, 1.0, np.nan]])
    groups = {tuple(columns): rows.tolist() for rows, columns in observed_together(values)}
    assert groups == {(0, 2): [True, True], (1,): [False, True]}
    designs = Designs(np.eye(2, dtype=np.float32))
    assert designs.of(np.array([True, False])) is designs.of(np.array([True, False]))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), penalty=st.floats(0.01, 100.0), wide=st.booleans())
def test_the_logistic_gradient_is_zero_at_the_solution(seed, penalty, wide):
    """Also on wide tables, where rows without penalty could be separated; scores may be fractions."""
    rng = np.random.default_rng(seed)
    n, d = (15, 30) if wide else (80, 5)
    x, y = rng.normal(size=(n, d)), rng.random(n).round(seed % 2)
    targets = smoothed(y)
    weights, bias = Design.of(x).logistic(targets, penalty)
    error = sigmoid(x @ weights + bias) - targets
    np.testing.assert_allclose(x.T @ error + penalty * weights, 0, atol=1e-5)
    assert error.sum() == pytest.approx(0, abs=1e-5)


def test_newton_steps_that_overshoot_are_halved(monkeypatch):
    """One outlier that is the only success: the first full step raises the objective."""
    x, targets = np.append(np.linspace(-1, 1, 40), 5.0)[:, None], np.append(np.zeros(40), 1.0)
    losses = []
    plain = regression._log_loss
    monkeypatch.setattr(regression, "_log_loss", lambda *given: losses.append(plain(*given)) or losses[-1])
    weights, bias = Design.of(x).logistic(targets, 1e-3)
    assert losses[1] > losses[0] > losses[2]
    error = sigmoid(x @ weights + bias) - targets
    np.testing.assert_allclose(x.T @ error + 1e-3 * weights, 0, atol=1e-6)


def test_newton_stops_after_its_steps(monkeypatch):
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(50, 3)), rng.random(50)
    done, _ = Design.of(x).logistic(targets, 1.0)
    monkeypatch.setattr(regression, "NEWTON_STEPS", 1)
    once, _ = Design.of(x).logistic(targets, 1.0)
    assert 0 < np.abs(once - done).max() < 0.1


def test_logistic_turns_the_ridge_penalty_into_one_on_log_odds():
    records, vectors = synthetic(n=90, missing=0.2)
    fitted = fit_logistic(Designs(vectors), records.scores, 2.0)
    for column in range(4):
        seen = np.isfinite(records.scores[:, column])
        targets = smoothed(records.scores[seen, column])
        penalty = 2.0 * targets.mean() * (1 - targets.mean())
        error = sigmoid(vectors[seen] @ fitted.weights[column] + fitted.bias[column]) - targets
        np.testing.assert_allclose(vectors[seen].T @ error + penalty * fitted.weights[column], 0, atol=1e-5)


def test_a_model_that_never_fails_has_finite_odds():
    records, vectors = synthetic()
    scores = records.scores.copy()
    scores[:, 0], scores[:, 1] = 1.0, 0.0
    perfect = Records.from_arrays(records.queries, records.models, scores, records.costs)
    expected = Logistic().fit(perfect, vectors, 0).estimate(Queries(vectors)).expected_score
    np.testing.assert_allclose(expected[:, 0], 121 / 122)
    np.testing.assert_allclose(expected[:, 1], 1 / 122)


def test_ridge_predicts_clipped_scores_from_observed_rows_alone():
    records, vectors = synthetic(missing=0.3)
    estimate = Ridge(0.05).fit(records, vectors, 0).estimate(Queries(vectors * 2))
    for column in range(4):
        seen = np.isfinite(records.scores[:, column])
        found = plain_ridge(vectors[seen].astype(float), records.scores[seen, column], 0.05)
        expected = (vectors * 2).astype(float) @ found[:-1] + found[-1]
        np.testing.assert_allclose(estimate.expected_score[:, column], expected.clip(0, 1), atol=1e-7)
        assert (estimate.observations[:, column] == seen.sum()).all()
    assert 0 in estimate.expected_score
    assert 1 in estimate.expected_score


def test_costs_are_smeared_back_from_logarithms():
    records, vectors = synthetic(missing=0.3)
    estimate = Ridge(2.0).fit(records, vectors, 0).estimate(Queries(vectors))
    for column in range(4):
        known = np.isfinite(records.costs[:, column])
        x, logs = vectors[known].astype(float), np.log(records.costs[known, column])
        found = plain_ridge(x, logs, 2.0)
        smear = np.mean(np.exp(logs - x @ found[:-1] - found[-1]))
        expected = np.exp(vectors.astype(float) @ found[:-1] + found[-1]) * smear
        np.testing.assert_allclose(estimate.expected_cost[:, column], expected)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_free_and_unpriced_models(method):
    """A model whose costs are all 0 stays free; one without costs stays unpriced; single zeros count as the floor."""
    records, vectors = synthetic()
    costs = records.costs.copy()
    costs[:, 0], costs[:, 1] = 0.0, np.nan
    costs[:5, 2] = 0.0
    raised = costs.copy()
    raised[:5, 2] = COST_FLOOR * costs[5:, 2].mean()
    one, two = (
        method.fit(Records.from_arrays(records.queries, records.models, records.scores, table), vectors, 0)
        for table in (costs, raised)
    )
    expected = one.estimate(Queries(vectors)).expected_cost
    assert (expected[:, 0] == 0).all()
    assert np.isnan(expected[:, 1]).all()
    assert (expected[:, 2:] > 0).all()
    np.testing.assert_allclose(expected[:, 3], two.estimate(Queries(vectors)).expected_cost[:, 3], rtol=0.2)
    assert all(not np.isinf(values).any() for values in one.arrays().values())
    fixed = [
        fit_ridge(Designs(vectors), np.log(np.maximum(table[:, 2:3], raised[0, 2])), 1.0) for table in (costs, raised)
    ]
    np.testing.assert_array_equal(fixed[0].weights, fixed[1].weights)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_model_never_observed_is_never_chosen(method):
    records, vectors = synthetic()
    scores = records.scores.copy()
    scores[:, 2] = np.nan
    partial = Records.from_arrays(records.queries, records.models, scores, records.costs)
    estimate = method.fit(partial, vectors, 0).estimate(Queries(vectors))
    assert np.isnan(estimate.expected_score[:, 2]).all()
    assert (estimate.observations[:, 2] == 0).all()
    assert (estimate.utility(0.5)[:, 2] == -np.inf).all()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_missing_cells_say_nothing_of_other_models(method):
    records, vectors = synthetic(n=200)
    scores, costs = records.scores.copy(), records.costs.copy()
    scores[50:, 1] = costs[50:, 1] = np.nan
    gaps = Records.from_arrays(records.queries, records.models, scores, costs)
    fixed = type(method)(penalty=1.0)
    whole, partial = (fixed.fit(table, vectors, 0).estimate(Queries(vectors)) for table in (records, gaps))
    few = fixed.fit(gaps.take(range(50)), vectors[:50], 0).estimate(Queries(vectors))
    kept = [0, 2, 3]
    np.testing.assert_allclose(partial.expected_score[:, kept], whole.expected_score[:, kept], atol=1e-8)
    np.testing.assert_allclose(partial.expected_score[:, 1], few.expected_score[:, 1], atol=1e-8)
    np.testing.assert_allclose(partial.expected_cost[:, 1], few.expected_cost[:, 1])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 500), order=st.permutations(range(4)), missing=st.sampled_from([0.0, 0.3]))
def test_permuting_models_permutes_predictions(method, seed, order, missing):
    records, vectors = synthetic(seed=seed, missing=missing)
    names = [records.models[column] for column in order]
    permuted = Records.from_arrays(records.queries, names, records.scores[:, order], records.costs[:, order])
    one, two = (method.fit(table, vectors, 0).estimate(Queries(vectors)) for table in (records, permuted))
    np.testing.assert_allclose(one.expected_score[:, order], two.expected_score, atol=1e-9)
    np.testing.assert_allclose(one.expected_cost[:, order], two.expected_cost)
    np.testing.assert_allclose(one.utility(0.4)[:, order], two.utility(0.4), atol=1e-7)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 500), factor=st.floats(1e-3, 1e3), alpha=st.floats(0, 1))
def test_scaling_all_costs_changes_no_choice(method, seed, factor, alpha):
    records, vectors = synthetic(seed=seed)
    scaled = Records.from_arrays(records.queries, records.models, records.scores, records.costs * factor)
    one, two = (method.fit(table, vectors, 0).estimate(Queries(vectors)) for table in (records, scaled))
    np.testing.assert_allclose(two.expected_cost, one.expected_cost * factor)
    np.testing.assert_array_equal(one.utility(alpha).argmax(axis=1), two.utility(alpha).argmax(axis=1))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_alpha_runs_from_cheapest_to_best(method):
    records, vectors = synthetic(n=300)
    estimate = method.fit(records, vectors, 0).estimate(Queries(vectors))
    np.testing.assert_array_equal(estimate.utility(0.0).argmax(axis=1), estimate.expected_cost.argmin(axis=1))
    np.testing.assert_array_equal(estimate.utility(1.0).argmax(axis=1), estimate.expected_score.argmax(axis=1))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
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


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_damaged_arrays_are_errors(method):
    records, vectors = synthetic()
    arrays = method.fit(records, vectors, 0).arrays()
    for name in arrays:
        with pytest.raises(DamagedArtifactError):
            method.restore(records.models, {key: values for key, values in arrays.items() if key != name})
        with pytest.raises(DamagedArtifactError):
            method.restore(records.models, {**arrays, name: arrays[name][..., :2]})
    for name, value in (("score_weights", np.nan), ("cost_weights", np.inf), ("cost_smear", -1.0)):
        with pytest.raises(DamagedArtifactError, match="not finite, or a cost is negative"):
            method.restore(records.models, {**arrays, name: arrays[name] * 0 + value})


@pytest.mark.parametrize("penalty", [0.0, -1.0, np.inf, np.nan])
@pytest.mark.parametrize("method", [Ridge, Logistic])
def test_a_penalty_without_meaning_is_refused(method, penalty):
    with pytest.raises(MethodError, match="must be positive"):
        method(penalty=penalty)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
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
