"""The simulated market: agreement without talking, bars that hold their quotes, and paths that look like a market's."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from values.errors import VenueUnavailable
from values.instrument import kind_of
from values.money import PRICE_DECIMALS, to_scaled
from values.quote import Bar
from venues import cascade, simulated
from venues.listing import LISTINGS
from venues.simulated import VISIBLE_JUMP, SimulatedVenue

START = datetime(2025, 11, 17, 9, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)
SYMBOLS = tuple(LISTINGS)
PROJECT = Path(__file__).parent.parent

symbols = st.sampled_from(SYMBOLS)
minutes = st.integers(0, cascade.MINUTES - 1).map(lambda minute: cascade.EPOCH + minute * MINUTE)


@pytest.fixture(scope="module")
def venue() -> SimulatedVenue:
    return SimulatedVenue(7, START)


def run_python(script: str, hash_seed: str = "0") -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The listing


def test_forty_instruments_over_many_sectors_are_of_the_kinds_that_their_symbols_say() -> None:
    kinds = [listing.instrument.kind for listing in LISTINGS.values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {"equity": 26, "etf": 7, "coin": 7}
    assert all(kind_of(symbol) == listing.instrument.kind for symbol, listing in LISTINGS.items())
    assert len({listing.instrument.sector for listing in LISTINGS.values() if listing.instrument.kind == "equity"}) >= 8


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_three_parts_of_a_return_make_up_the_listed_volatility(symbol: str) -> None:
    listing = LISTINGS[symbol]
    market, sector, own, _ = listing.loadings()
    assert market**2 + sector**2 + own**2 == pytest.approx(listing.volatility**2)
    assert own > 0


# Prices


@pytest.mark.parametrize("seed", [0, 1, -5, 2**80])
def test_every_price_is_the_listed_one_at_the_start_whatever_the_seed(seed: int) -> None:
    venue = SimulatedVenue(seed, START)
    for symbol, listing in LISTINGS.items():
        assert venue.quote(symbol, START).price == Decimal(str(listing.level))


def test_another_seed_is_another_market() -> None:
    prices = {SimulatedVenue(seed, START).quote("AAPL", START + DAY).price for seed in range(5)}
    assert len(prices) == 5


def test_a_quote_is_that_of_the_market_minute_and_never_stale(venue: SimulatedVenue) -> None:
    now = START + timedelta(minutes=3, seconds=59, microseconds=999_999)
    quote = venue.quote("NVDA", now)
    assert (quote.as_of, quote.seen_at) == (START + 3 * MINUTE, now)
    assert (quote.source, quote.delay, quote.stale) == ("simulated", timedelta(0), False)
    assert quote.price == venue.quote("NVDA", START + 3 * MINUTE).price


def test_prices_above_a_dollar_are_in_cents_and_below_it_finer(venue: SimulatedVenue) -> None:
    shares = {venue.quote("AAPL", START + step * MINUTE).price for step in range(50)}
    assert all(price == round(price, 2) for price in shares)
    coins = {venue.quote("DOGE-USD", START + step * MINUTE).price for step in range(50)}
    assert all(price == round(price, 6) for price in coins)
    assert len(coins) > 40


@given(symbol=symbols, now=minutes)
@settings(max_examples=60, deadline=None)
def test_a_price_stays_above_zero_in_the_store_and_in_reach_on_any_date(
    venue: SimulatedVenue, symbol: str, now: datetime
) -> None:
    price = venue.quote(symbol, now).price
    assert to_scaled(price, PRICE_DECIMALS) > 0
    assert 1 / 1001 < float(price) / LISTINGS[symbol].level < 1001


@pytest.mark.parametrize("now", [cascade.EPOCH - MINUTE, cascade.EPOCH + cascade.MINUTES * MINUTE])
def test_a_time_outside_the_horizon_has_no_price(venue: SimulatedVenue, now: datetime) -> None:
    for ask in (venue.quote, lambda symbol, now: venue.bars(symbol, "day", 1, now)):
        with pytest.raises(VenueUnavailable, match="2000-01-01 to 2127"):
            ask("AAPL", now)


# Agreement


def test_two_processes_agree_on_quotes_bars_and_jumps() -> None:
    script = f"""
from datetime import timedelta
from venues.simulated import *
start = datetime.fromisoformat({START.isoformat()!r})
venue = SimulatedVenue(7, start)
for symbol in LISTINGS:
    print([str(venue.quote(symbol, start + timedelta(hours=hours)).price) for hours in (-9000, 1, 77, 9000)])
print(venue.bars("BTC-USD", "hour", 30, start), venue.jumps("COIN", start, start + timedelta(days=900)))
"""
    first, second = (run_python(script, hash_seed) for hash_seed in ("1", "2"))
    assert first == second
    assert str(SimulatedVenue(7, START).quote("AAPL", START + timedelta(hours=77)).price) in first


def test_a_process_that_only_quotes_does_not_pay_for_numpy() -> None:
    script = f"""
