"""Our method: every intermediate array of an independent implementation, a small golden, and what must hold."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.embedding.embedder import unit_rows
from avengers_pro.embedding.format import FORMAT_DIMENSION, WithFormat, format_features, with_format
from avengers_pro.embedding.static import StaticEmbedder
from avengers_pro.errors import MethodError
from avengers_pro.records import Records, read_records
from avengers_pro.routing import Policy, Router, build_method
from avengers_pro.routing.calibration import Outcomes, calibrate
from avengers_pro.routing.decision import wilson
from avengers_pro.routing.evidence import Evidence
from avengers_pro.routing.levels import with_temperatures
from avengers_pro.routing.multiresolution import MultiResolution
from avengers_pro.routing.multiresolution_fitted import FittedMultiResolution
from avengers_pro.routing.novelty import Novelty
from avengers_pro.routing.profile import Profile
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.representation import FormatScaler
from avengers_pro.routing.shrinkage import leave_one_out
from simulated import synthetic


def derive(records, rows, centroids, sizes, method=None, scaler=None):
    """Fit on given centroids."""
    levels = with_temperatures(centroids, tuple(sizes), rows)
    evidence = Evidence.of(records, rows, levels, np.ones(len(rows)), 0)
    return FittedMultiResolution.derive(
        method or MultiResolution(features="none", novelty=False), scaler, levels, evidence
    )


def test_agrees_with_an_independent_implementation(shared):
    """Features, scale, temperatures, strengths, level weights and expectations on a real split."""
    golden = np.load(shared / "golden" / "recipe_llmrouter_fusion.npz")
    records = read_records(shared / "data" / "llmrouter_fusion.jsonl.gz").records.deduplicated()
    features = np.array([format_features(query) for query in records.queries])
    np.testing.assert_allclose(features, golden["features"], rtol=1e-9)
    vectors = np.hstack([StaticEmbedder().embed(records.queries).astype(np.float64), features])
    train, test = golden["train_index"], golden["test_index"]
    scaler = FormatScaler.fit(vectors[train])
    np.testing.assert_allclose(scaler.limit / 3, golden["feature_scale"], rtol=1e-6)
    centroids = np.vstack([golden[f"centroids_{k}"].astype(np.float64) for k in golden["levels"]])
    rows = scaler.apply(vectors[train])
    fitted = derive(
        records.take(train), rows, centroids, golden["levels"].tolist(), MultiResolution(novelty=False), scaler
    )
    np.testing.assert_allclose(fitted.levels.temperatures, golden["temperature"], rtol=1e-6)
    np.testing.assert_allclose(fitted.belief.strengths, golden["prior_strength"], rtol=1e-5)
    np.testing.assert_allclose(fitted.belief.score_weights, golden["weight_score"], rtol=1e-5)
    np.testing.assert_allclose(fitted.belief.cost_weights, golden["weight_cost"], rtol=1e-5)
    estimate = fitted.estimate(Queries(vectors[test]))
    np.testing.assert_allclose(estimate.expected_score, golden["expected_score"], rtol=1e-5)
    np.testing.assert_allclose(estimate.expected_cost, golden["expected_cost"], rtol=1e-5)


def members_by_hand(vector, centroids, sizes, temperatures):
    """Soft membership of one vector, one number at a time."""
    found, start = [], 0
    for size, temperature in zip(sizes, temperatures, strict=True):
        squares = [float(((vector - centroids[start + j]) ** 2).sum()) for j in range(size)]
        near = sorted(range(size), key=lambda j: squares[j])[:4]
        raw = [np.exp(-(squares[j] - squares[near[0]]) / temperature) for j in near]
        found.append({start + j: value / sum(raw) for j, value in zip(near, raw, strict=True)})
        start += size
    return found


def test_expectations_by_hand():
    """Membership, shrunk tables and level weights written out for a small simulated table."""
    records, vectors = synthetic(n=90, missing=0.0)
    rows = vectors.astype(np.float64)
    fitted = MultiResolution(levels=(4, 8), features="none", novelty=False).fit(records, rows, 0)
    levels, sizes = fitted.levels, fitted.levels.sizes
    g, gc = records.scores.mean(axis=0), records.costs.mean(axis=0)
    members = [members_by_hand(row, levels.centroids, sizes, levels.temperatures) for row in rows]
    for i in range(5):
        score, cost = g.copy(), np.zeros(4)
        for level in range(2):
            for j, share in members[i][level].items():
                count = sum(m[level].get(j, 0.0) for m in members)
                sums = sum(m[level].get(j, 0.0) * (s - g) for m, s in zip(members, records.scores, strict=True))
                dollars = sum(m[level].get(j, 0.0) * (c / gc - 1) for m, c in zip(members, records.costs, strict=True))
                strength = fitted.belief.strengths[level]
                score += fitted.belief.score_weights[level] * share * sums / (count + strength)
                cost += fitted.belief.cost_weights[level] * share * dollars / (count + max(strength, 10))
        estimate = fitted.estimate(Queries(rows[i : i + 1]))
        np.testing.assert_allclose(estimate.expected_score[0], score, rtol=1e-6)
        np.testing.assert_allclose(estimate.expected_cost[0], np.maximum(gc * (1 + cost), 0.02 * gc), rtol=1e-6)


def test_leave_one_out_equals_refitting_without_the_row():
    rng = np.random.default_rng(0)
    n, m, k, p = 25, 3, 5, 2
    deviation = np.where(rng.random((n, m)) < 0.2, np.nan, rng.normal(size=(n, m)))
    clusters = np.array([rng.choice(k, p, replace=False) for _ in range(n)])
    weights = rng.dirichlet(np.ones(p), n)
    profile = Profile.of_members(deviation, deviation, clusters, weights, k)
    found = leave_one_out(deviation, profile.score_sums, profile.score_counts, clusters, weights, 3.0)
    for i in range(n):
        rest = np.arange(n) != i
        without = Profile.of_members(deviation[rest], deviation[rest], clusters[rest], weights[rest], k)
        expected = sum(
            weights[i, j] * without.score_sums[clusters[i, j]] / (without.score_counts[clusters[i, j]] + 3.0)
            for j in range(p)
        )
        np.testing.assert_allclose(found[i], expected, atol=1e-12)


def test_features_tell_code_from_chat_and_are_bounded_by_the_head():
    code = format_features("def f(x):\n    return {'a': x}\n")
    chat = format_features("hello, how are you today?")
    assert len(code) == FORMAT_DIMENSION
    assert code[7] == 1.0
    assert chat[7] == 0.0
    assert chat[12] == 1.0
    assert chat[18] == 1.0
    assert format_features("a" * 8000) == format_features("a" * 8000 + "?" * 50)
    assert np.isfinite(format_features("")).all()


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=5))
def test_scaled_features_are_finite_and_clipped(texts):
    vectors = with_format(np.ones((len(texts), 4), dtype=np.float32) / 2, texts)
    scaler = FormatScaler.fit(vectors)
    scaled = scaler.apply(vectors)
    assert np.isfinite(scaled).all()
    assert (np.abs(scaled[:, 4:]) <= scaler.limit + 1e-6).all()
    np.testing.assert_array_equal(scaled[:, :4], vectors[:, :4])


def test_the_embedder_names_its_features():
    inner = StaticEmbedder()
    embedder = WithFormat(inner)
    assert embedder.id == inner.id + "+format-1"
    assert embedder.dimension == 278
    assert embedder.embed(["hello"]).shape == (1, 278)


def outcomes(n=400, seed=0):
    """Two kinds of query; the dear model is needed for one of them."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n) < 0.5
    truth = np.stack([np.where(hard, 0.1, 0.9), np.full(n, 0.9)], axis=1)
    scores = (rng.random((n, 2)) < truth).astype(float)
    costs = np.tile([1.0, 10.0], (n, 1))
    return Outcomes(truth, costs, scores, costs, np.ones(n)), scores.mean(axis=0), costs.mean(axis=0)


