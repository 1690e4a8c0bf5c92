"""Samples and repeats do not depend on how a table is cut."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avengers_pro.routing.sampling import calibration_rows, first_rows, keys_of, order_of, stratified
from avengers_pro.scale import repeats
from avengers_pro.scale.repeats import FirstInOrder, Repeats, split_rows

TEXTS = st.lists(st.integers(0, 40).map(str), min_size=1, max_size=200)
CUTS = st.lists(st.integers(0, 200), max_size=5)


def cut(n, cuts):
    ends = [0, *sorted(min(c, n) for c in cuts), n]
    return [slice(start, end) for start, end in pairwise(ends)]


@given(TEXTS, CUTS, st.integers(1, 60))
@settings(deadline=None)
def test_the_sample_of_parts_is_that_of_the_whole(texts, cuts, most):
    keys = keys_of(texts)
    kept = FirstInOrder(most, seed=3)
    for part in cut(len(texts), cuts):
        kept.add(keys[part])
    firsts = np.array(sorted({text: row for row, text in reversed(list(enumerate(texts)))}.values()))
    expected = firsts[first_rows(order_of(keys[firsts], 3), most)]
    np.testing.assert_array_equal(kept.rows(), expected)


@given(TEXTS, CUTS, st.integers(1, 50), st.data())
@settings(deadline=None)
def test_the_first_row_of_each_text_counts(texts, cuts, bucket, data):
    datasets = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(texts), max_size=len(texts))), dtype=np.int32
    )
    keys = keys_of(texts)
    with pytest.MonkeyPatch.context() as patch, Repeats() as found:
        patch.setattr(repeats, "BUCKET_ROWS", bucket)  # larger tables go through files
        for part in cut(len(texts), cuts):
            found.add(keys[part], datasets[part])
        first, sizes = found.found(3)
    expected = [texts.index(text) == row for row, text in enumerate(texts)]
    assert first.tolist() == expected
    assert sizes.tolist() == np.bincount(datasets[expected], minlength=3).tolist()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=150), st.integers(1, 30))
@settings(deadline=None)
def test_every_dataset_gives_its_share(codes, most):
    codes = np.array(codes)
    order = order_of(np.arange(len(codes)), 1)
    rows = calibration_rows(order, codes, most)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert len(rows) == min(most, len(codes))
    near = first_rows(order, 4 * most)
    for code in np.unique(codes):
        share = most * (codes == code).sum() / len(codes)
        at_hand = (codes[near] == code).sum()
        taken = codes[rows] == code
        assert taken.sum() >= min(int(share), at_hand)
        others = np.setdiff1d(near[codes[near] == code], rows)
        if len(others) and taken.any():  # within a dataset, the first in order
            assert order[rows[taken]].max() < order[others].min()


def test_other_seeds_choose_other_rows():
    keys = keys_of([str(row) for row in range(1000)])
    assert set(first_rows(order_of(keys, 1), 100)) != set(first_rows(order_of(keys, 2), 100))


def test_shares_are_of_the_whole_table_not_of_the_rows_at_hand():
    datasets = np.array([0, 0, 0, 1, 1, 1])
    rows = stratified(np.arange(6, dtype=np.uint64), datasets, np.array([10, 90]), 3)
    assert datasets[rows].tolist() == [1, 1, 1]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.data())
def test_rows_are_split_by_part(counts, data):
    total = sum(counts)
    rows = sorted(data.draw(st.sets(st.integers(0, max(total - 1, 0)), max_size=total)))
    split = split_rows(np.array(rows, dtype=np.intp), counts)
    starts = np.cumsum([0, *counts])
    assert [int(row + start) for part, start in zip(split, starts, strict=False) for row in part] == rows
    assert all((part < count).all() for part, count in zip(split, counts, strict=True))
