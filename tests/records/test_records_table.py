import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_tables import assert_same, patient, tables

from avengers_pro.errors import AvengersProError, RecordsError
from avengers_pro.records import Records

NAN = np.nan


def small() -> Records:
    return Records.from_arrays(
        ["one", "two", "three", "two"],
        ["p/a", "p/b", "q/c"],
        np.array([[1.0, 0.0, NAN], [0.5, 1.0, 0.0], [0.0, 0.25, 1.0], [1.0, 1.0, NAN]]),
        np.array([[0.1, 0.2, NAN], [0.1, 0.2, 0.3], [0.1, NAN, 0.3], [0.1, 0.2, NAN]]),
        datasets=["math", "code", "math", "code"],
        ids=["0", "1", "2", "3"],
    )


def test_a_table_holds_queries_models_scores_costs_datasets_and_ids() -> None:
    records = small()
    assert records.queries == ("one", "two", "three", "two")
    assert records.models == ("p/a", "p/b", "q/c")
    assert records.scores.shape == records.costs.shape == records.listed.shape == (4, 3)
    assert records.scores.dtype == records.costs.dtype == np.float64
    assert records.datasets == ("math", "code", "math", "code")
    assert records.ids == ("0", "1", "2", "3")
    assert (records.prompt_tokens, records.completion_tokens, records.latency_ms) == (None, None, None)
    assert len(records) == 4
    assert repr(records) == "Records(4 queries x 3 models, 2 datasets, 83.3% observed)"


def test_missing_stays_nan_and_is_never_zero() -> None:
    records = Records.from_arrays(["q"], ["a", "b"], np.array([[NAN, 0.0]]))
    assert np.isnan(records.scores[0, 0])
    assert np.isnan(records.costs).all()
    assert records.listed.tolist() == [[False, True]]
    assert not records.has_costs
    assert records.datasets == ("default",)
    assert records.ids == ("0",)


def test_a_table_cannot_be_changed() -> None:
    records = small()
    with pytest.raises(dataclasses.FrozenInstanceError):
        records.models = ("x",)  # type: ignore[misc]
    for name in ("scores", "costs", "listed"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(records, name)[0, 0] = 1


def test_from_arrays_copies_what_it_is_given() -> None:
    scores = np.array([[0.5]])
    records = Records.from_arrays(["q"], ["a"], scores)
    scores[0, 0] = 1.0
    assert records.scores[0, 0] == 0.5


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.inf, -np.inf])
def test_scores_outside_zero_to_one_are_refused(bad: float) -> None:
    with pytest.raises(RecordsError, match=r"scores lie outside \[0, 1\]; divide them by their scale"):
        Records.from_arrays(["q"], ["a"], np.array([[bad]]))


@pytest.mark.parametrize("bad", [-1e-9, np.inf, -np.inf])
def test_negative_and_infinite_costs_are_refused(bad: float) -> None:
    with pytest.raises(RecordsError, match="costs are negative or infinite; NaN means not known"):
        Records.from_arrays(["q"], ["a"], np.array([[1.0]]), np.array([[bad]]))


def test_wrong_shapes_name_the_array_and_both_shapes() -> None:
    with pytest.raises(RecordsError, match=r"scores has shape \(2, 1\); queries x models is \(1, 1\)"):
        Records.from_arrays(["q"], ["a"], np.array([[1.0], [0.0]]))
    with pytest.raises(RecordsError, match=r"costs has shape \(1, 2\)"):
        Records.from_arrays(["q"], ["a"], np.array([[1.0]]), np.array([[1.0, 2.0]]))
    with pytest.raises(RecordsError, match="datasets has 2 entries for 1 queries"):
        Records.from_arrays(["q"], ["a"], np.array([[1.0]]), datasets=["x", "y"])
    with pytest.raises(RecordsError, match="ids has 0 entries for 1 queries"):
        Records.from_arrays(["q"], ["a"], np.array([[1.0]]), ids=[])


@pytest.mark.parametrize("empty", ["", " \n\t"])
def test_an_empty_query_is_refused(empty: str) -> None:
    with pytest.raises(RecordsError, match="the query of row 1 is empty"):
        Records.from_arrays(["q", empty], ["a"], np.ones((2, 1)))


def test_repeated_models_and_ids_are_refused() -> None:
    with pytest.raises(RecordsError, match="the model 'a' is given twice"):
        Records.from_arrays(["q"], ["a", "b", "a"], np.ones((1, 3)))
    with pytest.raises(RecordsError, match=r"the id \('default', '7'\) is given twice"):
        Records.from_arrays(["q", "r"], ["a"], np.ones((2, 1)), ids=["7", "7"])
    across = Records.from_arrays(["q", "r"], ["a"], np.ones((2, 1)), ids=["7", "7"], datasets=["x", "y"])
    assert across.ids == ("7", "7")


def test_dataset_names_are_sorted_and_coded() -> None:
    records = small()
    assert records.dataset_names == ("code", "math")
    assert records.dataset_codes.tolist() == [1, 0, 1, 0]
    assert records.rows_of(["math"]).tolist() == [0, 2]
    assert records.rows_of([]).tolist() == []


