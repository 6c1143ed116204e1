"""The replay: what an imported file may hold, what it tells at a time, and that it tells nothing of later times."""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from values.errors import Refused, StoreUnusable, VenueUnavailable
from values.quote import Interval
from venues import history
from venues.history import history_hash, import_history
from venues.replay import ReplayVenue

Opened = Callable[[Path], ReplayVenue]
Made = Callable[[str], ReplayVenue]

HEADER = "symbol,time,open,high,low,close,volume"
MONDAY = datetime(2025, 10, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
PROJECT = Path(__file__).parent.parent

# AAPL is shut overnight, MSFT misses an hour of the first day, NVDA has one bar, BTC-USDT is daily
SMALL = """
AAPL,2025-10-06T14:00:00Z,250,253,249,252,100
AAPL,2025-10-06T15:00:00Z,251.5,252,240.25,241,200
AAPL,2025-10-06T16:00:00Z,241,245,240,244,300
AAPL,2025-10-07T14:00:00Z,260,262,259,261,400
AAPL,2025-10-07T15:00:00Z,261,263,255,256,500
MSFT,2025-10-06T14:00:00Z,500,501,499,500.5,10
MSFT,2025-10-06T15:00:00Z,500.5,505,500,504,20
MSFT,2025-10-07T15:00:00+00:00,510,512,509,511,30
NVDA,2025-10-06T15:00:00Z,180,181,179,180.5,7
BTC-USDT,2025-10-06T00:00:00Z,120000,126000.5,119000,125000,3.5
BTC-USDT,2025-10-07T00:00:00Z,125000.12345678,125500,121000,122000,0
"""


def written(folder: Path, rows: str) -> Path:
    csv_path = folder / "prices.csv"
    csv_path.write_text(f"{HEADER}\n{rows}", "utf-8")
    return csv_path


@pytest.fixture(scope="session")
def opened() -> Iterator[Opened]:
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(closing(ReplayVenue(path)))


@pytest.fixture(scope="session")
def make_venue(opened: Opened, tmp_path_factory: pytest.TempPathFactory) -> Made:
    def make(rows: str) -> ReplayVenue:
        target = tmp_path_factory.mktemp("replay") / "target.db"
        import_history(written(target.parent, rows.strip()), target)
        return opened(target)

    return make


@pytest.fixture(scope="module")
def small(make_venue: Made) -> ReplayVenue:
    return make_venue(SMALL)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2025, 10, day, hour, minute, tzinfo=UTC)


def price(venue: ReplayVenue, symbol: str, now: datetime) -> tuple[str, datetime, bool]:
    quote = venue.quote(symbol, now)
    return str(quote.price), quote.as_of, quote.stale


def test_a_running_bar_shows_its_open_as_of_its_start(small: ReplayVenue) -> None:
    quote = small.quote("AAPL", at(6, 15))
    assert (quote.price, quote.as_of, quote.seen_at) == (Decimal("251.5"), at(6, 15), at(6, 15))
    assert (quote.source, quote.delay, quote.stale) == ("replay", timedelta(0), False)
    assert price(small, "AAPL", at(6, 15, 59)) == ("251.5", at(6, 15), False)


def test_a_closed_symbol_shows_its_last_complete_close(small: ReplayVenue) -> None:
    assert price(small, "AAPL", at(6, 17)) == ("244", at(6, 17), True)
    assert price(small, "AAPL", at(7, 13, 59)) == ("244", at(6, 17), True)
    assert price(small, "MSFT", at(6, 16)) == ("504", at(6, 16), True)


def test_everything_is_valued_at_its_last_close_when_the_history_ends(small: ReplayVenue) -> None:
    assert small.end == at(8, 0)
    values = {instrument.symbol: price(small, instrument.symbol, small.end)[0] for instrument in small.instruments()}
    assert values == {"AAPL": "256", "BTC-USDT": "122000", "MSFT": "511", "NVDA": "180.5"}


def test_a_symbol_has_no_price_before_its_first_bar(small: ReplayVenue) -> None:
    with pytest.raises(VenueUnavailable, match=r"NVDA has no price at 2025-10-06T14:59:00Z.* 2025-10-06T15:00:00Z"):
        small.quote("NVDA", at(6, 14, 59))


