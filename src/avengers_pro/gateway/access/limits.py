"""What a key may do, and how much."""

import math
from typing import Literal

import msgspec

from avengers_pro.errors import SettingsError

Role = Literal["user", "admin"]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Bounds of one key; None = no limit.

    Attributes:
        models: Only these may answer, at least one; None = the whole pool.
        exclude: These may not.
        min_alpha: Least alpha that may be asked for, in [0, 1].
        max_alpha: Most, in [0, 1], at least ``min_alpha``.
        requests_per_minute: At least 1; as many may come at once, and so many flow back each minute.
        tokens_per_minute: Prompt and completion together, likewise.
        dollars_per_day: US dollars in a UTC day, at least 0; 0 = only models that cost nothing.
        dollars_per_month: US dollars in a UTC month, likewise.
    """

    models: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    min_alpha: float | None = None
    max_alpha: float | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    dollars_per_day: float | None = None
    dollars_per_month: float | None = None

    @property
    def are_counted(self) -> bool:
        """Whether requests, tokens or dollars are limited, so that use must be counted."""
        return (
            self.requests_per_minute is not None
            or self.tokens_per_minute is not None
            or self.dollars_per_day is not None
            or self.dollars_per_month is not None
        )

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            SettingsError: Naming limit and value.
        """
        for name in ("models", "exclude"):
            names = getattr(self, name)
            if names is not None and not (isinstance(names, tuple) and all(isinstance(one, str) for one in names)):
                raise SettingsError(f"limits: {name} must be a tuple of model names, got {names!r}")
        if self.models == ():
            raise SettingsError("limits: models is empty, which leaves no model; leave it out to allow the whole pool")
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise SettingsError(f"limits: {name} must be a whole number of at least 1, got {value!r}")
        _within("min_alpha", self.min_alpha, 1.0, "1 = quality only, 0 = cost only")
        _within("max_alpha", self.max_alpha, 1.0, "1 = quality only, 0 = cost only")
        _within("dollars_per_day", self.dollars_per_day, math.inf, "US dollars")
        _within("dollars_per_month", self.dollars_per_month, math.inf, "US dollars")
        if self.min_alpha is not None and self.max_alpha is not None and self.min_alpha > self.max_alpha:
            raise SettingsError(f"limits: min_alpha {self.min_alpha:g} is more than max_alpha {self.max_alpha:g}")


def _within(name: str, value: object, most: float, meaning: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or math.isinf(value):
        top = "" if math.isinf(most) else f" and at most {most:g}"
        raise SettingsError(f"limits: {name} must be a number of at least 0{top} ({meaning}), got {value!r}")


class Caller(msgspec.Struct, frozen=True):
    """Who sends a request.

    Attributes:
        key: The key's id; None = nobody said, and access is open.
        name: The key's name; ``anonymous`` without a key.
        role: ``admin`` may also use what manages the gateway.
        limits: Bounds of the key.
    """

    key: str | None
    name: str
    role: Role
    limits: Limits


ANONYMOUS = Caller(None, "anonymous", "admin", Limits())
"""Whoever calls while access is open: only this machine reaches the gateway then."""
