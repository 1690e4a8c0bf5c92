"""Hull, area, AIQ and Pareto distance against slow references and their invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.evaluation.frontier import Frontier, aiq, area_at_best, pareto_distance

POINTS = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 1)), min_size=1, max_size=12)


def arrays(points):
    return np.array([p[0] for p in points]), np.array([p[1] for p in points])


def best_mixture(points, cost):
    """The best score of any mixture of at most two points that costs at most ``cost``: H by brute force."""
    best = -np.inf
    for c1, s1 in points:
        if c1 <= cost:
            best = max(best, s1)
        for c2, s2 in points:
            if c1 < cost < c2:
                share = (cost - c1) / (c2 - c1)
                best = max(best, (1 - share) * s1 + share * s2)
    return best


@settings(max_examples=150, deadline=None)
@given(points=POINTS, cost=st.floats(0.01, 12))
def test_hull_is_the_best_mixture_of_two_points(points, cost):
    hull = Frontier.of(*arrays(points))
    expected = best_mixture(points, cost)
    if expected == -np.inf:
        assert np.isnan(hull.score_at(cost))
    else:
        assert hull.score_at(cost) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(points=POINTS, best=st.floats(0.01, 10))
def test_area_is_the_mean_height_of_the_hull_from_the_origin(points, best):
    costs, scores = arrays(points)
    grid = np.linspace(0, best, 4001)
    hull = Frontier.of(costs, scores, through_origin=True)
    expected = np.trapezoid([hull.score_at(x) for x in grid], grid) / best
    assert area_at_best(costs, scores, best) == pytest.approx(expected, abs=2e-3)
    assert 0 <= area_at_best(costs, scores, best) <= 1


@settings(max_examples=60, deadline=None)
@given(points=POINTS, extra=st.tuples(st.floats(0.01, 10), st.floats(0.01, 1)), best=st.floats(0.1, 10))
def test_another_point_never_lowers_the_area_and_units_do_not_matter(points, extra, best):
    costs, scores = arrays(points)
    more_costs, more_scores = arrays([*points, extra])
    assert area_at_best(more_costs, more_scores, best) >= area_at_best(costs, scores, best) - 1e-12
    assert area_at_best(costs * 1000, scores, best * 1000) == pytest.approx(area_at_best(costs, scores, best))


def test_cost_at_inverts_score_at():
    hull = Frontier.of(np.array([1.0, 2.0, 4.0, 3.0]), np.array([0.2, 0.5, 0.6, 0.1]))
    assert hull.cost_at(0.5) == 2.0
    assert hull.cost_at(0.55) == pytest.approx(3.0)
    assert np.isnan(hull.cost_at(0.61))
    assert hull.score_at(9) == 0.6
    assert np.isnan(hull.score_at(0.5))
    assert hull.costs.tolist() == [1.0, 2.0, 4.0]


def test_aiq_counts_nothing_left_of_the_cheapest_point():
    costs, scores = np.array([2.0, 4.0]), np.array([0.5, 0.7])
    assert aiq(costs, scores, 0.0, 4.0) == pytest.approx((0.6 * 2) / 4)
    assert np.isnan(aiq(costs, scores, 1.0, 1.0))
    assert np.isnan(area_at_best(costs, scores, 0.0))


@settings(max_examples=60, deadline=None)
@given(points=POINTS, others=POINTS)
def test_pareto_distance_is_zero_on_the_frontier_and_at_most_the_diagonal(points, others):
    costs, scores = arrays(points)
    all_costs, all_scores = arrays([*points, *others])
    assert -1e-12 <= pareto_distance(costs, scores, all_costs, all_scores) <= np.sqrt(2) + 1e-9
    best = np.lexsort((all_costs, -all_scores))[0]
    on = pareto_distance(all_costs[[best]], all_scores[[best]], all_costs, all_scores)
    assert on == pytest.approx(0, abs=1e-9)


def test_pareto_distance_of_a_dominated_point_by_hand():
    """Frontier (1, .4), (3, .8); ranges 2 and .6. From (3, .2): straight up .6/.6 = 1, or to (3, .4) .2/.6."""
    all_costs, all_scores = np.array([1.0, 3.0, 3.0]), np.array([0.4, 0.8, 0.2])
    assert pareto_distance(np.array([3.0]), np.array([0.2]), all_costs, all_scores) == pytest.approx(1 / 3)
