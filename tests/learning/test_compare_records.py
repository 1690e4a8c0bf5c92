"""Two routers on the same records: paired, with what was not observed counted and never 0."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.errors import EvaluationError
from avengers_pro.learning.compare import compare_on_records
from avengers_pro.learning.pairs import Pairs
from avengers_pro.learning.switch import BETTER, CANNOT_TELL, COST, NOT_WORSE, SCORE, WORSE
from avengers_pro.records import Records
from avengers_pro.routing import Policy, Router


@pytest.fixture(scope="module")
def parts(sample) -> tuple[Records, Records]:
    """Rows to fit on, and rows held out."""
    rows = np.random.default_rng(1).permutation(len(sample))
    return sample.take(rows[:700]), sample.take(rows[700:1700])


@pytest.fixture(scope="module")
def good(parts) -> Router:
    return Router.fit(parts[0])


@pytest.fixture(scope="module")
def poor(parts) -> Router:
    """Fitted on scores that were shuffled: it knows what models cost, and nothing of what they can."""
    scores = np.random.default_rng(2).permuted(parts[0].scores, axis=1)
    return Router.fit(replace(parts[0], scores=np.where(np.isnan(parts[0].scores), np.nan, np.nan_to_num(scores))))


def test_differences_are_those_of_a_plain_loop(parts, good, poor):
    held_out, policy = parts[1], Policy(alpha=0.9)
    found = compare_on_records(good, poor, held_out, policy)
    scores, costs = [], []
    for query, row_scores, row_costs in zip(held_out.queries, held_out.scores, held_out.costs, strict=True):
        names = [router.route(query, policy).model for router in (good, poor)]
        a, b = (held_out.models.index(name) for name in names)
        scores.append((row_scores[a], row_scores[b], names[0] != names[1]))
        costs.append((row_costs[a], row_costs[b]))
    differences = [b - a if moved else 0.0 for a, b, moved in scores]
    known = [one for one in differences if not np.isnan(one)]
    assert found.score.difference == pytest.approx(np.mean(known))
    assert found.unknown == len(differences) - len(known)
    assert found.flipped == sum(moved for *_, moved in scores)
    priced = np.array([pair for pair in costs if not np.isnan(pair).any()])
    assert found.cost.b - found.cost.a == pytest.approx(priced[:, 1].mean() - priced[:, 0].mean())
    moved = [b - a if flip else 0.0 for (a, b), (*_, flip) in zip(costs, scores, strict=True)]
    assert found.cost.difference == pytest.approx(np.nanmean(moved) / priced[:, 0].mean())
    assert found.score.interval[0] < found.score.difference < found.score.interval[1]
    assert sum(one.queries for one in found.datasets) == found.queries == len(held_out)
    gains = [one.score.difference for one in found.datasets]
    assert gains == sorted(gains, reverse=True)
    assert sum(found.a.shares.values()) == pytest.approx(1)


def test_a_planted_worse_router_is_rejected_and_a_better_one_accepted(parts, good, poor):
    policy = Policy(alpha=1.0)
    assert compare_on_records(good, poor, parts[1], policy).score.outcome == WORSE
    assert compare_on_records(poor, good, parts[1], policy).score.outcome == BETTER


def test_the_same_router_is_not_worse_if_there_are_enough_queries_to_say_so(parts, good):
    found = compare_on_records(good, good, parts[1])
    assert (found.flipped, found.score.difference, found.cost.difference) == (0, 0.0, 0.0)
    assert found.score.outcome == NOT_WORSE
    assert found.flips == []
    few = compare_on_records(good, good, parts[1].take(range(50)))
    assert few.score.difference == 0.0
    assert few.score.outcome == CANNOT_TELL, "50 queries without a difference do not rule out one query in a hundred"


def test_what_was_not_observed_is_left_out_counted_and_never_zero(parts, good, poor):
    held_out, policy = parts[1], Policy(alpha=0.9)
    whole = compare_on_records(good, poor, held_out, policy)
    model = next(iter(whole.b.shares))
    column = held_out.models.index(model)
    gone = np.flatnonzero(np.random.default_rng(3).random(len(held_out)) < 0.03)
    scores = held_out.scores.copy()
    scores[gone, column] = np.nan
    found = compare_on_records(good, poor, replace(held_out, scores=scores), policy)
    assert found.b.unobserved[model] > whole.b.unobserved.get(model, 0)
    assert whole.unknown < found.unknown <= whole.unknown + len(gone)
    assert found.score.queries + found.unknown == found.queries
    assert found.score.outcome == whole.score.outcome

    scores = np.where(np.arange(len(held_out.models)) == column, np.nan, held_out.scores)
    found = compare_on_records(good, poor, replace(held_out, scores=scores), policy)
    assert found.score.outcome == CANNOT_TELL
    assert "not observed for both choices" in found.score.obstacle


def test_pools_may_differ(parts, good):
    """B knows a model that neither A nor the records have; where both agree, nobody need have observed it."""
    held_out = parts[1]
    smaller = held_out.exclude_models(["openai/gpt-5"])
    a = good.remove_model("openai/gpt-5")
    found = compare_on_records(a, good, smaller, Policy(alpha=0.7))
    assert found.b.unobserved["openai/gpt-5"] == round(found.b.shares["openai/gpt-5"] * found.queries)
    assert "openai/gpt-5" not in found.a.models
    flip = next(flip for flip in found.flips if flip.models[1] == "openai/gpt-5")
    assert flip.expected_by_a[1] is None
    assert flip.observed[1].score is None
    assert flip.expected_by_b[1].score > 0
    with pytest.raises(EvaluationError, match="none of its models is in the records"):
        compare_on_records(a, good, Records.from_arrays(["query"], ["lab/other"], np.ones((1, 1))))


def test_refusals_score_and_cost_nothing_and_are_counted(parts, good):
    found = compare_on_records(good, good, parts[1], Policy(alpha=0.7, max_cost=1e-9))
    assert found.a.refused == found.queries
    assert found.score.a == 0.0
    assert found.cost.outcome == CANNOT_TELL
    assert "A costs nothing" in found.cost.obstacle


def test_records_that_were_trained_on_are_noticed_as_far_as_that_is_possible(parts, good, poor):
    train, held_out = parts
    found = compare_on_records(good, poor, train)
    assert found.overlap.same_records == ["A"]
    assert found.overlap.found
    part = compare_on_records(good, poor, train.take(range(600)))
    assert part.overlap.same_records == []
    assert part.overlap.examples["A"] > 0
    assert part.overlap.found
    assert not compare_on_records(good, poor, held_out).overlap.found
    updated = good.update(held_out)
    assert compare_on_records(good, updated, held_out).overlap.same_records == ["B"]


def test_queries_of_given_training_records_are_left_out(parts, good, poor):
    train, held_out = parts
    both = Records(
        **{
            **{name: getattr(train, name) + getattr(held_out, name) for name in ("queries", "datasets")},
            "models": train.models,
            "ids": tuple(map(str, range(len(train) + len(held_out)))),
            **{
                name: np.concatenate([getattr(train, name), getattr(held_out, name)])
                for name in ("scores", "costs", "listed")
            },
        }
    )
    found = compare_on_records(good, poor, both, trained_on=train)
    assert found.overlap.dropped == len(train)
    assert not found.overlap.found
    assert found.queries == len(held_out)
    assert found.score.difference == pytest.approx(compare_on_records(good, poor, held_out).score.difference)
    with pytest.raises(EvaluationError, match="among those trained on"):
        compare_on_records(good, poor, train, trained_on=train)


def test_the_same_seed_gives_the_same_answer(parts, good, poor):
    held_out = parts[1].take(range(200))
    assert compare_on_records(good, poor, held_out, seed=3) == compare_on_records(good, poor, held_out, seed=3)


values = st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=12, max_size=12).map(np.array)


@settings(deadline=None)
@given(values, values, st.lists(st.booleans(), min_size=12, max_size=12).map(np.array))
def test_pairs_equal_a_plain_reference(a, b, flipped):
    table = Records.from_arrays([f"simulated {n}" for n in range(12)], ["m"], np.ones((12, 1)))
    change = Pairs(table, flipped, {SCORE: (a, b), COST: (a, b)}, {SCORE: 0.01, COST: 0.05}, 0).change(SCORE)
    both = ~np.isnan(a) & ~np.isnan(b)
    expected = [y - x if moved else 0.0 for x, y, moved in zip(a, b, flipped, strict=True)]
    expected = [one for one in expected if not np.isnan(one)]
    if not both.any():
        assert change.difference is None
        return
    assert change.difference == pytest.approx(np.mean(expected))
    assert change.queries == len(expected)
    assert change.a == pytest.approx(a[both].mean())


def test_an_interval_holds_the_difference_where_all_queries_agree_on_it():
    """B costs five times as much on every query, and scores as much better as it can."""
    table = Records.from_arrays([f"simulated {row}" for row in range(40)], ["m"], np.ones((40, 1)))
    a, b = np.zeros(40), np.ones(40)
    measured = {SCORE: (a, b), COST: (b, 5 * b)}
    pairs = Pairs(table, np.ones(40, dtype=bool), measured, {SCORE: 0.01, COST: 0.05}, 0)
    for measure, expected in ((SCORE, 1.0), (COST, 4.0)):
        change = pairs.change(measure)
        assert change.difference == pytest.approx(expected)
        assert change.interval[0] < expected < change.interval[1]
        assert change.interval[1] - change.interval[0] < 0.2


def test_a_handful_of_differences_is_not_taken_for_certainty():
    """Simulated: 1 query in 100 moves, as often for the better as for the worse; B is rarely called better."""
    n, runs, better, covered = 300, 200, 0, 0
    table = Records.from_arrays([f"simulated {row}" for row in range(n)], ["m"], np.ones((n, 1)))
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        flipped = rng.random(n) < 0.01
        a = np.where(flipped, rng.random(n) < 0.5, 1.0).astype(float)
        b = np.where(flipped, 1 - a, a)
        change = Pairs(table, flipped, {SCORE: (a, b), COST: (a, b)}, {SCORE: 0.0, COST: 0.0}, seed).change(SCORE)
        better += change.outcome == BETTER
        covered += change.interval[0] <= 0 <= change.interval[1]
    assert better <= 0.05 * runs
    assert covered >= 0.93 * runs
