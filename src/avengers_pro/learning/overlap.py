"""What can be known of queries that a router was fitted on and is judged on: a router keeps no list of them."""

from collections.abc import Sequence

import msgspec
import numpy as np

from avengers_pro.records.table import Records, Rows
from avengers_pro.routing import Router


class Overlap(msgspec.Struct, kw_only=True):
    """Signs that held-out queries were trained on.

    Attributes:
        same_records: Routers that were fitted on exactly these records, or learnt from them later.
        examples: For each router, held-out queries that are among the few training queries that it keeps.
        dropped: Held-out queries left out, because they are among the training records that were given.
        checked: Whether training records were given, so that ``dropped`` is complete for them.
    """

    same_records: list[str]
    examples: dict[str, int]
    dropped: int
    checked: bool

    @property
    def found(self) -> bool:
        """Whether any query that is left is known to have been trained on."""
        return bool(self.same_records) or any(self.examples.values())


def overlap_of(routers: Sequence[Router], names: Sequence[str], table: Records, trained_on: Records | None) -> Overlap:
    """Compare fingerprints and the example queries that routers keep; and all texts of given training records.

    Args:
        routers: That are judged.
        names: What they are called.
        table: Held-out queries, each text once.
        trained_on: Records that the routers were fitted on; None = they are not at hand.
    """
    rows = unseen_rows(table, trained_on)
    left = {table.queries[row] for row in rows.tolist()}
    same = table.fingerprint
    return Overlap(
        same_records=[
            name for router, name in zip(routers, names, strict=True) if _learnt_from(router, same) and len(rows)
        ],
        examples={
            name: len(left.intersection(text for texts in router.examples for text in texts))
            for router, name in zip(routers, names, strict=True)
        },
        dropped=len(table) - len(rows),
        checked=trained_on is not None,
    )


def unseen_rows(table: Records, trained_on: Records | None) -> Rows:
    """Return the rows of the table whose text is not among the training records."""
    seen = set() if trained_on is None else set(trained_on.queries)
    return np.flatnonzero([query not in seen for query in table.queries])


def _learnt_from(router: Router, fingerprint: str) -> bool:
    if router.fingerprint == fingerprint:
        return True
    return any(fingerprint in str(step.detail.get("records", "")).split(",") for step in router.lineage)
