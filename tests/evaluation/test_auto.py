"""Choosing features and levels inside the records: a change has to pay clearly, and nothing else is looked at."""

import json
import math

import numpy as np
import pytest

from avengers_pro.embedding.static import StaticEmbedder
from avengers_pro.errors import EvaluationError, MethodError
from avengers_pro.evaluation import Protocol, choose_variant, evaluate
from avengers_pro.evaluation.auto import DEFAULTS, LEAST_GAIN, LEAST_Z, VARIANTS, Trial
from avengers_pro.records import Records
from avengers_pro.routing import build_method
from simulated import synthetic

FORMS = (
    "what is {}?",
    "def f{}(x):\n    return {{x: 1}}\n",
    "$\\alpha_{} = \\beta^2 + 3$",
    "Pick:\nA) {}\nB) 2\nC) 3",
    "NOTE {}. READ THIS. STOP.",
)
SEEDS = tuple(range(42, 50))


def table(n, kinds, *, by, noise=1.0, d=32, seed=0):
    """Make simulated records in kinds, each with one good model; its topic (vectors) or its form (texts) shows it.

    What does not show the kind is noise: random forms of random length, or random topics.
    """
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, kinds, n)
    form = kind % len(FORMS) if by == "form" else rng.integers(0, len(FORMS), n)
    topic = kind if by == "topic" else rng.integers(0, kinds, n)
    vectors = rng.normal(size=(kinds, d))[topic] * 2 + noise * rng.normal(size=(n, d))
    lengths = rng.integers(0, 60, n) if by == "topic" else np.full(n, 3)
    queries = [FORMS[shape].format(row) + " and so on" * int(lengths[row]) for row, shape in enumerate(form)]
    good = np.arange(4) == ((kind if by == "topic" else form) % 4)[:, None]
    scores = (rng.random((n, 4)) < np.where(good, 0.9, 0.2)).astype(float)
    costs = rng.lognormal(sigma=0.3, size=(n, 4)) * 1e-3
    records = Records.from_arrays(queries, [f"lab/model-{column}" for column in range(4)], scores, costs)
    return records, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def choice_on(made, **more):
    records, vectors = made
    return choose_variant(records, vectors=vectors, **more)


def trials(found):
    return {trial.name: trial for trial in found.tried}


