"""Numbers as people read them, for templates."""

import math
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

NOTHING = "\N{EN DASH}"
"""Stands for what is not known."""


def money(value: float | None) -> str:
    """Return US dollars with three significant digits, cents from one dollar on."""
    if value is None or not math.isfinite(value):
        return NOTHING
    sign, size = ("\N{MINUS SIGN}" if value < 0 else ""), abs(value)
    if size == 0:
        return "$0"
    if size >= 1:
        return f"{sign}${size:,.0f}" if size >= 1000 else f"{sign}${size:,.2f}"  # noqa: PLR2004 - cents of thousands
    return f"{sign}${size:.{min(2 - math.floor(math.log10(size)), 10)}f}"


def count(value: float | None) -> str:
    """Return a whole number."""
    return NOTHING if value is None else f"{value:,.0f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in percent."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")


def score(value: float | None) -> str:
    """Return a score in [0, 1]."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.3f}"


def milliseconds(value: float | None) -> str:
    """Return a time given in milliseconds."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value >= 10_000:  # noqa: PLR2004 - from ten seconds on, seconds
        return f"{value / 1000:.1f}\N{NO-BREAK SPACE}s"
    return f"{value:.0f}\N{NO-BREAK SPACE}ms" if value >= 10 else f"{value:.2f}\N{NO-BREAK SPACE}ms"  # noqa: PLR2004


def when(at: float | None, form: str = "full") -> Markup | str:
    """Return a ``<time>``, in UTC until a script shows it in the viewer's zone.

    Args:
        at: Unix seconds; None = not known.
        form: ``full``, ``second``, ``short`` or ``clock``: how the script writes it.
    """
    if at is None or not math.isfinite(at):
        return NOTHING
    moment = datetime.fromtimestamp(at, UTC)
    shown = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" data-form="{}">{}</time>').format(moment.isoformat(), form, shown)


def short(text: str | None, length: int = 12) -> str:
    """Return the beginning of an id or fingerprint."""
    return NOTHING if text is None else text[:length]


def finite(value: Any) -> Any:
    """Return a value for JSON: numbers that are NaN or infinite become None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


FILTERS: dict[str, Any] = {
    "money": money,
    "count": count,
    "percent": percent,
    "score": score,
    "milliseconds": milliseconds,
    "when": when,
    "short": short,
}
