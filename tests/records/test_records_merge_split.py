import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_tables import assert_same, by_name, patient, tables, write_lines

from avengers_pro.errors import RecordsError
from avengers_pro.records import Records, merge, read_records, seeds, stratified_split

SHARED = Path(__file__).parents[3] / "shared"
NAN = np.nan


def table(queries: list[str], models: list[str], scores: list[list[float]], **names: list[str]) -> Records:
    return Records.from_arrays(queries, models, np.array(scores), **names)


# ---- merge


def test_one_table_is_itself() -> None:
    records = table(["q"], ["a"], [[1]])
    assert merge([records]) is records


def test_no_table_is_refused() -> None:
    with pytest.raises(RecordsError, match="there is no table to merge"):
        merge([])


def test_models_and_queries_are_the_union_in_order_of_appearance() -> None:
    left = table(["q", "r"], ["b", "a"], [[1, 0], [0.5, NAN]], ids=["10", "11"])
    right = table(["s", "q"], ["c", "a"], [[0.25, 1], [0.75, NAN]], ids=["12", "13"])
    merged = merge([left, right])
    assert merged.queries == ("q", "r", "s")
    assert merged.models == ("b", "a", "c")
    assert merged.ids == ("10", "11", "12")
    np.testing.assert_array_equal(merged.scores, [[1, 0, 0.75], [0.5, NAN, NAN], [NAN, 1, 0.25]])
    assert merged.listed.tolist() == [[True, True, True], [True, False, False], [False, True, True]]


def test_a_cell_that_one_table_observes_is_taken_from_it() -> None:
    left = table(["q"], ["a", "b"], [[1, NAN]])
    right = table(["q"], ["a", "b"], [[NAN, 0]])
    for tables_ in ([left, right], [right, left], [left, right, left]):
        np.testing.assert_array_equal(merge(tables_).scores, [[1, 0]])


def test_costs_tokens_and_latency_are_joined() -> None:
    left = replace(table(["q"], ["a"], [[1]]), costs=np.array([[0.5]]), prompt_tokens=np.array([[7.0]]))
    right = replace(table(["q", "r"], ["b"], [[1], [0]]), latency_ms=np.array([[3.0], [NAN]]))
    merged = merge([left, right])
    np.testing.assert_array_equal(merged.costs, [[0.5, NAN], [NAN, NAN]])
    np.testing.assert_array_equal(merged.prompt_tokens, [[7, NAN], [NAN, NAN]])
    np.testing.assert_array_equal(merged.latency_ms, [[NAN, 3], [NAN, NAN]])
    assert merged.completion_tokens is None


def test_a_conflict_names_array_model_query_and_both_values_in_full() -> None:
    left, right = table(["q"], ["a", "b"], [[0, 0.1]]), table(["q"], ["b"], [[0.1000000001]])
    with pytest.raises(RecordsError) as raised:
        merge([left, right])
    assert str(raised.value) == (
        "two files give different scores for model 'b' on the query 'q': 0.1 and 0.1000000001; keep one of them"
    )
    priced = replace(left, costs=np.array([[1.0, 2.0]])), replace(left, costs=np.array([[1.0, 3.0]]))
    with pytest.raises(RecordsError, match="different costs for model 'b' on the query 'q': 2 and 3;"):
        merge(priced)


def test_the_same_text_in_two_datasets_stays_apart() -> None:
    left = table(["q"], ["a"], [[1]], datasets=["d"])
    right = table(["q"], ["a"], [[0]], datasets=["e"])
    assert merge([left, right]).datasets == ("d", "e")


def test_repeats_of_a_text_stay_apart_and_pair_up_in_order() -> None:
    left = table(["q", "q"], ["a"], [[1], [0]])
    right = table(["q", "q", "q"], ["b"], [[0.1], [0.2], [0.3]])
    merged = merge([left, right])
    assert merged.queries == ("q", "q", "q")
    np.testing.assert_array_equal(merged.scores, [[1, 0.1], [0, 0.2], [NAN, 0.3]])


def test_ids_that_clash_become_row_numbers() -> None:
    left = table(["q", "r"], ["a"], [[1], [1]], ids=["5", "6"])
    right = table(["s"], ["a"], [[1]], ids=["5"])
    assert merge([left, right]).ids == ("0", "1", "2")


@given(tables())
@patient
def test_merging_a_table_with_itself_changes_nothing(records: Records) -> None:
    assert_same(merge([records, records]), records)


@given(tables(), st.data())
@patient
def test_merging_the_halves_of_a_table_gives_it_back(records: Records, data: st.DataObject) -> None:
    records = records.deduplicated()
    cut = data.draw(st.integers(1, len(records)))
    halves = records.take(range(cut)), records.take(range(cut, len(records)))
    assert_same(merge(halves), records)
    columns = data.draw(st.integers(1, len(records.models)))
    chosen = [records.select_models(part) for part in (records.models[:columns], records.models[columns:]) if part]
    assert by_name(merge(chosen)) == by_name(records)


