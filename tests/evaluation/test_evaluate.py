"""The evaluation lab end to end: honest splits, right numbers, a verdict that follows its rule."""

import numpy as np
import pytest

from avengers_pro.errors import EvaluationError, MethodError
from avengers_pro.evaluation import Evaluation, Protocol, evaluate
from avengers_pro.evaluation.sweep import sweep, sweep_csv
from avengers_pro.records import Records, read_records, stratified_split
from avengers_pro.routing import BASELINES, Policy, Router
from avengers_pro.routing.published import PAPER, ClusterMethod
from simulated import synthetic

FAST = Protocol(seeds=(42, 999), alphas=(0.0, 0.25, 0.5, 0.75, 1.0))


@pytest.fixture(scope="module")
def result(sample, sample_vectors) -> Evaluation:
    return evaluate(
        sample,
        ["avengers-pro-paper", "avengers-pro-code", "avengers"],
        protocol=FAST,
        vectors=sample_vectors,
        source="sample",
        note="simulated data",
    )


def test_everything_that_belongs_in_the_table_is_there(result):
    assert list(result.methods) == ["avengers-pro-paper", "avengers-pro-code", "avengers"]
    assert set(result.baselines) == {*BASELINES, "static"}
    assert result.records.left_out == {"openai/gpt-5-chat": "not observed on every query"}
    assert result.records.note == "simulated data"
    assert [split.seed for split in result.splits] == [42, 999]
    for found in {**result.methods, **result.baselines}.values():
        assert len(found.splits) == 2
        assert {
            "area",
            "aiq",
            "perf_gain",
            "cost_save_100",
            "cost_save_95",
            "cost_save_90",
        } <= found.mean.metrics.keys()
    assert len(result.baselines["static"].mean.curve) == 12
    assert [point.alpha for point in result.methods["avengers-pro-paper"].mean.curve] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_results_json_round_trips(result):
    again = Evaluation.from_json(result.to_json())
    assert again == result


def test_a_curve_point_is_what_the_router_would_have_done(result, sample, sample_vectors):
    """Refit the same split by hand, route the test queries, look up what they really scored and cost."""
    pool = sample.select_models(sample.complete_models())
    train, test = stratified_split(pool, 0.7, 42)
    router = Router.fit(
        pool.take(train), method=ClusterMethod("avengers-pro-paper", PAPER), vectors=sample_vectors[train]
    )
    chosen = router.route_vectors(sample_vectors[test], Policy(alpha=0.75))
    held = pool.take(test)
    rows = np.arange(len(test))
    point = result.methods["avengers-pro-paper"].splits[0].curve[3]
    assert point.score_micro == pytest.approx(held.scores[rows, chosen].mean(), rel=1e-6)
    assert point.cost_total == pytest.approx(held.costs[rows, chosen].sum(), rel=1e-6)
    macro = [held.scores[rows, chosen][held.dataset_codes == code].mean() for code in range(len(held.dataset_names))]
    assert point.score_macro == pytest.approx(np.mean(macro), rel=1e-6)
    assert sum(point.shares.values()) == pytest.approx(1)
    assert point.shares["openai/gpt-5"] == pytest.approx(np.mean(chosen == pool.models.index("openai/gpt-5")), rel=1e-6)


def test_the_oracle_is_the_ceiling_and_best_single_the_reference(result):
    ceiling = result.baselines["oracle"].mean.curve[0].score_micro
    for found in {**result.methods, **result.baselines}.values():
        assert all(point.score_micro <= ceiling + 1e-12 for point in found.mean.curve)
    best = result.baselines["best-single"].mean
    assert best.metrics["perf_gain"] == pytest.approx(0)
    assert best.metrics["cost_save_100"] == pytest.approx(0)
    assert result.baselines["random"].mean.metrics["perf_gain"] < -0.1


