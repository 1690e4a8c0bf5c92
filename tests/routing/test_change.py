"""Changing a router without its records: what must equal a fit, what must be refused, what must be remembered."""

from dataclasses import replace

import numpy as np
import pytest

from avengers_pro.errors import MethodError, PolicyError
from avengers_pro.records import Records
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.evidence import Evidence
from avengers_pro.routing.pool import ModelCard
from avengers_pro.routing.prompt import Prompt

LABS = ("lab/cheap", "lab/code", "lab/prose", "lab/large")


def simulated(n=600, seed=0, *, tokens=True):
    """Simulated queries of two kinds, code and prose, each with its own good model, with tokens and latencies."""
    rng = np.random.default_rng(seed)
    words = {
        "code": ["def", "return", "import", "class", "loop", "array", "parse", "function"],
        "prose": ["sea", "poem", "king", "rain"],
    }
    kinds = rng.choice(["code", "prose"], n)
    queries = [f"{' '.join(rng.choice(words[kind], 6))} {seed}-{row}" for row, kind in enumerate(kinds)]
    skill = {"code": [0.3, 0.8, 0.2, 0.75], "prose": [0.35, 0.2, 0.8, 0.75]}
    scores = (rng.random((n, 4)) < np.array([skill[kind] for kind in kinds])).astype(float)
    prompt = np.repeat(rng.integers(20, 60, (n, 1)), 4, axis=1).astype(float)
    answer = rng.integers(50, 400, (n, 4)).astype(float)
    prices = np.array([[0.1, 0.4], [1.0, 2.0], [1.0, 3.0], [3.0, 15.0]])
    costs = (prompt * prices[:, 0] + answer * prices[:, 1]) / 1e6
    table = Records.from_arrays(queries, LABS, scores, costs, datasets=kinds.tolist())
    if not tokens:
        return table
    latency = answer * np.array([1.0, 2.0, 2.0, 8.0])
    return replace(table, prompt_tokens=prompt, completion_tokens=answer, latency_ms=latency)


@pytest.fixture(scope="module")
def records():
    return simulated()


@pytest.fixture(scope="module")
def router(records):
    return Router.fit(records)


TEXTS = ["def parse array loop return import", "rain king sea poem sea rain", "king import rain class sea loop"]


def expected(router, texts=TEXTS):
    """(n, m) expected scores and costs, in the order of the router's models."""
    found = [{c.model: c for c in router.route(text, Policy(alpha=0.5)).candidates} for text in texts]
    return tuple(
        np.array([[getattr(each[model], name) for model in router.models] for each in found])
        for name in ("expected_score", "expected_cost")
    )


def test_a_removed_model_is_gone_and_the_others_are_as_they_were(router):
    smaller = router.remove_model("lab/large")
    assert smaller.models == LABS[:3]
    kept, before = expected(smaller), expected(router)
    np.testing.assert_allclose(kept[1], before[1][:, :3], rtol=0.05)
    assert smaller.route(TEXTS[0], Policy(alpha=1.0)).model == "lab/code"
    with pytest.raises(MethodError, match="has no model 'lab/none'"):
        router.remove_model("lab/none")


def test_the_last_model_stays(router):
    only = router.remove_model(LABS[0]).remove_model(LABS[1]).remove_model(LABS[2])
    with pytest.raises(MethodError, match="only model"):
        only.remove_model(LABS[3])


def test_removing_and_adding_with_all_labels_is_where_it_began(router, records):
    again = router.remove_model("lab/large").add_model("lab/large", records)
    for found, before in zip(expected(again), expected(router), strict=True):
        np.testing.assert_allclose(found, before, rtol=1e-6)
    assert [step.action for step in again.lineage] == ["fit", "remove_model", "add_model"]


@pytest.mark.parametrize("labels", [30, 120, 250])
def test_a_model_with_few_labels_follows_the_others_and_says_how_little_is_known(records, router, labels):
    small = router.remove_model("lab/large")
    few = records.take(np.arange(labels))
    grown = small.add_model("lab/large", few)
    decision = grown.route(TEXTS[0], Policy(alpha=0.5))
    new = next(c for c in decision.candidates if c.model == "lab/large")
    old = next(c for c in decision.candidates if c.model == "lab/code")
    assert new.high - new.low > old.high - old.low
    assert abs(new.expected_score - 0.75) < 0.2
    assert next(f.observations for f in grown.facts if f.name == "lab/large") == labels