def test_alpha_is_a_monotone_walk_from_the_reference_to_the_cheapest():
    found = calibrate(*outcomes())
    prices = [found.price_at(alpha) for alpha in np.linspace(0, 0.99, 50)]
    assert all(one >= two for one, two in pairwise(prices))
    assert found.reference == 1
    assert (np.diff(found.arc) >= 0).all()
    assert found.arc[-1] == pytest.approx(1)


def test_a_target_is_the_cheapest_policy_that_keeps_it():
    found = calibrate(*outcomes(n=4000))
    price = found.price_for_target(0.95, 0.9, None)
    line = int(np.flatnonzero(found.prices == price)[0])
    assert found.costs[line] < 0.7 * found.reference_cost
    assert found.scores[line] >= 0.95 * found.reference_score
    assert found.price_for_target(2.0, 0.9, None) is None
    strict = found.price_for_target(0.97, 0.9, 10)
    easy = found.price_for_target(0.97, 0.9, None)
    cost = dict(zip(found.prices.tolist(), found.costs.tolist(), strict=True))
    assert easy is not None
    assert strict is None or cost[strict] >= cost[easy]


def test_a_budget_buys_the_best_that_fits():
    found = calibrate(*outcomes())
    assert found.price_for_budget(1e9) == found.prices[np.argmax(found.scores)]
    middle = found.price_for_budget(6.0)
    assert found.costs[int(np.flatnonzero(found.prices == middle)[0])] <= 6.0
    assert found.price_for_budget(0.01) == found.prices[-1]


