"""Stratified train/test splits."""

import math

import numpy as np

from avengers_pro.errors import RecordsError
from avengers_pro.records.table import Records, Rows

PUBLISHED_SEEDS = (42, 999, 2024, 2025, 3407)


def seeds(count: int) -> tuple[int, ...]:
    """Return the first ``count`` of 42, 999, 2024, 2025, 3407, then 4000, 4001, ..."""
    extra = range(4000, 4000 + max(0, count - len(PUBLISHED_SEEDS)))
    return (*PUBLISHED_SEEDS[:count], *extra)


def stratified_split(records: Records, train_ratio: float = 0.7, seed: int = 42) -> tuple[Rows, Rows]:
    """Split each dataset by the same ratio, the way the released code does.

    Datasets are taken by name, their rows by id; of n rows floor(train_ratio * n) train and the others test.
    Both parts get a row wherever a dataset has two; a single row trains.

    Returns:
        Train rows and test rows, disjoint, grouped by dataset.

    Raises:
        RecordsError: If the ratio is not strictly between 0 and 1, or no test row is left.
    """
    if not 0 < train_ratio < 1:
        raise RecordsError(f"the train ratio must lie strictly between 0 and 1, got {train_ratio:g}")
    if not len(records):
        raise RecordsError("there is no row to split")
    train, test = [], []
    for code in range(len(records.dataset_names)):
        rows = sorted(np.flatnonzero(records.dataset_codes == code), key=lambda row: _by_id(records.ids[row]))
        n = len(rows)
        n_train = 1 if n == 1 else min(max(math.floor(train_ratio * n), 1), n - 1)
        order = np.random.default_rng(seed).permutation(n)
        test.append(np.array(rows, dtype=np.intp)[order[: n - n_train]])
        train.append(np.array(rows, dtype=np.intp)[order[n - n_train :]])
    test_rows = np.concatenate(test)
    if not test_rows.size:
        raise RecordsError("no row is left to test on; every dataset has a single row")
    return np.concatenate(train), test_rows


def _by_id(name: str) -> tuple[bool, int, str, str]:
    """Order numeric ids as numbers of any length, before the others."""
    if name.isascii() and name.isdecimal():
        digits = name.lstrip("0")
        return False, len(digits), digits, name
    return True, 0, name, name