def test_a_session_lasts_over_bars_that_follow_without_a_gap(small: ReplayVenue) -> None:
    for now, symbol, is_open, next_change in (
        (at(6, 14), "AAPL", True, at(6, 17)),
        (at(6, 17), "AAPL", False, at(7, 14)),
        (at(6, 16), "MSFT", False, at(7, 15)),
        (at(6, 15), "NVDA", True, at(6, 16)),
        (at(7, 16), "NVDA", False, None),
        (at(5, 0), None, False, at(6, 0)),
        (at(6, 20), None, True, at(8, 0)),
        (at(8, 0), None, False, None),
    ):
        session = small.session(now, symbol)
        assert (session.is_open, session.next_change) == (is_open, next_change)


def test_a_day_that_opens_late_opens_when_any_symbol_does(make_venue: Made) -> None:
    venue = make_venue("\n".join(line for line in SMALL.strip().splitlines() if "BTC" not in line))
    assert venue.session(at(6, 13)).next_change == at(6, 14)
    assert venue.session(at(6, 14)).next_change == at(6, 17)
    assert venue.session(at(6, 17)).next_change == at(7, 14)
    assert "USDT" not in venue.session(at(6, 14)).note


def test_coins_in_usdt_count_as_dollars_and_the_session_says_so(small: ReplayVenue) -> None:
    assert "USDT counts as USD" in small.session(at(6, 14)).note
    assert small.instrument("BTC-USDT").kind == "coin"
    assert small.instrument("BTC-USDT").name == "Bitcoin"


def test_cycles_are_the_distinct_starts_in_order(small: ReplayVenue) -> None:
    assert small.starts() == (at(6, 0), at(6, 14), at(6, 15), at(6, 16), at(7, 0), at(7, 14), at(7, 15))
    assert (small.info.bars, small.info.symbols, small.info.first_start) == (11, 4, at(6, 0))


def test_a_symbol_that_no_list_names_is_named_by_its_symbol(make_venue: Made) -> None:
    venue = make_venue("ZZX,2025-10-06T14:00:00Z,1,1,1,1,0\nZZX,2025-10-06T15:00:00Z,1,1,1,1,0")
    (found,) = venue.instruments()
    assert (found.kind, found.name, found.sector) == ("equity", "ZZX", "Unclassified")


def test_the_file_s_own_bars_are_told_as_they_are(small: ReplayVenue) -> None:
    (bar,) = small.bars("AAPL", "hour", 5, at(6, 15))
    assert (bar.start, bar.end) == (at(6, 14), at(6, 15))
    assert [bar.open, bar.high, bar.low, bar.close, bar.volume] == [250, 253, 249, 252, 100]
    assert [bar.start for bar in small.bars("AAPL", "hour", 2, at(7, 15))] == [at(6, 16), at(7, 14)]
    assert [str(bar.open) for bar in small.bars("BTC-USDT", "day", 9, at(8, 0))] == ["120000", "125000.12345678"]
    assert small.bars("BTC-USDT", "day", 9, at(6, 23, 59)) == ()


def test_hours_join_to_a_day_that_is_complete_at_midnight(small: ReplayVenue) -> None:
    assert small.bars("AAPL", "day", 5, at(6, 23, 59)) == ()
    (day,) = small.bars("AAPL", "day", 5, at(7, 0))
    assert (day.start, day.end) == (at(6, 0), at(7, 0))
    assert [day.open, day.high, day.low, day.close, day.volume] == [250, 253, 240, 244, 600]
    assert [bar.close for bar in small.bars("AAPL", "day", 5, at(8, 0))] == [244, 256]


def test_quarters_join_to_hours(make_venue: Made) -> None:
    starts = [(MONDAY + step * HOUR / 4).isoformat() for step in range(12) if step != 5]
    venue = make_venue("\n".join(f"SPY,{time},{i + 5},{i + 7},{i + 4},{i + 6},{i}" for i, time in enumerate(starts)))
    hours = venue.bars("SPY", "hour", 9, MONDAY + 2.9 * HOUR)
    assert [(bar.start, bar.end) for bar in hours] == [(MONDAY, MONDAY + HOUR), (MONDAY + HOUR, MONDAY + 2 * HOUR)]
    assert [[bar.open, bar.high, bar.low, bar.close, bar.volume] for bar in hours] == [
        [5, 10, 4, 9, 0 + 1 + 2 + 3],
        [9, 13, 8, 12, 4 + 5 + 6],
    ]