def test_the_guard_stays_closed_when_there_is_nothing_to_learn():
    """Noise opens it in at most a tenth of the shuffles; alpha = 1 is then the best single model itself."""
    opened = 0
    for seed in range(20):
        records, vectors = synthetic(n=300, seed=seed)
        order = np.random.default_rng(seed).permutation(300)
        shuffled = Records.from_arrays(records.queries, records.models, records.scores[order], records.costs[order])
        fitted = MultiResolution(features="none").fit(shuffled, vectors, 0)
        opened += fitted.calibration.open
        if not fitted.calibration.open:
            chosen = fitted.estimate(Queries(vectors)).utility(1.0).argmax(axis=1)
            assert (chosen == shuffled.scores.mean(axis=0).argmax()).all()
    assert opened <= 2


def test_objectives_refer_to_the_allowed_models(sample, sample_vectors):
    router = Router.fit(sample, vectors=sample_vectors)
    rows = with_format(sample_vectors, sample.queries)
    cheap = ("qwen/qwen3-235b", "deepseek/deepseek-v3", "moonshot/kimi-k2")
    for objective in ({"alpha": 1.0}, {"target": 1.0}, {"budget": 0.01}):
        policy = Policy(models=cheap, **objective)
        chosen = {router.models[column] for column in router.route_vectors(rows, policy)}
        assert chosen <= set(cheap)
    alone = Router.fit(sample.select_models(cheap), vectors=sample_vectors)
    subset = router.fitted.tuned(Policy(models=cheap), np.array([name in cheap for name in router.models]))
    assert router.models[subset.calibration.reference] == alone.models[alone.fitted.calibration.reference]


def test_an_unreachable_target_is_infeasible_and_says_so(sample, sample_vectors):
    router = Router.fit(sample, vectors=sample_vectors)
    decision = router.route("Write a haiku.", Policy(target=1.5))
    assert decision.model is None
    assert "target 1.5" in decision.reason


def test_gaps_fit_and_route_and_count(sample, sample_vectors):
    rng = np.random.default_rng(0)
    scores = np.where(rng.random(sample.scores.shape) < 0.7, np.nan, sample.scores)
    costs = np.where(np.isnan(scores), np.nan, sample.costs)
    sparse = Records.from_arrays(sample.queries, sample.models, scores, costs, datasets=sample.datasets)
    router = Router.fit(sparse, vectors=sample_vectors)
    decision = router.route("Prove that the square root of two is irrational.", Policy(alpha=0.6))
    assert decision.feasible
    assert all(candidate.observations < 300 for candidate in decision.candidates)
    assert router.fitted.belief.strengths.tolist() == [15.0] * 5


def test_macro_counts_every_dataset_the_same():
    """A dataset of 20 rows weighs as much as one of 280."""
    records, vectors = synthetic(n=300)
    small = np.arange(300) < 20
    scores = np.where(small[:, None], [[1.0, 0, 0, 0]], [[0.0, 0.6, 0, 0]])
    table = Records.from_arrays(
        records.queries, records.models, scores, records.costs, datasets=np.where(small, "small", "large").tolist()
    )
    micro, macro = (MultiResolution(features="none", objective=o).fit(table, vectors, 0) for o in ("micro", "macro"))
    np.testing.assert_allclose(micro.belief.means.scores, scores.mean(axis=0))
    np.testing.assert_allclose(macro.belief.means.scores, [0.5, 0.3, 0, 0], atol=1e-9)
    assert (micro.calibration.reference, macro.calibration.reference) == (1, 0)


@pytest.mark.parametrize("n", [2, 10, 39, 41])
def test_few_rows_fall_back_to_few_levels(n):
    records, vectors = synthetic(n=n)
    fitted = MultiResolution(features="none").fit(records, vectors, 0)
    assert fitted.levels.sizes == ((1,) if n < 40 else (8,))
    assert np.isfinite(fitted.estimate(Queries(vectors)).utility(0.5)).all()