def test_operating_points_are_chosen_inside_train_and_paired(result):
    found = result.methods["avengers-pro-paper"].mean
    assert list(found.operating_points) == ["quality", "equal", "95%", "90%"]
    alphas = [point.alpha for point in found.operating_points.values()]
    assert alphas == sorted(alphas, reverse=True)
    for row in result.paired:
        assert row.interval[0] <= row.difference <= row.interval[1]
        assert 0 <= row.wins <= row.splits == 2
    assert {row.metric for row in result.paired} >= {"area", "score at quality", "cost change at equal"}


def test_test_labels_cannot_leak(sample, sample_vectors):
    """Shuffling the outcomes of the test rows alone must not change any choice or operating point's alpha."""
    pool = sample.select_models(sample.complete_models())
    _, test = stratified_split(pool, 0.7, 42)
    scores, costs = pool.scores.copy(), pool.costs.copy()
    order = np.random.default_rng(0).permutation(test)
    scores[test], costs[test] = scores[order], costs[order]
    shuffled = Records.from_arrays(pool.queries, pool.models, scores, costs, datasets=pool.datasets, ids=pool.ids)
    protocol = Protocol(seeds=(42,), alphas=(0.0, 0.5, 1.0))
    one, two = (
        evaluate(table, ["avengers-pro-paper"], protocol=protocol, vectors=sample_vectors)
        .methods["avengers-pro-paper"]
        .splits[0]
        for table in (pool, shuffled)
    )
    assert [point.shares for point in one.curve] == [point.shares for point in two.curve]
    assert {g: p.alpha for g, p in one.operating_points.items()} == {
        g: p.alpha for g, p in two.operating_points.items()
    }


def test_duplicates_are_dropped_before_splitting():
    records, vectors = synthetic(n=200)
    doubled = Records.from_arrays(
        [*records.queries, *records.queries],
        records.models,
        np.vstack([records.scores] * 2),
        np.vstack([records.costs] * 2),
        datasets=records.datasets * 2,
    )
    one = evaluate(records, ["avengers-pro-paper"], protocol=FAST, vectors=vectors)
    two = evaluate(doubled, ["avengers-pro-paper"], protocol=FAST, vectors=np.vstack([vectors] * 2))
    assert two.records.duplicates == 200
    assert two.methods["avengers-pro-paper"].mean == one.methods["avengers-pro-paper"].mean


def test_shuffled_outcomes_give_no_verdict_of_beating():
    """With nothing to learn, the verdict says that routing does not pay."""
    records, vectors = synthetic(n=600, m=3, seed=4)
    rng = np.random.default_rng(1)
    skills = np.array([0.9, 0.5, 0.3])
    scores = (rng.random((600, 3)) < skills).astype(float)
    noise = Records.from_arrays(records.queries, records.models, scores, records.costs)
    verdict = evaluate(noise, ["avengers-pro-paper"], protocol=Protocol(seeds=(42, 999, 2024)), vectors=vectors).verdict
    assert verdict.outcome == "does not beat"
    assert "routing does not pay here" in verdict.text
    assert verdict.reference == "lab/model-0"


def test_real_structure_gives_a_verdict_of_beating():
    n, d = 600, 8
    rng = np.random.default_rng(0)
    group = np.arange(n) % 2
    vectors = np.where(group[:, None] == 0, np.eye(d)[0], np.eye(d)[1]) + 0.05 * rng.normal(size=(n, d))
    scores = np.stack([group == 0, group == 1], axis=1).astype(float)
    records = Records.from_arrays([f"q{i}" for i in range(n)], ["x", "y"], scores, np.full((n, 2), 0.01))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = evaluate(
        records, ["avengers-pro-paper"], protocol=FAST, vectors=unit, params={"clusters": 4, "top_clusters": 1}
    )
    assert found.verdict.outcome == "beats"
    assert found.verdict.text.startswith("avengers-pro-paper beats the best single model")
    assert found.methods["avengers-pro-paper"].mean.curve[-1].score_micro == 1.0
    assert found.methods["avengers-pro-paper"].mean.metrics["perf_gain"] > 0.9


