"""Hours in which a phone stays quiet, and other times of day, as the owner's clock on the wall has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from values.settings import PushSettings

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `begin` to `end` every day in `zone`, over midnight where the end is the earlier."""

    begin: time
    end: time
    zone: ZoneInfo

    def end_after(self, wall: datetime) -> datetime | None:
        """When the quiet hours that `wall` lies in are over (UTC); None outside them."""
        for day in _days(wall, self.zone):
            last_day = day if self.end > self.begin else day + _DAY
            begins, ends = _moment(day, self.begin, self.zone), _moment(last_day, self.end, self.zone)
            if begins <= wall < ends:
                return ends
        return None


def quiet_hours(settings: PushSettings) -> QuietHours | None:
    if settings.push_quiet_hours is None:
        return None
    begin, _, end = settings.push_quiet_hours.partition("-")
    return QuietHours(time.fromisoformat(begin), time.fromisoformat(end), ZoneInfo(settings.push_time_zone))


def last_at(at: time, zone: ZoneInfo, wall: datetime) -> tuple[date, datetime]:
    """The newest day whose time of day `at` is not after `wall`, and that moment in UTC."""
    moments = ((day, _moment(day, at, zone)) for day in _days(wall, zone))
    return next((day, moment) for day, moment in moments if moment <= wall)


def _days(wall: datetime, zone: ZoneInfo) -> Iterator[date]:
    today = wall.astimezone(zone).date()
    yield from (today, today - _DAY)


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, at, zone).astimezone(UTC)