def test_a_lucky_start_does_not_become_the_reference(router, records):
    """Ten perfect scores are no proof: with a closed guard, alpha 1 keeps to a model that is known."""
    lucky = Records.from_arrays(records.queries[:10], ["lab/new"], np.ones((10, 1)), np.full((10, 1), 1e-6))
    grown = router.add_model("lab/new", lucky)
    assert grown.models[grown.fitted.calibration.reference] != "lab/new"


def test_new_queries_can_label_a_new_model(router):
    other = simulated(200, seed=9).select_models(["lab/large"])
    renamed = Records.from_arrays(other.queries, ["lab/new"], other.scores, other.costs)
    grown = router.add_model("lab/new", renamed)
    assert grown.models == (*LABS, "lab/new")
    score, _ = expected(grown)
    assert np.abs(score[:, 4] - 0.75).max() < 0.2


def test_what_cannot_be_added_is_refused(router, records):
    with pytest.raises(MethodError, match="has 'lab/large' already"):
        router.add_model("lab/large", records)
    blank = replace(records, models=("a", "b", "c", "lab/new"), scores=np.full(records.scores.shape, np.nan))
    with pytest.raises(MethodError, match="no score of 'lab/new'"):
        router.add_model("lab/new", blank)


def test_a_factor_scales_one_models_costs(router):
    dear = router.reprice("lab/code", factor=3.0)
    (score, cost), (old_score, old_cost) = expected(dear), expected(router)
    np.testing.assert_allclose(cost[:, 1], 3 * old_cost[:, 1], rtol=1e-6)
    np.testing.assert_allclose(np.delete(cost, 1, 1), np.delete(old_cost, 1, 1), rtol=0.05)
    np.testing.assert_allclose(score, old_score, rtol=1e-9)


def test_prices_give_the_costs_that_a_fit_at_those_prices_would(router, records):
    repriced = router.reprice("lab/large", input_price=0.5, output_price=1.0)
    costs = records.costs.copy()
    costs[:, 3] = (0.5 * records.prompt_tokens[:, 3] + 1.0 * records.completion_tokens[:, 3]) / 1e6
    for found, wanted in zip(expected(repriced), expected(Router.fit(replace(records, costs=costs))), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    fact = repriced.facts[3]
    assert (fact.input_price, fact.output_price) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "input price and an output price"),
        ({"input_price": 1.0}, "input price and an output price"),
        ({"factor": 1.0, "input_price": 1.0}, "or a factor alone"),
        ({"factor": -1.0}, "at least 0"),
        ({"input_price": -1.0, "output_price": 1.0}, "at least 0"),
    ],
)
def test_prices_without_meaning_are_refused(router, given, said):
    with pytest.raises(MethodError, match=said):
        router.reprice("lab/code", **given)


def test_prices_need_tokens():
    with pytest.raises(MethodError, match="no tokens of 'lab/code'"):
        Router.fit(simulated(100, tokens=False)).reprice("lab/code", input_price=1.0, output_price=1.0)


def test_a_pool_table_brings_prices_and_abilities(router):
    cards = [
        ModelCard(name="lab/large", input_price=0.5, output_price=1.0, capabilities=("tools", "images")),
        ModelCard(name="lab/code", capabilities=("tools",)),
        ModelCard(name="elsewhere/unknown", input_price=9.0, output_price=9.0),
    ]
    priced = router.with_pool(cards)
    same = router.reprice("lab/large", input_price=0.5, output_price=1.0)
    np.testing.assert_allclose(expected(priced)[1], expected(same)[1])
    assert priced.route(TEXTS[1], Policy(alpha=1.0, requires=("images",))).model == "lab/large"
    able = {c.model for c in priced.route(TEXTS[1], Policy(requires=("tools",))).candidates if c.removed is None}
    assert able == {"lab/large", "lab/code"}
    removed = {c.model: c.removed for c in priced.route(TEXTS[1], Policy(requires=("tools",))).candidates}
    assert removed["lab/prose"] == "not known to have tools"
    with pytest.raises(PolicyError, match="known to have audio"):
        priced.route(TEXTS[1], Policy(requires=("audio",)))