def test_take_keeps_rows_in_the_order_asked_for() -> None:
    records = small()
    taken = records.take([2, 0])
    assert taken.queries == ("three", "one")
    assert taken.ids == ("2", "0")
    assert taken.models == records.models
    np.testing.assert_array_equal(taken.scores, records.scores[[2, 0]])
    assert not taken.scores.flags.writeable
    assert len(records.take([])) == 0
    assert repr(records.take([])) == "Records(0 queries x 3 models, 0 datasets, 0.0% observed)"


@given(tables(), st.data())
@patient
def test_taking_all_rows_back_in_order_changes_nothing(records: Records, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(records))))
    assert_same(records.take(order).take(np.argsort(order)), records)


def test_models_are_selected_and_excluded_in_the_tables_order() -> None:
    records = small()
    assert records.select_models(["q/c", "p/a"]).models == ("p/a", "q/c")
    np.testing.assert_array_equal(records.select_models(["q/c"]).scores, records.scores[:, [2]])
    assert_same(records.exclude_models(["p/b"]), records.select_models(["p/a", "q/c"]))
    assert_same(records.exclude_models([]), records)


@given(tables())
@patient
def test_selecting_every_model_changes_nothing(records: Records) -> None:
    assert_same(records.select_models(reversed(records.models)), records)


def test_datasets_are_selected_and_excluded() -> None:
    records = small()
    assert records.select_datasets(["code"]).ids == ("1", "3")
    assert_same(records.exclude_datasets(["code"]), records.select_datasets(["math"]))
    assert_same(records.exclude_datasets([]), records)


def test_unknown_names_suggest_the_nearest() -> None:
    records = small()
    with pytest.raises(RecordsError, match="unknown model 'p/z'; did you mean 'p/"):
        records.select_models(["p/z"])
    with pytest.raises(RecordsError, match=r"unknown model '\?\?\?'; known: p/a, p/b, q/c"):
        records.exclude_models(["???"])
    with pytest.raises(RecordsError, match="unknown dataset 'maths'; did you mean 'math'"):
        records.exclude_datasets(["maths"])
    with pytest.raises(RecordsError, match="unknown dataset 'cod'; did you mean 'code'"):
        records.select_datasets(["cod"])
    with pytest.raises(RecordsError, match="unknown dataset 'zzz'"):
        records.rows_of(["zzz"])


def test_leaving_nothing_is_refused() -> None:
    records = small()
    with pytest.raises(RecordsError, match="no model is left"):
        records.select_models([])
    with pytest.raises(RecordsError, match="no model is left"):
        records.exclude_models(records.models)
    with pytest.raises(RecordsError, match="no dataset is left"):
        records.exclude_datasets(["math", "code"])
    with pytest.raises(RecordsError, match="no dataset is left"):
        records.select_datasets([])


def test_deduplication_keeps_the_first_row_of_each_exact_text() -> None:
    records = small()
    unique = records.deduplicated()
    assert unique.queries == ("one", "two", "three")
    assert unique.ids == ("0", "1", "2")
    assert unique.deduplicated() is unique
    spaced = Records.from_arrays(["a", "a ", "A"], ["m"], np.ones((3, 1)))
    assert spaced.deduplicated() is spaced


@given(tables())
@patient
def test_deduplication_keeps_each_text_once(records: Records) -> None:
    assert records.deduplicated().queries == tuple(dict.fromkeys(records.queries))


def test_complete_models_have_every_score_and_every_cost() -> None:
    records = small()
    assert records.complete_models() == ("p/a",)
    unpriced = Records.from_arrays(records.queries, records.models, records.scores)
    assert unpriced.complete_models() == ("p/a", "p/b")


def test_the_fingerprint_depends_on_the_content_only() -> None:
    records = small()
    assert records.fingerprint == small().fingerprint
    assert len(records.fingerprint) == 64
    changes = [
        {"queries": ("one!", *records.queries[1:])},
        {"models": ("p/x", "p/b", "q/c")},
        {"datasets": ("code", *records.datasets[1:])},
        {"ids": ("9", *records.ids[1:])},
        {"scores": np.where(np.isnan(records.scores), 0.0, records.scores)},
        {"costs": records.costs * 2},
    ]
    different = {dataclasses.replace(records, **change).fingerprint for change in changes}
    assert len(different | {records.fingerprint}) == len(changes) + 1


def test_every_nan_and_both_zeros_have_one_fingerprint() -> None:
    """Regression: the bits of a computed NaN (0 * inf) differ from those of np.nan."""
    other_nan = np.array([0xFFF8000000000001], dtype=np.uint64).view(np.float64)[0]
    plain = Records.from_arrays(["q"], ["a", "b"], np.array([[NAN, 0.0]]))
    odd = Records.from_arrays(["q"], ["a", "b"], np.array([[other_nan, -0.0]]))
    assert odd.fingerprint == plain.fingerprint


def test_texts_cannot_move_between_fields_without_a_new_fingerprint() -> None:
    """Regression: 6 models x 1 query and 3 models x 2 queries once hashed the same bytes."""
    names = [f"t{position}" for position in range(9)]
    wide = Records.from_arrays(names[6:7], names[:6], np.ones((1, 6)), datasets=names[7:8], ids=names[8:])
    tall = Records.from_arrays(names[3:5], names[:3], np.ones((2, 3)), datasets=names[5:7], ids=names[7:])
    assert wide.fingerprint != tall.fingerprint


def test_a_records_error_is_one_of_ours() -> None:
    assert issubclass(RecordsError, AvengersProError)
