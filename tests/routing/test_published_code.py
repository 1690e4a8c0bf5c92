"""avengers-pro-code is the released algorithm: proven against its outputs, a stored golden and a plain reference."""

import json

import numpy as np
import pytest
from reference_code import GOLDEN, make_case, solve

from avengers_pro.embedding.static import StaticEmbedder
from avengers_pro.errors import MethodError
from avengers_pro.records import Records, read_records
from avengers_pro.routing.clusters import Clusters
from avengers_pro.routing.published import CODE, ClusterMethod, ClusterParams, _usable
from avengers_pro.routing.queries import Queries
from simulated import synthetic

METHOD = ClusterMethod("avengers-pro-code", CODE)


def test_agrees_with_what_the_released_code_chose(shared):
    """All 21 x 1,800 choices and all balance scores, given its centroids and labels."""
    golden = np.load(shared / "golden" / "avengers_pro_code_llmrouter_fusion.npz")
    records = read_records(shared / "data" / "llmrouter_fusion.jsonl.gz").records.deduplicated()
    assert records.models == tuple(golden["models"])
    vectors = StaticEmbedder().embed(records.queries)
    train = records.take(golden["train_index"])
    clusters = Clusters(golden["centroids"].astype(np.float32))
    fitted = METHOD.from_clusters(train, clusters, golden["train_labels"].astype(np.intp))
    balance = np.array([fitted.balance(alpha) for alpha in golden["alphas"]])
    np.testing.assert_allclose(balance, golden["balance_scores"], rtol=0, atol=1e-12)
    estimate = fitted.estimate(Queries(vectors[golden["test_index"]]))
    chosen = np.array([estimate.utility(alpha).argmax(axis=1) for alpha in golden["alphas"]])
    assert (chosen != golden["chosen"]).sum() == 0
    assert (estimate.utility(1.0).argmax(axis=1) != golden["simple_chosen"]).sum() == 0
    rows = np.arange(len(golden["test_index"]))
    test = records.take(golden["test_index"])
    realised = [(test.scores[rows, line].mean(), test.costs[rows, line].sum()) for line in chosen]
    np.testing.assert_allclose(realised, golden["score_cost"], rtol=1e-12)


def read_case(case: dict, tmp_path) -> Records:
    path = tmp_path / "golden.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in case["rows"]), encoding="utf-8")
    return read_records(path).records


def check(case: dict, answers: dict, tmp_path) -> None:
    records = read_case(case, tmp_path)
    rows, columns = _usable(records, "zero")
    fitted = METHOD.from_clusters(
        records,
        Clusters(np.array(case["centroids"], dtype=np.float64)),
        np.array(case["labels"], dtype=np.intp),
        rows=rows,
        columns=columns,
    )
    balance = np.array([fitted.balance(alpha) for alpha in case["alphas"]])
    np.testing.assert_allclose(balance, answers["balance"], rtol=0, atol=1e-12)
    estimate = fitted.estimate(Queries(np.array(case["vectors"], dtype=np.float64)))
    chosen = [estimate.utility(alpha).argmax(axis=1).tolist() for alpha in case["alphas"]]
    assert chosen == answers["chosen"]


def test_agrees_with_the_stored_golden(tmp_path):
    """Nulls, absent models, missing costs, ties and an all-equal cluster, as in the file beside this test."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    check(golden, golden, tmp_path)


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_the_plain_reference(seed, tmp_path):
    case = make_case(seed=seed, n=60 + 7 * seed, k=3 + seed % 4)
    check(case, solve(case), tmp_path)


def test_takes_the_models_of_the_first_row_and_drops_rows_that_lack_one():
    records, vectors = synthetic(n=40)
    listed = records.listed.copy()
    listed[0, 3] = False
    listed[5, 1] = False
    partial = Records(
        records.queries, records.models, records.scores, records.costs, records.datasets, records.ids, listed
    )
    fitted = METHOD.fit(partial, vectors, seed=1)
    assert fitted.models == records.models[:3]
    assert fitted.profile.score_counts.sum() == 39 * 3


def test_refuses_records_without_a_usable_row():
    records, vectors = synthetic(n=4)
    none = Records.from_arrays(records.queries, records.models, np.full((4, 4), np.nan))
    with pytest.raises(MethodError, match="no row names every model of the first row"):
        METHOD.fit(none, vectors, seed=1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"clusters": 0}, "at least 1"),
        ({"clusters": 2.5}, "whole number"),
        ({"top_clusters": 0}, "at least 1"),
        ({"beta": -1.0}, "beta must be"),
        ({"beta": float("inf")}, "finite"),
        ({"rank_offset": 0.0}, "rank_offset must be"),
        ({"cost_norm": "maxx"}, "cost_norm must be one of"),
        ({"missing": "guess"}, "missing must be one of"),
    ],
)
def test_refuses_parameters_without_meaning(params, message):
    with pytest.raises(MethodError, match=message):
        ClusterParams(**params)