def changed(records, **arrays):
    """Return the same records with other outcomes."""
    given = {"scores": records.scores, "costs": records.costs, **arrays}
    return Records.from_arrays(
        records.queries, records.models, given["scores"], given["costs"], datasets=records.datasets, ids=records.ids
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_the_defaults_stay_on_ordinary_records(seed):
    found = choice_on(synthetic(n=400, seed=seed))
    assert found.chosen == DEFAULTS
    assert found.params == dict(build_method("avengers-pro").params())
    assert found.reason.startswith("the defaults stay: ")
    assert (found.rows, found.models, found.splits) == (400, 4, 8)
    assert list(trials(found)) == list(VARIANTS)
    assert trials(found)[DEFAULTS].difference == trials(found)[DEFAULTS].standard_error == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_defaults_stay_when_there_is_nothing_to_learn(seed):
    records, vectors = synthetic(n=300, seed=seed)
    order = np.random.default_rng(seed).permutation(300)
    shuffled = changed(records, scores=records.scores[order], costs=records.costs[order])
    assert choice_on((shuffled, vectors)).chosen == DEFAULTS


def test_format_features_stay_where_they_tell_the_kinds_apart():
    found = choice_on(table(400, 5, by="form"))
    assert found.chosen == DEFAULTS
    without = trials(found)["no format features"]
    assert without.wins == 0
    assert without.z < -LEAST_Z
    assert without.difference < -0.05


def test_format_features_go_where_they_are_noise_and_there_are_rows_enough_to_tell():
    found = choice_on(table(1000, 100, by="topic"))
    assert found.chosen == "no format features"
    assert found.params == {**build_method("avengers-pro").params(), "features": "none"}
    without = trials(found)["no format features"]
    assert without.wins >= 7
    assert without.z >= LEAST_Z
    assert without.difference >= LEAST_GAIN
    assert f"{100 * without.difference:+.2f} points of area" in found.reason


def test_a_gain_that_is_not_clear_changes_nothing():
    """The same kind of table with fewer rows: there is a gain, within what the choice of queries explains."""
    found = choice_on(table(300, 24, by="topic", d=12))
    gain = max(trial.difference for trial in found.tried)
    assert gain >= LEAST_GAIN
    assert found.chosen == DEFAULTS
    assert f"{100 * gain:+.2f} points of area" in found.reason


def test_finer_levels_are_taken_where_there_are_more_kinds_than_the_defaults_resolve():
    found = choice_on(table(1500, 100, by="topic", noise=0.5))
    assert found.chosen == "finer levels"
    assert found.params["levels"] == [16, 32, 64, 128, 256]
    assert found.params["features"] == "format"


def test_the_areas_are_those_of_an_evaluation_on_the_same_splits():
    records, vectors = synthetic(n=300)
    found = choice_on((records, vectors))
    methods = {"defaults": {}, "coarser levels": {"levels": (8, 16, 32)}}
    for name, params in methods.items():
        method = build_method("avengers-pro", params)
        evaluated = evaluate(records, [method], protocol=Protocol(seeds=SEEDS), vectors=vectors)
        assert trials(found)[name].area == pytest.approx(evaluated.methods["avengers-pro"].mean.metrics["area"])


def test_the_same_seed_gives_the_same_choice_and_another_one_other_numbers():
    made = synthetic(n=250)
    calls = []
    one = choice_on(made, progress=lambda *call: calls.append(call))
    assert one == choice_on(made)
    assert one.tried != choice_on(made, seed=7).tried
    assert [call[1:] for call in calls] == [(done, 8) for done in range(8)]
    assert json.loads(json.dumps(one.to_dict()))["tried"][0]["params"]["levels"] == [8, 16, 32, 64, 128]


def test_only_the_given_records_are_looked_at():
    """Whatever happened on rows that were held out, the choice and every number behind it are the same."""
    records, vectors = synthetic(n=600)
    given = np.random.default_rng(0).permutation(600)[:300]
    held = np.setdiff1d(np.arange(600), given)
    scores, costs = records.scores.copy(), records.costs.copy()
    scores[held], costs[held] = 1 - scores[held], 100 * costs[held]
    one, two = (
        choice_on((whole.take(given), vectors[given]))
        for whole in (records, changed(records, scores=scores, costs=costs))
    )
    assert one == two


def test_vectors_are_made_if_they_are_not_given(sample):
    few = sample.take(np.arange(0, 2000, 9))
    assert choose_variant(few) == choose_variant(few, vectors=StaticEmbedder().embed(few.queries))


def test_repeated_texts_are_dropped_before_splitting():
    records, vectors = synthetic(n=220)
    doubled = Records.from_arrays(
        [*records.queries, *records.queries],
        records.models,
        np.vstack([records.scores] * 2),
        np.vstack([records.costs] * 2),
        datasets=records.datasets * 2,
    )
    assert choice_on((doubled, np.vstack([vectors] * 2))) == choice_on((records, vectors))


def test_macro_counts_every_dataset_the_same():
    """With datasets of one size both objectives measure the same; a small dataset weighs more under macro."""
    records, vectors = synthetic(n=240)
    even, uneven = (
        Records.from_arrays(records.queries, records.models, records.scores, records.costs, datasets=names)
        for names in (["a", "b", "c", "d"] * 60, ["small" if row < 30 else "large" for row in range(240)])
    )
    for given, same in ((even, True), (uneven, False)):
        micro, macro = (choice_on((given, vectors), params={"objective": o}) for o in ("micro", "macro"))
        assert macro.params["objective"] == "macro"
        areas = [[trial.area for trial in found.tried] for found in (micro, macro)]
        assert (np.abs(np.subtract(*areas)).max() < 1e-9) == same


def named(records, names):
    return Records.from_arrays(records.queries, records.models, records.scores, records.costs, datasets=names)


GAPS = np.where(np.eye(4, dtype=bool)[np.arange(300) % 4], np.nan, 1.0)
OBSTACLES = {
    "150 distinct queries are too few to choose on; bring 200": lambda records: records.take(np.arange(150)),
    "no cost is known": lambda records: changed(records, costs=None),
    "fewer than two models": lambda records: changed(records, scores=records.scores * GAPS),
    "200 datasets in 300 queries": lambda records: named(records, [f"d{max(0, row - 100)}" for row in range(300)]),
    "best single model costs nothing": lambda records: changed(records, costs=np.zeros((300, 4))),
}


@pytest.mark.parametrize("said", OBSTACLES)
def test_records_that_allow_no_comparison_keep_the_defaults_and_say_so(said):
    records, vectors = synthetic(n=300)
    given = OBSTACLES[said](records)
    found = choice_on((given, vectors[: len(given)]), params={"novelty": False})
    assert (found.chosen, found.models, found.splits, found.tried) == (DEFAULTS, 0, 0, ())
    assert found.params == dict(build_method("avengers-pro", {"novelty": False}).params())
    assert said in found.reason


def test_settings_without_meaning_are_refused():
    records, vectors = synthetic(n=220)
    for more, said in (
        ({"splits": 3}, "3 splits are too few"),
        ({"params": {"levels": (8,)}}, "levels is what is chosen here"),
        ({"params": {"features": "none"}}, "features is what is chosen here"),
    ):
        with pytest.raises(EvaluationError, match=said):
            choose_variant(records, vectors=vectors, **more)
    with pytest.raises(MethodError, match="no parameter 'beta'"):
        choose_variant(records, vectors=vectors, params={"beta": 3})


def test_a_difference_without_error_is_infinitely_clear():
    made = [Trial("x", {}, 0.5, difference, 0.0, 8).z for difference in (0.1, 0.0, -0.1)]
    assert made == [math.inf, 0.0, -math.inf]
    assert Trial("x", {}, 0.5, 0.3, 0.1, 8).z == pytest.approx(3)
