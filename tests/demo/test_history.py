"""The simulated history: what it writes is what it says, and the truth behind it is known."""

import asyncio

import numpy as np
import pytest

from avengers_pro.demo.history import START, Course, simulated_records, worse, write_history
from avengers_pro.errors import RecordsError
from avengers_pro.learning import read_traffic
from avengers_pro.routing import Policy, Router

MODELS = ("deepseek/deepseek-r1", "openai/gpt-5", "qwen/qwen3-235b", "qwen/qwen3-235b-thinking")


@pytest.fixture(scope="module")
def truth():
    return simulated_records(700, 3).select_models(MODELS)


@pytest.fixture(scope="module")
def router(truth):
    return Router.fit(truth.take(range(100)))


def history(folder, router, truth, **course):
    url = f"sqlite:///{folder}/ledger.db"
    asyncio.run(write_history(url, router, truth.take(range(100, 700)), Course(**course)))
    return asyncio.run(read_traffic(url, router=router))


def test_what_was_answered_scored_and_paid_is_the_truth(tmp_path, router, truth):
    read = history(tmp_path, router, truth, feedback=0.3, failed=0.05, days=2.0)
    rows, answered = np.arange(600), read.served >= 0
    own = truth.take(range(100, 700))
    assert read.models == MODELS
    assert 0 < (~answered).sum() < 60
    np.testing.assert_array_equal(read.costs[answered], own.costs[rows, read.served][answered])
    np.testing.assert_array_equal(read.costs[~answered], 0.0)
    rated = np.isfinite(read.scores)
    np.testing.assert_array_equal(read.scores[rated], own.scores[rows, read.served][rated])
    assert not (rated & ~answered).any()
    assert 0.24 < rated.sum() / answered.sum() < 0.36
    assert read.at[0] == START
    assert 0 < START + 2 * 86_400 - read.at[-1] < 86_400


def test_propensities_are_exact(tmp_path, router, truth):
    """Without exploration 1; with it the best choice and each of the t near ties get what the rule says."""
    assert (history(tmp_path, router, truth, explored=0.0).propensity == 1.0).all()
    folder = tmp_path / "explored"
    folder.mkdir()
    read = history(folder, router, truth, explored=0.4, near=0.2, dearer=5.0)
    best = np.array([decision.model for decision in router.route_many(truth.queries[100:], Policy())])
    names = np.array(read.models)
    column = np.array([read.models.index(name) for name in best])
    rows = np.arange(600)
    scores, costs = read.expected_scores, read.expected_costs
    tie = (scores >= scores[rows, column, None] - 0.2) & (costs <= 5 * costs[rows, column, None])
    tie[rows, column] = True
    each = 0.4 / tie.sum(axis=1)
    first = names[read.chosen] == best
    np.testing.assert_allclose(read.propensity, np.where(first, 0.6 + each, each))
    assert tie[rows, read.chosen].all()
    expected = (1 - 0.6 - each).sum()
    assert abs((~first).sum() - expected) < 4 * np.sqrt(expected)


def test_the_same_seed_gives_the_same_history(tmp_path, router, truth):
    for name in "ab":
        (tmp_path / name).mkdir()
    a, b = (history(tmp_path / name, router, truth, seed=4) for name in "ab")
    assert a.ids == b.ids
    np.testing.assert_array_equal(a.scores, b.scores)
    np.testing.assert_array_equal(a.chosen, b.chosen)


def test_noise_and_kindness_of_clients(tmp_path, router, truth):
    for name in "abc":
        (tmp_path / name).mkdir()
    plain = history(tmp_path / "a", router, truth, feedback=1.0, seed=1)
    wrong = history(tmp_path / "b", router, truth, feedback=1.0, flipped=1.0, seed=1)
    kind = history(tmp_path / "c", router, truth, feedback=1.0, kinder=0.5, seed=1)
    np.testing.assert_allclose(wrong.scores, 1 - plain.scores)
    np.testing.assert_allclose(kind.scores, (1 + plain.scores) / 2)


def test_policies_are_those_that_clients_asked_for(tmp_path, router, truth):
    asked = {"avengers-pro": Policy(), "avengers-pro/cheap": Policy(alpha=0.1)}
    read = history(tmp_path, router, truth, policies=asked, explored=0.0)
    assert set(read.policies) == {'{"alpha":0.7}', '{"alpha":0.1}'}
    cheap = np.array(read.policies) == '{"alpha":0.1}'
    assert 200 < cheap.sum() < 400
    assert np.nanmean(read.costs[cheap]) < np.nanmean(read.costs[~cheap])
    assert read.routed.all()


def test_a_model_can_get_worse_from_a_row_on(truth):
    half = worse(truth, "openai/gpt-5", 0.5, first=350)
    np.testing.assert_array_equal(half.scores[:350], truth.scores[:350])
    others = [column for column, name in enumerate(MODELS) if name != "openai/gpt-5"]
    np.testing.assert_array_equal(half.scores[:, others], truth.scores[:, others])
    assert half.scores[350:, 1].mean() == pytest.approx(truth.scores[350:, 1].mean() / 2, rel=0.25)
    with pytest.raises(RecordsError, match="no model is named 'lab/none'"):
        worse(truth, "lab/none", 0.5)


def test_a_truth_that_lacks_a_model_is_refused(tmp_path, router, truth):
    with pytest.raises(RecordsError, match="no scores of openai/gpt-5"):
        history(tmp_path, router, truth.exclude_models(["openai/gpt-5"]))