def test_a_bar_that_runs_over_midnight_keeps_its_day_incomplete_until_its_end(make_venue: Made) -> None:
    starts = [MONDAY + timedelta(minutes=30) + step * HOUR for step in range(25)]
    venue = make_venue("\n".join(f"SPY,{start.isoformat()},5,6,4,5,1" for start in starts))
    assert venue.bars("SPY", "day", 9, MONDAY + DAY) == ()
    (day,) = venue.bars("SPY", "day", 9, MONDAY + DAY + HOUR / 2)
    assert (day.start, day.end) == (MONDAY, MONDAY + DAY + HOUR / 2)
    assert day.volume == 24


@pytest.mark.parametrize(("step", "asked"), [(DAY, "hour"), (2 * HOUR, "hour"), (7 * DAY, "day")])
def test_an_interval_finer_than_the_file_is_refused(make_venue: Made, step: timedelta, asked: Interval) -> None:
    venue = make_venue("\n".join(f"SPY,{(MONDAY + i * step).isoformat()},5,6,4,5,1" for i in range(4)))
    with pytest.raises(Refused) as refusal:
        venue.bars("SPY", asked, 3, MONDAY + 20 * step)
    assert refusal.value.code == "bad_interval"
    assert f"are {step // HOUR} h long" in refusal.value.sentence


_STRUCTURE = [
    *(("AAPL", MONDAY + hour * HOUR, HOUR) for hour in (0, 14, 15, 16, 38, 39, 40, 62, 63)),
    *(("MSFT", MONDAY + hour * HOUR, HOUR) for hour in (0, 14, 16, 17, 39, 62)),
    *(("SPY", MONDAY + quarter * HOUR / 4, HOUR / 4) for quarter in (0, 90, 91, 94, 95, 96, 97, 190)),
    *(("ETH-USDT", MONDAY + day * DAY, DAY) for day in range(3)),
]


def _answers(venue: ReplayVenue, now: datetime) -> list[object]:
    found: list[object] = [venue.session(now)]
    for symbol in ("AAPL", "MSFT", "SPY", "ETH-USDT"):
        found += [venue.session(now, symbol), venue.quote(symbol, now), venue.bars(symbol, "day", 50, now)]
        if symbol != "ETH-USDT":
            found.append(venue.bars(symbol, "hour", 50, now))
    return found


@given(now=st.integers(0, 73 * 60), told=st.integers(0, 2**32), later=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_no_answer_changes_when_the_future_does(make_venue: Made, now: int, told: int, later: int) -> None:
    moment = MONDAY + now * timedelta(minutes=1)

    def rows(is_later: bool) -> str:
        lines, past, future = [], Random(told), Random(later)
        for symbol, start, length in _STRUCTURE:
            known, other = ([chance.randrange(100, 900) for _ in range(5)] for chance in (past, future))
            # the open of a bar is known from its start on, the rest from its end on
            opening = other[0] if is_later and start > moment else known[0]
            _, low, high, close, volume = other if is_later and start + length > moment else known
            least, most = min(opening, low, high, close), max(opening, low, high, close)
            lines.append(f"{symbol},{start.isoformat()},{opening},{most},{least},{close},{volume}")
        return "\n".join(lines)

    assert _answers(make_venue(rows(is_later=False)), moment) == _answers(make_venue(rows(is_later=True)), moment)


def test_threads_may_ask_at_once(small: ReplayVenue) -> None:
    moments = [at(6, 14) + step * timedelta(minutes=7) for step in range(200)]
    alone = [small.quote("AAPL", now) for now in moments]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda now: small.quote("AAPL", now), moments)) == alone


GOOD = "AAPL,2025-10-06T14:00:00Z,250,253,249,252,100\n"
START = "AAPL,2025-10-06T15:00:00Z"


