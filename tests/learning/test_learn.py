"""Learning a simulated gateway's feedback: what is learnt, what is left out, and that nothing is learnt twice."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from avengers_pro.errors import LearningError, MethodError
from avengers_pro.gateway.ledger import Ledger
from avengers_pro.learning import HalfLife, Mark, learn, read_traffic
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.pool import ModelCard
from avengers_pro.routing.queries import Queries
from learning.logged import LABELLED, POOL, logged, saying

CARDS = tuple(ModelCard(name=name, input_price=0.5, output_price=2.0) for name in POOL)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return logged(tmp_path_factory.mktemp("learn"), failed=0.1, fallbacks=0.2)


@pytest.fixture(scope="module")
def traffic(world):
    return world.traffic()


@pytest.fixture(scope="module")
def learnt(world, traffic):
    return learn(world.router, traffic)


def expected(router, vectors):
    return router.fitted.estimate(Queries(vectors)).expected_score


def test_scores_count_for_the_model_that_answered(world, traffic, learnt):
    rated = np.flatnonzero(np.isfinite(traffic.scores))
    assert learnt.decisions == 300
    assert learnt.scores + sum(learnt.left_out.values()) == len(rated)
    assert (traffic.served[rated] != traffic.chosen[rated]).any()
    before = expected(world.router, traffic.vectors)
    for lesson in learnt.models:
        rows = rated[traffic.served[rated] == POOL.index(lesson.model)]
        assert abs(lesson.scores - len(rows)) <= sum(learnt.left_out.values())
        if lesson.scores == len(rows):
            assert lesson.given == pytest.approx(traffic.scores[rows].mean())
            assert lesson.expected == pytest.approx(before[rows, POOL.index(lesson.model)].mean())
    assert [point.alpha for point in learnt.frontier] == sorted((p.alpha for p in learnt.frontier), reverse=True)
    told = {fact.name: fact.observations for fact in learnt.router.facts}
    assert sum(told.values()) == pytest.approx(LABELLED * len(POOL) + learnt.scores, abs=2)


def test_better_feedback_than_expected_raises_a_model_and_worse_lowers_it(world, traffic):
    said = np.where(traffic.served == 1, 1.0, 0.0)
    said[traffic.served < 0] = np.nan
    up = learn(world.router, saying(traffic, said)).router
    rows = traffic.vectors
    change = expected(up, rows) - expected(world.router, rows)
    assert change[:, 1].mean() > 0.1
    assert np.delete(change, 1, axis=1).mean() < 0
    kept = [router.route_many(world.truth.queries[:100], Policy(alpha=0.8)) for router in (world.router, up)]
    counts = [sum(decision.model == POOL[1] for decision in decisions) for decisions in kept]
    assert counts[1] > counts[0]


def test_a_kinder_scale_changes_no_choice(world, traffic):
    low = saying(traffic, traffic.scores * 0.5)
    high = saying(traffic, traffic.scores * 0.5 + 0.5)
    vectors = world.router.embed(world.truth.queries[:50])
    a, b = (learn(world.router, said) for said in (low, high))
    np.testing.assert_allclose(expected(a.router, vectors), expected(b.router, vectors), atol=1e-9)
    assert b.offset == pytest.approx(a.offset + 0.5)


@pytest.mark.parametrize("half_life", [None, HalfLife(decisions=100), HalfLife(seconds=86_400.0)])
def test_two_runs_learn_what_one_does(world, traffic, half_life):
    until = float(traffic.at[170])
    first = learn(world.router, world.traffic(until=until), half_life=half_life).router
    mark = Mark.of(first)
    assert mark.decisions == traffic.at[169]
    second = learn(first, world.traffic(since=mark.since), half_life=half_life).router
    once = learn(world.router, traffic, half_life=half_life).router
    np.testing.assert_allclose(expected(second, traffic.vectors), expected(once, traffic.vectors), atol=1e-9)
    assert [step.action for step in second.lineage] == ["fit", "traffic", "traffic"]


def test_the_order_of_rows_makes_no_difference(world, traffic, learnt):
    order = np.random.default_rng(0).permutation(len(traffic))
    again = learn(world.router, traffic.take(order), half_life=None).router
    np.testing.assert_allclose(expected(again, traffic.vectors), expected(learnt.router, traffic.vectors), atol=1e-9)


def test_nothing_is_learnt_twice(learnt, traffic):
    with pytest.raises(LearningError, match="nothing new to learn: 0 decisions since the router last learnt"):
        learn(learnt.router, traffic)
    with pytest.raises(LearningError, match="nothing new to learn: 300 decisions, and no feedback"):
        learn(learnt.router, replace(traffic, scores=np.full(300, np.nan)), again=True)
    assert learn(learnt.router, traffic, again=True).scores == learnt.scores


def test_late_feedback_is_learnt_once_and_a_correction_is_not(tmp_path, world):
    mine = logged(tmp_path, router=world.router, seed=3)
    first = learn(mine.router, mine.traffic()).router
    read = mine.traffic()
    unrated = np.flatnonzero(np.isnan(read.scores) & (read.served >= 0))[0]
    rated = np.flatnonzero(np.isfinite(read.scores))[0]
    late = float(read.at[-1]) + 5 * 86_400

    async def say():
        async with await Ledger.open(mine.url, recording=False) as ledger:
            for row in (unrated, rated):
                await ledger.feedback(read.ids[row], score=0.5, comment=None, key=None, at=late)

    asyncio.run(say())
    after = mine.traffic(since=Mark.of(first).since)
    second = learn(first, after)
    assert (second.decisions, second.scores) == (0, 1)
    assert Mark.of(second.router).feedback == late
    with pytest.raises(LearningError, match="nothing new"):
        learn(second.router, after)


def test_recent_feedback_weighs_more_with_a_half_life(world, traffic):
    """A model that disappoints in the second half of the log: the shorter the memory, the lower it falls."""
    said = np.where((traffic.served == 3) & (np.arange(300) > 150), 0.0, 0.7)
    said[traffic.served < 0] = np.nan
    found = [
        expected(learn(world.router, saying(traffic, said), half_life=half).router, traffic.vectors)
        for half in (None, HalfLife(decisions=300), HalfLife(decisions=60))
    ]
    gaps = [(scores[:, 3] - scores[:, :3].mean(axis=1)).mean() for scores in found]
    assert gaps[0] > gaps[1] > gaps[2]
    for bad in ({}, {"decisions": 0}, {"decisions": 5, "seconds": 5}, {"seconds": -1.0}, {"decisions": float("inf")}):
        with pytest.raises(LearningError, match="half-life"):
            HalfLife(**bad)


def test_what_cannot_be_learnt_is_counted(world, traffic):
    vectors = traffic.vectors.copy()
    vectors[::2] = np.nan
    said = np.where(traffic.served >= 0, traffic.scores, 1.0)
    found = learn(world.router.remove_model(POOL[1]), replace(saying(traffic, said), vectors=vectors))
    left = dict(found.left_out)
    ended_badly = int((np.array(traffic.outcomes) != "ok").sum())
    assert left.pop("of requests that did not end well") == ended_badly
    rated = np.isfinite(said) & (np.array(traffic.outcomes) == "ok")
    assert left.pop("of models that the router does not know") == (rated & (traffic.served == 1)).sum()
    assert left.pop("without vector or text") == (rated & (traffic.served != 1))[::2].sum()
    assert set(left) <= {"on queries unlike all records, which --recluster can learn"}
    assert found.scores == np.isfinite(said).sum() - sum(found.left_out.values())


@pytest.mark.parametrize("vectors", [None, np.full((300, 278), np.nan, dtype=np.float32)])
def test_without_vectors_the_error_says_what_to_set(world, traffic, vectors):
    with pytest.raises(LearningError, match=r"\[store\] log_vectors = true"):
        learn(world.router, replace(traffic, vectors=vectors))


def test_if_nothing_is_left_it_says_why(world, traffic):
    failed = replace(saying(traffic, np.ones(300)), outcomes=("upstream-error",) * 300)
    with pytest.raises(LearningError, match="none of the 300 new scores can be learnt: 300 of requests that did not"):
        learn(world.router, failed)


def test_a_router_that_has_learnt_is_saved_whole(tmp_path, traffic, learnt):
    learnt.router.save(tmp_path / "router")
    loaded = Router.load(tmp_path / "router")
    np.testing.assert_array_equal(expected(loaded, traffic.vectors), expected(learnt.router, traffic.vectors))
    policies = (Policy(), Policy(alpha=1.0), Policy(target=0.95), Policy(alpha=0.9, exclude=(POOL[0],)))
    for policy in policies:
        np.testing.assert_array_equal(
            loaded.route_vectors(traffic.vectors, policy), learnt.router.route_vectors(traffic.vectors, policy)
        )
    more = saying(traffic, np.where(traffic.served >= 0, 0.3, np.nan))
    a, b = (learn(router, more, again=True).router for router in (loaded, learnt.router))
    np.testing.assert_array_equal(expected(a, traffic.vectors), expected(b, traffic.vectors))
    loaded.save(tmp_path / "again")
    for name in ("router.json", "router.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "router" / name).read_bytes()


def test_records_that_come_later_are_not_counted_beside_the_feedback_that_said_the_same(world, traffic):
    """Learning and then updating must be near updating and then learning: residuals follow the expectations."""
    more = world.truth.take(range(LABELLED, LABELLED + 150))
    a = learn(world.router, traffic).router.update(more)
    b = learn(world.router.update(more), traffic).router
    np.testing.assert_allclose(expected(a, traffic.vectors), expected(b, traffic.vectors), atol=0.03)
    unlike = np.abs(expected(b, traffic.vectors) - expected(world.router, traffic.vectors)).max()
    assert unlike > 0.1


def test_other_changes_keep_what_was_learnt(world, traffic, learnt):
    vectors = traffic.vectors
    smaller = learnt.router.remove_model(POOL[0])
    np.testing.assert_allclose(expected(smaller, vectors), expected(learnt.router, vectors)[:, 1:], atol=0.05)
    dearer = learnt.router.reprice(POOL[1], factor=2.0)
    np.testing.assert_allclose(expected(dearer, vectors), expected(learnt.router, vectors), atol=1e-9)
    other = world.router.relearn(world.truth.take(range(LABELLED, LABELLED + 100)))
    merged = learnt.router.merge(other)
    assert merged.fitted.evidence.lessons is not None
    with pytest.raises(MethodError, match="would count twice"):
        learnt.router.merge(learnt.router)


def test_a_model_without_a_score_enters_on_the_line_of_the_others(world, traffic):
    new = ModelCard(name="lab/new", input_price=0.5, output_price=2.0)
    found = learn(world.router, traffic, pool=[*CARDS, new])
    assert (found.entered, found.gone) == (("lab/new",), ())
    assert found.router.models == (*POOL, "lab/new")
    means = [fact.mean_score for fact in found.router.facts[:4]]
    entered = found.router.facts[4]
    assert min(means) - 0.1 < entered.mean_score < max(means) + 0.1
    assert entered.observations == 0
    assert entered.mean_cost > 0
    candidates = {each.model: each for each in found.router.route(world.truth.queries[0]).candidates}
    assert candidates["lab/new"].high - candidates["lab/new"].low > 0.7
    assert np.isfinite(candidates["lab/new"].expected_cost)
    lesson = found.models[-1]
    assert (lesson.model, lesson.scores) == ("lab/new", 0)
    assert np.isnan(lesson.before)
    assert lesson.after == entered.mean_score


def test_a_new_model_is_expected_to_be_good_where_the_others_are(world, traffic):
    found = learn(world.router, traffic, pool=[*CARDS, ModelCard(name="lab/new")]).router
    scores = expected(found, traffic.vectors)
    assert np.corrcoef(scores[:, 4], scores[:, :4].mean(axis=1))[0, 1] > 0.9


def test_a_few_scores_outweigh_the_assumption(world, traffic):
    """Forty answers of the new model, all good, beside the others' forty, all as expected."""
    entered = learn(world.router, traffic, pool=[*CARDS, ModelCard(name="lab/new")]).router
    later = replace(
        saying(traffic, np.full(300, np.nan)), models=(*POOL, "lab/new"), at=traffic.at + 1e7, outcomes=("ok",) * 300
    )
    served, said = np.where(np.arange(300) < 40, 4, 2), np.full(300, np.nan)
    said[:40] = 1.0
    said[40:80] = expected(entered, traffic.vectors)[40:80, 2]
    after = learn(entered, saying(replace(later, served=served), said)).router
    rise = (expected(after, traffic.vectors) - expected(entered, traffic.vectors)).mean(axis=0)
    assert rise[4] > 0.1
    assert rise[4] > 3 * abs(rise[:4]).max()