def test_without_costs_only_quality_is_compared():
    records, vectors = synthetic(n=300)
    free = Records.from_arrays(records.queries, records.models, records.scores, datasets=records.datasets)
    found = evaluate(free, ["avengers-pro-paper", "avengers"], protocol=FAST, vectors=vectors)
    curve = found.methods["avengers-pro-paper"].mean.curve
    assert [point.alpha for point in curve] == [1.0]
    assert curve[0].cost_per_query is None
    assert found.methods["avengers-pro-paper"].mean.metrics["area"] is None
    assert "cost" not in found.verdict.text.split("(", maxsplit=2)[1]


def test_gaps_can_be_masked():
    """A model with gaps takes part where it was observed; the reference is a complete one."""
    records, vectors = synthetic(n=300)
    scores, costs = records.scores.copy(), records.costs.copy()
    scores[::3, 1] = np.nan
    costs[::3, 1] = np.nan
    gappy = Records.from_arrays(records.queries, records.models, scores, costs, datasets=records.datasets)
    left_out = evaluate(gappy, ["avengers-pro-paper"], protocol=FAST, vectors=vectors)
    assert left_out.records.models == ["lab/model-0", "lab/model-2", "lab/model-3"]
    masked = evaluate(
        gappy, ["avengers-pro-paper"], protocol=Protocol(seeds=(42,), alphas=(0.0, 1.0), gaps="mask"), vectors=vectors
    )
    assert "lab/model-1" in masked.records.models
    assert masked.splits[0].best_single != "lab/model-1"
    assert "lab/model-1" not in {point.model for point in masked.baselines["static"].mean.curve}
    assert Evaluation.from_json(masked.to_json()) == masked
    assert all(np.isfinite(point.score_micro) for point in masked.methods["avengers-pro-paper"].mean.curve)


def test_soft_exclusion_trains_but_is_not_tested():
    records, vectors = synthetic(n=300)
    hard, soft = (
        evaluate(
            records,
            ["avengers-pro-paper"],
            protocol=Protocol(seeds=(42,), alphas=(1.0,), excluded_datasets=("group-1",), exclusion=mode),
            vectors=vectors,
        )
        for mode in ("hard", "soft")
    )
    size = sum(name == "group-1" for name in records.datasets)
    assert soft.splits[0].train == hard.splits[0].train + size
    assert soft.splits[0].test == hard.splits[0].test
    assert "group-1" not in soft.methods["avengers-pro-paper"].mean.curve[0].by_dataset


def test_min_score_really_excludes_and_says_how_many_went_unanswered():
    records, vectors = synthetic(n=300)
    found = evaluate(
        records,
        ["avengers-pro-paper"],
        protocol=Protocol(seeds=(42,), alphas=(0.0, 1.0), min_score=0.99),
        vectors=vectors,
    )
    assert found.methods["avengers-pro-paper"].mean.curve[0].unanswered > 0.3
    assert found.baselines["best-single"].mean.curve[0].unanswered == 0


def test_multi_model_selection_is_labelled_and_kept_for_the_published_code(sample, sample_vectors):
    protocol = Protocol(seeds=(42,), alphas=(0.5, 1.0), max_router=3)
    found = evaluate(sample, ["avengers-pro-code"], protocol=protocol, vectors=sample_vectors)
    label = "avengers-pro-code (oracle among 3 selected)"
    assert list(found.methods) == [label]
    single = evaluate(
        sample, ["avengers-pro-code"], protocol=Protocol(seeds=(42,), alphas=(0.5, 1.0)), vectors=sample_vectors
    )
    many, one = found.methods[label].mean.curve[1], single.methods["avengers-pro-code"].mean.curve[1]
    assert many.score_micro > one.score_micro
    assert many.cost_per_query > one.cost_per_query
    with pytest.raises(EvaluationError, match="no router can return"):
        evaluate(sample, ["avengers-pro-paper"], protocol=protocol, vectors=sample_vectors)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"seeds": ()}, "seeds"),
        ({"seeds": (1, 1)}, "distinct"),
        ({"alphas": (2.0,)}, "alphas"),
        ({"exclusion": "firm"}, "hard, soft"),
        ({"gaps": "zero"}, "exclude, mask"),
        ({"max_router": 0}, "max_router"),
    ],
)
def test_a_protocol_without_meaning_is_refused(settings_, message):
    with pytest.raises(EvaluationError, match=message):
        Protocol(**settings_)