A_TIME = "expected the bar's start with its zone, in whole seconds, such as 2025-10-01T14:00:00Z"


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (f"{START},251,253,249,252", f"there are 6 values; expected 7: {HEADER}"),
        ("AAPL,2025-10-06T15:00:00,251,253,249,252,1", f"the time is '2025-10-06T15:00:00'; {A_TIME}"),
        ("AAPL,yesterday,251,253,249,252,1", f"the time is 'yesterday'; {A_TIME}"),
        ("AAPL,2025-10-06T15:00:00.5Z,251,253,249,252,1", f"the time is '2025-10-06T15:00:00.5Z'; {A_TIME}"),
        ("AAPL,9999-12-31T23:00:00Z,251,253,249,252,1", f"{A_TIME}, between 1900 and 2200"),
        ("A PL,2025-10-06T15:00:00Z,251,253,249,252,1", "the symbol is 'A PL'; expected one such as AAPL"),
        (f"{START},251,253,249,abc,1", "the close is 'abc'; expected a finite decimal number such as 12.5"),
        (f"{START},251,253,-249,252,1", "the low is '-249'; expected more than 0"),
        (f"{START},0,253,0,252,1", "the open is '0'; expected more than 0"),
        (f"{START},251.123456789,253,249,252,1", "the open is '251.123456789'; at most 8 decimals are kept"),
        (f"{START},251,1e300,249,252,1", "the high is '1E+300', which is too large to keep"),
        (f"{START},251,253,251.5,252,1", "open, high, low and close are 251, 253, 251.5 and 252; expected none"),
        (f"{START},251,251.5,249,252,1", "open, high, low and close are 251, 251.5, 249 and 252; expected none"),
        (f"{START},251,253,249,252,-1", "the volume is -1; expected 0 or more"),
        (f"{START},251,253,249,252,", "the volume is ''; expected a finite decimal number"),
        ("aapl,2025-10-06T16:00:00+02:00,251,253,249,252,1", "AAPL has a bar at 2025-10-06T14:00:00Z already"),
        (f"{START},{'1' * 500}", "the line starts with 'AAPL,2025-10-06T15:00:00Z,111"),
        (f'{START},"251,253', "it can't be read (unexpected end of data)"),
        ("MSFT,2025-10-06T15:00:00Z,251,253,249,252,1", "the file ends and 2 symbols have one bar each; expected"),
    ],
)
def test_a_bad_row_refuses_the_file_and_says_what_was_where(tmp_path: Path, row: str, sentence: str) -> None:
    csv_path = written(tmp_path, GOOD + row)
    with pytest.raises(Refused) as refusal:
        import_history(csv_path, tmp_path / "target.db")
    assert refusal.value.code == "bad_setting"
    assert refusal.value.sentence.startswith("REPLAY_HISTORY prices.csv, line 3: ")
    assert sentence in refusal.value.sentence
    assert list(tmp_path.iterdir()) == [csv_path]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", f"line 1: the columns are ''; expected {HEADER}"),
        (b"symbol,date,close\n", f"line 1: the columns are 'symbol,date,close'; expected {HEADER}"),
        (HEADER.encode(), "line 1: the file ends and 0 symbols have one bar each"),
        (HEADER.encode() + b"\n\xff\xfe", "expected UTF-8 text or its gzip"),
        (gzip.compress(HEADER.encode() * 9, mtime=0)[:-9], "expected UTF-8 text or its gzip"),
        (b"\x1f\x8bnonsense", "expected UTF-8 text or its gzip"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    csv_path = tmp_path / "prices.csv"
    csv_path.write_bytes(content)
    with pytest.raises(Refused) as refusal:
        import_history(csv_path, tmp_path / "target.db")
    assert sentence in refusal.value.sentence
    assert list(tmp_path.iterdir()) == [csv_path]


def test_more_bars_than_a_file_may_have_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "ROWS_MAX", 10)
    with pytest.raises(Refused, match="line 12: there are more bars; expected at most 10"):
        import_history(written(tmp_path, SMALL.strip()), tmp_path / "target.db")


def test_columns_may_be_capitalised_lines_end_in_any_way_and_a_gzip_is_unpacked(tmp_path: Path) -> None:
    text = f"\ufeff{HEADER.title()}\r\n" + SMALL.strip().replace("\n", "\r\n") + "\r\n\r\n"
    csv_path = tmp_path / "prices.csv.gz"
    csv_path.write_bytes(gzip.compress(text.encode()))
    info = import_history(csv_path, tmp_path / "target.db")
    assert (info.bars, info.file_name, info.sha256) == (11, "prices.csv.gz", history_hash(csv_path))


