"""The exchange's hours: the table against the library it is made with, and the days that are easy to get wrong."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from tests.exchange_table import TABLE, text
from tests.polygon_loopback import aware
from values.errors import VenueUnavailable
from venues.exchange_hours import ExchangeHours, exchange_hours

HOURS = exchange_hours()


@pytest.mark.filterwarnings("ignore")
def test_the_table_is_what_the_library_says() -> None:
    assert text(HOURS.last) == TABLE.read_text("utf-8")
    assert HOURS.first == date(2000, 1, 3)
    assert HOURS.last >= date(2028, 12, 31), "two years ahead of the version's own"


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-03-02 09:29:59", False),
        ("2026-03-02 09:30", True),
        ("2026-03-02 15:59:59", True),
        ("2026-03-02 16:00", False),
        ("2026-03-07 12:00", False),  # a Saturday
        ("2026-11-26 12:00", False),  # Thanksgiving
        ("2026-11-27 12:59", True),  # the day after it closes at 13:00
        ("2026-11-27 13:00", False),
        ("2001-09-11 12:00", False),
        ("2012-10-29 12:00", False),  # a storm
        ("2025-01-09 12:00", False),  # mourning
    ],
)
def test_shares_trade_in_new_yorks_hours(moment: str, is_open: bool) -> None:
    assert (HOURS.at(aware(moment)) is not None) is is_open


def test_daylight_saving_moves_the_hours_in_utc_and_not_in_new_york() -> None:
    opens = [HOURS.day(date.fromisoformat(day)) for day in ("2026-03-06", "2026-03-09", "2026-10-30", "2026-11-02")]
    assert [f"{day.opens:%H:%M}" for day in opens if day is not None] == ["14:30", "13:30", "13:30", "14:30"]


def test_the_last_completed_day_is_found_over_weekends_and_holidays() -> None:
    for moment, day in (
        ("2026-03-02 09:00", "2026-02-27"),  # a Monday before the open
        ("2026-03-02 15:59", "2026-02-27"),
        ("2026-03-02 16:00", "2026-03-02"),
        ("2026-11-29 12:00", "2026-11-27"),  # after a holiday, an early close and half a weekend
        ("2026-11-27 13:00", "2026-11-27"),
    ):
        assert HOURS.last_completed(aware(moment)).day.isoformat() == day


def test_the_next_open_is_the_next_trading_days() -> None:
    assert HOURS.next_open(aware("2026-02-27 16:00")) == aware("2026-03-02 09:30")
    assert HOURS.next_open(aware("2026-03-02 09:30")) == aware("2026-03-03 09:30")
    assert HOURS.next_open(aware("2026-11-25 20:00")) == aware("2026-11-27 09:30")


def test_nothing_is_guessed_beyond_the_table() -> None:
    beyond = datetime.combine(HOURS.last, datetime.min.time(), aware("2026-01-01 00:00").tzinfo) + timedelta(days=3)
    for ask in (HOURS.at, HOURS.last_completed, HOURS.next_open):
        with pytest.raises(VenueUnavailable, match="table of exchange hours goes from 2000-01-03"):
            ask(beyond)
    with pytest.raises(VenueUnavailable, match="begins on 2026-01-05"):
        ExchangeHours("2026-01-05 2026-02-01\n").last_completed(aware("2026-01-05 12:00"))
