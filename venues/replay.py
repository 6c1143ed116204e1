"""A replayed history: the bars of an imported file, shown only as far as market time has come.

During a bar its open is the price; its high, low, close and volume are told from its end on. A symbol without a bar
now is closed and shows its last complete close, marked stale. Prices in USDT count as USD. When bars begin and end is
taken as known beforehand, like an exchange's calendar; what they hold is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from values.clock import iso
from values.corporate_action import CorporateAction
from values.errors import Refused, UnknownSymbol, VenueUnavailable, shown
from values.instrument import Instrument, kind_of
from values.money import exact
from values.quote import Bar, Interval, MarketSession, Quote
from venues.history import ANY_SYMBOL, connect, from_seconds, read_info, to_seconds
from venues.listing import LISTINGS

_WIDTHS_S: dict[str, int] = {"hour": 3600, "day": 86_400}
_GROUPS_KEPT = 4096

_SYMBOLS = "SELECT symbol, bar_seconds FROM symbols ORDER BY symbol"
_LAST_STARTED = "SELECT start, open, close FROM bars WHERE symbol = ? AND start <= ? ORDER BY start DESC LIMIT 1"
_LAST_BARS = "SELECT * FROM bars WHERE symbol = ? AND start <= ? ORDER BY start DESC LIMIT ?"
_BARS_BETWEEN = "SELECT * FROM bars WHERE symbol = ? AND start >= ? AND start < ? ORDER BY start"
_START_BEFORE = "SELECT MAX(start) FROM bars WHERE symbol = ? AND start < ?"
_FIRST_START = "SELECT MIN(start) FROM bars WHERE symbol = ?"
_RUN_NOW = "SELECT end FROM runs WHERE symbol = ? AND start <= ? ORDER BY start DESC LIMIT 1"
_RUN_NEXT = "SELECT MIN(start) FROM runs WHERE symbol = ? AND start > ?"


def _instrument(symbol: str) -> Instrument:
    """A price file has neither names nor sectors; those of known symbols come from the listing."""
    kind = kind_of(symbol)
    known = LISTINGS.get(f"{symbol.split('-')[0]}-USD" if kind == "coin" else symbol)
    if known is not None:
        return Instrument(symbol, kind, known.instrument.name, known.instrument.sector)
    return Instrument(symbol, kind, symbol, "Digital assets" if kind == "coin" else "Unclassified")


def _duration(seconds: int) -> str:
    return str(timedelta(seconds=seconds)) if seconds % 3600 else f"{seconds // 3600} h"


class ReplayVenue:
    """A file made by `history.import_history`, read by any number of threads.

    `info` says what it holds. Raises StoreUnusable for any other file.
    """

    name = "replay"

    def __init__(self, path: Path) -> None:
        self.info = read_info(path)
        self._connection = connect(path)
        self._lock = Lock()
        self._bar_seconds: dict[str, int] = dict(self._select(_SYMBOLS))
        self._instruments = {symbol: _instrument(symbol) for symbol in self._bar_seconds}
        self._group = lru_cache(maxsize=_GROUPS_KEPT)(self._find_group)
        self._note = f"replayed from {self.info.file_name}"
        if any(symbol.endswith("-USDT") for symbol in self._bar_seconds):
            self._note += "; USDT counts as USD"

    def close(self) -> None:
        """Close the file; the venue answers nothing afterwards."""
        self._connection.close()

    @property
    def end(self) -> datetime:
        """The last bar's end: from then on every price is a last complete close."""
        return self.info.last_end

    def starts(self) -> tuple[datetime, ...]:
        """The times at which at least one bar starts, in order: the cycles of a run."""
        return tuple(from_seconds(start) for (start,) in self._select("SELECT start FROM starts ORDER BY start"))

    def instruments(self) -> tuple[Instrument, ...]:
        """Every symbol of the file, in symbol order."""
        return tuple(self._instruments.values())

    def instrument(self, symbol: str) -> Instrument:
        """The instrument of a normalised symbol. Raises UnknownSymbol."""
        self._seconds(symbol)
        return self._instruments[symbol]

    def quote(self, symbol: str, now: datetime) -> Quote:
        """The open of the bar that `now` lies in, as of its start; else the last complete close, stale.

        Raises UnknownSymbol, or VenueUnavailable before the symbol's first bar.
        """
        seconds = self._seconds(symbol)
        moment = to_seconds(now)
        rows = self._select(_LAST_STARTED, symbol, moment)
        if not rows:
            [(first,)] = self._select(_FIRST_START, symbol)
            raise VenueUnavailable(
                f"{symbol} has no price at {iso(now)}; its first bar in {self.info.file_name} starts at "
                f"{iso(from_seconds(first))}"
            )
        [(start, opening, close)] = rows
        running = moment < start + seconds
        price = exact(opening if running else close, "price")
        as_of = from_seconds(start if running else start + seconds)
        return Quote(symbol, price, as_of, now, "replay", timedelta(0), stale=not running)

    def bars(self, symbol: str, interval: Interval, count: int, now: datetime) -> tuple[Bar, ...]:
        """The last `count` bars that were complete at `now`, oldest first.

        The file's own bars where they have that length; shorter ones are joined by UTC hour or date, and such a bar is
        complete when the hour or date is over. Raises UnknownSymbol; Refused `bad_interval` where the file's bars are
        longer.
        """
        seconds = self._seconds(symbol)
        width = _WIDTHS_S.get(interval)
        if width is None:
            raise Refused("bad_interval", f"the interval is {shown(interval)}; expected hour or day")
        if width < seconds:
            finest = "day is the finest interval there" if seconds <= _WIDTHS_S["day"] else "none of hour and day fits"
            raise Refused(
                "bad_interval",
                f"the interval is {interval} and the bars of {symbol} in {self.info.file_name} are "
                f"{_duration(seconds)} long; {finest}",
            )
        moment = to_seconds(now)
        if width > seconds:
            return self._grouped(symbol, width, count, moment)
        rows = self._select(_LAST_BARS, symbol, moment - seconds, max(0, count))
        return tuple(_bar(row, row[1], row[1] + seconds) for row in reversed(rows))

    def corporate_actions(self, symbols: Collection[str], first: date, last: date) -> tuple[CorporateAction, ...]:
        return ()

    def session(self, now: datetime, symbol: str | None = None) -> MarketSession:
        """Open while a bar (of `symbol`) is running; the next change is the end of the bars that follow without a gap.

        Raises UnknownSymbol.
        """
        if symbol is not None:
            self._seconds(symbol)
        key = ANY_SYMBOL if symbol is None else symbol
        moment = to_seconds(now)
        for (end,) in self._select(_RUN_NOW, key, moment):
            if moment < end:
                return MarketSession(is_open=True, next_change=from_seconds(end), note=self._note)
        [(start,)] = self._select(_RUN_NEXT, key, moment)
        return MarketSession(is_open=False, next_change=None if start is None else from_seconds(start), note=self._note)

    def _seconds(self, symbol: str) -> int:
        seconds = self._bar_seconds.get(symbol)
        if seconds is None:
            raise UnknownSymbol(symbol, f"the replay of {self.info.file_name}")
        return seconds

    def _select(self, statement: str, *arguments: object) -> list[Any]:
        try:
            with self._lock:
                return self._connection.execute(statement, arguments).fetchall()
        except sqlite3.Error as error:
            raise VenueUnavailable(f"the imported history of {self.info.file_name} can't be read: {error}") from error

    def _grouped(self, symbol: str, width: int, count: int, moment: int) -> tuple[Bar, ...]:
        """The last `count` hours or dates that have bars and were over at `moment`, oldest first."""
        before = moment - moment % width
        for start, _, _ in self._select(_LAST_STARTED, symbol, moment):
            # a bar that reaches over the hour's or date's end keeps it incomplete until its own end
            if moment < start + self._bar_seconds[symbol]:
                before = min(before, start - start % width)
        newest_first: list[Bar] = []
        while len(newest_first) < count:
            [(start,)] = self._select(_START_BEFORE, symbol, before)
            if start is None:
                break
            before = start - start % width
            newest_first.append(self._group(symbol, before, width))
        return tuple(reversed(newest_first))

    def _find_group(self, symbol: str, start: int, width: int) -> Bar:
        parts = [_bar(row, row[1], row[1]) for row in self._select(_BARS_BETWEEN, symbol, start, start + width)]
        return Bar(
            symbol,
            from_seconds(start),
            max(from_seconds(start + width), parts[-1].start + timedelta(seconds=self._bar_seconds[symbol])),
            parts[0].open,
            max(part.high for part in parts),
            min(part.low for part in parts),
            parts[-1].close,
            sum((part.volume for part in parts), exact(0)),
        )


def _bar(row: tuple[Any, ...], start: int, end: int) -> Bar:
    opening, high, low, close, volume = (exact(text) for text in row[2:])
    return Bar(row[0], from_seconds(start), from_seconds(end), opening, high, low, close, volume)