def test_the_same_file_is_imported_once_and_a_changed_one_again(opened: Opened, tmp_path: Path) -> None:
    csv_path, target = written(tmp_path, SMALL.strip()), tmp_path / "target.db"
    first = import_history(csv_path, target)
    made = target.stat()
    assert import_history(csv_path, target) == first
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    running = opened(target)
    changed = import_history(written(tmp_path, SMALL.strip().replace("251.5,252", "251,252")), target)
    assert changed.sha256 != first.sha256
    assert running.quote("AAPL", at(6, 15)).price == Decimal("251.5")
    assert opened(target).quote("AAPL", at(6, 15)).price == 251
    assert sorted(tmp_path.iterdir()) == [csv_path, target]


def test_two_processes_that_import_at_once_both_end_well(opened: Opened, tmp_path: Path) -> None:
    csv_path, target = written(tmp_path, SMALL.strip()), tmp_path / "target.db"
    script = (
        "import sys; from pathlib import Path; from venues.history import import_history; "
        "print(import_history(Path(sys.argv[1]), Path(sys.argv[2])).sha256)"
    )
    command = [sys.executable, "-c", script, str(csv_path), str(target)]
    both = [subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == [history_hash(csv_path)] * 2
    assert sorted(tmp_path.iterdir()) == [csv_path, target]
    assert opened(target).info.bars == 11


def test_a_file_that_is_no_import_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    target = tmp_path / "accounts.db"
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("CREATE TABLE accounts (name TEXT)")
    books = target.read_bytes()
    for attempt in (ReplayVenue, lambda path: import_history(written(tmp_path, SMALL.strip()), path)):
        with pytest.raises(StoreUnusable, match="is not an imported price history"):
            attempt(target)
    assert target.read_bytes() == books
    (tmp_path / "text.db").write_bytes(b"not a database, but long enough to have a header" * 9)
    for name in ("text.db", "none.db"):
        with pytest.raises(StoreUnusable, match="is not an imported price history"):
            ReplayVenue(tmp_path / name)


def test_a_missing_file_and_a_missing_folder_are_said_with_their_paths(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"REPLAY_HISTORY is .*none.csv: No such file"):
        import_history(tmp_path / "none.csv", tmp_path / "target.db")
    with pytest.raises(StoreUnusable, match="can't be written"):
        import_history(written(tmp_path, SMALL.strip()), tmp_path / "none" / "target.db")


real_files = pytest.mark.skipif("HISTORY_DIR" not in os.environ, reason="HISTORY_DIR names no folder of price files")


@pytest.fixture
def venue(request: pytest.FixtureRequest, opened: Opened, tmp_path: Path) -> ReplayVenue:
    import_history(Path(os.environ["HISTORY_DIR"]) / request.param, tmp_path / "target.db")
    return opened(tmp_path / "target.db")


@real_files
@pytest.mark.parametrize("venue", ["nasdaq100_hourly.csv.gz"], indirect=True)
def test_a_month_of_real_hours_replays(venue: ReplayVenue) -> None:
    starts = venue.starts()
    assert (len(venue.instruments()), len(starts), venue.info.bars) == (102, 174, 17_647)
    assert venue.end == datetime(2025, 11, 10, 21, tzinfo=UTC)
    assert price(venue, "AAPL", starts[0]) == ("256.5150", starts[0], False)
    assert price(venue, "AAPL", starts[1] + HOUR / 2) == ("255.5300", starts[1], False)
    assert venue.bars("AAPL", "hour", 5, starts[1])[0].close == Decimal("255.5300")
    assert venue.session(starts[0]).next_change == datetime(2025, 10, 1, 20, tzinfo=UTC)
    assert len(venue.bars("QQQ", "day", 60, venue.end + DAY)) == 29
    assert all(not venue.quote(found.symbol, starts[100]).stale for found in venue.instruments())


@real_files
@pytest.mark.parametrize("venue", ["crypto_daily.csv.gz"], indirect=True)
def test_a_year_of_real_days_replays(venue: ReplayVenue) -> None:
    assert (len(venue.instruments()), len(venue.starts()), venue.info.bars) == (10, 355, 3550)
    assert {found.kind for found in venue.instruments()} == {"coin"}
    assert venue.session(venue.starts()[0]).next_change == venue.end == datetime(2025, 11, 16, tzinfo=UTC)
    assert price(venue, "ADA-USDT", venue.starts()[1]) == ("0.95990000", venue.starts()[1], False)
    assert len(venue.bars("BTC-USDT", "day", 400, venue.end)) == 355
    with pytest.raises(Refused, match="24 h long; day is the finest interval there"):
        venue.bars("BTC-USDT", "hour", 1, venue.end)
