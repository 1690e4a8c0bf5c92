"""The statistics of drift on plain arrays, against slow references, and whether their promises hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from avengers_pro.learning.drift.clusters import check_clusters
from avengers_pro.learning.drift.collapse import check_collapse, effective_models
from avengers_pro.learning.drift.finding import Measurement, judge
from avengers_pro.learning.drift.novel import beta_binomial_tail, check_novel
from avengers_pro.learning.drift.quality import BETS, check_quality, log_wealth, usual_range
from avengers_pro.learning.drift.vectors import check_vectors, energy_coefficients, pairwise_distances, sampled
from avengers_pro.routing.stability import population_stability, stability_without_shift

counts = arrays(np.int64, st.shared(st.integers(2, 12), key="k"), elements=st.integers(0, 500))


@given(n=st.integers(1, 60), a=st.floats(0.3, 40), b=st.floats(0.3, 400), data=st.data())
def test_the_tail_is_the_sum_of_beta_binomial_probabilities(n, a, b, data):
    least = data.draw(st.integers(0, n))

    def log_beta(x, y):
        return math.lgamma(x) + math.lgamma(y) - math.lgamma(x + y)

    expected = sum(math.comb(n, j) * math.exp(log_beta(a + j, b + n - j) - log_beta(a, b)) for j in range(least, n + 1))
    assert beta_binomial_tail(least, n, a, b) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@given(before=counts, after=counts)
def test_the_stability_index_is_its_definition(before, after):
    p, q = ([(x + 0.5) / sum(y + 0.5 for y in side) for x in side] for side in (before.tolist(), after.tolist()))
    slow = sum((x - y) * math.log(x / y) for x, y in zip(p, q, strict=True))
    assert population_stability(before, after) == pytest.approx(slow, abs=1e-12)
    assert population_stability(before, np.stack([after, before])) == pytest.approx([slow, 0.0], abs=1e-12)


def test_the_index_without_shift_is_about_what_the_formula_says():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(20, 5.0))
    one, two = rng.multinomial(3000, shares, size=400), rng.multinomial(1000, shares, size=400)
    found = np.mean([population_stability(x, y) for x, y in zip(one, two, strict=True)])
    assert found == pytest.approx(stability_without_shift(20, 3000, 1000), rel=0.1)
    assert stability_without_shift(20, 3000, 0) == math.inf


@settings(deadline=None)
@given(
    rows=arrays(
        np.float64, st.tuples(st.integers(4, 12), st.just(3)), elements=st.sampled_from([-2.0, -0.5, 0.0, 1.0, 1.5])
    ),
    first=st.integers(2, 3),
)
def test_energy_is_its_definition(rows, first):
    def mean(one, two):
        return np.mean([[np.linalg.norm(x - y) for y in two] for x in one])

    one, two = rows[:first], rows[first:]
    across = 2 * mean(one, two)
    expected = (across - mean(one, one) - mean(two, two)) / across if across > 1e-6 else 0.0
    found, by_chance = energy_coefficients(pairwise_distances(rows), first, 3, np.random.default_rng(0))
    assert found == pytest.approx(expected, abs=1e-5)
    assert by_chance.shape == (3,)


def test_permuted_energies_are_those_of_other_divisions():
    rows = np.array([[0.0], [0.0], [5.0], [5.0]])
    found, by_chance = energy_coefficients(pairwise_distances(rows), 2, 200, np.random.default_rng(0))
    assert found == pytest.approx(1.0)
    assert {round(value, 6) for value in by_chance} == {0.0, 1.0}
    assert np.mean(by_chance > 0.5) == pytest.approx(1 / 3, abs=0.1)


@given(
    differences=arrays(np.float64, st.integers(1, 15), elements=st.floats(-1, 1)),
    low=st.floats(-0.4, 0.0),
    high=st.floats(0.0, 0.4),
)
def test_wealth_is_that_of_gamblers_with_fixed_bets(differences, low, high):
    purses = [1.0] * (2 * len(BETS))
    for place, value in enumerate(differences):
        for one, bet in enumerate(BETS):
            purses[2 * one] *= 1 - bet / (1 - low) * (value - low)
            purses[2 * one + 1] *= 1 + bet / (1 + high) * (value - high)
        assert log_wealth(differences, low, high)[place] == pytest.approx(math.log(np.mean(purses)), abs=1e-9)


def test_looking_after_every_score_keeps_the_promise():
    """Of 600 models whose mean sits at the very edge of what is let pass, few are ever called drifted."""
    rng = np.random.default_rng(1)
    low, high = usual_range(None)
    scores = (rng.random((600, 1500)) < 0.6 + low).astype(float) - 0.6
    highest = np.array([log_wealth(line, low, high).max() for line in scores])
    assert np.mean(highest >= math.log(1 / 0.05)) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 600)


def test_a_model_that_got_worse_is_found_and_dated():
    rng = np.random.default_rng(2)
    skill = np.where(np.arange(1500) < 700, 0.8, 0.4)
    differences = (rng.random(1500) < skill) - 0.8
    at = 1.7e9 + np.arange(1500) * 3600.0
    found = check_quality(differences, at, "lab/one", (0.0, 0.01, 400))
    assert found.p_value < 1e-6
    assert found.beyond
    began = np.datetime64(int(at[700]), "s")
    said = np.datetime64(found.advice.split("since ")[1][:10])
    assert abs(said - began) < np.timedelta64(3, "D")
    assert "below" in found.advice


def test_a_model_that_got_better_is_found_too():
    rng = np.random.default_rng(3)
    found = check_quality((rng.random(600) < 0.9) - 0.5, np.arange(600.0), "lab/one", (0.0, 0.02, 300))
    assert found.p_value < 1e-6
    assert "above" in found.advice


def test_what_is_unknown_of_a_profile_is_let_pass():
    sure, unsure, few = usual_range((0.0, 0.01, 500)), usual_range((0.0, 0.1, 40)), usual_range((0.3, 0.1, 5))
    assert sure == pytest.approx((-0.07, 0.07))
    assert unsure == pytest.approx((-0.25, 0.25))
    assert few == pytest.approx((-0.1, 0.1))
    assert usual_range((-0.1, 0.01, 500)) == pytest.approx((-0.17, 0.05))


@given(arrays(np.float64, st.integers(1, 9), elements=st.floats(0.01, 1)))
def test_effective_models_lie_between_one_and_all(weights):
    found = effective_models(weights / weights.sum())
    assert 1 - 1e-9 <= found <= len(weights) + 1e-9
    assert effective_models(np.full(4, 0.25)) == pytest.approx(4)
    assert effective_models(np.array([1.0, 0.0])) == pytest.approx(1)


def test_collapse_needs_models_to_collapse_from():
    names = ("lab/one", "lab/two", "lab/three")
    served = np.array([0] * 196 + [1] * 4)
    several = check_collapse(served, np.array([0.4, 0.3, 0.3]), 500, names)
    assert several.beyond
    assert several.p_value < 0.01
    assert "lab/one" in several.advice
    assert check_collapse(served, np.array([0.99, 0.01, 0.0]), 500, names).problem is not None
    as_usual = check_collapse(np.arange(200) % 3, np.array([0.4, 0.3, 0.3]), 500, names)
    assert not as_usual.beyond


def test_more_novel_queries_are_found_and_as_many_as_usual_are_not():
    assert check_novel(np.arange(1000) < 60, (15.0, 1500.0)).p_value < 1e-6
    usual = check_novel(np.arange(1000) < 14, (15.0, 1500.0))
    assert usual.p_value > 0.2
    assert not usual.beyond
    assert check_novel(np.zeros(0, dtype=bool), (1.0, 100.0)).problem is not None


def test_a_limit_from_few_rows_is_trusted_less():
    flags = np.arange(2000) < 100
    assert check_novel(flags, (20.0, 1000.0)).p_value < 1e-3
    assert check_novel(flags, (1.5, 75.0)).p_value > 0.05


def test_a_shifted_mix_is_found_and_few_rows_are_no_shift():
    rng = np.random.default_rng(0)
    shares = np.full(64, 1 / 64)
    moved = shares.copy()
    moved[:16] *= 3
    training = rng.multinomial(2000, shares)
    shifted = check_clusters(training, rng.multinomial(1000, moved / moved.sum()))
    assert shifted.beyond
    assert shifted.p_value == 0.001
    few = check_clusters(training, rng.multinomial(60, shares))
    assert population_stability(training, rng.multinomial(60, shares)) > 0.25
    assert few.p_value > 0.01
    assert check_clusters(training, np.zeros(64, dtype=np.intp)).problem is not None


def test_the_permutation_p_value_of_a_mix_is_uniform_without_shift():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(30))
    found = [
        check_clusters(rng.multinomial(800, shares), rng.multinomial(300, shares), seed).p_value for seed in range(200)
    ]
    assert np.mean(np.array(found) <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_shifted_vectors_are_found_and_repeated_ones_are_no_shift():
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 400, 8)).astype(np.float32)
    assert check_vectors(one, two).p_value > 0.01
    two[:80] += 2
    found = check_vectors(one, two)
    assert found.beyond
    assert found.p_value == 0.001
    repeated = np.vstack([one[:200], np.repeat(one[:1], 5000, axis=0)])
    assert len(sampled(repeated)) == 200
    assert check_vectors(one[200:], sampled(repeated)).p_value > 0.01


def test_vectors_that_were_not_kept_are_left_out_of_the_sample():
    rows = np.vstack([np.full((3, 4), np.nan), np.eye(4)]).astype(np.float32)
    assert np.array_equal(sampled(rows), np.eye(4, dtype=np.float32))


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.booleans()), max_size=12))
def test_holm_is_holm(tests):
    measured = [
        Measurement(check="simulated", model="lab/one" if of_model else None, p_value=p, beyond=True)
        for p, of_model in tests
    ]
    found = judge(measured, 0.1)
    for of_model in (False, True):
        mine = [(p, place) for place, (p, is_one) in enumerate(tests) if is_one == of_model]
        rejected = set()
        for rank, (p, place) in enumerate(sorted(mine)):
            if p > 0.05 / (len(mine) - rank):
                break
            rejected.add(place)
        assert {place for _, place in mine if found[place].verdict == "drift"} == rejected


def test_chance_and_practice_must_both_say_drift():
    sure = {"p_value": 1e-6}
    assert judge([Measurement(check="one", **sure)])[0].verdict == "no drift"
    assert judge([Measurement(check="one", beyond=True, p_value=0.5)])[0].verdict == "no drift"
    assert judge([Measurement(check="one", beyond=True, **sure)])[0].verdict == "drift"
    assert judge([Measurement(check="a fact", beyond=True)])[0].verdict == "drift"
    unchecked = judge([Measurement(check="one", problem="nothing there", advice="do this")])[0]
    assert unchecked.verdict == "not checked"
    assert unchecked.recommendation == ""
    assert unchecked.to_dict()["value"] is None
