"""The metrics that show drift while a gateway runs."""

import json
import math

import pytest
from live import FIRST, QUESTION, SECOND, card, eventually, saying, upstream

from avengers_pro.routing import Router
from avengers_pro.routing.stability import population_stability, stability_without_shift, training_clusters


def answering_as(model: str) -> bytes:
    """Return a whole answer that reports a model."""
    body = json.dumps(
        {
            "id": "x",
            "object": "chat.completion",
            "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "2"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def test_the_mix_of_queries_is_compared_when_metrics_are_read(gateway, provider, router_folder):
    live = gateway(provider)
    assert math.isnan(live.metric("cluster_stability_index"))
    for _ in range(3):
        assert live.ask().status == 200
    eventually(lambda: live.metric("embedded_total") == 3)
    router = Router.load(router_folder)
    training = training_clusters(router.fitted)
    counts = training * 0
    counts[router.route(QUESTION).clusters[0]] = 3
    assert live.metric("cluster_stability_index") == pytest.approx(population_stability(training, counts))
    by_chance = stability_without_shift(len(training), int(training.sum()), 3)
    assert live.metric("cluster_stability_index_by_chance") == pytest.approx(by_chance)


def test_novel_queries_are_counted_and_named_models_are_not(gateway, provider, router_folder, sample):
    usual, strange = sample.queries[0], "zq " * 400
    router = Router.load(router_folder)
    assert (router.route(usual).novel, router.route(strange).novel) == (False, True)
    live = gateway(provider)
    for content in (usual, strange):
        assert live.ask(content).status == 200
    assert live.ask(strange, model=FIRST).status == 200
    eventually(lambda: live.metric("requests_total") == 3)
    assert live.metric("embedded_total") == 2
    assert live.metric("novel_total") == 1


def test_answers_of_another_model_are_counted(gateway):
    with upstream(saying(answering_as("gpt-5-2025-08-07"))) as dated, upstream(saying(answering_as("cheap"))) as other:
        live = gateway([card(FIRST, dated, upstream_model="gpt-5"), card(SECOND, other)])
        assert live.ask(model=FIRST).status == 200
        for _ in range(2):
            assert live.ask(model=SECOND).status == 200
        eventually(lambda: live.metric("requests_total") == 3)
        assert live.metric("reported_other_model_total", model=SECOND) == 2
        assert live.metric("reported_other_model_total", model=FIRST) == 0


def test_feedback_is_summed_beside_what_was_expected(gateway, provider):
    live = gateway(provider)
    routed, named = live.ask(), live.ask(model=SECOND)
    assert [row["outcome"] for row in live.rows()] == ["ok", "ok"]
    for answer in (routed, named):
        assert live.call("/v1/feedback", {"decision": answer.decision, "score": 0.25}).status == 200
    assert live.call("/v1/feedback", {"decision": routed.decision, "score": 1}).status == 200, "it changed its mind"
    row = live.rows()[0]
    assert live.metric("feedback_total", model=row["served_by"]) == live.metric("feedback_total") == 1
    assert live.metric("feedback_score_total") == 0.25
    assert live.metric("feedback_expected_score_total") == pytest.approx(row["expected_score"])


def test_a_reload_begins_anew(gateway, provider):
    live = gateway(provider, {"access": {"required": False}})
    assert live.ask().status == 200
    eventually(lambda: live.metric("embedded_total") == 1)
    _, secret = live.key("admin")
    eventually(
        lambda: live.call("/admin/reload", method="POST", authorization=f"Bearer {secret}").status == 200, timeout=20
    )
    assert math.isnan(live.metric("cluster_stability_index"))
    assert live.metric("embedded_total") == 1