def test_files_of_any_kind_are_merged_and_their_problems_counted_together(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", {"query": "q", "records": {"a": 50}}, "oops")
    two = write_lines(tmp_path / "two.csv", "query,model,score", "q,b,100", "r,b,0", "r,c,101")
    reading = read_records(one, str(two), score_scale=100, skip_bad_lines=True)
    np.testing.assert_array_equal(reading.records.scores, [[0.5, 1], [NAN, 0]])
    assert (reading.records.queries, reading.records.models) == (("q", "r"), ("a", "b"))
    assert (reading.skipped, [problem.file for problem in reading.problems]) == (2, ["one.jsonl", "two.csv"])


# ---- split


def test_the_published_seeds_come_first() -> None:
    assert seeds(0) == ()
    assert seeds(3) == (42, 999, 2024)
    assert seeds(7) == (42, 999, 2024, 2025, 3407, 4000, 4001)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=5).filter(lambda sizes: max(sizes) > 1),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
@patient
def test_a_split_is_disjoint_complete_and_keeps_the_ratio_in_each_dataset(
    sizes: list[int], ratio: float, seed: int
) -> None:
    datasets = [f"d{number}" for number, size in enumerate(sizes) for _ in range(size)]
    datasets = [datasets[row] for row in np.random.default_rng(seed).permutation(len(datasets))]
    records = table([f"q{row}" for row in range(len(datasets))], ["a"], [[1.0]] * len(datasets), datasets=datasets)
    train, test = stratified_split(records, ratio, seed)
    assert sorted([*train, *test]) == list(range(len(records)))
    assert train.dtype == test.dtype == np.intp
    for name, size in ((f"d{number}", size) for number, size in enumerate(sizes)):
        in_train = sum(records.datasets[row] == name for row in train)
        expected = 1 if size == 1 else min(max(math.floor(ratio * size), 1), size - 1)
        assert in_train == expected
    again = stratified_split(records, ratio, seed)
    assert (train.tolist(), test.tolist()) == (again[0].tolist(), again[1].tolist())


def test_seeds_differ() -> None:
    records = table([f"q{row}" for row in range(50)], ["a"], [[1.0]] * 50)
    assert len({tuple(stratified_split(records, seed=seed)[0]) for seed in seeds(5)}) == 5


def test_a_dataset_of_one_row_trains_and_of_two_is_shared() -> None:
    records = table(["q", "r", "s"], ["a"], [[1.0]] * 3, datasets=["one", "two", "two"])
    for ratio in (0.01, 0.99):
        train, test = stratified_split(records, ratio)
        assert 0 in train
        assert [len(train), len(test)] == [2, 1]


@pytest.mark.parametrize("names", ["numbers", "long numbers", "texts", "mixed"])
def test_the_order_of_the_rows_does_not_matter(names: str) -> None:
    """Rows are taken by id; equal numbers ('7', '007') and numbers of any length have an order, too."""
    ids = {
        "numbers": [str(number) for number in range(20)],
        "long numbers": ["9" * (number + 4990) for number in range(20)],
        "texts": [f"id-{number}" for number in range(20)],
        "mixed": ["0" * number + "7" for number in range(10)] + [f"{number}" for number in range(20, 28)] + ["٣", "²"],
    }[names]
    records = table([f"q {name}" for name in ids], ["a"], [[1.0]] * 20, ids=ids)
    train, _ = stratified_split(records)
    shuffled = records.take(np.random.default_rng(1).permutation(20))
    train_again, _ = stratified_split(shuffled)
    assert [records.ids[row] for row in train] == [shuffled.ids[row] for row in train_again]


def test_numbers_are_ordered_as_numbers() -> None:
    ids = [str(number) for number in range(12)]
    records = table([f"q{name}" for name in ids], ["a"], [[1.0]] * 12, ids=ids)
    padded = replace(records, ids=tuple(name.zfill(2) for name in ids))
    assert stratified_split(records)[0].tolist() == stratified_split(padded)[0].tolist()


@pytest.mark.parametrize("ratio", [0, 1, -0.5, 1.5, NAN])
def test_a_ratio_that_leaves_a_part_empty_is_refused(ratio: float) -> None:
    with pytest.raises(RecordsError, match="train ratio must lie strictly between 0 and 1, got"):
        stratified_split(table(["q", "r"], ["a"], [[1], [1]]), ratio)


def test_nothing_to_split_or_to_test_on_is_refused() -> None:
    records = table(["q", "r"], ["a"], [[1], [1]], datasets=["d", "e"])
    with pytest.raises(RecordsError, match="no row is left to test on; every dataset has a single row"):
        stratified_split(records)
    with pytest.raises(RecordsError, match="there is no row to split"):
        stratified_split(records.take([]))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder 'shared' is not beside this repository")
def test_the_split_is_the_released_codes_row_for_row() -> None:
    golden = np.load(SHARED / "golden" / "avengers_pro_code_llmrouter_fusion.npz")
    records = read_records(SHARED / "data" / "llmrouter_fusion.jsonl.gz").records.deduplicated()
    assert len(records) == 5989
    train, test = stratified_split(records, 0.7, 42)
    np.testing.assert_array_equal(train, golden["train_index"])
    np.testing.assert_array_equal(test, golden["test_index"])
    assert set(records.models) >= set(golden["models"].tolist())
