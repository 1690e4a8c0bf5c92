"""Naming the nearest known word when one is unknown."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from avengers_pro.errors import SettingsError


def unknown_key(given: Iterable[str], known: Sequence[str], where: str) -> None:
    """Refuse the first key that is not known, naming the nearest one that is.

    Raises:
        SettingsError: If a key is not known.
    """
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise SettingsError(f"{where}: unknown key {key!r}; {hint}")