def test_too_little_to_compare_is_an_error():
    records, vectors = synthetic(n=50)
    with pytest.raises(EvaluationError, match="a comparison needs two"):
        evaluate(records.select_models([records.models[0]]), protocol=FAST, vectors=vectors)
    everything = Protocol(seeds=(42,), excluded_datasets=records.dataset_names, exclusion="soft")
    with pytest.raises(EvaluationError, match="nothing to test on"):
        evaluate(records, ["avengers-pro-paper"], protocol=everything, vectors=vectors)


def test_progress_and_excluded_models():
    records, vectors = synthetic(n=120)
    seen = []
    protocol = Protocol(seeds=(42,), alphas=(1.0,), excluded_models=("lab/model-3",))
    found = evaluate(
        records, ["avengers-pro-paper"], protocol=protocol, vectors=vectors, progress=lambda *step: seen.append(step)
    )
    assert found.records.models == ["lab/model-0", "lab/model-1", "lab/model-2"]
    assert ("seed 42: avengers-pro-paper", 0, 6) in seen


def test_sweeps_measure_each_value(sample, sample_vectors):
    rows = sweep(sample, "clusters", "avengers-pro-paper", values=[4, 16], protocol=FAST, vectors=sample_vectors)
    assert [(row.value, row.metric) for row in rows] == [
        (value, metric) for value in (4, 16) for metric in ("score", "cost", "area")
    ]
    assert all(row.low <= row.mean <= row.high for row in rows)
    over_alpha = sweep(sample, "alpha", "avengers-pro-paper", protocol=FAST, vectors=sample_vectors)
    scores = [row.mean for row in over_alpha if row.metric == "score"]
    assert len(scores) == 5
    assert scores[-1] > scores[0]
    assert sweep_csv(rows).splitlines()[0] == "method,value,metric,mean,low,high"
    assert len(sweep_csv(rows).splitlines()) == 7


def test_sweeps_refuse_what_they_cannot_vary(sample, sample_vectors):
    with pytest.raises(EvaluationError, match="can sweep over"):
        sweep(sample, "beta", "avengers-pro-paper", vectors=sample_vectors)
    with pytest.raises(MethodError, match="no parameter 'clusters'"):
        sweep(sample, "clusters", "knn", values=[3], protocol=FAST, vectors=sample_vectors)


def test_bars_on_real_records(shared):
    """Area@B of the published methods on real records is where an independent implementation finds it."""
    records = read_records(shared / "data" / "llmrouter_fusion.jsonl.gz").records
    found = evaluate(records, ["avengers-pro-paper", "avengers-pro-code"])
    areas = {name: 100 * method.mean.metrics["area"] for name, method in found.methods.items()}
    assert areas["avengers-pro-paper"] == pytest.approx(57.75, abs=0.6)
    assert areas["avengers-pro-code"] == pytest.approx(57.89, abs=0.6)
    assert found.verdict.outcome == "beats"


def test_routing_does_not_pay_on_homogeneous_real_records(shared):
    records = read_records(shared / "data" / "zeroeval.jsonl.gz").records
    found = evaluate(records, ["avengers-pro-paper", "avengers-pro-code"])
    assert len(found.records.models) == 29
    areas = {name: 100 * method.mean.metrics["area"] for name, method in found.methods.items()}
    assert areas["avengers-pro-paper"] == pytest.approx(85.97, abs=0.6)
    assert areas["avengers-pro-code"] == pytest.approx(86.02, abs=0.6)
    assert found.verdict.outcome == "does not beat"
