"""What watching the router's own quality has found: a place for drift and shadow comparisons."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avengers_pro.gateway.state import Gateway


@dataclass(frozen=True, slots=True)
class Signal:
    """Something to know about the router.

    Attributes:
        name: In a word or two, such as ``drift of queries``.
        level: ``ok``, ``warning`` or ``unknown``.
        message: What was found, with its numbers.
        at: When, in Unix seconds; None = now.
    """

    name: str
    level: str
    message: str
    at: float | None = None


async def learning_signals(gateway: "Gateway") -> tuple[Signal, ...]:  # noqa: ARG001  # what needs it is to come
    """Return the flags of drift, and how far a shadow router disagrees; nothing is measured yet."""
    return ()
