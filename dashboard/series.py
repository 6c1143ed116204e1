"""An account's recorded values as they come in, oldest first: its curve, its largest fall and its days.

Values come as the store's integers (1e-6 USD). The curve is thinned to 2,000 points, the newest 1,000 of them whole;
the fall and the days are those of every value.
"""

from __future__ import annotations

from collections import deque
from datetime import date, datetime

from analysis.performance import returns, sharpe_ratio
from dashboard.view import Point
from values.clock import market_day
from values.money import CASH_DECIMALS, from_scaled

NEWEST_WHOLE = 1_000
OLDER_KEPT = 998
DAYS_OF_EVIDENCE = 60
"""Daily values below which there is no Sharpe ratio: its standard error is then still about 2 a year."""

Value = tuple[int, datetime, int]
"""Its number, its market time, and what it was."""


class Series:
    """`opening` is what was paid in: the first peak that a fall is measured from."""

    def __init__(self, opening: int) -> None:
        self._peak = opening
        self._peak_value: Value | None = None
        self._fall = 0.0
        self._fall_ends: tuple[Value, ...] = ()
        self._seen = 0
        self._older: list[Value] = []
        self._stride = 1
        self._newest: deque[Value] = deque()
        self._days: list[tuple[date, int]] = []
        self._first_of_day = 0
        self._points: tuple[Point, ...] | None = ()
        self._made: dict[int, Point] = {}
        self._sharpe: float | None = None
        self._sharpe_is_old = False

    def add(self, moment: datetime, value: int) -> None:
        """The next recorded value."""
        each = (self._seen, moment, value)
        self._seen += 1
        self._keep(each)
        self._measure_fall(each)
        day = market_day(moment)
        if self._days and self._days[-1][0] == day:
            self._days[-1] = (day, value)
        else:
            self._days.append((day, value))
            self._first_of_day = value
        self._points, self._sharpe_is_old = None, True

    def _keep(self, each: Value) -> None:
        """Of the older ones every n-th stays, with n doubled whenever they are too many: evenly over all of time."""
        self._newest.append(each)
        if len(self._newest) <= NEWEST_WHOLE:
            return
        old = self._newest.popleft()
        if old[0] % self._stride == 0:
            self._older.append(old)
        if len(self._older) > OLDER_KEPT:
            self._stride *= 2
            self._older = [kept for kept in self._older if kept[0] % self._stride == 0]

    def _measure_fall(self, each: Value) -> None:
        value = each[2]
        if value >= self._peak:
            self._peak, self._peak_value = value, each
        elif self._peak > 0 and (fall := 1 - value / self._peak) > self._fall:
            self._fall = fall
            self._fall_ends = (each,) if self._peak_value is None else (self._peak_value, each)

    @property
    def points(self) -> tuple[Point, ...]:
        """The curve, with the peak and the end of the largest fall. The same object until a value comes in."""
        if self._points is None:
            chosen = sorted({*self._older, *self._newest, *self._fall_ends})
            known = self._made
            self._made = {
                number: known.get(number) or Point(moment, from_scaled(value, CASH_DECIMALS))
                for number, moment, value in chosen
            }
            self._points = tuple(self._made.values())
        return self._points

    @property
    def largest_fall(self) -> float:
        """From the highest value so far, as a fraction of it, over all recorded values (0.25 = down 25 %)."""
        return self._fall

    @property
    def days(self) -> int:
        """UTC market days with a recorded value."""
        return len(self._days)

    def opening(self, day: date) -> int | None:
        """What the account was worth when `day` opened: the last value before it, else the first value on it."""
        for known, value in reversed(self._days):
            if known < day:
                return value
        return self._first_of_day if self._days and self._days[-1][0] == day else None

    @property
    def sharpe(self) -> float | None:
        """A year's Sharpe ratio of daily returns (last value of each UTC market day); None below 60 days.

        A year has as many periods as the record has days a year: 365 once a value was recorded on a weekend, else 252.
        What counts is when values are recorded, not what is held: a floor that runs on weekends gives an account
        of shares alone two returns of 0 a week, which take from its deviation what the longer year gives back. It also
        puts every account of a floor, and its baselines, on one scale.
        """
        if self._sharpe_is_old:
            self._sharpe, self._sharpe_is_old = self._compute_sharpe(), False
        return self._sharpe

    def _compute_sharpe(self) -> float | None:
        if len(self._days) < DAYS_OF_EVIDENCE or any(value <= 0 for _, value in self._days):
            return None
        daily = returns([float(value) for _, value in self._days])
        return sharpe_ratio(daily, 365 if any(day.weekday() >= 5 for day, _ in self._days) else 252)
