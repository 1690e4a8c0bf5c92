"""Our method against a second, slow implementation of its description that shares no code with it."""

import sys
from pathlib import Path

import numpy as np
import pytest

from avengers_pro.embedding.format import format_features
from avengers_pro.records import Records
from avengers_pro.routing.evidence import Evidence
from avengers_pro.routing.levels import with_temperatures
from avengers_pro.routing.multiresolution import FittedMultiResolution, MultiResolution
from avengers_pro.routing.novelty import Novelty
from avengers_pro.routing.queries import Queries
from avengers_pro.routing.representation import FormatScaler

FOLDER = Path(__file__).with_name("golden")
CASES = ("open", "closed", "static")
CLOSE = 1e-6
ALPHAS = np.arange(10) / 10
SHARES = (1.0, 0.95, 0.9, 0.8)
WINDOWS = (None, 200)
BUDGETS = (0.002, 0.004, 0.008, 1.0)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "recipe.npz") as stored:
        return dict(stored)


def rows_of(golden, part):
    """Return the vectors of train or held-out rows, format features appended, in double precision."""
    features = [format_features(text) for text in golden["texts"][golden[part]].tolist()]
    return np.hstack([golden["vectors"][golden[part]].astype(np.float64), features])


def records_of(golden, case):
    """Return the train records of a case, whose outcomes may have been dealt to other queries."""
    train, models = golden["train"], [f"lab/model-{column}" for column in range(4)]
    dealt = golden[f"{case}_deal"][train]
    return Records.from_arrays(golden["texts"][train].tolist(), models, golden["scores"][dealt], golden["costs"][dealt])


@pytest.fixture(scope="module", params=CASES)
def pair(request, golden):
    """Return (golden of the case, what the package makes of it on the same centroids, held-out rows)."""
    case = request.param
    records = records_of(golden, case)
    scaler = FormatScaler.fit(rows_of(golden, "train"))
    rows = scaler.apply(rows_of(golden, "train"))
    sizes = golden["sizes"].tolist()
    centroids = np.vstack([golden[f"centroids_{k}"] for k in sizes]).astype(np.float64)
    levels = with_temperatures(centroids, tuple(sizes), rows)
    evidence = Evidence.of(records, rows, levels, np.ones(len(rows)), 0)
    fitted = FittedMultiResolution.derive(MultiResolution(novelty=False), scaler, levels, evidence)
    own = {name.removeprefix(f"{case}_"): values for name, values in golden.items() if name.startswith(f"{case}_")}
    return own, fitted, rows_of(golden, "held")


def agrees(found, expected):
    np.testing.assert_allclose(found, expected, rtol=CLOSE, atol=1e-12)


def test_the_golden_is_what_its_script_makes_without_the_package(golden, monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import make_golden

    assert "avengers_pro" not in (FOLDER / "make_golden.py").read_text(encoding="utf-8")
    again = make_golden.golden()
    sys.modules.pop("make_golden")
    assert again.keys() == golden.keys()
    for name, values in golden.items():
        if values.dtype.kind == "U":
            assert (values == again[name]).all()
        else:
            assert again[name].dtype == values.dtype
            np.testing.assert_allclose(again[name], values, rtol=1e-9 if values.dtype == np.float64 else 1e-7)


def test_the_cases_differ_in_what_there_is_to_learn(golden):
    assert [bool(golden[f"{case}_open"]) for case in CASES] == [True, False, False]
    assert [bool(golden[f"{case}_score_weights"].any()) for case in CASES] == [True, True, False]


def test_representation(golden):
    held = golden["texts"][golden["held"]].tolist()
    agrees([format_features(text) for text in held], golden["held_features"])
    scaler = FormatScaler.fit(rows_of(golden, "train"))
    agrees(scaler.shift, golden["feature_means"])
    agrees(scaler.scale, golden["feature_scales"])
    agrees(scaler.limit, golden["feature_limit"])
    assert (golden["feature_scales"] == 0).any()


def test_levels_are_capped_by_the_rows(golden):
    fitted = MultiResolution().fit(records_of(golden, "open"), rows_of(golden, "train").astype(np.float32), 0)
    assert list(fitted.levels.sizes) == golden["sizes"].tolist() == [8, 16, 21]


def test_temperatures(golden, pair):
    agrees(pair[1].levels.temperatures, golden["temperatures"])


def test_tables_and_level_weights(pair):
    own, fitted, _ = pair
    agrees(fitted.belief.means.scores, own["mean_scores"])
    agrees(fitted.belief.means.costs, own["mean_costs"])
    agrees(fitted.belief.strengths, own["strengths"])
    agrees(fitted.belief.score_weights, own["score_weights"])
    agrees(fitted.belief.cost_weights, own["cost_weights"])


def test_leave_one_out_expectations(pair):
    own, fitted, _ = pair
    agrees([fitted.outcomes.expected_score, fitted.outcomes.expected_cost], own["train"])


def test_expectations_of_held_out_rows(pair):
    own, fitted, held = pair
    estimate = fitted.estimate(Queries(held))
    agrees([estimate.expected_score, estimate.expected_cost], own["held"])


def test_the_path_of_prices(pair):
    own, fitted, _ = pair
    agrees([fitted.calibration.scores, fitted.calibration.costs, fitted.calibration.arc], own["path"])


def test_the_guard(pair):
    own, fitted, held = pair
    assert fitted.calibration.reference == own["reference"]
    assert fitted.calibration.open == own["open"]
    agrees(fitted.calibration.guard_z, own["guard_z"])
    chosen = fitted.estimate(Queries(held)).utility(1.0).argmax(axis=1)
    best = own["held"][0].argmax(axis=1) if own["open"] else np.full(len(held), own["reference"])
    np.testing.assert_array_equal(chosen, best)


def test_alpha_becomes_a_price_and_a_choice(pair):
    own, fitted, held = pair
    agrees([fitted.calibration.price_at(alpha) for alpha in ALPHAS], own["alpha_prices"])
    for alpha, price in zip(ALPHAS, own["alpha_prices"], strict=True):
        expected = (own["held"][0] - price * own["held"][1]).argmax(axis=1)
        np.testing.assert_array_equal(fitted.estimate(Queries(held)).utility(alpha).argmax(axis=1), expected)


def test_targets_and_budgets_become_prices(pair):
    own, fitted, _ = pair
    prices = [fitted.calibration.price_for_target(share, 0.9, window) for share in SHARES for window in WINDOWS]
    agrees([np.nan if price is None else price for price in prices], own["target_prices"])
    agrees([fitted.calibration.price_for_budget(dollars) for dollars in BUDGETS], own["budget_prices"])


def test_what_is_usual_among_training_rows(golden):
    """Distances are single precision in the package."""
    rows = FormatScaler.fit(rows_of(golden, "train")).apply(rows_of(golden, "train"))
    novelty = Novelty.fit(rows, np.zeros(len(rows)))
    np.testing.assert_allclose(novelty.limit, golden["novelty_limit"], rtol=1e-4)
