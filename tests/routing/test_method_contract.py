"""What every method that can serve must do; a new method joins by its name in ``ROUTERS``."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.embedding.format import with_format
from avengers_pro.errors import MethodError
from avengers_pro.records import Records
from avengers_pro.routing import BASELINES, ROUTERS, Router, build_method
from avengers_pro.routing.choice import choose
from avengers_pro.routing.contract import CHECKS
from avengers_pro.routing.queries import Queries
from simulated import synthetic

SERVABLE = (*ROUTERS, "avengers-pro-paper+format", "best-single", "random", "single:lab/model-1")
EXCEPTIONS = {
    ("avengers-pro-code", "permuted choices"): "ranks break ties by model order, as published",
    ("avengers", "permuted choices"): "ranks break ties by model order, as published",
    ("avengers-pro-code", "missing"): "counts missing as 0, as published",
    ("random", "permuted choices"): "draws for positions, not for names",
    ("random", "missing"): "draws from all models, whatever is known of them",
    ("single:lab/model-1", "missing"): "is that model, whatever is known of it",
}
ALPHAS = (0.0, 0.3, 0.7, 1.0)


def queries_of(records: Records, vectors) -> Queries:
    return Queries(vectors, np.array(records.datasets), records.scores, records.costs)


def suited(method, records, vectors):
    """Give a method the vectors that its features ask for."""
    return with_format(vectors, records.queries) if method.features == "format" else vectors


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", SERVABLE)
def test_every_method_keeps_the_contract(name, check):
    if (name, check) not in EXCEPTIONS:
        CHECKS[check](build_method(name))
    else:
        with pytest.raises(MethodError, match="expected"):
            CHECKS[check](build_method(name))


@pytest.mark.parametrize("name", ["dataset-label", "oracle"])
def test_references_decide_the_same_with_the_same_seed_and_miss_no_zeros(name):
    records, vectors = synthetic(n=200, missing=0.4, seed=5)
    one, two = (build_method(name).fit(records, vectors, 3).estimate(queries_of(records, vectors)) for _ in range(2))
    for alpha in ALPHAS:
        np.testing.assert_array_equal(choose(one.utility(alpha)), choose(two.utility(alpha)))
    assert np.nanmean(one.expected_score) == pytest.approx(np.nanmean(records.scores), abs=0.08)


@pytest.mark.parametrize("name", [name for name in (*ROUTERS, *BASELINES) if name != "random"])
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 500), order=st.permutations(range(4)))
def test_permuting_the_models_permutes_the_utilities(name, seed, order):
    records, vectors = synthetic(seed=seed)
    permuted = Records.from_arrays(
        records.queries,
        [records.models[column] for column in order],
        records.scores[:, order],
        records.costs[:, order],
        datasets=records.datasets,
    )
    method = build_method(name)
    vectors = suited(method, records, vectors)
    one = method.fit(records, vectors, 0).estimate(queries_of(records, vectors))
    two = method.fit(permuted, vectors, 0).estimate(queries_of(permuted, vectors))
    np.testing.assert_allclose(one.expected_score[:, order], two.expected_score)
    np.testing.assert_allclose(one.expected_cost[:, order], two.expected_cost)
    if (name, "permuted choices") not in EXCEPTIONS:
        np.testing.assert_allclose(one.utility(0.4)[:, order], two.utility(0.4), atol=1e-9)


@pytest.mark.parametrize("name", SERVABLE)
def test_saved_and_loaded_it_decides_the_same(name, tmp_path):
    records, vectors = synthetic()
    fitted = Router.fit(records, method=name, vectors=vectors)
    fitted.save(tmp_path / "router")
    loaded = Router.load(tmp_path / "router")
    vectors = suited(fitted.method, records, vectors)
    for alpha in ALPHAS:
        one, two = (r.fitted.estimate(Queries(vectors)) for r in (fitted, loaded))
        np.testing.assert_array_equal(one.utility(alpha), two.utility(alpha))
        np.testing.assert_array_equal(one.expected_score, two.expected_score)
    assert loaded.models == fitted.models
    assert dict(loaded.method.params()) == dict(fitted.method.params())


@pytest.mark.parametrize("name", ["avengers-pro-paper", "avengers", "knn"])
def test_permuting_the_rows_leaves_the_expectations_of_fixed_groups(name):
    """With a single cluster, or all rows as neighbours, the order of rows cannot matter."""
    records, vectors = synthetic()
    params = {"neighbours": len(records)} if name == "knn" else {"clusters": 1, "top_clusters": 1}
    order = np.random.default_rng(1).permutation(len(records))
    method = build_method(name, params)
    one = method.fit(records, vectors, 0).estimate(Queries(vectors[:9]))
    two = method.fit(records.take(order), vectors[order], 0).estimate(Queries(vectors[:9]))
    np.testing.assert_allclose(one.expected_score, two.expected_score)
    np.testing.assert_allclose(one.utility(0.6), two.utility(0.6))
