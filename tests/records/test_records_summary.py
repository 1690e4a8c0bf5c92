from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from records_tables import patient, tables

from avengers_pro.errors import RecordsError
from avengers_pro.records import Records, summarize

NAN = np.nan


def large(models: int = 2, rows: int = 400) -> Records:
    """Build a table in which nothing stands in the way of a fit."""
    scores = np.tile(np.linspace(0, 1, rows)[:, None], (1, models))
    return Records.from_arrays(
        [f"q{row}" for row in range(rows)], [f"m{n}" for n in range(models)], scores, np.full((rows, models), 0.01)
    )


def with_cells(records: Records, name: str, cells: tuple[slice, int], value: float = NAN) -> Records:
    values = getattr(records, name).copy()
    values[cells] = value
    return replace(records, **{name: values})


def test_a_summary_counts_rows_models_datasets_and_duplicates() -> None:
    records = Records.from_arrays(
        ["q", "r", "q", "q"],
        ["a", "b", "c"],
        np.array([[1, 0.5, NAN], [0, NAN, NAN], [1, 0, NAN], [0, 0.25, NAN]]),
        np.array([[2, 1, NAN], [4, NAN, NAN], [NAN, 3, NAN], [NAN, NAN, NAN]]),
        datasets=["y", "x", "y", "y"],
    )
    summary = summarize(records)
    assert summary.rows == 4
    assert summary.duplicates == 2
    assert summary.datasets == {"x": 1, "y": 3}
    assert list(summary.datasets) == ["x", "y"]
    assert summary.oracle_score == (1 + 0 + 1 + 0.25) / 4
    assert summary.fingerprint == records.fingerprint
    a, b, c = summary.models
    assert (a.name, a.coverage, a.priced, a.mean_score, a.mean_cost) == ("a", 1.0, 0.5, 0.5, 3.0)
    assert (b.name, b.coverage, b.priced, b.mean_score, b.mean_cost) == ("b", 0.75, 0.5, 0.25, 2.0)
    assert (c.name, c.coverage, c.priced) == ("c", 0.0, 0.0)
    assert np.isnan([c.mean_score, c.mean_cost]).all()


def test_a_good_table_has_no_findings() -> None:
    assert summarize(large()).findings == ()


def test_one_model_leaves_nothing_to_route_between() -> None:
    assert summarize(large(models=1)).findings == ("only one model: there is nothing to route between",)


def test_gaps_in_scores_are_found() -> None:
    summary = summarize(with_cells(large(), "scores", (slice(40), 0)))
    assert summary.findings == (
        "fewer than two models have a score (and a cost) on every row: evaluate needs --gaps mask",
        "m0: 10.0% of the scores are not observed",
    )
    assert summarize(with_cells(large(models=3), "scores", (slice(40), 0))).findings == summary.findings[1:]


def test_few_observations_are_found() -> None:
    assert "m0: only 99 scores observed" in summarize(with_cells(large(), "scores", (slice(301), 0))).findings
    assert "m0: only 0 scores observed" in summarize(with_cells(large(), "scores", (slice(400), 0))).findings


def test_missing_prices_are_found() -> None:
    summary = summarize(with_cells(large(), "costs", (slice(100), 1)))
    assert summary.findings == (
        "fewer than two models have a score (and a cost) on every row: evaluate needs --gaps mask",
        "m1: 25.0% of the rows have a score but no cost",
    )


def test_a_cost_elsewhere_does_not_hide_a_missing_one() -> None:
    """Regression: as many rows priced as scored was taken for no price missing."""
    records = with_cells(large(models=3), "scores", (slice(200), 0))
    records = with_cells(records, "costs", (slice(200, 400), 0))
    summary = summarize(records)
    assert summary.models[0].coverage == summary.models[0].priced == 0.5
    assert "m0: 50.0% of the rows have a score but no cost" in summary.findings


def test_no_costs_at_all_are_one_finding() -> None:
    records = replace(large(), costs=np.full((400, 2), NAN))
    assert summarize(records).findings == ("no costs: only alpha = 1 (quality) has a meaning",)


def test_few_rows_empty_rows_and_duplicates_are_found() -> None:
    records = large(models=3, rows=150)
    assert summarize(records).findings == ("only 150 rows: clusters will be coarse and intervals wide",)
    empty = large(models=3)
    for column in range(3):
        empty = with_cells(empty, "scores", (slice(2), column))
    assert "2 rows have no score at all; they only shape the clusters" in summarize(empty).findings
    repeated = large().take([*range(400), 0, 1, 2])
    assert summarize(repeated).findings == ("3 rows repeat an earlier query text; fit and evaluate keep the first",)


def test_an_empty_table_is_refused() -> None:
    """Regression: the mean of nothing is a warning and a NaN."""
    with pytest.raises(RecordsError, match="there is nothing to describe in Records\\(0 queries x 2 models"):
        summarize(large().take([]))


@given(tables())
@patient
def test_any_table_can_be_summarized(records: Records) -> None:
    summary = summarize(records)
    assert summary.rows == len(records)
    assert tuple(model.name for model in summary.models) == records.models
    assert sum(summary.datasets.values()) == len(records)
    for model in summary.models:
        assert 0 <= model.coverage <= 1
        assert 0 <= model.priced <= 1
        assert np.isnan(model.mean_score) == (model.coverage == 0)
        assert np.isnan(model.mean_cost) == (model.priced == 0)
