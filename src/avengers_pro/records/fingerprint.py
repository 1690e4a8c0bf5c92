"""What identifies a table: a sum over its rows, so that parts of it can be read anywhere and in any order."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from avengers_pro.records.table import Records

_MODULUS = 1 << 256


def rows_digest(records: "Records") -> int:
    """Return the sum of the rows' SHA-256 modulo 2^256; the sums of two tables' rows add up to that of both.

    A row is its text, dataset, id, scores and costs. The sum does not say in which order the rows stand.
    """
    cells = np.concatenate([records.scores, records.costs], axis=1)
    plain = np.ascontiguousarray(np.where(np.isnan(cells), np.nan, cells + 0.0), dtype="<f8")  # one NaN, no -0.0
    width, numbers = plain.shape[1] * 8, plain.tobytes()
    total = 0
    for row, texts in enumerate(zip(records.queries, records.datasets, records.ids, strict=True)):
        digest = hashlib.sha256()
        for text in texts:
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
        digest.update(numbers[row * width : (row + 1) * width])
        total += int.from_bytes(digest.digest(), "little")
    return total % _MODULUS


def fingerprint_of(models: Sequence[str], rows: int, digest: int) -> str:
    """Return the SHA-256 of a table of these models with so many rows, given the sum ``digest`` of its rows.

    Args:
        models: In the order of the columns.
        rows: Number of rows.
        digest: As ``rows_digest`` gives it, or a sum of several.
    """
    whole = hashlib.sha256()
    for name in models:
        encoded = name.encode()
        whole.update(len(encoded).to_bytes(8, "little") + encoded)
    whole.update(rows.to_bytes(8, "little") + (digest % _MODULUS).to_bytes(32, "little"))
    return whole.hexdigest()
