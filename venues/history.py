"""Price history for a replay: a CSV of bars, checked row by row and kept as one indexed, read-only SQLite file.

Columns are symbol,time,open,high,low,close,volume; `time` is the bar's start, and prices are USD (USDT counts as
USD). A bar is as long as the smallest gap between its symbol's bars. The first bad row refuses the whole file, with
its line. Prices stay the text that they were; nothing is adjusted, filled in or resampled here.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import sqlite3
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path

from values.clock import iso, parse_time
from values.errors import Refused, StoreUnusable, shown
from values.instrument import normalise_symbol
from values.money import PRICE_DECIMALS, exact, to_scaled

COLUMNS = ("symbol", "time", "open", "high", "low", "close", "volume")
ROWS_MAX = 20_000_000
LINE_CHARS_MAX = 400
YEARS = range(1900, 2200)

APPLICATION_ID = 0x54_46_48_01
"""In the SQLite header: says that a file is an imported history, and which layout (the last byte)."""

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_GZIP_MAGIC = b"\x1f\x8b"

_LAYOUT = """
CREATE TABLE bars (
    symbol TEXT NOT NULL, start INTEGER NOT NULL,
    open TEXT NOT NULL, high TEXT NOT NULL, low TEXT NOT NULL, close TEXT NOT NULL, volume TEXT NOT NULL,
    PRIMARY KEY (symbol, start)
) WITHOUT ROWID;
CREATE TABLE symbols (symbol TEXT PRIMARY KEY, bar_seconds INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE starts (start INTEGER PRIMARY KEY);
CREATE TABLE runs (
    symbol TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, PRIMARY KEY (symbol, start)
) WITHOUT ROWID;
CREATE TABLE meta (sha256 TEXT, file_name TEXT, bars INTEGER, symbols INTEGER, first_start INTEGER, last_end INTEGER);
"""

_GAPS = """
SELECT symbol, MIN(gap) FROM
    (SELECT symbol, start - LAG(start) OVER (PARTITION BY symbol ORDER BY start) AS gap FROM bars)
GROUP BY symbol ORDER BY symbol
"""

# bars that follow each other without a gap share an island
_RUNS = """
INSERT INTO runs SELECT symbol, MIN(start), MAX(start) + bar_seconds FROM
    (SELECT symbol, start, bar_seconds,
            start - bar_seconds * ROW_NUMBER() OVER (PARTITION BY symbol ORDER BY start) AS island
     FROM bars JOIN symbols USING (symbol))
GROUP BY symbol, island
"""

_META = """
INSERT INTO meta SELECT ?, ?, (SELECT COUNT(*) FROM bars), (SELECT COUNT(*) FROM symbols),
    (SELECT MIN(start) FROM starts), (SELECT MAX(end) FROM runs)
"""

ANY_SYMBOL = ""
"""The name in `runs` of the times at which at least one symbol has a bar."""


_Row = tuple[str, int, str, str, str, str, str]
"""Symbol, start in seconds, open, high, low, close, volume: as `bars` keeps them."""


@dataclass(frozen=True, slots=True)
class HistoryInfo:
    """What an imported file holds. `sha256` is of the CSV file's bytes as given, compressed or not."""

    sha256: str
    file_name: str
    bars: int
    symbols: int
    first_start: datetime
    last_end: datetime


def to_seconds(moment: datetime) -> int:
    """Whole seconds since 1970, rounded down: how the file keeps times."""
    return (moment - _UNIX) // _SECOND


def from_seconds(seconds: int) -> datetime:
    """The aware UTC time of `to_seconds`."""
    return _UNIX + timedelta(seconds=seconds)


def history_hash(csv_path: Path) -> str:
    """SHA-256 of the file's bytes, in hex. Raises Refused `bad_setting` when it can't be read."""
    try:
        with csv_path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Refused(
            "bad_setting", f"REPLAY_HISTORY is {csv_path}: {error.strerror}; expected a CSV file, which may be gzipped"
        ) from None


def import_history(csv_path: Path, target: Path) -> HistoryInfo:
    """Make `target` the imported `csv_path`, unless it is already; an earlier import of another file is replaced.

    The file appears whole or not at all, whoever else imports at the same time. Raises Refused `bad_setting` with file,
    line, what was there and what was expected; StoreUnusable when `target` is some other file.
    """
    digest = history_hash(csv_path)
    if target.exists() and (info := read_info(target)).sha256 == digest:
        return info
    try:
        handle, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent)
        os.close(handle)
        part = Path(name)
        try:
            _build(part, _Rows(csv_path), digest)
            info = read_info(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnusable(f"the import of {csv_path.name} to {target} can't be written: {error}") from error
    return info


def connect(path: Path) -> sqlite3.Connection:
    """A read-only connection that any thread may use, one at a time. Raises StoreUnusable for any other file."""
    # the file is replaced whole and never written to, so no reader needs a lock in it
    address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    reason = "it holds something else, or an older layout"
    try:
        connection = sqlite3.connect(address, uri=True, check_same_thread=False)
        try:
            if connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,):
                return connection
        except sqlite3.Error:
            connection.close()
            raise
        connection.close()
    except sqlite3.Error as error:
        reason = str(error)
    raise StoreUnusable(f"{path} is not an imported price history ({reason}); move it away and import again")


