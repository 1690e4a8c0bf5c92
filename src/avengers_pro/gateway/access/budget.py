"""Dollars in a UTC day and a UTC month."""

from datetime import UTC, datetime, timedelta
from math import inf

from avengers_pro.errors import StoreError

_NANO = 1e9


def nano(dollars: float) -> int:
    """Round to billionths of a dollar: whole numbers, so that reserving and correcting forever leaves no residue."""
    return round(dollars * _NANO)


def dollars(amount: int) -> float:
    """Turn billionths into US dollars."""
    return amount / _NANO


class Calendar:
    """Which UTC day and month it is; works it out only when a day ends, and never goes back.

    Attributes:
        day: A number that no other day has.
        month: A number that no other month has.
        day_ends_s: Unix seconds.
        month_ends_s: Unix seconds.
    """

    __slots__ = ("day", "day_ends_s", "month", "month_ends_s")

    def __init__(self) -> None:
        self.day = self.month = 0
        self.day_ends_s = self.month_ends_s = -inf

    def turn(self, now: float) -> None:
        """Turn to the day and month of ``now`` (unix seconds), unless they are past."""
        if now < self.day_ends_s:
            return
        midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        next_month = (midnight.replace(day=1) + timedelta(days=31)).replace(day=1)
        self.day = midnight.toordinal()
        self.month = midnight.year * 12 + midnight.month
        self.day_ends_s = (midnight + timedelta(days=1)).timestamp()
        self.month_ends_s = next_month.timestamp()


class Spending:
    """What one key spent and reserved in the current day and month, in billionths of a dollar.

    A request counts in the day and month in which it was admitted, whenever it ends.

    Attributes:
        day: Spent and reserved in the day.
        month: Spent and reserved in the month.
    """

    __slots__ = ("_day_number", "_month_number", "day", "month")

    def __init__(self) -> None:
        self.day = self.month = self._day_number = self._month_number = 0

    def turn(self, calendar: Calendar) -> None:
        """Begin anew if the day or the month has changed."""
        if self._day_number != calendar.day:
            self._day_number = calendar.day
            self.day = 0
            if self._month_number != calendar.month:
                self._month_number = calendar.month
                self.month = 0

    def reserve(self, amount: int) -> tuple[int, int]:
        """Add to both; return day and month, which ``correct`` needs."""
        self.day += amount
        self.month += amount
        return self._day_number, self._month_number

    def correct(self, amount: int, reserved_in: tuple[int, int]) -> None:
        """Add what was spent beyond the reservation, or less than 0, where that still counts."""
        day, month = reserved_in
        if day == self._day_number:
            self.day += amount
        if month == self._month_number:
            self.month += amount

    def restore(self, day_usd: float, month_usd: float, key: str | None) -> None:
        """Set what the ledger knows of the current day and month.

        Raises:
            StoreError: If it is not an amount of money.
        """
        for amount in (day_usd, month_usd):
            if not 0 <= amount < inf:
                raise StoreError(f"the ledger says that the key {key} spent ${amount}; check its rows of this month")
        self.day, self.month = nano(day_usd), nano(month_usd)
