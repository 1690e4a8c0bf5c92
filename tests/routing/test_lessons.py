"""The sums that single scores leave, against a slow plain reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.errors import DamagedArtifactError
from avengers_pro.routing.calibration import Outcomes
from avengers_pro.routing.lessons import USUAL_RESEMBLANCE, Ease, Lessons, posterior, resemblance


def lessons(rng, n, k=3, m=4, q=2):
    """Return n random scores of single answers, as ``Lessons.of`` takes them."""
    clusters = np.stack([rng.permutation(k)[:q] for _ in range(n)])
    shares = rng.dirichlet(np.ones(q), n)
    return clusters, shares, rng.integers(0, m, n), rng.normal(size=n)


def conditioned(counts, sums, spread, resemblance):
    """Return the mean of a normal vector given scores of its entries, each with a noise of variance 1; dense algebra.

    The n scores of one entry tell as much as their mean with a noise of variance 1 / n.
    """
    m = len(counts)
    prior = np.outer(spread, spread) * np.where(np.eye(m, dtype=bool), 1.0, resemblance)
    seen = np.flatnonzero(counts)
    gram = prior[np.ix_(seen, seen)] + np.diag(1 / counts[seen])
    return prior[:, seen] @ np.linalg.solve(gram, sums[seen] / counts[seen])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 40), rho=st.floats(0, 0.9))
def test_the_posterior_is_the_conditional_mean_of_a_normal_model(seed, n, rho):
    rng = np.random.default_rng(seed)
    found = Lessons.of(*lessons(rng, n), (3, 4))
    strength = rng.uniform(1, 50, (3, 4))
    moved = posterior(found.counts, found.sums, strength, rho)
    for cluster in range(3):
        if found.counts[cluster].any():
            wanted = conditioned(found.counts[cluster], found.sums[cluster], 1 / np.sqrt(strength[cluster]), rho)
            np.testing.assert_allclose(moved[cluster], wanted, rtol=1e-6, atol=1e-9)
        else:
            np.testing.assert_array_equal(moved[cluster], 0.0)


def test_sums_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    clusters, shares, columns, residuals = lessons(rng, 50)
    found = Lessons.of(clusters, shares, columns, residuals, (3, 4))
    counts, sums = np.zeros((2, 3, 4))
    for row in range(50):
        for place in range(2):
            counts[clusters[row, place], columns[row]] += shares[row, place]
            sums[clusters[row, place], columns[row]] += shares[row, place] * residuals[row]
    np.testing.assert_allclose(found.counts, counts)
    np.testing.assert_allclose(found.sums, sums)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 30))
def test_order_and_portions_make_no_difference(seed, cut):
    rng = np.random.default_rng(seed)
    parts = lessons(rng, 30)
    whole = Lessons.of(*parts, (3, 4))
    order = rng.permutation(30)
    first, second = (Lessons.of(*(part[rows] for part in parts), (3, 4)) for rows in (order[:cut], order[cut:]))
    np.testing.assert_allclose((first + second).sums, whole.sums, atol=1e-12)
    np.testing.assert_allclose((first + second).counts, whole.counts, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), kindness=st.floats(-1, 1))
def test_a_kinder_scale_changes_nothing(seed, kindness):
    rng = np.random.default_rng(seed)
    clusters, shares, columns, residuals = lessons(rng, 30)
    before, after = (Lessons.of(clusters, shares, columns, residuals + by, (3, 4)) for by in (0.0, kindness))
    assert after.offset == pytest.approx(before.offset + kindness)
    np.testing.assert_allclose(after.centered, before.centered, atol=1e-9)


def test_a_shared_surprise_moves_all_and_a_lone_one_moves_its_model_most():
    counts, sums = np.zeros((2, 2, 3))
    counts[0], sums[0] = 20.0, -10.0  # all disappoint in the first cluster
    counts[1, 0], counts[1, 1:], sums[1, 0], sums[1, 1:] = 20.0, 20.0, 0.0, 15.0
    moved = posterior(counts, sums, np.full((2, 3), 20.0), 0.5)
    assert np.ptp(moved[0]) == pytest.approx(0.0, abs=1e-12)
    assert moved[0, 0] < 0
    assert moved[1, 0] < moved[1, 1] == pytest.approx(moved[1, 2])


def test_age_takes_weight_from_all_that_is_known():
    young = Lessons(np.full((1, 2), 8.0), np.array([[4.0, -4.0]]))
    aged = young.aged(0.25)
    assert (aged.counts == 2.0).all()
    assert aged.trust == 0.25
    both = aged + Lessons(np.ones((1, 2)), np.zeros((1, 2)))
    assert both.trust == 0.25
    assert (young.weighing(0.5).trust, young.weighing(0.5).counts[0, 0]) == (1.0, 4.0)


def test_higher_expectations_leave_less_of_a_surprise():
    found = Lessons(np.array([[4.0, 0.0]]), np.array([[2.0, 0.0]])).shifted(np.array([[0.25, np.nan]]))
    np.testing.assert_allclose(found.sums, [[1.0, 0.0]])


def test_resemblance_is_the_correlation_of_errors_within_queries():
    rng = np.random.default_rng(0)
    ease = rng.normal(size=(4000, 1)) * np.sqrt(0.6)
    errors = ease + rng.normal(size=(4000, 5)) * np.sqrt(0.4)
    nothing, ones = np.zeros_like(errors), np.ones(len(errors))
    outcomes = Outcomes(nothing, nothing, errors, nothing, ones)
    assert resemblance(outcomes) == pytest.approx(0.6, abs=0.03)
    gaps = np.where(rng.random(errors.shape) < 0.5, np.nan, errors)
    assert resemblance(Outcomes(nothing, nothing, gaps, nothing, ones)) == pytest.approx(0.6, abs=0.05)
    alone = np.where(np.arange(5) == 2, errors, np.nan)
    assert resemblance(Outcomes(nothing, nothing, alone, nothing, ones)) == USUAL_RESEMBLANCE
    independent = rng.normal(size=errors.shape)
    assert resemblance(Outcomes(nothing, nothing, independent, nothing, ones)) < 0.03


def test_ease_says_how_much_more_queries_differ_than_expected():
    """What all models share is shrunk to half; the adjustment restores it and leaves the differences alone."""
    rng = np.random.default_rng(0)
    ease, merit = rng.normal(scale=0.2, size=(3000, 1)), rng.normal(scale=0.1, size=(3000, 4))
    expected = 0.5 + 0.5 * ease + merit - merit.mean(axis=1, keepdims=True)
    scores = 0.5 + ease + merit + rng.normal(scale=0.1, size=merit.shape)
    nothing, ones = np.zeros_like(scores), np.ones(len(scores))
    found = Ease.of(Outcomes(expected, nothing, scores, nothing, ones))
    assert found.slope == pytest.approx(2.0, abs=0.1)
    adjusted = found.adjusted(expected)
    np.testing.assert_allclose(adjusted.mean(axis=1), 0.5 + ease[:, 0], atol=0.06)
    np.testing.assert_allclose(np.diff(adjusted, axis=1), np.diff(expected, axis=1))
    gaps = np.where(rng.random(scores.shape) < 0.3, np.nan, scores)
    assert Ease.of(Outcomes(expected, nothing, gaps, nothing, ones)).slope == pytest.approx(2.0, abs=0.25)
    alone = np.where(np.arange(4) == 0, scores, np.nan)
    assert Ease.of(Outcomes(expected, nothing, alone, nothing, ones)) == Ease(1.0, 0.0)
    flat = np.full_like(scores, 0.5)
    assert Ease.of(Outcomes(flat, nothing, scores, nothing, ones)).slope == 1.0
    unknown = np.where(np.arange(4) == 0, np.nan, expected)
    assert np.isnan(found.adjusted(unknown)[:, 0]).all()
    assert np.isfinite(found.adjusted(unknown)[:, 1:]).all()


@pytest.mark.parametrize(
    "damage",
    [
        {"lesson_counts": np.full((2, 3), -1.0)},
        {"lesson_counts": np.ones((2, 2))},
        {"lesson_sums": np.full((2, 3), np.nan)},
        {"lesson_trust": np.array([0.0])},
        {"lesson_trust": np.array([1.5])},
    ],
)
def test_damage_is_found(damage):
    arrays = Lessons(np.ones((2, 3)), np.ones((2, 3)), 0.5).arrays()
    assert Lessons.restore(arrays, (2, 3)).trust == 0.5
    assert Lessons.restore({}, (2, 3)) is None
    with pytest.raises(DamagedArtifactError):
        Lessons.restore({**arrays, **damage}, (2, 3))
    with pytest.raises(DamagedArtifactError):
        Lessons.restore({name: array for name, array in arrays.items() if name not in damage}, (2, 3))
