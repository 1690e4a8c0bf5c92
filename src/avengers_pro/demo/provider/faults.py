"""Which faults there are, and when they happen."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from random import Random
from typing import Annotated, Any, Literal, get_args

import msgspec

from avengers_pro.errors import SettingsError
from avengers_pro.suggestion import unknown_key

FaultName = Literal[
    "429",
    "500",
    "503",
    "401",
    "400",
    "404",
    "hang",
    "hang-mid-stream",
    "reset",
    "reset-mid-stream",
    "malformed-json",
    "wrong-content-type",
    "empty-choices",
    "error-in-200",
    "huge-chunks",
    "slow-drip",
]
NAMES: tuple[FaultName, ...] = get_args(FaultName)
ANY_MODEL = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        fault: What it is:
            a status ("429", "500", "503", "401", "400", "404") = that error;
            "hang" = nothing is sent; "hang-mid-stream" = half of the answer is, and nothing after it;
            "reset", "reset-mid-stream" = the same with a TCP reset;
            "malformed-json" = 200 with broken JSON, or a stream with a broken event;
            "wrong-content-type" = 200 with an HTML page;
            "empty-choices" = 200 with a completion, or a stream with one chunk, that has none;
            "error-in-200" = 200 with an error object, or a stream that begins with one;
            "huge-chunks" = an answer of parts of a mebibyte;
            "slow-drip" = the right answer a few bytes at a time.
        share: Probability that a request meets it, in [0, 1].
        times: How often it happens before it stops, at least 1; None = for ever.
        retry_after: Seconds that the Retry-After of "429" and "503" says; None = 1 for "429", no header for "503".
        chunks: How many parts "huge-chunks" has.
        pause_ms: Milliseconds between the parts of "slow-drip".
    """

    fault: FaultName
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    retry_after: Annotated[float, msgspec.Meta(ge=0)] | None = None
    chunks: Annotated[int, msgspec.Meta(ge=1)] = 8
    pause_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0


_FIELDS = tuple(field.name for field in fields(Fault))

Plan = Mapping[str, Sequence[Fault | Mapping[str, Any]]]
"""Faults by model, or ``*`` for all models."""


def fault_named(name: str) -> Fault:
    """Return the fault of a name, happening always.

    Raises:
        SettingsError: If there is none.
    """
    return Fault(fault=_known(name, "fault"))


def read_plan(given: Any, models: Iterable[str]) -> dict[str, tuple[Fault, ...]]:
    """Check a plan.

    Args:
        given: A mapping as described at ``Plan``, or what stands in its place.
        models: Names that may be its keys, beside ``*``.

    Raises:
        SettingsError: If a key, a name or a value is wrong.
    """
    if not isinstance(given, Mapping):
        raise SettingsError(f"faults: a table of lists of faults by model is needed, got {given!r}")
    unknown_key(given, (ANY_MODEL, *models), "faults")
    return {str(model): _faults(entries, f"faults[{model!r}]") for model, entries in given.items()}


def _faults(entries: Any, where: str) -> tuple[Fault, ...]:
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise SettingsError(f"{where}: a list of faults is needed, got {entries!r}")
    return tuple(_fault(entry, f"{where}[{place}]") for place, entry in enumerate(entries))


def _fault(entry: Any, where: str) -> Fault:
    values = asdict(entry) if isinstance(entry, Fault) else entry
    if not isinstance(values, Mapping) or "fault" not in values:
        raise SettingsError(f'{where}: a table such as {{"fault": "429", "share": 0.05}} is needed, got {values!r}')
    unknown_key(values, _FIELDS, where)
    _known(values["fault"], where)
    try:
        return msgspec.convert(values, Fault)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where} ({values['fault']}): {error}") from error


def _known(name: Any, where: str) -> FaultName:
    for known in NAMES:
        if name == known:
            return known
    near = get_close_matches(str(name), NAMES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(NAMES)}"
    raise SettingsError(f"{where}: no fault is named {name!r}; {hint}")


@dataclass(slots=True)
class _Pending:
    """A fault, and how often it still happens; None = for ever."""

    fault: Fault
    times: int | None


class FaultPlan:
    """Faults by model, with what is left of each."""

    def __init__(self, faults: Mapping[str, Sequence[Fault]], seed: int) -> None:
        """Start afresh: every fault has all its times left, and the draws begin anew."""
        self._rng = Random(f"{seed}/faults")
        self._pending: dict[str, list[_Pending]] = {
            model: [_Pending(fault, fault.times) for fault in entries] for model, entries in faults.items()
        }

    def draw(self, model: str) -> Fault | None:
        """Return what happens to the next request to a model; its own faults come before those of ``*``."""
        for pending in self._pending.get(model, []) + self._pending.get(ANY_MODEL, []):
            if pending.times != 0 and self._rng.random() < pending.fault.share:
                if pending.times is not None:
                    pending.times -= 1
                return pending.fault
        return None
