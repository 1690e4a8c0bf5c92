"""Every figure is drawn from a real evaluation of the simulated sample and looked at as bytes."""

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avengers_pro.demo import sample_path
from avengers_pro.errors import EvaluationError, MissingExtraError
from avengers_pro.evaluation import Evaluation, Protocol, evaluate
from avengers_pro.evaluation import charts as drawn
from avengers_pro.evaluation.charts.labels import Spot, place
from avengers_pro.evaluation.charts.saving import script_json, specification
from avengers_pro.evaluation.charts.theme import short_names
from avengers_pro.records import Records, read_records

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

NOTE = "simulated data"
PROTOCOL = Protocol(seeds=(42, 999), alphas=tuple(np.linspace(0, 1, 11).round(6).tolist()))
FIGURES: dict[str, Callable[[Evaluation], Any]] = {
    "frontier": drawn.frontier,
    "score_and_cost_by_alpha": drawn.score_and_cost_by_alpha,
    "shares_by_alpha": drawn.shares_by_alpha,
    "by_dataset": drawn.by_dataset,
}


def judged(records: Records, protocol: Protocol = PROTOCOL, note: str = NOTE) -> Evaluation:
    vectors = np.random.default_rng(1).normal(size=(len(records), 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    params = {"clusters": 6, "top_clusters": 2}
    methods = ("avengers-pro-paper", "avengers")
    return evaluate(records, methods, protocol=protocol, vectors=vectors, params=params, source="sample", note=note)


@pytest.fixture(scope="session")
def few() -> Records:
    records = read_records(sample_path()).records
    return records.take(np.random.default_rng(0).choice(len(records), 600, replace=False))


@pytest.fixture(scope="session")
def evaluation(few: Records) -> Evaluation:
    return judged(few)


@pytest.fixture(scope="session")
def without_costs(few: Records) -> Evaluation:
    return judged(replace(few, costs=np.full(few.scores.shape, np.nan)))


@pytest.fixture
def clusters() -> list[drawn.ProfileRow]:
    return [
        drawn.ProfileRow(0, 12, "Prove that\n the square root of 2 is irrational " * 3, {"a/x": 0.5, "b/y": math.nan}),
        drawn.ProfileRow(1, 90, "Write a sonnet", {"a/x": 0.0, "b/y": 1.0}),
    ]


def texts(chart: Any) -> str:
    return json.dumps(specification(chart), ensure_ascii=False)


def rows_with(chart: Any, *keys: str) -> list[dict[str, Any]]:
    return [
        row for rows in specification(chart)["datasets"].values() for row in rows if all(key in row for key in keys)
    ]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_becomes_an_svg_and_a_png(name: str, evaluation: Evaluation, tmp_path: Path) -> None:
    chart = FIGURES[name](evaluation)
    drawn.save_chart(chart, tmp_path / "figure.svg")
    drawn.save_chart(chart, tmp_path / "figure.png")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert NOTE in svg
    png = (tmp_path / "figure.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) > 20_000
    width = int.from_bytes(png[16:20], "big") / 2
    assert 500 < width < 800


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_without_costs(name: str, without_costs: Evaluation, tmp_path: Path) -> None:
    drawn.save_chart(FIGURES[name](without_costs), tmp_path / "figure.svg")
    svg = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "NaN" not in svg
    assert "US dollars" not in svg


def test_the_frontier_shows_every_single_model_and_the_best_one_by_name(evaluation: Evaluation) -> None:
    chart = drawn.frontier(evaluation)
    points = {row["name"] for row in rows_with(chart, "name", "cost", "score")}
    assert set(evaluation.records.models) <= points
    written = [row["text"] for row in rows_with(chart, "text")]
    assert any(text.startswith("best single") for text in written)
    assert {"oracle", "random"} <= set(written)


def test_solid_lines_of_the_frontier_never_fall(evaluation: Evaluation) -> None:
    chart = specification(drawn.frontier(evaluation))
    lines = [layer for layer in chart["vconcat"][0]["layer"] if layer["mark"].get("strokeWidth") == 2.4]
    assert lines
    for line in lines:
        rows = chart["datasets"][line["data"]["name"]]
        scores = [row["score"] for row in rows]
        assert scores == sorted(scores)


def test_without_costs_the_frontier_is_a_dot_plot_of_scores(without_costs: Evaluation) -> None:
    dots = rows_with(drawn.frontier(without_costs), "full", "score", "low", "high")
    assert {row["full"] for row in dots} >= {"avengers-pro-paper", "oracle", *without_costs.records.models}
    assert all(row["low"] <= row["score"] <= row["high"] for row in dots)


def test_models_with_gaps_are_left_out_of_the_frontier_and_counted(few: Records, tmp_path: Path) -> None:
    result = judged(few, replace(PROTOCOL, gaps="mask"))
    chart = drawn.frontier(result)
    assert "Not shown: 1 model with gaps in the records." in texts(chart)
    drawn.save_chart(chart, tmp_path / "figure.svg")
    drawn.save_chart(drawn.by_dataset(result), tmp_path / "datasets.svg")


def test_bands_over_splits_are_named_as_what_they_are(evaluation: Evaluation) -> None:
    assert "lowest to highest of the 2 splits" in texts(drawn.score_and_cost_by_alpha(evaluation))
    one = Evaluation.from_json(evaluation.to_json())
    one.splits = one.splits[:1]
    for result in (*one.methods.values(), *one.baselines.values()):
        result.splits = result.splits[:1]
    assert "Band" not in texts(drawn.score_and_cost_by_alpha(one))


def test_shares_of_models_add_up_and_rare_ones_are_pooled(evaluation: Evaluation) -> None:
    rows = rows_with(drawn.shares_by_alpha(evaluation), "model", "share", "alpha")
    for alpha in {row["alpha"] for row in rows}:
        assert sum(row["share"] for row in rows if row["alpha"] == alpha) == pytest.approx(1)
    for model in {row["model"] for row in rows} - {"others"}:
        assert max(row["share"] for row in rows if row["model"] == model) >= 0.02


def test_shares_of_another_method_and_of_one_without_the_knob(evaluation: Evaluation) -> None:
    assert "knn chooses, by alpha" in texts(drawn.shares_by_alpha(evaluation, "knn"))
    assert "avengers chooses, on test" in texts(drawn.shares_by_alpha(evaluation, "avengers"))
    with pytest.raises(EvaluationError, match="no method named 'nobody'; it has avengers-pro-paper"):
        drawn.shares_by_alpha(evaluation, "nobody")


def test_queries_without_an_answer_have_their_own_share(few: Records) -> None:
    result = judged(few, replace(PROTOCOL, min_score=0.9))
    assert "no model met the constraints" in texts(drawn.shares_by_alpha(result))


def test_datasets_are_sorted_by_what_the_first_method_gains(evaluation: Evaluation) -> None:
    rows = rows_with(drawn.by_dataset(evaluation), "dataset", "full", "change")
    gains = [row["change"] for row in rows if row["full"] == "avengers-pro-paper"]
    assert gains == sorted(gains, reverse=True)
    assert len(gains) == len(evaluation.records.datasets)


def test_a_profile_hatches_what_was_not_observed(clusters: list[drawn.ProfileRow], tmp_path: Path) -> None:
    chart = drawn.profile(clusters, NOTE)
    cells = rows_with(chart, "model", "label", "score")
    assert [cell["score"] for cell in cells if cell["model"] == "b/y"] == [100.0, None]
    assert [cell["score"] for cell in cells if cell["model"] == "a/x"] == [0.0, 50.0]
    assert cells[0]["label"] == "#1 · n = 90 · Write a sonnet"
    assert "not observed" in texts(chart)
    drawn.save_chart(chart, tmp_path / "profile.png")
    assert (tmp_path / "profile.png").stat().st_size > 5_000


def test_a_sweep_has_a_panel_for_each_metric(tmp_path: Path) -> None:
    rows = [
        drawn.SweepRow("avengers-pro-paper", value, metric, 0.5, 0.4, 0.6)
        for metric in ("area", "score", "cost")
        for value in (4, 8, 16, 32, 64)
    ]
    chart = drawn.sweep([*rows, drawn.SweepRow("avengers-pro-paper", 128, "area", math.nan, 0, 0)], "clusters", NOTE)
    assert len(specification(chart)["vconcat"]) == 4
    assert NOTE in texts(chart)
    drawn.save_chart(chart, tmp_path / "sweep.svg")
    svg = (tmp_path / "sweep.svg").read_text(encoding="utf-8")
    for title in ("Area@B", "Mean score, %", "Cost of 1,000 queries, US dollars", "clusters"):
        assert title in svg


def test_figures_are_saved_as_json_and_as_a_page_that_loads_nothing(evaluation: Evaluation, tmp_path: Path) -> None:
    chart = drawn.by_dataset(evaluation)
    drawn.save_chart(chart, tmp_path / "figure.json")
    assert json.loads((tmp_path / "figure.json").read_text(encoding="utf-8")) == specification(chart)
    drawn.save_chart(chart, tmp_path / "figure.HTML")
    page = (tmp_path / "figure.HTML").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "default-src 'none'" in page
    assert 'src="http' not in page


def test_an_unknown_suffix_is_refused_with_the_known_ones(evaluation: Evaluation, tmp_path: Path) -> None:
    chart = drawn.by_dataset(evaluation)
    with pytest.raises(EvaluationError, match=r"\.html, \.json, \.png, \.svg, not \.pdf"):
        drawn.save_chart(chart, tmp_path / "figure.pdf")
    with pytest.raises(EvaluationError, match="not without a suffix"):
        drawn.save_chart(chart, tmp_path / "figure")


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_the_extra_the_message_names_it(
    missing: str, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'avengers-pro\[report\]'"):
        drawn.frontier(evaluation)


def test_json_in_a_script_cannot_end_it() -> None:
    text = "</script><!-- & \u2028"
    assert json.loads(script_json([text])) == [text]
    assert not set("<>&\u2028") & set(script_json([text]))


def test_names_lose_their_provider_where_that_is_unambiguous() -> None:
    assert short_names(["a/x", "b/x", "c/y", "z"]) == {"a/x": "a/x", "b/x": "b/x", "c/y": "y", "z": "z"}


def test_names_that_are_cut_to_the_same_stay_apart() -> None:
    long = ["x" * 40 + end for end in "abc"]
    assert list(short_names(long, 12).values()) == ["x" * 11 + "…", "x" * 7 + "… (2)", "x" * 7 + "… (3)"]


def test_labels_do_not_overlap_and_needed_ones_are_always_written() -> None:
    crowd = [Spot(100, 100 + 2 * step, f"model-{step}", needed=step == 19) for step in range(20)]
    labels = place(crowd, [(100.0, 100.0, 1.0)], 300, 200)
    assert 2 <= len(labels) < 20
    assert "model-19" in {label.text for label in labels}
