"""Whether upstreams answer with the models they are asked for, and with the same ones as before."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from avengers_pro.gateway.reported import is_same_model
from avengers_pro.learning.drift.finding import Measurement
from avengers_pro.records.table import Floats
from avengers_pro.routing.pool import ModelCard

CHECK = "reported model"
CHANGED = "snapshot"
THRESHOLD = 0.01
"""Share of a model's answers that report another model."""
LEAST_ROWS = 5
"""Answers of a snapshot below which its coming or going says nothing."""
_OTHER = (
    "its upstream answers as {reported!r} where {asked} was asked for: correct upstream_model in gateway.toml, or ask "
    "the provider; scores and prices of the records are those of another model"
)
_SINCE = (
    "its upstream answered as {before!r} until {at} and as {after!r} since: the model behind the name has changed; "
    "evaluate it again, or pin the snapshot with upstream_model"
)


def check_reported(card: ModelCard, reported: Sequence[str | None]) -> Measurement:
    """Count the answers of a model that come from another one; see ``is_same_model`` for the rule.

    Args:
        card: The model's row of the pool table, which says what is asked for at its endpoints.
        reported: n ids, one for each of its answers; None = not said.
    """
    said = [name for name in reported if name is not None]
    if not said:
        return Measurement(check=CHECK, model=card.name, problem="upstreams report no model id")
    asked = sorted({endpoint.upstream_model or card.name for endpoint in card.endpoints} or {card.name})
    others = [name for name in said if not any(is_same_model(one, name) for one in asked)]
    share = len(others) / len(said)
    most = max(set(others), key=others.count) if others else ""
    return Measurement(
        check=CHECK,
        model=card.name,
        rows=len(said),
        value=share,
        expected=0.0,
        threshold=THRESHOLD,
        beyond=share >= THRESHOLD,
        shown=f"{share:.1%} others" + (f" ({most})" if others else ""),
        limit=f"{THRESHOLD:.0%}",
        advice=_OTHER.format(reported=most, asked=" or ".join(asked)),
    )


def check_snapshot(model: str, at: Floats, reported: Sequence[str | None]) -> Measurement:
    """Find out whether the id that a model's answers report has changed for good.

    Ids that come in turns, as those of several endpoints do, are no change: the one must end before the other begins.

    Args:
        model: Its name.
        at: (n,) Unix seconds, ascending.
        reported: n ids, one for each of its answers; None = not said.
    """
    names = np.array([name or "" for name in reported], dtype=str)
    found = [name for name in np.unique(names[names != ""]) if (names == name).sum() >= LEAST_ROWS]
    if not found:
        return Measurement(check=CHANGED, model=model, problem="too few of its answers report a model id")
    places = sorted((_ends(names, name), name) for name in found)
    changes = [(one, two, second[0]) for ((_, last), one), (second, two) in pairwise(places) if last < second[0]]
    before, after, place = changes[-1] if changes else (str(found[0]), str(found[0]), 0)
    day = np.datetime_as_string(np.datetime64(int(at[place]), "s"), unit="D")
    return Measurement(
        check=CHANGED,
        model=model,
        rows=int((names != "").sum()),
        value=float(len(changes)),
        expected=0.0,
        threshold=1.0,
        beyond=bool(changes),
        shown=f"{before} -> {after}" if changes else "/".join(map(str, found)),
        limit="a change",
        advice=_SINCE.format(before=str(before), after=str(after), at=day),
    )


def _ends(names: NDArray[np.str_], name: str) -> tuple[int, int]:
    """Return the first and last place of a name."""
    places = np.flatnonzero(names == name)
    return int(places[0]), int(places[-1])
