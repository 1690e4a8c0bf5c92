"""The rule by which a change counts as proven."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avengers_pro.learning.switch import (
    BETTER,
    CANNOT_TELL,
    COST,
    NOT_WORSE,
    SCORE,
    WORSE,
    Change,
    outcome_of,
    sentence,
    unmet,
)

ends = st.tuples(st.floats(-1, 1), st.floats(-1, 1)).map(sorted).map(tuple)


def change(measure: str, interval: tuple[float, float] | None, margin: float = 0.01, obstacle: str = "") -> Change:
    outcome = CANNOT_TELL if obstacle else outcome_of(interval, margin, lower_wins=measure == COST)
    middle = None if interval is None else sum(interval) / 2
    return Change(
        measure=measure,
        a=0.5,
        b=0.5,
        difference=middle,
        interval=interval,
        margin=margin,
        queries=100,
        outcome=outcome,
        obstacle=obstacle,
    )


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        ((0.001, 0.02), BETTER),
        ((0.0, 0.02), NOT_WORSE),
        ((-0.009, 0.02), NOT_WORSE),
        ((-0.009, -0.001), NOT_WORSE),
        ((-0.01, 0.02), CANNOT_TELL),
        ((-0.03, -0.001), WORSE),
        (None, CANNOT_TELL),
    ],
)
def test_an_interval_reads_as_one_of_four(interval, outcome):
    assert outcome_of(interval, 0.01) == outcome
    mirrored = None if interval is None else (-interval[1], -interval[0])
    assert outcome_of(mirrored, 0.01, lower_wins=True) == outcome


@given(ends, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_wider_margin_takes_nothing_back(interval, margin, more):
    """What is better stays better, and what is not worse stays not worse."""
    before, after = outcome_of(interval, margin), outcome_of(interval, margin + more)
    assert before not in {BETTER, NOT_WORSE} or after == before


def test_not_worse_needs_every_measure_and_better_one_that_is():
    good, even, bad = ((0.01, 0.02), (-0.005, 0.005), (-0.3, -0.1))
    cheaper, dearer = (-0.3, -0.1), (0.1, 0.3)
    assert unmet([change(SCORE, good), change(COST, cheaper, 0.05)], "better") is None
    assert unmet([change(SCORE, even), change(COST, cheaper, 0.05)], "better") is None
    assert unmet([change(SCORE, even), change(COST, even, 0.05)], "not-worse") is None
    assert "neither score nor cost" in unmet([change(SCORE, even), change(COST, even, 0.05)], "better")
    assert "score is not known to be better" in unmet([change(SCORE, even)], "better")
    assert "B is dearer" in unmet([change(SCORE, good), change(COST, dearer, 0.05)], "not-worse")
    assert "B is worse" in unmet([change(SCORE, bad)], "not-worse")
    assert "nothing is known" in unmet([change(SCORE, None)], "not-worse")


def test_sentences_say_the_difference_the_interval_and_the_obstacle():
    assert sentence(change(SCORE, (0.01, 0.03))) == "score: B is better, +2.00 points [+1.00, +3.00]"
    assert sentence(change(COST, (-0.3, -0.1))) == "cost: B is cheaper, -20.00 % [-30.00, -10.00]"
    assert "within 1 points" in sentence(change(SCORE, (-0.005, 0.005)))
    assert sentence(change(SCORE, (0.01, 0.03), obstacle="too few")).startswith("score: cannot tell, too few (+2.00")