import sys
from venues.simulated import *
start = datetime.fromisoformat({START.isoformat()!r})
SimulatedVenue(7, start).quote("AAPL", start)
print("numpy" in sys.modules)
"""
    assert run_python(script).strip() == "False"


def test_answers_do_not_depend_on_the_order_of_the_questions() -> None:
    chance = random.Random(3)
    asked = [
        (kind, symbol, START + chance.randrange(-400, 400) * DAY / 7)
        for symbol in chance.sample(SYMBOLS, 6)
        for kind in ("quote", "hour", "day", "jumps")
    ]

    def answers(questions: list[tuple[str, str, datetime]]) -> dict[object, object]:
        venue = SimulatedVenue(23, START)
        found: dict[object, object] = {}
        for kind, symbol, now in questions:
            if kind == "quote":
                found[kind, symbol, now] = venue.quote(symbol, now)
            elif kind == "jumps":
                found[kind, symbol, now] = venue.jumps(symbol, now - YEAR, now)
            else:
                found[kind, symbol, now] = venue.bars(symbol, "hour" if kind == "hour" else "day", 4, now)
        return found

    in_order = answers(asked)
    assert answers(asked[::-1]) == in_order
    assert answers(chance.sample(asked, len(asked)) + asked) == in_order


def test_a_price_costs_the_same_number_of_steps_whatever_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 0
    draw = cascade.draw

    def counted(key: int, counter: int) -> int:
        nonlocal steps
        steps += 1
        return draw(key, counter)

    monkeypatch.setattr(cascade, "draw", counted)
    for year in (2000, 2001, 2026, 2075, 2126):
        venue = SimulatedVenue(7, START)
        venue.quote("BTC-USD", START)
        steps = 0
        venue.quote("BTC-USD", START.replace(year=year))
        # three factors of 26 steps, and the jumps of two: at most one draw for 64 of them and one sum a step
        assert 3 * 12 <= steps <= 3 * 26 + 2 * 2 * 26 + 60
        steps = 0
        venue.quote("BTC-USD", START.replace(year=year) + MINUTE)
        assert steps <= 3 * 14 + 2 * 2 * 14
        steps = 0
        venue.jumps("BTC-USD", START.replace(year=year), START.replace(year=year) + 7 * DAY)
        assert steps <= 600


# Bars


def assert_bar_holds_its_quotes(venue: SimulatedVenue, bar: Bar, step: int) -> None:
    span = (bar.end - bar.start) // MINUTE
    prices = [venue.quote(bar.symbol, bar.start + minute * MINUTE).price for minute in range(0, span, step)]
    assert prices[0] == bar.open
    assert venue.quote(bar.symbol, bar.end - MINUTE).price == bar.close
    assert bar.low <= min(prices)
    assert max(prices) <= bar.high
    if step == 1:
        assert (min(prices), max(prices)) == (bar.low, bar.high)


@given(symbol=symbols, now=minutes)
@settings(max_examples=25, deadline=None)
def test_every_quote_lies_inside_its_hour_and_its_day(venue: SimulatedVenue, symbol: str, now: datetime) -> None:
    price = venue.quote(symbol, now).price
    for interval, later in (("hour", 60 * MINUTE), ("day", DAY)):
        if (now + later - cascade.EPOCH) // MINUTE >= cascade.MINUTES:
            continue
        bar = venue.bars(symbol, "hour" if interval == "hour" else "day", 1, now + later)[0]
        assert bar.start <= now < bar.end
        assert bar.low <= price <= bar.high
        assert_bar_holds_its_quotes(venue, bar, 17)


@pytest.mark.parametrize("symbol", ["AAPL", "ADA-USD", "DOGE-USD", "XRP-USD"])
def test_the_highest_and_lowest_quotes_of_a_bar_are_its_high_and_low(venue: SimulatedVenue, symbol: str) -> None:
    assert_bar_holds_its_quotes(venue, venue.bars(symbol, "day", 1, START)[0], 1)
    for bar in venue.bars(symbol, "hour", 3, START + 40 * DAY):
        assert_bar_holds_its_quotes(venue, bar, 1)


def test_a_day_is_made_of_its_hours(venue: SimulatedVenue) -> None:
    midnight = START.replace(hour=0, minute=0)
    days = venue.bars("TSLA", "day", 3, midnight)
    hours = venue.bars("TSLA", "hour", 72, midnight)
    for index, day in enumerate(days):
        part = hours[24 * index : 24 * index + 24]
        assert (day.start, day.end) == (part[0].start, part[-1].end)
        assert (day.open, day.close) == (part[0].open, part[-1].close)
        assert day.high == max(hour.high for hour in part)
        assert day.low == min(hour.low for hour in part)
        assert day.volume == sum(hour.volume for hour in part)


def test_bars_end_at_whole_utc_hours_and_dates(venue: SimulatedVenue) -> None:
    assert venue.bars("SPY", "hour", 1, START)[0].end == START.replace(minute=0)
    assert venue.bars("SPY", "day", 1, START)[0].end == START.replace(hour=0, minute=0)


def test_wide_hours_trade_more_and_a_day_about_the_listed_volume(venue: SimulatedVenue) -> None:
    bars = venue.bars("MSFT", "hour", 24 * 60, START)
    widths = [float((bar.high - bar.low) / bar.open) for bar in bars]
    volumes = [float(bar.volume) for bar in bars]
    assert np.corrcoef([widths, volumes])[0, 1] > 0.5
    assert 0.5 < np.mean(volumes) * 24 / LISTINGS["MSFT"].daily_volume < 1.5


def test_more_bars_than_are_kept_are_told_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SimulatedVenue(7, START).bars("GLD", "hour", 400, START)
    monkeypatch.setattr(simulated, "_BARS_KEPT", 50)
    forgetful = SimulatedVenue(7, START)
    assert forgetful.bars("GLD", "hour", 400, START) == whole
    assert forgetful.bars("GLD", "hour", 30, START - 5 * DAY) == whole[250:280]
    assert forgetful.bars("GLD", "hour", 400, START) == whole


# Jumps


def test_a_jump_is_seen_in_the_quotes_of_its_minute() -> None:
    venue = SimulatedVenue(5, START)
    found = 0
    for symbol in ("NVDA", "BTC-USD", "KO", "SOL-USD"):
        for jump in venue.jumps(symbol, START, START + YEAR):
            before, after = venue.quote(symbol, jump.time - MINUTE).price, venue.quote(symbol, jump.time).price
            assert float(after / before) - 1 == pytest.approx(jump.size, abs=0.01)
            assert abs(jump.size) >= VISIBLE_JUMP
            assert START < jump.time <= START + YEAR
            found += 1
    assert 4 < found < 60


def test_windows_that_touch_tell_each_jump_once_in_order(venue: SimulatedVenue) -> None:
    whole = venue.jumps("COIN", START, START + 3 * YEAR)
    assert [jump.time for jump in whole] == sorted(jump.time for jump in whole)
    assert {jump.scope for jump in whole} == {"symbol", "sector"}
    edges = [START, *(jump.time for jump in whole), START + 3 * YEAR]
    windows = [venue.jumps("COIN", start, end) for start, end in pairwise(edges)]
    assert sum(windows, ()) == whole
    assert venue.jumps("COIN", whole[0].time - MINUTE, whole[0].time) == whole[:1]
    assert venue.jumps("COIN", whole[0].time, whole[0].time) == ()


# What a year looks like

PANEL = ("AAPL", "MSFT", "BTC-USD", "ETH-USD")
SEEDS = (1, 2, 3, 4, 5)


@cache
def hourly_returns(seed: int) -> NDArray[np.float64]:
    """Log returns of a year's hourly closes, a row for each symbol of PANEL."""
    venue = SimulatedVenue(seed, START)
    closes = [[float(bar.close) for bar in venue.bars(symbol, "hour", 8760, START + YEAR)] for symbol in PANEL]
    return np.diff(np.log(np.array(closes)), axis=1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restless_hour_is_followed_by_restless_hours(seed: int) -> None:
    for returns in hourly_returns(seed):
        sizes = np.abs(returns) - np.abs(returns).mean()
        lags = [float((sizes[:-lag] * sizes[lag:]).mean() / sizes.var()) for lag in range(1, 25)]
        assert np.mean(lags) > 0.04


@pytest.mark.parametrize("seed", SEEDS)
def test_the_direction_of_an_hour_says_nothing_about_the_next(seed: int) -> None:
    for returns in hourly_returns(seed):
        centred = returns - returns.mean()
        assert abs((centred[:-1] * centred[1:]).mean() / centred.var()) < 0.07


@pytest.mark.parametrize("seed", SEEDS)
def test_returns_have_fat_tails(seed: int) -> None:
    for returns in hourly_returns(seed):
        centred = returns - returns.mean()
        assert (centred**4).mean() / centred.var() ** 2 - 3 > 3


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sector_moves_together_more_than_the_market_does(seed: int) -> None:
    correlations = np.asarray(np.corrcoef(hourly_returns(seed)))
    sectors = [LISTINGS[symbol].instrument.sector for symbol in PANEL]
    pairs = [(a, b) for a in range(len(PANEL)) for b in range(a)]
    within = np.mean([correlations[a, b] for a, b in pairs if sectors[a] == sectors[b]])
    across = np.mean([correlations[a, b] for a, b in pairs if sectors[a] != sectors[b]])
    assert within > across + 0.2
    assert across > 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_a_year_has_about_the_listed_volatility(seed: int) -> None:
    for symbol, returns in zip(PANEL, hourly_returns(seed), strict=True):
        assert 0.8 < returns.std() * np.sqrt(8766) / LISTINGS[symbol].volatility < 1.25
