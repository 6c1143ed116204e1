"""The Protocol that every price source implements; `tests/test_venue_contract.py` runs over all of them.

All times are aware UTC market times, all prices USD. A venue never answers for a time after `now`, never invents
a price, and holds no per-run state beyond caches: the same question at the same `now` gets the same answer in
every process.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import Protocol, runtime_checkable

from values.corporate_action import CorporateAction
from values.instrument import Instrument
from values.quote import Bar, Interval, MarketSession, Quote


class Venue(Protocol):
    @property
    def name(self) -> str:
        """`simulated`, `replay` or `live`, as the run row has it."""

    def instruments(self) -> tuple[Instrument, ...]:
        """Everything listed, in symbol order."""

    def instrument(self, symbol: str) -> Instrument:
        """The instrument of a normalised symbol. Raises UnknownSymbol."""

    def quote(self, symbol: str, now: datetime) -> Quote:
        """The last price at `now`; `as_of <= now`, and for the units of that time: the ledger minds later splits.

        `stale` when older than the venue promises (a closed symbol of a replay shows its last complete close).
        Raises UnknownSymbol, or VenueUnavailable when there is no price to give.
        """

    def bars(self, symbol: str, interval: Interval, count: int, now: datetime) -> tuple[Bar, ...]:
        """The last `count` bars that were complete at `now` (`end <= now`), oldest first; fewer where history is short.

        Raises UnknownSymbol; Refused `bad_interval` for an interval finer than the venue's own.
        """

    def corporate_actions(self, symbols: Collection[str], first: date, last: date) -> tuple[CorporateAction, ...]:
        """What companies did to `symbols` with an ex-date from `first` to `last`, both included, oldest first.

        Complete, or raises VenueUnavailable: what is not told is taken not to be. The dividends of one day are added
        up by the caller. A simulated market and a replay have none, and are never asked.
        """

    def session(self, now: datetime, symbol: str | None = None) -> MarketSession:
        """Whether `symbol`, or with None any instrument, trades at `now`. Raises UnknownSymbol."""


@runtime_checkable
class WideVenue(Venue, Protocol):
    """A venue of a vendor that has more instruments than can be told at once: `instruments` are those that the floor
    lists by itself, and each other one can be found, quoted and traded too."""

    def search(self, query: str) -> tuple[Instrument, ...]:
        """What the vendor finds for part of a symbol or name, in symbol order. Raises VenueUnavailable."""

    def hours_note(self, now: datetime) -> str:
        """What the vendor says of the hours where it differs from `session`, else empty."""
