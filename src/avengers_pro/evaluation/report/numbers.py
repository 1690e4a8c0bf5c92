"""How numbers are written: missing is a dash, never 0."""

import math

MISSING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
"""As wide as a plus."""


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as percent, without the sign: 0.643 -> 64.3."""
    return plain(100 * value, digits) if value is not None and _known(value) else MISSING


def change(value: float | None, digits: int = 1) -> str:
    """Return a relative change: -0.337 -> -33.7 %."""
    return f"{_signed(100 * value, digits)} %" if value is not None and _known(value) else MISSING


def points(value: float | None, digits: int = 1) -> str:
    """Return a difference of shares in points: 0.022 -> +2.2."""
    return _signed(100 * value, digits) if value is not None and _known(value) else MISSING


def dollars(value: float | None) -> str:
    """Return US dollars with three significant digits: 0.2318 -> $0.232."""
    if value is None or not _known(value):
        return MISSING
    if value == 0:
        return "$0"
    return f"${value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def signed(value: float | None, digits: int = 4) -> str:
    """Return a difference as it is: 0.0285 -> +0.0285."""
    return _signed(value, digits) if value is not None and _known(value) else MISSING


def plain(value: float | None, digits: int = 3) -> str:
    """Return a number with fixed digits."""
    if value is None or not _known(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return (f"{0:.{digits}f}" if float(text) == 0 else text).replace("-", _MINUS)


def knob(alpha: float | None) -> str:
    """Return an alpha; a method without one has a dash."""
    return plain(alpha, 2)


def _signed(value: float, digits: int) -> str:
    """Write the sign; what rounds to 0 has none."""
    text = f"{value:+.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", _MINUS)