def test_new_evidence_is_added_as_if_it_had_been_there(router, records):
    """On the same clusters, two updates equal one, and equal learning everything at once."""
    more, most = simulated(300, seed=1), simulated(200, seed=2)
    step = router.update(more).update(most)
    once = router.update(_stacked(more, most))
    for found, wanted in zip(expected(step), expected(once), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    whole = router.relearn(_stacked(records, more, most))
    for found, wanted in zip(expected(step), expected(whole), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert [fact.observations for fact in step.facts] == [1100] * 4


def _stacked(*tables):
    parts = [getattr(table, name) for name in ("queries", "datasets") for table in tables]
    queries, datasets = parts[: len(tables)], parts[len(tables) :]
    table = Records.from_arrays(
        [q for part in queries for q in part],
        tables[0].models,
        np.vstack([table.scores for table in tables]),
        np.vstack([table.costs for table in tables]),
        datasets=[d for part in datasets for d in part],
    )
    names = ("prompt_tokens", "completion_tokens", "latency_ms")
    return replace(table, **{name: np.vstack([getattr(table, name) for table in tables]) for name in names})


def test_old_evidence_fades_with_its_half_life(router):
    """A model that became bad is believed sooner to be bad if what is old counts less."""
    fresh = simulated(300, seed=3)
    fallen = replace(fresh, scores=np.where(np.array(LABS) == "lab/large", 0.0, fresh.scores))
    slow, fast = router.update(fallen), router.update(fallen, half_life=100)
    large = LABS.index("lab/large")
    before, after_slow, after_fast = (expected(r)[0][:, large].mean() for r in (router, slow, fast))
    assert after_fast < after_slow - 0.1 < before - 0.2
    assert fast.lineage[-1].detail["old_counts"] == pytest.approx(0.5**3)
    with pytest.raises(MethodError, match="half_life"):
        router.update(fallen, half_life=0)


def test_traffic_with_one_model_a_query_teaches(router):
    """Sparse labels, each query observed for one model, move what they speak of and nothing else."""
    fresh = simulated(400, seed=4)
    rng = np.random.default_rng(0)
    seen = np.arange(4) == rng.integers(0, 4, (400, 1))
    sparse = replace(
        fresh,
        scores=np.where(seen, np.where(np.arange(4) == 0, 1.0, fresh.scores), np.nan),
        costs=np.where(seen, fresh.costs, np.nan),
    )
    score, _ = expected(router.update(sparse))
    before, _ = expected(router)
    assert (score[:, 0] > before[:, 0] + 0.05).all()
    assert np.abs(score[:, 3] - before[:, 3]).max() < 0.1


def test_merging_equals_learning_both(router, records):
    half = len(records) // 2
    first, second = records.take(np.arange(half)), records.take(np.arange(half, len(records)))
    a, b = router.relearn(first), router.relearn(second)
    for found, wanted in zip(expected(a.merge(b)), expected(router.relearn(records)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
    for found, wanted in zip(expected(a.merge(b)), expected(b.merge(a)), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_evidence_never_counts_twice(router, records):
    part = router.relearn(records.take(np.arange(300)))
    with pytest.raises(MethodError, match="count twice"):
        part.merge(part)
    with pytest.raises(MethodError, match="count twice"):
        part.merge(part.update(simulated(50, seed=5)))
    with pytest.raises(MethodError, match="different clusters"):
        router.merge(Router.fit(simulated(300, seed=6)))


def test_pools_that_differ_are_joined(router):
    a = router.relearn(simulated(200, seed=7).select_models(LABS[:2]))
    b = router.relearn(simulated(200, seed=8).select_models(LABS[1:]))
    both = a.merge(b)
    assert both.models == LABS
    assert [fact.observations for fact in both.facts] == [200, 400, 200, 200]


def test_changed_routers_survive_saving(router, records, tmp_path):
    changed = (
        router.remove_model("lab/large")
        .add_model("lab/large", records.take(np.arange(150)))
        .update(simulated(100, seed=5), half_life=1000)
        .with_pool([ModelCard(name="lab/code", capabilities=("tools",))])
    )
    changed.save(tmp_path / "r")
    again = Router.load(tmp_path / "r")
    for found, wanted in zip(expected(again), expected(changed), strict=True):
        np.testing.assert_allclose(found, wanted)
    assert again.lineage == changed.lineage
    assert again.facts == changed.facts
    again.save(tmp_path / "s")
    for name in ("router.json", "router.safetensors"):
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "s" / name).read_bytes()
    # what was saved can be changed on
    assert again.remove_model("lab/code").models == ("lab/cheap", "lab/prose", "lab/large")


def test_published_methods_say_that_they_cannot_change(records):
    paper = Router.fit(records, method="avengers-pro-paper")
    for change in (lambda: paper.remove_model("lab/code"), lambda: paper.update(records)):
        with pytest.raises(MethodError, match="fit it again"):
            change()
    described = paper.with_pool([ModelCard(name="lab/code", capabilities=("tools",))])
    assert described.route(TEXTS[0], Policy(requires=("tools",))).model == "lab/code"


def test_a_sample_stays_bounded(router, monkeypatch):
    monkeypatch.setattr("avengers_pro.routing.evidence.SAMPLE_ROWS", 650)
    grown = router.update(simulated(500, seed=11))
    assert len(grown.fitted.evidence.sample.weights) == 650
    assert grown.facts[0].observations == 1100


def test_expected_tokens_and_latency_follow_the_records(router, records):
    estimate = router.fitted.estimate(_queries(router))
    for quantity, values in (("completion_tokens", records.completion_tokens), ("latency_ms", records.latency_ms)):
        found = estimate.expected_usage(quantity)
        np.testing.assert_allclose(found, np.broadcast_to(values.mean(axis=0), found.shape), rtol=0.25)
    none = Router.fit(simulated(100, tokens=False)).fitted
    assert np.isnan(none.estimate(_queries(router)).expected_latency).all()


def _queries(router):
    from avengers_pro.routing.queries import Queries

    return Queries(router.embed(TEXTS))


def test_latency_is_a_constraint(router):
    fast = router.route(TEXTS[0], Policy(alpha=1.0, max_latency=700))
    assert fast.model == "lab/code"
    assert "max_latency" in {c.model: c.removed for c in fast.candidates}["lab/large"]
    assert not router.route(TEXTS[0], Policy(max_latency=1)).feasible


def test_infeasible_can_be_relaxed(router):
    strict = {"min_score": 0.999, "max_cost": 1e-9}
    refused = router.route(TEXTS[0], Policy(**strict))
    assert refused.model is None
    assert not refused.relaxed
    cheapest = router.route(TEXTS[0], Policy(**strict, on_infeasible="cheapest"))
    best = router.route(TEXTS[0], Policy(**strict, on_infeasible="best"))
    assert cheapest.model == "lab/cheap"
    assert best.model in {"lab/code", "lab/large"}
    assert cheapest.relaxed
    assert "no model meets the policy, so the cheapest was taken" in cheapest.reason
    assert router.route(TEXTS[0], Policy(target=5.0)).model is None
    assert router.route(TEXTS[0], Policy(target=5.0, on_infeasible="best")).relaxed
    hard = Policy(**strict, exclude=("lab/cheap",), on_infeasible="cheapest")
    assert router.route(TEXTS[0], hard).model != "lab/cheap"
    met = router.route(TEXTS[0], Policy(min_score=0.1, on_infeasible="best", alpha=0.0))
    assert met.model == "lab/cheap"
    assert not met.relaxed


def test_batches_relax_the_same_rows(router):
    policy = Policy(min_score=0.7, on_infeasible="cheapest")
    many = [decision.model for decision in router.route_many(TEXTS, policy)]
    assert many == [router.route(text, policy).model for text in TEXTS]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"on_infeasible": "panic"}, "refuse, cheapest, best"),
        ({"requires": ("flying",)}, "known capabilities"),
        ({"requires": "tools"}, "list of names"),
        ({"max_latency": -1}, "max_latency"),
    ],
)
def test_policies_without_meaning_are_refused(given, said):
    with pytest.raises(PolicyError, match=said):
        Policy(**given)


