"""The simulated market: forty known instruments on random paths, always open, a price each market minute.

A price follows from (seed, symbol, minute) and the run's start alone, so every process of a run agrees without
asking another. A log return is the sum of the market's, the sector's and the instrument's own factor (`cascade.py`).
Prices at the run's start are the listed ones and stay between a thousandth and a thousand times that. Order flow,
trading hours, dividends and splits are not modelled.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from values.corporate_action import CorporateAction
from values.errors import Refused, UnknownSymbol, VenueUnavailable, shown
from values.instrument import Instrument, Kind
from values.money import exact
from values.quote import Bar, Interval, MarketSession, Quote
from venues.cascade import BLOCK, BLOCK_LEVELS, EPOCH, MINUTES, MINUTES_A_YEAR, Factor, Real, draw, stream_key
from venues.listing import LISTINGS, Listing

if TYPE_CHECKING:
    from numpy.typing import NDArray

VISIBLE_JUMP = 0.02
"""The smallest jump that `jumps` tells of, as a fraction of the price."""

_OWN_JUMPS: dict[Kind, tuple[float, float]] = {"equity": (4.0, 0.2), "etf": (1.0, 0.1), "coin": (10.0, 0.2)}
_SECTOR_JUMPS = (1.0, 0.05)
"""Jumps a year, and their share of the factor's variance."""

_REACH = math.log(1000)
_GRID = 2.0**40
_MINUTE = timedelta(minutes=1)
_BAR_MINUTES: dict[str, int] = {"hour": 60, "day": 1440}
_BARS_KEPT = 10_000
_BARS_AT_ONCE = 128
_SHARED_BLOCKS_KEPT = 8
"""Blocks of each market and sector path in memory, 128 KiB each: more than sixty days, 14 MiB in all."""

Scope = Literal["symbol", "sector"]


class Jump(NamedTuple):
    """A sudden move: the first minute whose quote shows it, its size as a fraction of the price, and whose it was."""

    time: datetime
    size: float
    scope: Scope


def _price(log_price: float) -> Decimal:
    """USD: to the cent from 1 USD up; below, six significant digits and at most eight decimals.

    The logarithm is first rounded to 2^-40, a thousand times the error of `exp`: a higher one never gives a lower
    price, so the highest minute of a bar is the bar's high to the last digit.
    """
    price = math.exp(round(log_price * _GRID) / _GRID)
    decimals = 2 if price >= 1 else min(8, 5 - math.floor(math.log10(price)))
    return exact(round(price, decimals), "price")


def _minute_of(moment: datetime) -> int:
    """The market minute that `moment` lies in, counted from EPOCH. Raises VenueUnavailable beyond the horizon."""
    minute = (moment - EPOCH) // _MINUTE
    if not 0 <= minute < MINUTES:
        end = EPOCH + MINUTES * _MINUTE
        raise VenueUnavailable(
            f"the time is {moment.isoformat()}; the simulated market has prices from {EPOCH:%Y-%m-%d} to {end:%Y-%m-%d}"
        )
    return minute


def _time_of(minute: int) -> datetime:
    return EPOCH + minute * _MINUTE


