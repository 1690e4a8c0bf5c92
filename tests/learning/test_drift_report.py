"""All checks together, on a simulated history in a real ledger, and on what is missing in it."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from avengers_pro.demo.history import Course, write_history
from avengers_pro.learning import read_traffic
from avengers_pro.learning.drift import find_drift
from avengers_pro.learning.drift.replay import replay
from avengers_pro.routing import Policy, Router
from avengers_pro.routing.pool import Endpoint, ModelCard

POLICIES = {"avengers-pro": Policy(), "avengers-pro@0.3": Policy(alpha=0.3)}


@pytest.fixture(scope="module")
def split(sample):
    """Rows that a router is fitted on, and others of the same kinds; every model was observed on each."""
    complete = sample.select_models(sample.complete_models())
    order = np.random.default_rng(5).permutation(len(complete))
    return complete.take(order[:1200]), complete.take(order[1200:])


@pytest.fixture(scope="module")
def fitted(split) -> Router:
    return Router.fit(split[0])


@pytest.fixture(scope="module")
def traffic(fitted, split, tmp_path_factory):
    """800 simulated requests, every answer scored, as they come out of a ledger."""
    url = f"sqlite:///{tmp_path_factory.mktemp('drift')}/ledger.db"
    asyncio.run(write_history(url, fitted, split[1], Course(policies=POLICIES, feedback=1.0, failed=0.02)))
    return asyncio.run(read_traffic(url, router=fitted))


def by_name(report):
    return {(finding.measured.check, finding.measured.model): finding for finding in report.findings}


def drifted(report):
    return {finding.measured.check for finding in report.drifted}


def test_a_quiet_history_has_not_drifted(fitted, traffic):
    report = find_drift(traffic, fitted)
    assert not report.drifted
    found = by_name(report)
    for check in ("novel queries", "mix of queries", "embeddings", "models in use"):
        assert found[check, None].verdict == "no drift", check
    assert any(check == "quality" and one.verdict == "no drift" for (check, _), one in found.items())
    assert report.requests == report.own == len(traffic)
    assert report.since < report.until
    assert report.to_dict()["drift"] is False


def test_without_a_pool_table_prices_and_names_are_not_checked(fitted, traffic):
    found = by_name(find_drift(traffic, fitted))
    for check in ("price paid", "list price", "reported model"):
        assert found[check, None].verdict == "not checked"
        assert "--pool" in found[check, None].measured.problem


def test_queries_of_another_kind_are_found(fitted, split, tmp_path):
    truth = split[1]
    wrapped = tuple(
        f"TICKET #{row} severity=high\n{text}\nstatus: open" if row % 3 == 0 else text
        for row, text in enumerate(truth.queries)
    )
    url = f"sqlite:///{tmp_path}/ledger.db"
    asyncio.run(write_history(url, fitted, replace(truth, queries=wrapped), Course(feedback=0.0)))
    report = find_drift(asyncio.run(read_traffic(url, router=fitted)), fitted)
    assert "embeddings" in drifted(report)
    assert all(finding.recommendation for finding in report.drifted)


def test_a_shifted_mix_is_found(fitted, split, traffic):
    names = np.array(split[1].datasets)
    first = names == max(set(names), key=list(names).count)
    rows = np.concatenate([np.flatnonzero(first), np.flatnonzero(~first)[:100]])
    assert "mix of queries" in drifted(find_drift(traffic.take(np.sort(rows)), fitted))


def test_a_worse_model_is_found_and_the_others_are_left_alone(fitted, traffic):
    model = int(np.bincount(traffic.served[traffic.served >= 0]).argmax())
    scores = np.where(traffic.served == model, traffic.scores * 0.3, traffic.scores)
    report = find_drift(replace(traffic, scores=scores), fitted)
    assert [(one.measured.check, one.measured.model) for one in report.drifted] == [("quality", traffic.models[model])]


def test_quality_is_judged_by_the_router_that_expected_it(fitted, traffic):
    found = by_name(find_drift(traffic, fitted, fingerprint="another router"))
    quality = [one for (check, _), one in found.items() if check == "quality"]
    assert {one.verdict for one in quality} == {"not checked"}
    assert "this router decided none" in quality[0].measured.problem
    assert found["mix of queries", None].verdict == "no drift", "vectors place requests of other routers too"


def test_without_vectors_another_routers_requests_say_nothing_of_queries(fitted, traffic):
    bare = replace(traffic, vectors=None)
    found = by_name(find_drift(bare, fitted, fingerprint="another router"))
    assert "log_vectors" in found["mix of queries", None].measured.problem
    own = by_name(find_drift(bare, fitted, fingerprint=traffic.routers[0]))
    assert own["novel queries", None].verdict == own["mix of queries", None].verdict == "no drift"
    assert "log_vectors" in own["embeddings", None].measured.problem


def test_the_ledger_and_the_vectors_place_requests_alike(fitted, traffic):
    from_ledger = by_name(find_drift(replace(traffic, vectors=None), fitted))["mix of queries", None].measured
    from_vectors = by_name(find_drift(traffic, fitted, fingerprint="another router"))["mix of queries", None].measured
    assert from_ledger.value == pytest.approx(from_vectors.value, abs=0.02)


def test_a_gateway_that_has_come_down_to_one_model_is_found(fitted, traffic):
    found = find_drift(replace(traffic, served=np.full(len(traffic), 2)), fitted)
    assert "models in use" in drifted(found)
    assert traffic.models[2] in by_name(found)["models in use", None].recommendation


def test_pinned_models_are_no_collapse(fitted, traffic):
    """Where the policy leaves one model, the router would use one too."""
    only = f'{{"alpha":0.7,"models":["{traffic.models[2]}"]}}'
    pinned = replace(traffic, served=np.full(len(traffic), 2), policies=(only,) * len(traffic))
    found = by_name(find_drift(pinned, fitted))["models in use", None]
    assert found.verdict == "not checked"
    assert "uses 1.0 models" in found.measured.problem


def test_prices_and_names_are_checked_with_a_pool_table(fitted, traffic):
    cards = [
        ModelCard(name=name, input_price=1.0, output_price=1.0, endpoints=(Endpoint(base_url="http://127.0.0.1/v1"),))
        for name in traffic.models
    ]
    paid = (traffic.prompt_tokens + traffic.completion_tokens) / 1e6
    right = by_name(find_drift(replace(traffic, costs=paid), fitted, cards=cards))
    model = traffic.models[int(np.bincount(traffic.served[traffic.served >= 0]).argmax())]
    assert right["price paid", model].verdict == right["reported model", model].verdict == "no drift"
    assert right["list price", model].verdict == "not checked"
    others = tuple("somebody-else" for _ in traffic.ids)
    wrong = by_name(find_drift(replace(traffic, costs=paid * 2, reported_models=others), fitted, cards=cards))
    assert wrong["price paid", model].verdict == wrong["reported model", model].verdict == "drift"


def test_requests_that_named_their_model_say_nothing_of_routing(fitted, traffic):
    named = replace(traffic, routed=np.zeros(len(traffic), dtype=bool))
    found = by_name(find_drift(named, fitted))
    assert found["mix of queries", None].verdict == found["models in use", None].verdict == "not checked"


def test_clusters_that_the_router_has_not_are_no_clusters(fitted, traffic):
    strange = replace(traffic, vectors=None, clusters=((10_000, 0),) * len(traffic))
    assert by_name(find_drift(strange, fitted))["mix of queries", None].verdict == "not checked"


def test_an_empty_ledger_is_no_drift(fitted, traffic):
    report = find_drift(traffic.take([]), fitted)
    assert not report.drifted
    assert {one.verdict for one in report.findings} == {"not checked"}
    assert report.to_dict()["since"] is None


def test_other_methods_say_what_cannot_be_checked(split, traffic):
    found = by_name(find_drift(traffic.take(range(50)), Router.fit(split[0].take(range(200)), method="knn")))
    for check in ("novel queries", "mix of queries", "embeddings", "models in use"):
        assert "keeps no training rows" in found[check, None].measured.problem


def test_the_replay_is_what_the_router_does_on_rows_it_does_not_know(fitted, traffic):
    usual = replay(fitted, traffic.policies)
    assert usual.shares.sum() == pytest.approx(1)
    assert usual.model_shares.sum() == pytest.approx(1)
    seen = np.bincount(traffic.chosen, minlength=len(fitted.models)) / len(traffic)
    assert np.abs(usual.model_shares - seen).sum() / 2 < 0.15
    model = int(usual.model_shares.argmax())
    mean, error, count = usual.surprise(fitted.models[model])
    rows = (usual.chosen == model).any(axis=0)
    assert count == rows.sum()
    assert abs(mean) < 0.2
    assert 0 < error < 0.1


def test_policies_that_cannot_be_read_are_left_out(fitted):
    assert replay(fitted, ["{}", "no json", '{"exclude":["lab/unknown"]}', '{"alpha":7}']) is not None
    assert replay(fitted, ["no json", '{"unknown":1}']) is None
