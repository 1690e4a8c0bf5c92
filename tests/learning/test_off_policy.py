"""Off-policy estimators: against slow references, and on simulations whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from avengers_pro.errors import EvaluationError
from avengers_pro.learning.contrast import LEAST_SIZE, Contrast, support_of
from avengers_pro.learning.off_policy import (
    Logged,
    Target,
    calibrated,
    effective_size,
    mean_of,
    relative,
    row_values,
    weights,
)
from avengers_pro.learning.switch import BETTER, CANNOT_TELL, COST, SCORE, WORSE

MODELS = 4


@st.composite
def logs(draw):
    """A few decisions of four models, some rewards and predictions missing; and a target."""
    n = draw(st.integers(2, 25))

    def column(of):
        return np.array(draw(st.lists(of, min_size=n, max_size=n)))

    model = st.integers(0, MODELS - 1)
    number = st.floats(0, 1)
    logged = Logged(
        column(model),
        column(st.floats(0.01, 1)),
        column(st.one_of(number, st.just(math.nan))),
        column(st.one_of(number, st.just(math.nan))),
    )
    return logged, Target(column(model), column(st.one_of(number, st.just(math.nan))))


def slow_weight(logged: Logged, target: Target, row: int) -> float:
    alike = [other for other in range(len(logged.chosen)) if logged.chosen[other] == logged.chosen[row]]
    seen = [other for other in alike if not math.isnan(logged.rewards[other])]
    if math.isnan(logged.rewards[row]) or target.chosen[row] != logged.chosen[row]:
        return 0.0
    return 1 / (logged.propensity[row] * len(seen) / len(alike))


@given(logs())
def test_the_estimators_are_their_formulas(log):
    logged, target = log
    n = len(logged.chosen)
    slow = [slow_weight(logged, target, row) for row in range(n)]
    assert weights(logged, target) == pytest.approx(slow)
    found = {name: mean_of(values).value for name, values in row_values(logged, target).items()}
    if sum(slow) == 0:
        assert all(math.isnan(value) for value in found.values())
        return
    rewards = [0.0 if math.isnan(reward) else float(reward) for reward in logged.rewards]
    here, there = calibrated(logged, target.direct)
    assert found["ips"] == pytest.approx(sum(w * r for w, r in zip(slow, rewards, strict=True)) / n)
    assert found["snips"] == pytest.approx(sum(w * r for w, r in zip(slow, rewards, strict=True)) / sum(slow))
    doubly = [there[row] + slow[row] * (rewards[row] - here[row]) for row in range(n)]
    assert found["dr"] == pytest.approx(sum(doubly) / n)


@given(logs(), st.floats(-5, 5))
def test_a_shift_of_all_rewards_shifts_the_value(log, shift):
    """The scale of feedback has no zero: SNIPS and DR do not depend on one, which plain IPS does."""
    logged, target = log
    moved = Logged(logged.chosen, logged.propensity, logged.rewards + shift, logged.direct)
    before, after = row_values(logged, target), row_values(moved, target)
    for name in ("snips", "dr"):
        assert after[name].mean() == pytest.approx(before[name].mean() + shift, abs=1e-6, nan_ok=True)


@given(logs())
def test_no_prediction_has_seen_its_own_reward(log):
    logged, target = log
    assume(np.isfinite(logged.rewards[np.arange(len(logged.rewards)) % 5 != 0]).any())
    rewards = logged.rewards.copy()
    rewards[0] = 1.0 if math.isnan(rewards[0]) else math.nan
    other = Logged(logged.chosen, logged.propensity, rewards, logged.direct)
    for mine, theirs in zip(calibrated(logged, target.direct), calibrated(other, target.direct), strict=True):
        assert mine[0] == pytest.approx(theirs[0])
        assert np.isfinite(mine).all()


def test_where_nothing_is_observed_nothing_is_said():
    nothing = np.full(3, np.nan)
    logged = Logged(np.zeros(3, dtype=np.intp), np.ones(3), nothing, nothing)
    change = Contrast(logged, Target(np.ones(3, dtype=np.intp), nothing), None).change(SCORE, 0.01)
    assert (change.difference, change.outcome) == (None, CANNOT_TELL)
    assert change.obstacle == "no request has a known score"


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=30), st.floats(0.1, 100))
def test_effective_size_is_at_most_the_number_and_has_no_scale(values, scale):
    of = np.array(values)
    assert 1 - 1e-9 <= effective_size(of) <= len(values) + 1e-9
    assert effective_size(of) == pytest.approx(effective_size(scale * of))
    assert effective_size(np.full(7, scale)) == pytest.approx(7)
    assert effective_size(np.zeros(3)) == 0


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=30), st.floats(0.5, 2))
def test_relative_values_average_to_the_ratio(values, factor):
    a = np.array(values)
    b = factor * a[::-1]
    assert relative(b, a).mean() == pytest.approx(factor - 1)
    assert np.isnan(relative(b, np.zeros(len(a)))).all()


@pytest.mark.parametrize("propensity", [0.0, 1.1, math.nan])
def test_a_propensity_that_cannot_be_is_refused_with_its_row(propensity):
    fine = np.zeros(2)
    with pytest.raises(EvaluationError, match=r"row 1: propensity"):
        Logged(np.zeros(2, dtype=np.intp), np.array([0.5, propensity]), fine, fine)
    with pytest.raises(EvaluationError, match="no choice was logged"):
        Logged(np.array([0, -1]), np.ones(2), fine, fine)
    with pytest.raises(EvaluationError, match="different lengths"):
        Logged(np.zeros(3, dtype=np.intp), np.ones(2), fine, fine)


class World:
    """Simulated: kinds of query, the models' expected scores on each, and a greedy policy that explores."""

    def __init__(self, seed: int = 0, *, rate: float = 0.4, rated: tuple[float, ...] = (0.5, 0.3, 0.4, 0.5)) -> None:
        rng = np.random.default_rng(seed)
        self.skill = rng.uniform(0.2, 0.9, (30, MODELS))
        self.cost = rng.lognormal(size=(30, MODELS)) * np.array([1, 2, 4, 8]) * 1e-3
        self.greedy = (self.skill + rng.normal(size=self.skill.shape) / 10).argmax(axis=1)
        self.guess = np.clip(0.3 + 0.5 * self.skill + rng.normal(size=self.skill.shape) / 10, 0, 1)
        self.rate, self.rated = rate, np.array(rated)

    def draw(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        kind = rng.integers(0, len(self.skill), n)
        drawn = np.where(rng.random(n) < self.rate, rng.integers(0, MODELS, n), self.greedy[kind])
        each = self.rate / MODELS
        chance = np.where(drawn == self.greedy[kind], 1 - self.rate + each, each)
        score = (rng.random(n) < self.skill[kind, drawn]).astype(float)
        score[rng.random(n) >= self.rated[drawn]] = np.nan
        return kind, drawn, chance, score, self.cost[kind, drawn] * rng.lognormal(-0.02, 0.2, n)

    def contrast(self, n: int, seed: int, b, a=None) -> Contrast:
        kind, drawn, chance, score, _ = self.draw(n, seed)

        def target(policy):
            return None if policy is None else Target(policy[kind], self.guess[kind, policy[kind]])

        return Contrast(Logged(drawn, chance, score, self.guess[kind, drawn]), target(b), target(a))

    def value(self, policy) -> float:
        return float(self.skill[np.arange(len(self.skill)), policy].mean())


def test_values_are_unbiased_and_their_intervals_cover():
    """Feedback rates differ by model, as do the chances; the estimates take both back."""
    world = World()
    policy = world.skill.argmin(axis=1)
    truth = world.value(policy)
    found = [world.contrast(1500, seed, policy, world.greedy) for seed in range(150)]
    for name in ("ips", "snips", "dr"):
        estimates = [contrast.values()[0][name] for contrast in found]
        errors = np.array([one.value - truth for one in estimates])
        assert abs(errors.mean()) < 3 * errors.std() / math.sqrt(len(errors))
        covered = [one.interval[0] <= truth <= one.interval[1] for one in estimates]
        assert np.mean(covered) >= 0.9
    truth -= world.value(world.greedy)
    covered = [one.interval[0] <= truth <= one.interval[1] for c in found for one in [c.difference()["dr"]]]
    assert np.mean(covered) >= 0.9


def test_a_model_of_the_rewards_narrows_the_interval():
    world = World()
    world.guess = world.skill
    contrast = world.contrast(4000, 1, world.skill.argmax(axis=1))
    errors = {name: mean_of(values).standard_error for name, values in row_values(contrast.logged, contrast.b).items()}
    assert errors["dr"] < errors["snips"] < errors["ips"]


def test_planted_better_and_worse_are_told_apart_and_the_same_policy_is_the_same():
    world = World()
    best, worst = world.skill.argmax(axis=1), world.skill.argmin(axis=1)
    assert world.contrast(4000, 2, best, worst).change(SCORE, 0.01).outcome == BETTER
    assert world.contrast(4000, 3, worst, best).change(SCORE, 0.01).outcome == WORSE
    assert world.contrast(4000, 4, worst).change(SCORE, 0.01).outcome == WORSE
    same = world.contrast(4000, 5, best, best)
    assert same.difference()["dr"].interval == (0.0, 0.0)
    assert same.sizes == (math.inf, math.inf)


def test_the_log_against_its_own_preference_knows_that_nothing_is_missing():
    """B is what the log prefers: all its choices are seen, the exploration alone is left off."""
    contrast = World().contrast(3000, 6, World().greedy)
    assert contrast.sizes == (math.inf, math.inf)
    assert contrast.change(SCORE, 0.01).outcome == BETTER


def test_an_equal_policy_is_rarely_called_better():
    """B differs on half of the kinds, with models exactly as good."""
    world = World()
    other = (world.greedy + 1) % MODELS
    other[::2] = world.greedy[::2]
    rows = np.arange(len(other))
    world.skill[rows, other] = world.skill[rows, world.greedy]
    outcomes = [world.contrast(1500, seed, other, world.greedy).change(SCORE, 0.01).outcome for seed in range(150)]
    assert outcomes.count(BETTER) <= 0.05 * len(outcomes)


def test_too_few_rows_of_what_differs_is_said():
    world = World(rate=0.02)
    change = world.contrast(400, 7, world.skill.argmin(axis=1), world.greedy).change(SCORE, 0.01, names=("new", "old"))
    assert change.outcome == CANNOT_TELL
    assert "what new chooses was seen too rarely" in change.obstacle
    assert f"of {LEAST_SIZE:g} that it takes" in change.obstacle


def test_choices_without_a_chance_are_found_and_named():
    """By certainty, by a model that was never tried, and by weights that do not add up."""
    world = World()
    kind, drawn, chance, score, _ = world.draw(3000, 8)
    never = Target(np.where(kind < 6, MODELS, drawn), np.full(len(kind), np.nan))
    logged = Logged(drawn, chance, score, world.guess[kind, drawn])
    support = support_of(logged, never)
    assert support.never == {MODELS: int((kind < 6).sum())}
    assert support.unsupported >= np.mean(kind < 6)
    change = Contrast(logged, never, None).change(SCORE, 0.01, models=("w", "x", "y", "z", "lab/new"))
    assert change.outcome == CANNOT_TELL
    assert "never tried at all: lab/new" in change.obstacle

    sure = Logged(drawn, np.ones(len(drawn)), score, world.guess[kind, drawn])
    assert support_of(sure, Target((drawn + 1) % MODELS, world.guess[:, 0][kind])).impossible == 1.0

    narrow = World()
    near = narrow.greedy[:, None] == np.arange(MODELS)
    near[:, 0] = True  # only model 0 is tried beside the greedy choice, so that the others have no chance elsewhere
    kind, drawn, _, score, _ = narrow.draw(3000, 9)
    rng = np.random.default_rng(9)
    tried = rng.random(len(kind)) < 0.4
    drawn = np.where(tried, 0, narrow.greedy[kind])
    chance = np.where(narrow.greedy[kind] == 0, 1.0, np.where(tried, 0.4, 0.6))
    target = (narrow.greedy + 1) % MODELS
    share = np.mean((target != 0) & (narrow.greedy != target))
    found = support_of(Logged(drawn, chance, score, score), Target(target[kind], score)).unsupported
    assert found == pytest.approx(share, abs=0.1)


def test_cost_is_a_ratio_of_means():
    world = World()
    dear, cheap = np.full(30, 3), np.full(30, 0)
    kind, drawn, chance, _, cost = world.draw(6000, 10)

    def target(policy):
        return Target(policy[kind], world.cost[kind, policy[kind]])

    logged = Logged(drawn, chance, cost, world.cost[kind, drawn])
    truth = world.cost[:, 0].mean() / world.cost[:, 3].mean() - 1
    change = Contrast(logged, target(cheap), target(dear)).change(COST, 0.05)
    assert change.interval[0] <= truth <= change.interval[1]
    assert change.outcome == BETTER
    assert Contrast(logged, target(dear), target(cheap)).change(COST, 0.05).outcome == WORSE
