"""What every venue promises, asked of each of them alike. A new venue is one more entry in VENUES."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.live import live_store, polygon
from tests.polygon_loopback import PolygonLoopback, Told, aware
from values.errors import Refused, UnknownSymbol
from values.instrument import normalise_symbol
from values.money import PRICE_DECIMALS, from_scaled, to_scaled
from values.quote import Interval
from venues.history import import_history
from venues.replay import ReplayVenue
from venues.simulated import SimulatedVenue
from venues.venue import Venue

FIRST = datetime(2025, 10, 6, 14, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
INTERVALS: tuple[Interval, ...] = ("hour", "day")


@dataclass(frozen=True)
class Case:
    """A venue with its twin (the same data, another object), and times at which each of its symbols has a price."""

    venue: Venue
    twin: Venue
    moments: tuple[datetime, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(instrument.symbol for instrument in self.venue.instruments())[:12]


@contextmanager
def simulated(_: Path) -> Iterator[Case]:
    moments = tuple(FIRST + step for step in (0 * HOUR, 7 * HOUR, timedelta(hours=30, minutes=17, seconds=42)))
    yield Case(SimulatedVenue(11, FIRST), SimulatedVenue(11, FIRST), moments)


@contextmanager
def replay(folder: Path) -> Iterator[Case]:
    rows = ["symbol,time,open,high,low,close,volume"]
    for symbol, base, hours in (("AAPL", 250, (0, 1, 2, 24, 25, 26, 48)), ("BRK.B", 500, (0, 1, 24, 26, 48))):
        for step in hours:
            price, time = base + step, (FIRST + step * HOUR).isoformat()
            rows.append(f"{symbol},{time},{price},{price + 2},{price - 1.5},{price + 1},9")
    for day in range(4):
        start = FIRST.replace(hour=0) + timedelta(days=day)
        rows.append(f"DOGE-USDT,{start.isoformat()},0.2{day},0.31,0.19,0.2{day + 1},1000.5")
    csv_path = folder / "small.csv"
    csv_path.write_text("\n".join(rows), "utf-8")
    target = folder / "small.history"
    import_history(csv_path, target)
    steps = (0.0, 0.5, 1.0, 2.5, 3.0, 14.0, 25.99, 26.0, 40.0, 48.0, 49.0, 82.0, 500.0)
    with closing(ReplayVenue(target)) as venue, closing(ReplayVenue(target)) as twin:
        yield Case(venue, twin, tuple(FIRST + step * HOUR for step in steps))


@contextmanager
def live(folder: Path) -> Iterator[Case]:
    """The free plan: what it says follows from its time alone. A Friday and a Monday, open and closed."""
    with PolygonLoopback(Told(aware("2026-03-05 20:00"))) as vendor, closing(live_store(folder / "live.db")) as store:
        moments = ("2026-02-27 18:00", "2026-02-28 12:00", "2026-03-02 10:00", "2026-03-02 16:00")
        yield Case(polygon(store, vendor), polygon(store, vendor), tuple(aware(each) for each in moments))


VENUES: tuple[Callable[[Path], AbstractContextManager[Case]], ...] = (simulated, replay, live)


@pytest.fixture(scope="module", params=VENUES, ids=lambda make: make.__name__)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with request.param(tmp_path_factory.mktemp("venue")) as made:
        yield made


def test_the_venue_is_named_as_the_run_row_has_it(case: Case) -> None:
    assert case.venue.name in ("simulated", "replay", "live")


def test_instruments_come_in_symbol_order_and_each_is_found_by_its_symbol(case: Case) -> None:
    symbols = [instrument.symbol for instrument in case.venue.instruments()]
    assert symbols == sorted(set(symbols))
    for instrument in case.venue.instruments():
        assert case.venue.instrument(normalise_symbol(instrument.symbol.lower())) == instrument
        assert instrument.name
        assert instrument.sector


@pytest.mark.parametrize("symbol", ["ZZZZ", "ZZZ-USD", ""])
def test_an_unknown_symbol_is_an_answer_to_every_question(case: Case, symbol: str) -> None:
    now = case.moments[0]
    for ask in (
        lambda: case.venue.instrument(symbol),
        lambda: case.venue.quote(symbol, now),
        lambda: case.venue.bars(symbol, "day", 5, now),
        lambda: case.venue.session(now, symbol),
    ):
        with pytest.raises(UnknownSymbol) as refusal:
            ask()
        assert refusal.value.code == "unknown_symbol"


def test_what_companies_did_is_told_oldest_first_and_of_what_was_asked_alone(case: Case) -> None:
    first, last = case.moments[0].date(), case.moments[-1].date()
    told = case.venue.corporate_actions(case.symbols, first, last)
    assert list(told) == sorted(told, key=lambda each: each.ex_date)
    assert all(each.symbol in case.symbols and first <= each.ex_date <= last for each in told)
    assert told == () or case.venue.name == "live"


def test_a_quote_is_of_the_past_above_zero_and_fits_the_store(case: Case) -> None:
    for now in case.moments:
        for symbol in case.symbols:
            quote = case.venue.quote(symbol, now)
            assert quote.symbol == symbol
            assert quote.as_of <= now == quote.seen_at
            assert quote.as_of.utcoffset() == timedelta(0)
            assert quote.price > 0
            assert from_scaled(to_scaled(quote.price, PRICE_DECIMALS), PRICE_DECIMALS) == quote.price


def test_only_bars_that_were_over_are_told_in_order_and_well_formed(case: Case) -> None:
    told = 0
    for now in case.moments:
        for symbol in case.symbols:
            bars = case.venue.bars(symbol, "day", 30, now)
            told += len(bars)
            assert len(bars) <= 30
            assert all(bar.symbol == symbol and bar.start < bar.end <= now for bar in bars)
            assert all(earlier.end <= later.start for earlier, later in pairwise(bars))
            assert all(0 < bar.low <= min(bar.open, bar.close) for bar in bars)
            assert all(bar.high >= max(bar.open, bar.close) and bar.volume >= 0 for bar in bars)
    assert told


def test_a_bar_is_told_from_its_end_on_and_not_a_moment_earlier(case: Case) -> None:
    last = case.venue.bars(case.symbols[0], "hour", 1, case.moments[-1])[0]
    assert case.venue.bars(case.symbols[0], "hour", 1, last.end) == (last,)
    assert last not in case.venue.bars(case.symbols[0], "hour", 10, last.end - SECOND / 2)


def test_fewer_bars_are_the_end_of_more(case: Case) -> None:
    for interval in INTERVALS:
        many = case.venue.bars(case.symbols[0], interval, 20, case.moments[-1])
        assert many
        for count in (0, -1):
            assert case.venue.bars(case.symbols[0], interval, count, case.moments[-1]) == ()
        for count in range(1, len(many) + 1):
            assert case.venue.bars(case.symbols[0], interval, count, case.moments[-1]) == many[-count:]


def test_an_interval_that_no_venue_has_is_refused(case: Case) -> None:
    with pytest.raises(Refused) as refusal:
        case.venue.bars(case.symbols[0], "minute", 1, case.moments[0])  # type: ignore[arg-type]
    assert refusal.value.code == "bad_interval"
    assert "'minute'" in refusal.value.sentence


def test_the_same_question_gets_the_same_answer_in_any_order(case: Case) -> None:
    questions = [(symbol, now) for symbol in case.symbols for now in case.moments]

    def answers(venue: Venue, symbol: str, now: datetime) -> tuple[object, ...]:
        return venue.quote(symbol, now), venue.bars(symbol, "day", 3, now), venue.session(now, symbol)

    asked = [answers(case.venue, *question) for question in questions]
    again = [answers(case.twin, *question) for question in reversed(questions)]
    assert asked == again[::-1]


def test_an_open_symbol_has_a_fresh_quote_and_a_closed_one_has_none_but_the_last_close(case: Case) -> None:
    for now in case.moments:
        fresh = {symbol: not case.venue.quote(symbol, now).stale for symbol in case.symbols}
        opened = {symbol: case.venue.session(now, symbol).is_open for symbol in case.symbols}
        if case.venue.name == "live":  # the last close stays what it is while the exchange is closed
            assert all(fresh[symbol] for symbol in case.symbols if opened[symbol])
        else:
            assert fresh == opened
        assert case.venue.session(now).is_open == any(opened.values())


def test_a_session_turns_at_its_next_change_and_not_before(case: Case) -> None:
    for now in case.moments:
        for symbol in (None, *case.symbols):
            session = case.venue.session(now, symbol)
            assert session.note
            if session.next_change is not None:
                assert session.next_change > now
                assert case.venue.session(session.next_change, symbol).is_open is not session.is_open
                assert case.venue.session(session.next_change - SECOND / 2, symbol).is_open is session.is_open