def test_latency_means_nothing_to_methods_that_keep_none(records):
    paper = Router.fit(records, method="avengers-pro-paper")
    with pytest.raises(PolicyError, match="keeps no latencies"):
        paper.route(TEXTS[0], Policy(max_latency=100))


def test_contributions_add_up_to_the_expectation(router):
    explained = router.explain(TEXTS[0], Policy(alpha=0.5))
    best = explained.decision.chosen
    mean = next(fact.mean_score for fact in router.facts if fact.name == best.model)
    total = mean + sum(part.scores[best.model] for part in explained.contributions)
    assert total == pytest.approx(best.expected_score)
    assert sum(part.score_weight for part in explained.contributions) == pytest.approx(1)


def test_counterfactuals_come_true(router):
    """Every named alpha, target and cost factor really makes the other candidate win."""
    policy = Policy(alpha=0.6)
    explained = router.explain(TEXTS[2], policy)
    seen = 0
    for other in explained.counterfactuals:
        if other.alpha is not None:
            for alpha in other.alpha:
                assert router.route(TEXTS[2], Policy(alpha=round(alpha, 3))).model == other.model
                seen += 1
        if other.target is not None:
            assert router.route(TEXTS[2], Policy(target=other.target[0])).model == other.model
            seen += 1
        if other.cost_factor is not None and other.cost_factor > 0.1:
            price = router.fitted.estimate(_queries(router)).price(policy.alpha)
            best, mine = explained.decision.chosen, other
            candidate = next(c for c in explained.decision.candidates if c.model == mine.model)
            at = candidate.expected_score - price * candidate.expected_cost * other.cost_factor
            assert at == pytest.approx(best.utility)
            seen += 1
    assert seen > 2


