"""The floor's two times, both aware UTC.

Market time stamps quotes, fills, sessions and decisions and is the same in every process of a run. Wall time stamps
spans, logs and spending. `datetime.now` is called in this file alone; deadlines are monotonic and none of this.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

_EXCHANGE_DAY_TURNS = timedelta(hours=5)


class Clock(Protocol):
    def now(self) -> datetime:
        """Market time."""

    def wall(self) -> datetime:
        """Wall time."""


def wall_now() -> datetime:
    return datetime.now(UTC)


class _Reached:
    """The latest time told so far, which is told again where the wall clock was set back."""

    def __init__(self) -> None:
        self._latest: datetime | None = None
        self._lock = threading.Lock()

    def no_earlier(self, moment: datetime) -> datetime:
        with self._lock:
            if self._latest is None or moment > self._latest:
                self._latest = moment
            return self._latest


class SystemClock:
    """Market time is wall time: live markets."""

    def __init__(self) -> None:
        self._reached = _Reached()

    def now(self) -> datetime:
        return self._reached.no_earlier(wall_now())

    def wall(self) -> datetime:
        return wall_now()


@dataclass(frozen=True, slots=True)
class Anchor:
    """A scaled clock's line: at `wall` it was `market`; until `fast_until` a wall second is `factor` market ones."""

    wall: datetime
    market: datetime
    factor: int
    fast_until: datetime

    def at(self, wall: datetime) -> datetime:
        """Market time at a wall time; beyond `fast_until` at a factor of 1, and never before the anchor."""
        fast = max(timedelta(0), min(wall, self.fast_until) - self.wall)
        slow = max(timedelta(0), wall - max(self.fast_until, self.wall))
        return self.market + fast * self.factor + slow

    def wall_at(self, market: datetime) -> datetime:
        """The wall time at which it will be `market` if the floor keeps the clock fast."""
        return self.wall + (market - self.market) / self.factor


class ScaledClock:
    """A simulated market's clock. The anchor is read anew each time, so that every process of a run agrees.

    Where the wall clock goes back, the market's stands still until the floor anchors it anew.
    """

    def __init__(self, read_anchor: Callable[[], Anchor], wall: Callable[[], datetime] = wall_now) -> None:
        self._read_anchor = read_anchor
        self._wall = wall
        self._reached = _Reached()

    def now(self) -> datetime:
        return self._reached.no_earlier(self._read_anchor().at(self._wall()))

    def wall(self) -> datetime:
        return self._wall()


class ReplayClock:
    """A replay's clock: a row that only the floor advances."""

    def __init__(self, read_now: Callable[[], datetime]) -> None:
        self._read_now = read_now

    def now(self) -> datetime:
        return self._read_now()

    def wall(self) -> datetime:
        return wall_now()


class FixedClock:
    """A clock that moves when it is told to: tests and benchmarks."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def wall(self) -> datetime:
        return self.at

    def advance(self, by: timedelta) -> None:
        self.at += by


def market_day(moment: datetime) -> date:
    """The trading day that a market time belongs to: its UTC date."""
    return moment.astimezone(UTC).date()


def exchange_day(moment: datetime) -> date:
    """The day of the American exchanges that a market time belongs to. It turns at 05:00 UTC: after the last
    after-hours trade in New York (01:00 at the latest), before the first trade of the next day (08:00 at the earliest).
    """
    return (moment.astimezone(UTC) - _EXCHANGE_DAY_TURNS).date()


def exchange_day_begins(day: date) -> datetime:
    return datetime.combine(day, time(), UTC) + _EXCHANGE_DAY_TURNS


def iso(moment: datetime) -> str:
    """ISO 8601 with Z, to the second, or to the microsecond where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The aware UTC time that ISO 8601 text names. Raises ValueError for text without a zone or that is no time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; expected ISO 8601 with Z")
    return moment.astimezone(UTC)
