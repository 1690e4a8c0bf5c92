"""Colours of models: the same on every page, told apart wherever they are shown together."""

from collections.abc import Sequence

COLOURS = 12
"""In the style sheet, ``--m0`` to ``--m11``."""
OTHERS = "other models"
NO_MODEL = "no model"
_FIXED = {OTHERS: "other", NO_MODEL: "none"}


def coloured(shown: Sequence[str], pool: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return each name with the name of its colour.

    A model's colour follows from its place in the pool; in a pool of more models than colours, one that meets its
    colour taken gets the next free one.

    Args:
        shown: Models that are shown together, and perhaps OTHERS and NO_MODEL.
        pool: All models.
    """
    taken: set[int] = set()
    found = []
    for name in shown:
        if name in _FIXED:
            found.append((name, _FIXED[name]))
            continue
        place = pool.index(name) if name in pool else len(pool)
        free = [colour % COLOURS for colour in range(place, place + COLOURS) if colour % COLOURS not in taken]
        chosen = free[0] if free else place % COLOURS
        taken.add(chosen)
        found.append((name, f"m{chosen}"))
    return tuple(found)