class _Path:
    """One symbol's log price, from the factors that it shares and its own. What it says of a minute never changes."""

    def __init__(self, listing: Listing, anchor: int, market: Factor, sector: Factor, own: Factor) -> None:
        self._factors = (market, sector, own)
        self._loadings = listing.loadings()
        self._log_level = math.log(listing.level)
        self._drift = self._loadings.growth / MINUTES_A_YEAR
        self._anchor = anchor
        self._at_anchor = lru_cache(maxsize=1)(lambda: self._sum(*(factor.value(anchor) for factor in self._factors)))

    def _sum(self, market: Real, sector: Real, own: Real) -> Real:
        return market * self._loadings.market + sector * self._loadings.sector + own * self._loadings.own

    def _log(self, minutes: Real, summed: Real, square_root: Callable[[Real], Real]) -> Real:
        """The log price `minutes` after the anchor: nearly the level plus what was gained, bent to stay in reach."""
        gained = minutes * self._drift + (summed - self._at_anchor())
        bent = gained * (1 / _REACH)
        log: Real = gained / square_root(bent * bent + 1.0) + self._log_level
        return log

    def at(self, minute: int) -> float:
        """The log price at the start of a minute."""
        return self._log(
            float(minute - self._anchor), self._sum(*(factor.value(minute) for factor in self._factors)), math.sqrt
        )

    def over(self, first: int, end: int) -> NDArray[Any]:
        """`at` each minute of [first, end), the same bits."""
        import numpy as np

        pieces = []
        for block in range(first >> BLOCK_LEVELS, (end - 1 >> BLOCK_LEVELS) + 1):
            start = block << BLOCK_LEVELS
            low, high = max(first, start), min(end, start + BLOCK)
            summed = self._sum(*(factor.path(block)[low - start : high - start] for factor in self._factors))
            minutes = np.arange(low - self._anchor, high - self._anchor).astype(np.float64)
            pieces.append(self._log(minutes, summed, np.sqrt))
        logs: NDArray[Any] = np.concatenate(pieces)
        return logs

    def jumps(self, first: int, end: int) -> list[Jump]:
        """The visible jumps at minutes of [first, end), in order."""
        _, sector, own = self._factors
        scopes: tuple[tuple[Scope, Factor, float], ...] = (
            ("symbol", own, self._loadings.own),
            ("sector", sector, self._loadings.sector),
        )
        found = [
            Jump(_time_of(minute), math.expm1(size * loading), scope)
            for scope, factor, loading in scopes
            for minute, size in factor.jumps(first, end)
        ]
        return sorted(jump for jump in found if abs(jump.size) >= VISIBLE_JUMP)