def test_evidence_of_nothing_known_is_left_out_of_the_artifact():
    router = Router.fit(simulated(60, tokens=False))
    assert not {"usage_counts", "sample_tokens"} & router.fitted.arrays().keys()
    assert isinstance(router.fitted.evidence, Evidence)


def test_the_cost_of_a_request_is_that_of_its_prompt(router):
    """Long prompts cost by their length, cached beginnings by the cached price, answers as records lead to expect."""
    cards = [ModelCard(name=name, input_price=2.0, output_price=8.0, cached_input_price=0.5) for name in LABS[:3]]
    priced = router.with_pool(cards)
    vector = priced.embed(TEXTS)[0]
    answer = priced.fitted.estimate(_queries(priced)).expected_usage("completion_tokens")[0]
    short, long = (priced.route_vector(vector, Policy(alpha=0.5), Prompt(tokens)) for tokens in (10, 100_000))
    for decision, tokens in ((short, 10), (long, 100_000)):
        for column, name in enumerate(LABS[:3]):
            assert decision.expectation(name)[1] == pytest.approx((2 * tokens + 8 * answer[column]) / 1e6)
    # a model without prices keeps what queries like this cost on average
    assert long.expectation("lab/large") == short.expectation("lab/large")
    cached = priced.route_vector(vector, Policy(alpha=0.5), Prompt(100_000, "lab/code", 80_000))
    spared = long.expectation("lab/code")[1] - cached.expectation("lab/code")[1]
    assert spared == pytest.approx(80_000 * 1.5 / 1e6)
    assert [name for name, _, _ in cached.ranking()] == [c.model for c in cached.candidates]
    assert not priced.route_vector(vector, Policy(max_cost=0.05, models=LABS[:3]), Prompt(100_000)).feasible


def test_the_first_decision_of_a_new_pool_makes_it_ready(router):
    policy = Policy(alpha=0.123, exclude=("lab/code",))
    assert not router.is_ready(policy)
    router.route(TEXTS[0], policy)
    assert router.is_ready(policy)
    assert router.best_single in LABS


@pytest.mark.parametrize("method", ["avengers-pro", "avengers-pro-paper", "knn"])
def test_without_a_query_the_overall_means_decide(records, method):
    fitted = Router.fit(records, method=method)
    best = LABS[int(records.scores.mean(axis=0).argmax())]
    decision = fitted.route_blind(Policy(alpha=1.0))
    assert decision.model == best
    np.testing.assert_allclose(decision.expectation(best)[0], records.scores.mean(axis=0).max(), rtol=1e-6)
    assert fitted.route_blind(Policy(alpha=0.0)).model == "lab/cheap"
    assert fitted.route_blind(Policy(alpha=1.0, exclude=(best,))).model != best
