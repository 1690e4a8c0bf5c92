"""Moments on the command line: the range of time that a verb reads of a ledger."""

import re
import time
from datetime import UTC, datetime
from typing import Any

import click

DAY_S = 86_400.0
_UNITS_S = {"m": 60.0, "h": 3600.0, "d": DAY_S, "w": 7 * DAY_S}


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in new versions only
    """A time in UTC, or how long ago; Unix seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read ``2026-08-01``, ``2026-08-01T12:00``, ``7d``, ``12h``."""
        if isinstance(value, float):
            return value
        ago = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", value)
        if ago is not None:
            return time.time() - float(ago[1]) * _UNITS_S[ago[2]]
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is neither a time like 2026-08-01T12:00 (UTC) nor an age like 7d or 12h", param, ctx)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


since_option = click.option("--since", type=Moment(), metavar="TIME", help="2026-08-01T12:00 (UTC), or 7d, 12h ago.")
until_option = click.option("--until", type=Moment(), metavar="TIME", help="Likewise; not included.")