class SimulatedVenue:
    """Prices that any process computes alike from `seed` and `anchor`, the market time at which the run started."""

    name = "simulated"

    def __init__(self, seed: int, anchor: datetime) -> None:
        market = Factor(seed, "market", blocks_kept=_SHARED_BLOCKS_KEPT)
        sectors = {
            sector: Factor(seed, f"sector {sector}", *_SECTOR_JUMPS, blocks_kept=_SHARED_BLOCKS_KEPT)
            for sector in {listing.instrument.sector for listing in LISTINGS.values()}
        }
        start = _minute_of(anchor)
        self._paths = {}
        for symbol, listing in LISTINGS.items():
            own = Factor(seed, f"symbol {symbol}", *_OWN_JUMPS[listing.instrument.kind])
            self._paths[symbol] = _Path(listing, start, market, sectors[listing.instrument.sector], own)
        self._instruments = tuple(listing.instrument for listing in LISTINGS.values())
        self._seed = seed
        self._bars: OrderedDict[tuple[str, str, int], Bar] = OrderedDict()
        self._bars_lock = Lock()

    def instruments(self) -> tuple[Instrument, ...]:
        """The forty listed instruments, in symbol order."""
        return self._instruments

    def instrument(self, symbol: str) -> Instrument:
        """The instrument of a normalised symbol. Raises UnknownSymbol."""
        return self._listing(symbol).instrument

    def corporate_actions(self, symbols: Collection[str], first: date, last: date) -> tuple[CorporateAction, ...]:
        return ()

    def session(self, now: datetime, symbol: str | None = None) -> MarketSession:
        """Always open. Raises UnknownSymbol."""
        if symbol is not None:
            self._listing(symbol)
        return MarketSession(is_open=True, next_change=None, note="the simulated market trades around the clock")

    def quote(self, symbol: str, now: datetime) -> Quote:
        """The price at the start of the market minute that `now` lies in; never stale.

        Raises UnknownSymbol, or VenueUnavailable before 2000 and after 2127.
        """
        self._listing(symbol)
        minute = _minute_of(now)
        price = _price(self._paths[symbol].at(minute))
        return Quote(symbol, price, _time_of(minute), now, "simulated", timedelta(0))

    def bars(self, symbol: str, interval: Interval, count: int, now: datetime) -> tuple[Bar, ...]:
        """The last `count` UTC hours or days that were over at `now`, oldest first.

        A bar holds all its minutes' quotes: it opens with the first, closes with the last, and none lies outside.
        Raises UnknownSymbol, Refused `bad_interval`, or VenueUnavailable before 2000 and after 2127.
        """
        self._listing(symbol)
        if interval not in _BAR_MINUTES:
            raise Refused("bad_interval", f"the interval is {shown(interval)}; the simulated market has hour and day")
        end = _minute_of(now) // _BAR_MINUTES[interval]
        wanted = range(max(0, end - count), end)
        with self._bars_lock:
            known = {index: self._bars[key] for index in wanted if (key := (symbol, interval, index)) in self._bars}
        missing = [index for index in wanted if index not in known]
        if missing:
            for first in range(missing[0], missing[-1] + 1, _BARS_AT_ONCE):
                known.update(self._make_bars(symbol, interval, first, min(first + _BARS_AT_ONCE, missing[-1] + 1)))
            with self._bars_lock:
                self._bars.update({(symbol, interval, index): known[index] for index in missing})
                while len(self._bars) > _BARS_KEPT:
                    self._bars.popitem(last=False)
        return tuple(known[index] for index in wanted)

    def jumps(self, symbol: str, start: datetime, end: datetime) -> tuple[Jump, ...]:
        """The jumps of `symbol` and of its sector with start < time <= end that moved its price by 2 % or more.

        Windows that touch tell each jump once. Raises UnknownSymbol, or VenueUnavailable before 2000 and after 2127.
        """
        self._listing(symbol)
        return tuple(self._paths[symbol].jumps(_minute_of(start) + 1, _minute_of(end) + 1))

    def _listing(self, symbol: str) -> Listing:
        listing = LISTINGS.get(symbol)
        if listing is None:
            raise UnknownSymbol(symbol, "the simulated market")
        return listing

    def _make_bars(self, symbol: str, interval: str, first: int, end: int) -> Iterator[tuple[int, Bar]]:
        """Bars number `first` up to `end`, counted from EPOCH."""
        minutes = _BAR_MINUTES[interval]
        logs = self._paths[symbol].over(first * minutes, end * minutes).reshape(-1, minutes)
        volumes = self._hourly_volumes(symbol, first * minutes // 60, logs.reshape(-1, 60))
        rows = zip(
            logs[:, 0].tolist(),
            logs.max(axis=1).tolist(),
            logs.min(axis=1).tolist(),
            logs[:, -1].tolist(),
            volumes.reshape(len(logs), -1).sum(axis=1).tolist(),
            strict=True,
        )
        for index, (opening, top, bottom, closing, volume) in enumerate(rows, first):
            yield (
                index,
                Bar(
                    symbol,
                    _time_of(index * minutes),
                    _time_of((index + 1) * minutes),
                    _price(opening),
                    _price(top),
                    _price(bottom),
                    _price(closing),
                    exact(volume, "volume"),
                ),
            )

    def _hourly_volumes(self, symbol: str, first_hour: int, hours: NDArray[Any]) -> NDArray[Any]:
        """Whole units traded in each hour: the listed volume, up to half more or less by chance, more in wide hours."""
        import numpy as np

        listing = LISTINGS[symbol]
        counters = np.arange(first_hour, first_hour + len(hours), dtype=np.uint64)
        chance = (draw(stream_key(self._seed, f"volume {symbol}"), counters) >> 11) * 2.0**-53 + 0.5
        width = hours.max(axis=1) - hours.min(axis=1)
        usual_width = 1.5 * listing.volatility * math.sqrt(60 / MINUTES_A_YEAR)
        units = listing.daily_volume / 24 * chance * (0.4 + 0.6 * width / usual_width)
        volumes: NDArray[Any] = np.rint(units).astype(np.int64) + 1
        return volumes