def test_models_that_left_the_pool_are_dropped(world, traffic):
    found = learn(world.router, traffic, pool=CARDS[:3])
    assert found.gone == (POOL[3],)
    assert found.router.models == POOL[:3]
    assert np.isnan(found.models[-1].after)
    with pytest.raises(LearningError, match="none of the router's models"):
        learn(world.router, traffic, pool=[ModelCard(name="lab/other")])


def test_clusters_can_be_fitted_anew_on_what_was_asked(world, traffic, learnt):
    records = world.truth.take(range(LABELLED))
    found = learn(learnt.router, traffic, records=records)
    assert found.scores >= learnt.scores
    assert not any("unlike" in reason for reason in found.left_out)
    assert found.router.fitted.levels.sizes != world.router.fitted.levels.sizes
    assert [step.action for step in found.router.lineage] == ["fit", "traffic"]
    with pytest.raises(LearningError, match="no scores of openai/gpt-5"):
        learn(world.router, traffic, records=records.exclude_models(["openai/gpt-5"]))


def test_queries_of_a_new_kind_are_left_for_new_clusters(world, traffic):
    strange = np.zeros_like(traffic.vectors)
    strange[:, 0] = 1.0
    strange += np.random.default_rng(0).normal(scale=0.01, size=strange.shape).astype(np.float32)
    half = np.arange(300) % 2 == 0
    mixed = replace(traffic, vectors=np.where(half[:, None], strange, traffic.vectors))
    found = learn(world.router, mixed)
    assert found.left_out["on queries unlike all records, which --recluster can learn"] > 40
    again = learn(world.router, mixed, records=world.truth.take(range(LABELLED)))
    assert again.scores > found.scores + 40


def test_other_methods_cannot_learn(world, traffic):
    other = Router.fit(world.truth.take(range(LABELLED)), method="knn+format")
    with pytest.raises(MethodError, match="cannot be changed without its records"):
        learn(other, traffic)


def test_the_report_is_plain(learnt):
    told = learnt.to_dict()
    assert told["scores"] == learnt.scores
    assert [line["model"] for line in told["models"]] == list(POOL)
    assert all(
        value is None or isinstance(value, int | float | str) for line in told["models"] for value in line.values()
    )
    assert "router" not in told


def test_a_ledger_read_without_the_router_is_learnt_all_the_same(world, traffic, learnt):
    plain = asyncio.run(read_traffic(world.url))
    again = learn(world.router, plain).router
    np.testing.assert_allclose(expected(again, traffic.vectors), expected(learnt.router, traffic.vectors), atol=1e-9)
