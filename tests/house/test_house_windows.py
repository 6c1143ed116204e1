"""The part of a market that a session reads moves with the time, so that nothing listed is left out for ever."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from model_clients.rulebooks.rulebook import WINDOW_SYMBOLS, window
from tests.house.paper_market import DAY, HOUR, START


@given(
    symbols=st.lists(st.text("ABC", min_size=1, max_size=6), unique=True, min_size=1, max_size=450).map(sorted),
    day=st.dates(min_value=date(2020, 1, 1), max_value=date(2040, 1, 1)),
)
def test_the_windows_of_one_day_show_every_symbol_and_each_is_bounded(symbols: list[str], day: date) -> None:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    windows = [window(symbols, midnight + HOUR * hour) for hour in range(24)]
    assert all(0 < len(one) <= WINDOW_SYMBOLS for one in windows)
    if len(symbols) <= WINDOW_SYMBOLS * len(windows):
        assert set(symbols) == {symbol for one in windows for symbol in one}


def test_the_seven_hours_of_an_exchange_show_a_hundred_symbols() -> None:
    symbols = [f"S{at:03}" for at in range(102)]
    shown = [window(symbols, START + HOUR * hour) for hour in range(7)]
    assert {symbol for one in shown for symbol in one} == set(symbols)


def test_sessions_at_one_hour_of_each_day_come_to_every_symbol_too() -> None:
    symbols = [f"S{at:03}" for at in range(102)]
    shown = [window(symbols, START + DAY * day) for day in range(8)]
    assert all(before != after for before, after in pairwise(shown))
    assert {symbol for one in shown for symbol in one} == set(symbols)
