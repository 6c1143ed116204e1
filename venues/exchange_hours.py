"""When the New York exchange trades: a table of closed days and early closes, 2000 to two years ahead.

Every weekday is 9:30 to 16:00 in New York's time but for what `exchange_hours.csv` says; `make hours` writes that file
and a test compares it. Daylight saving follows the IANA time zones. Beyond the table nothing is guessed.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from values.errors import VenueUnavailable

NEW_YORK = ZoneInfo("America/New_York")
_TABLE = Path(__file__).with_name("exchange_hours.csv")
_USUAL = (time(9, 30), time(16, 0))


@dataclass(frozen=True, slots=True)
class TradingDay:
    """A day on which shares trade, its hours as aware UTC. `is_early`: it closes before 16:00."""

    day: date
    opens: datetime
    closes: datetime
    is_early: bool


class ExchangeHours:
    """The hours of a table in the file's form."""

    def __init__(self, text: str) -> None:
        head, *lines = text.split("\n")
        self.first, self.last = (date.fromisoformat(part) for part in head.split())
        exceptions: dict[date, tuple[time, time] | None] = {}
        for line in filter(None, lines):
            date_text, *hours = line.split(",")
            exceptions[date.fromisoformat(date_text)] = (
                (time.fromisoformat(hours[0]), time.fromisoformat(hours[1])) if hours else None
            )
        self._days: list[date] = []
        self._hours: dict[date, tuple[time, time]] = {}
        day = self.first
        while day <= self.last:
            opened = exceptions.get(day, _USUAL) if day.weekday() < 5 else None
            if opened is not None:
                self._days.append(day)
                if opened != _USUAL:
                    self._hours[day] = opened
            day += timedelta(days=1)

    def day(self, day: date) -> TradingDay | None:
        """The trading day of a date, None when nothing trades on it. Raises VenueUnavailable beyond the table."""
        self._check(day)
        at = bisect_right(self._days, day)
        return self._made(day) if at and self._days[at - 1] == day else None

    def at(self, moment: datetime) -> TradingDay | None:
        """The trading day whose hours `moment` lies in, None while the exchange is closed."""
        found = self.day(moment.astimezone(NEW_YORK).date())
        return found if found is not None and found.opens <= moment < found.closes else None

    def last_completed(self, moment: datetime) -> TradingDay:
        """The newest trading day that was over at `moment`."""
        return self.completed(moment, 1)[-1]

    def completed(self, moment: datetime, count: int) -> list[TradingDay]:
        """The last `count` trading days that were over at `moment`, oldest first; fewer at the table's begin."""
        today = moment.astimezone(NEW_YORK).date()
        self._check(today)
        at = bisect_right(self._days, today)
        if at and self._made(self._days[at - 1]).closes > moment:
            at -= 1
        if not at:
            raise VenueUnavailable(f"the table of exchange hours begins on {self.first}; {today} is too early")
        return [self._made(day) for day in self._days[max(0, at - count) : at]]

    def next_open(self, moment: datetime) -> datetime:
        """When the exchange opens next after `moment`."""
        today = moment.astimezone(NEW_YORK).date()
        self._check(today)
        for day in self._days[max(0, bisect_right(self._days, today) - 1) :]:
            opens = self._made(day).opens
            if opens > moment:
                return opens
        raise self._beyond(self.last + timedelta(days=1))

    def _made(self, day: date) -> TradingDay:
        opens, closes = self._hours.get(day, _USUAL)
        return TradingDay(
            day,
            datetime.combine(day, opens, NEW_YORK).astimezone(UTC),
            datetime.combine(day, closes, NEW_YORK).astimezone(UTC),
            closes < _USUAL[1],
        )

    def _check(self, day: date) -> None:
        if not self.first <= day <= self.last:
            raise self._beyond(day)

    def _beyond(self, day: date) -> VenueUnavailable:
        return VenueUnavailable(
            f"the table of exchange hours goes from {self.first} to {self.last}, and {day} is beyond it; "
            "a newer version of the floor has more, or `make hours`"
        )


@lru_cache(maxsize=1)
def exchange_hours() -> ExchangeHours:
    """The repository's table, read once."""
    return ExchangeHours(_TABLE.read_text("utf-8"))
