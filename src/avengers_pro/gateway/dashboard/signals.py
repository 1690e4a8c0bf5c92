"""What watching the router has found: whether traffic still looks like its training, and what a shadow disagrees on.

Rules of thumb over the latest requests; ``avengers-pro drift`` and ``avengers-pro compare`` test it properly.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avengers_pro.gateway.dashboard.reading import Reading

if TYPE_CHECKING:
    from avengers_pro.gateway.state import Gateway

LEAST = 200
"""Requests below which nothing is said: shares of fewer mean little."""
_SHIFTED = 0.1
"""Population stability index, above what chance makes of it, from which on a mix counts by convention as shifted."""
_MANY_NOVEL = 0.05


@dataclass(frozen=True, slots=True)
class Signal:
    """Something to know about the router.

    Attributes:
        name: In a word or two, such as ``Mix of queries``.
        level: ``ok`` or ``warning``.
        message: What was found, with its numbers.
    """

    name: str
    level: str
    message: str


async def learning_signals(gateway: "Gateway", reading: Reading, since: float, key: str | None) -> tuple[Signal, ...]:
    """Return what the latest requests show of drift, and how often a shadow router would have chosen otherwise.

    Args:
        gateway: That runs.
        reading: Of its ledger.
        since: Unix seconds of the oldest request looked at.
        key: Id of the key whose requests are meant; None = all.

    Raises:
        StoreError: If the ledger cannot be read.
    """
    rows = await reading.compared(since, key)
    shadowed = [row for row in rows if row.shadow_model is not None]
    found = [_mix(gateway), _novel(rows), _shadow(shadowed)]
    return tuple(signal for signal in found if signal is not None)


def _mix(gateway: "Gateway") -> Signal | None:
    stability, by_chance, count = gateway.watching.stability()
    if count < LEAST:
        return None
    said = f"population stability index {stability:.2f} over the latest {count} requests, by chance {by_chance:.2f}"
    if not stability - by_chance > _SHIFTED:
        return Signal("Mix of queries", "ok", f"as in training ({said})")
    return Signal("Mix of queries", "warning", f"not as in training ({said}); avengers-pro drift says more")


def _novel(rows: list[Any]) -> Signal | None:
    if len(rows) < LEAST:
        return None
    share = sum(row.novel for row in rows) / len(rows)
    said = f"{share:.1%} of {len(rows)} requests are unlike all training queries"
    if share <= _MANY_NOVEL:
        return Signal("Novel queries", "ok", said)
    return Signal("Novel queries", "warning", f"{said}; make records of such queries, and fit again")


def _shadow(rows: list[Any]) -> Signal | None:
    if len(rows) < LEAST:
        return None
    others = sum(row.shadow_model != row.model for row in rows)
    return Signal(
        "Shadow router",
        "ok",
        f"would have chosen another model for {others / len(rows):.0%} of {len(rows)} requests; "
        "avengers-pro compare says whether it may take over",
    )