def test_large_tables_calibrate_on_a_sample():
    records, vectors = synthetic(n=9000)
    fitted = MultiResolution(features="none", levels=(8, 16)).fit(records, vectors, 0)
    assert len(fitted.evidence.sample.weights) == 8192
    assert fitted.profile.score_counts[:8].sum(axis=0) == pytest.approx(9000)


@pytest.mark.parametrize("params", [{"levels": ()}, {"levels": (0,)}, {"features": "all"}, {"objective": "median"}])
def test_parameters_without_meaning_are_refused(params):
    with pytest.raises(MethodError):
        build_method("avengers-pro", params)


def test_beats_the_published_methods_on_real_records(shared):
    """The recipe's bars on three splits: area, and its distance to the published methods."""
    from avengers_pro.evaluation import Protocol, evaluate

    records = read_records(shared / "data" / "llmrouter_fusion.jsonl.gz").records
    found = evaluate(
        records, ["avengers-pro", "avengers-pro-paper", "avengers-pro-code"], protocol=Protocol(seeds=(42, 999, 2024))
    )
    area = {name: method.mean.metrics["area"] for name, method in found.methods.items()}
    assert area["avengers-pro"] >= area["avengers-pro-paper"] + 0.012
    assert area["avengers-pro"] >= area["avengers-pro-code"] + 0.010
    assert found.verdict.outcome == "beats"


def test_novel_queries_are_decided_by_the_overall_means():
    """Far from every training row the means decide; near them the cheap bound and the exact rule agree."""
    records, vectors = synthetic(n=500)
    fitted = MultiResolution(features="none").fit(records, vectors, 0)
    strange = -vectors.mean(axis=0, keepdims=True) * 50
    estimate = fitted.estimate(Queries(np.vstack([vectors[:100], strange]).astype(np.float32)))
    assert estimate.novel is not None
    assert estimate.novel[-1]
    assert estimate.novel[:100].mean() <= 0.05
    np.testing.assert_allclose(estimate.expected_score[-1], fitted.belief.means.scores)
    np.testing.assert_allclose(estimate.expected_cost[-1], fitted.belief.means.costs)
    without = MultiResolution(features="none", novelty=False).fit(records, vectors, 0)
    assert without.estimate(Queries(strange.astype(np.float32))).novel is None


def test_the_cheap_bound_clears_most_rows_and_hardly_a_novel_one(sample, sample_vectors):
    order = np.random.default_rng(0).permutation(len(sample))
    strange = unit_rows(np.random.default_rng(1).normal(size=(20, 256)))
    train, test = order[:1400], np.vstack([sample_vectors[order[1400:]], strange])
    fitted = MultiResolution(features="none").fit(sample.take(train), sample_vectors[train], 0)
    novelty = fitted.novelty
    exact = Novelty(novelty.reference, novelty.limit, -1.0)
    _, _, square = fitted.levels.locate(test)
    bounded, full = novelty.flags(test, square), exact.flags(test, square)
    assert (square <= novelty.cleared).mean() > 0.6
    assert full is not None
    assert bounded is not None
    assert not (bounded & ~full).any()
    assert bounded[-20:].all()
    assert (bounded != full).mean() < 0.01


@pytest.mark.parametrize(("mean", "n"), [(0.5, 10), (0.0, 3), (1.0, 40), (0.93, 7)])
def test_intervals_are_wilsons(mean, n):
    """Solve (p - mean)^2 = z^2 p (1 - p) / n on a fine grid."""
    grid = np.linspace(0, 1, 200_001)
    inside = grid[(grid - mean) ** 2 <= 1.6449**2 * grid * (1 - grid) / n + 1e-12]
    low, high = wilson(mean, n)
    assert (low, high) == pytest.approx((inside.min(), inside.max()), abs=1e-4)


def test_the_guard_stays_closed_where_the_router_always_chooses_the_reference():
    """Equal choices add up to equal means but for rounding, which is no gain."""
    rng = np.random.default_rng(3)
    scores = rng.random((997, 2)) * [1.0, 0.5]
    expected = np.tile([0.5, 0.2], (997, 1))
    costs = np.full((997, 2), 0.1)
    for shuffle in range(20):
        order = np.random.default_rng(shuffle).permutation(997)
        found = calibrate(
            Outcomes(expected, costs, scores[order], costs, np.ones(997)), scores.mean(axis=0), costs.mean(axis=0)
        )
        assert not found.open
        assert found.guard_z == 0