def read_info(path: Path) -> HistoryInfo:
    """What an imported file holds. Raises StoreUnusable for any other file."""
    with closing(connect(path)) as connection:
        try:
            sha256, file_name, bars, symbols, first, last = connection.execute("SELECT * FROM meta").fetchone()
        except sqlite3.Error as error:
            raise StoreUnusable(f"{path} is a damaged price history ({error}); delete it and import again") from error
    return HistoryInfo(sha256, file_name, bars, symbols, from_seconds(first), from_seconds(last))


class _Rows:
    """The checked rows of a CSV file, as `bars` keeps them; `line` is where reading stands."""

    def __init__(self, csv_path: Path) -> None:
        self._path = csv_path
        self.file_name = csv_path.name
        self.line = 0

    def refusal(self, sentence: str) -> Refused:
        return Refused("bad_setting", f"REPLAY_HISTORY {self.file_name}, line {max(1, self.line)}: {sentence}")

    def __iter__(self) -> Iterator[_Row]:
        try:
            with self._path.open("rb") as raw:
                packed = raw.read(2) == _GZIP_MAGIC
                raw.seek(0)
                with TextIOWrapper(gzip.GzipFile(fileobj=raw) if packed else raw, "utf-8-sig", newline="") as text:
                    rows = csv.reader(self._lines(text), strict=True)
                    header = tuple(name.strip().lower() for name in next(rows, ()))
                    if header != COLUMNS:
                        was = shown(",".join(header))
                        raise self.refusal(f"the columns are {was}; expected {','.join(COLUMNS)}")
                    yield from (self._checked(row) for row in rows if row)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            raise self.refusal(f"it can't be read ({error}); expected UTF-8 text or its gzip") from None

    def _lines(self, text: TextIOWrapper) -> Iterator[str]:
        while line := text.readline(LINE_CHARS_MAX + 1):
            self.line += 1
            if len(line) > LINE_CHARS_MAX:
                raise self.refusal(f"the line starts with {shown(line)}; expected at most {LINE_CHARS_MAX} characters")
            if self.line > ROWS_MAX + 1:
                raise self.refusal(f"there are more bars; expected at most {ROWS_MAX:,}")
            yield line

    def _checked(self, row: list[str]) -> _Row:
        if len(row) != len(COLUMNS):
            raise self.refusal(f"there are {len(row)} values; expected {len(COLUMNS)}: {','.join(COLUMNS)}")
        symbol, time, *numbers = (value.strip() for value in row)
        try:
            start = _start(time)
            symbol = normalise_symbol(symbol)
            opening, high, low, close = map(_price, numbers[:4], COLUMNS[2:6])
            volume = exact(numbers[4], "volume")
        except Refused as refusal:
            raise self.refusal(refusal.sentence) from None
        if not low <= min(opening, close) or not high >= max(opening, close):
            raise self.refusal(
                f"open, high, low and close are {opening}, {high}, {low} and {close}; expected none below the low or "
                "above the high"
            )
        if volume < 0:
            raise self.refusal(f"the volume is {volume}; expected 0 or more")
        return symbol, start, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]


def _start(text: str) -> int:
    expected = "expected the bar's start with its zone, in whole seconds, such as 2025-10-01T14:00:00Z"
    try:
        moment = parse_time(text)
    except (ValueError, OverflowError):
        raise Refused("bad_time", f"the time is {shown(text)}; {expected}") from None
    if moment.microsecond or moment.year not in YEARS:
        raise Refused("bad_time", f"the time is {shown(text)}; {expected}, between {YEARS.start} and {YEARS.stop}")
    return to_seconds(moment)


def _price(text: str, what: str) -> Decimal:
    price = exact(text, what)
    if to_scaled(price, PRICE_DECIMALS, what) <= 0:
        raise Refused("bad_number", f"the {what} is {shown(text)}; expected more than 0")
    return price


def _build(path: Path, rows: _Rows, digest: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA cache_size=-65536; BEGIN; {_LAYOUT}")
        latest = ("", 0)

        def numbered() -> Iterator[_Row]:
            nonlocal latest
            for row in rows:
                latest = row[:2]
                yield row

        try:
            connection.executemany("INSERT INTO bars VALUES (?, ?, ?, ?, ?, ?, ?)", numbered())
        except sqlite3.IntegrityError:
            symbol, start = latest
            raise rows.refusal(f"{symbol} has a bar at {iso(from_seconds(start))} already; expected one") from None
        gaps = dict(connection.execute(_GAPS).fetchall())
        smallest = min((gap for gap in gaps.values() if gap is not None), default=None)
        if smallest is None:
            raise rows.refusal(
                f"the file ends and {len(gaps)} symbols have one bar each; "
                "expected two bars of a symbol at least, whose distance is the length of a bar"
            )
        lengths = [(symbol, smallest if gap is None else gap) for symbol, gap in gaps.items()]
        connection.executemany("INSERT INTO symbols VALUES (?, ?)", lengths)
        connection.execute("INSERT INTO starts SELECT DISTINCT start FROM bars ORDER BY start")
        connection.execute(_RUNS)
        merged = _merged(connection.execute("SELECT start, end FROM runs ORDER BY start"))
        connection.executemany("INSERT INTO runs VALUES (?, ?, ?)", [(ANY_SYMBOL, *run) for run in merged])
        connection.execute(_META, (digest, rows.file_name))
        connection.execute("COMMIT")


def _merged(runs: sqlite3.Cursor) -> list[list[int]]:
    """Runs in order of their start, joined where they overlap or touch."""
    merged: list[list[int]] = []
    for start, end in runs:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged
