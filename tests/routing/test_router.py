"""The router through its public interface, on the simulated sample and the bundled embedder."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.embedding.format import with_format
from avengers_pro.embedding.static import StaticEmbedder
from avengers_pro.errors import EmbedderMismatchError, EmbeddingError, MethodError, PolicyError
from avengers_pro.records import Records
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.queries import Queries
from simulated import synthetic

CODE_QUERY = "Write a Python function that reverses a linked list, with unit tests."


@pytest.fixture(scope="module", params=["avengers-pro", "avengers-pro-paper"])
def router(request, sample, sample_vectors):
    return Router.fit(sample, method=request.param, vectors=sample_vectors)


@pytest.fixture(scope="module")
def rows(router, sample, sample_vectors):
    """The sample's vectors as the router asks for them."""
    return with_format(sample_vectors, sample.queries) if router.method.features == "format" else sample_vectors


def test_one_fit_serves_every_alpha(router, rows):
    cheap, good = (router.route_vectors(rows, Policy(alpha=alpha)) for alpha in (0.0, 1.0))
    cost = np.array([fact.mean_cost for fact in router.facts])
    score = np.array([fact.mean_score for fact in router.facts])
    assert cost[cheap].mean() < cost[good].mean() / 5
    assert score[good].mean() > score[cheap].mean()


def test_one_by_one_in_batch_and_from_text_agree(router, sample, rows):
    policy = Policy(alpha=0.4)
    batch = router.route_vectors(rows[:300], policy)
    single = [router.route_vector(vector, policy).model for vector in rows[:300]]
    many = [decision.model for decision in router.route_many(sample.queries[:300], policy)]
    assert [router.models[column] for column in batch] == single == many
    assert router.route(sample.queries[0], policy).model == single[0]
    assert len(router.route_vectors(rows[:0])) == 0


def test_a_decision_explains_itself(router):
    decision = router.route(CODE_QUERY, Policy(alpha=0.6))
    assert decision.feasible
    assert decision.chosen == decision.candidates[0]
    assert decision.model in decision.reason or "expected score" in decision.reason
    assert len(decision.candidates) == 13
    utilities = [candidate.utility for candidate in decision.candidates]
    assert utilities == sorted(utilities, reverse=True)
    assert len(decision.clusters) == 4
    assert decision.to_dict()["model"] == decision.model
    assert repr(decision).startswith("Decision(")


def test_explain_tells_where_alpha_flips_the_choice(router):
    explanation = router.explain(CODE_QUERY, Policy(alpha=0.5))
    assert explanation.stretches[0].alpha_from == 0.0
    assert explanation.stretches[-1].alpha_to == 1.0
    for stretch in explanation.stretches:
        middle = (stretch.alpha_from + stretch.alpha_to) / 2
        assert router.route(CODE_QUERY, Policy(alpha=middle)).model == stretch.model
    assert [near.cluster for near in explanation.clusters] == list(explanation.decision.clusters)
    assert all(near.size > 0 for near in explanation.clusters)
    similarities = [near.closeness for near in explanation.clusters]
    assert similarities == sorted(similarities, reverse=True)
    assert explanation.to_dict()["by_alpha"][0]["from"] == 0.0


def test_constraints_really_exclude(router, rows):
    free = Policy(alpha=1.0)
    capped = Policy(alpha=1.0, max_cost=0.002)
    for vector in rows[::100]:
        decision = router.route_vector(vector, capped)
        if decision.feasible:
            assert decision.chosen.expected_cost <= 0.002
        for candidate in decision.candidates:
            over = candidate.expected_cost > 0.002
            assert (candidate.removed is not None) == (over or np.isnan(candidate.expected_score))
        assert router.route_vector(vector, free).chosen.utility >= (decision.chosen.utility if decision.chosen else 0)


def test_infeasible_is_an_answer_that_names_the_constraint(router):
    decision = router.route(CODE_QUERY, Policy(min_score=1.0, max_cost=1e-9))
    assert decision.model is None
    assert decision.chosen is None
    assert not decision.feasible
    assert decision.reason.startswith("infeasible")
    assert "min_score" in decision.reason
    assert router.route_vectors(router.embed([CODE_QUERY]), Policy(min_score=1.0)).tolist() == [-1]
    assert "max_cost" in router.route(CODE_QUERY, Policy(max_cost=0.0)).reason


@settings(max_examples=20, deadline=None)
@given(data=st.data(), alpha=st.floats(0, 1))
def test_only_allowed_models_are_chosen(router, rows, data, alpha):
    allowed = data.draw(st.sets(st.sampled_from(router.models), min_size=1))
    excluded = data.draw(st.sets(st.sampled_from(router.models)))
    if allowed <= excluded:
        with pytest.raises(PolicyError, match="no model to choose from"):
            router.route_vector(rows[0], Policy(models=tuple(allowed), exclude=tuple(excluded)))
        return
    policy = Policy(alpha=alpha, models=tuple(allowed), exclude=tuple(excluded))
    chosen = {router.models[column] for column in router.route_vectors(rows[:50], policy) if column >= 0}
    assert chosen <= allowed - excluded


def test_why_a_candidate_was_removed(router):
    policy = Policy(models=("openai/gpt-5", "qwen/qwen3-235b"), exclude=("openai/gpt-5",))
    reasons = {c.model: c.removed for c in router.route(CODE_QUERY, policy).candidates}
    assert reasons["openai/gpt-5"] == "excluded by the policy"
    assert reasons["google/gemini-2.5-pro"] == "not among the policy's models"
    assert reasons["qwen/qwen3-235b"] is None


def test_a_model_that_was_never_observed_on_a_kind_of_query_is_not_chosen_there(router, sample, rows):
    """GPT-5-chat has no scores on the simulated tool dialogues: null is not zero and not a choice."""
    tools = [row for row, name in enumerate(sample.datasets) if name == "sim-tau2"]
    for alpha in (0.0, 0.5, 1.0):
        chosen = router.route_vectors(rows[tools], Policy(alpha=alpha))
        share = np.mean([router.models[column] == "openai/gpt-5-chat" for column in chosen])
        assert share < 0.03


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"alpha": 1.5}, "alpha must be at least 0 and at most 1"),
        ({"alpha": float("nan")}, "alpha must be at least 0 and at most 1"),
        ({"min_score": 2}, "min_score must be at least 0"),
        ({"max_cost": -1}, "max_cost must be"),
        ({"alpha": 0.5, "target": 1.0}, "alpha and target contradict"),
        ({"confidence": 0.2, "target": 1.0}, "confidence must be"),
        ({"budget": -1.0}, "budget must be"),
        ({"target": 1.0, "window": 0}, "window must be"),
    ],
)
def test_policies_out_of_range_are_errors(settings_, message):
    with pytest.raises(PolicyError, match=message):
        Policy(**settings_)


@pytest.mark.parametrize(("name", "hint"), [("openai/gpt5", "did you mean 'openai/gpt-5'"), ("@@@", "the pool is")])
def test_unknown_models_in_a_policy_are_errors(router, name, hint):
    with pytest.raises(PolicyError, match=hint):
        router.route(CODE_QUERY, Policy(models=(name,)))


def test_repeated_queries_count_once():
    records, vectors = synthetic()
    twice = Records.from_arrays(
        [*records.queries, *records.queries],
        records.models,
        np.vstack([records.scores, 1 - records.scores]),
        np.vstack([records.costs] * 2),
    )
    one = Router.fit(records, method="avengers-pro-paper", vectors=vectors)
    two = Router.fit(twice, method="avengers-pro-paper", vectors=np.vstack([vectors] * 2))
    np.testing.assert_array_equal(
        one.fitted.estimate(Queries(vectors)).utility(0.5), two.fitted.estimate(Queries(vectors)).utility(0.5)
    )


def test_an_empty_query_and_vectors_of_another_length_are_errors(router):
    with pytest.raises(EmbeddingError, match="empty"):
        router.route("")
    with pytest.raises(EmbedderMismatchError, match="the router was fitted on"):
        router.route_vectors(np.ones((1, 3), dtype=np.float32))


def test_vectors_must_match_the_records_and_be_numbers(router):
    records, vectors = synthetic()
    with pytest.raises(MethodError, match="119 vectors for 120 records"):
        Router.fit(records, vectors=vectors[:-1])
    broken = router.embed(["hello"])
    broken[0, 0] = np.nan
    with pytest.raises(EmbedderMismatchError, match="NaN"):
        router.route_vectors(broken)


def test_a_router_does_not_load_local_models_by_itself(tmp_path, sample):
    """Such a folder may hold code; the caller has to name it."""

    class Local(StaticEmbedder):
        @property
        def id(self):
            return "sentence-transformers:anything"

    Router.fit(sample.take(range(200)), Local(), "avengers-pro-paper").save(tmp_path / "router")
    with pytest.raises(EmbedderMismatchError, match="name it"):
        Router.load(tmp_path / "router").route("hello")
    assert Router.load(tmp_path / "router", embedder=Local()).route("hello").feasible


def test_references_cannot_serve():
    records, vectors = synthetic()
    with pytest.raises(MethodError, match="reference for evaluations"):
        Router.fit(records, method="oracle", vectors=vectors)


def test_the_embedder_of_the_fit_is_required(tmp_path, router):
    class Other(StaticEmbedder):
        @property
        def id(self):
            return "other"

    router.save(tmp_path / "router")
    with pytest.raises(EmbedderMismatchError, match="'other"):
        Router.load(tmp_path / "router", embedder=Other())
    records, vectors = synthetic()
    foreign = Router.fit(records, method="avengers-pro-paper", vectors=vectors)
    with pytest.raises(EmbedderMismatchError, match=r"\(12-d\)"):
        foreign.route("anything")


def test_a_method_without_clusters_explains_too(sample, sample_vectors):
    router = Router.fit(sample, method="knn", vectors=sample_vectors)
    explanation = router.explain(CODE_QUERY)
    assert explanation.clusters == ()
    assert explanation.decision.clusters == ()
    assert repr(router).startswith("Router(knn, 13 models")
