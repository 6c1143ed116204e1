"""Which trouble comes when, at every seam of a floor: decided by one seed, and counted when it came.

Each seam asks `strikes`. Trouble in the store comes through SQLAlchemy's events and the store's own `write`, in
whatever process is acting; a process that is dead writes nothing more.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from unittest import mock

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import OperationalError

from database import Store
from push.targets import Delivery
from tests.chaos.machine import Died
from values.corporate_action import CorporateAction
from values.errors import VenueUnavailable
from values.instrument import Instrument
from values.quote import Bar, Interval, MarketSession, Quote
from venues.venue import Venue

RATES = {
    # a call to a server; a trade in it; an answer; a start after the first
    "server dies between calls": 0.006,
    "server dies before the commit": 0.02,
    "server dies after the commit": 0.02,
    "server hangs before the commit": 0.01,
    "server hangs after the commit": 0.01,
    "server answers with an error": 0.006,
    "server does not start": 0.1,
    # a quote
    "no price": 0.01,
    "stale price": 0.01,
    # a model's turn; a session
    "model fails": 0.012,
    "model is silent": 0.003,
    "model says nothing": 0.02,
    "model invents a tool": 0.03,
    "model sends broken JSON": 0.03,
    "model sends nonsense": 0.12,
    "model never ends": 0.02,
    "model costs too much": 0.02,
    # a message; a write; a batch of log rows; a floor's life
    "push fails": 0.15,
    "store is busy": 0.002,
    "disk is full": 0.002,
    "disk fails at the commit": 0.002,
    "log can't be written": 0.01,
    "log falls behind": 0.3,
    # a moment of the owner's
    "trader is halted": 0.07,
    "trader is paused": 0.04,
    "trader may only sell": 0.04,
    "floor is stopped": 0.06,
    "floor is killed": 0.06,
    "clock is set back": 0.04,
    "clock is set forward": 0.04,
}
FATES = tuple(kind for kind in RATES if kind.endswith("the commit") and kind.startswith("server"))


class Faults:
    """The dice of one run."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)
        self.came: Counter[str] = Counter()

    def strikes(self, kind: str) -> bool:
        if self.chance.random() >= RATES[kind]:
            return False
        self.came[kind] += 1
        return True

    def fate(self) -> str | None:
        """How the server that now trades will end in it, for most not at all; counted when it does."""
        return next((kind for kind in FATES if self.chance.random() < RATES[kind]), None)


@dataclass
class Host:
    """A process: what runs in its context is it. `fate` is how it will end in the transaction that it is in."""

    name: str
    is_dead: bool = False
    fate: str | None = None
    writes_on: Connection | None = None


HOST: ContextVar[Host] = ContextVar("host")


@contextlib.contextmanager
def troubled_stores(faults: Faults) -> Iterator[None]:
    """Every store in this process, for as long as the context is."""
    whole_write = Store.write

    @contextlib.contextmanager
    def write(store: Store, *args: Any) -> Iterator[Connection]:
        host = HOST.get(None)
        if host is None:  # the test's own hands
            with whole_write(store, *args) as connection:
                yield connection
            return
        if host.is_dead:
            raise Died
        host.fate = None
        try:
            with whole_write(store, *args) as connection:
                host.writes_on = connection
                yield connection
                if host.fate is not None and "before" in host.fate:
                    faults.came[host.fate] += 1
                    raise Died
        finally:
            host.writes_on = None
        if host.fate is not None:
            faults.came[host.fate] += 1
            raise Died

    def on_statement(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        host = HOST.get(None)
        if host is None:
            return
        if statement.startswith("BEGIN IMMEDIATE") and faults.strikes("store is busy"):
            raise _failure(statement, "database is locked")
        if connection is host.writes_on and statement.startswith(("INSERT", "UPDATE", "DELETE")):
            if faults.strikes("disk is full"):
                raise _failure(statement, "database or disk is full")
            if statement.startswith("INSERT INTO transactions") and host.name.startswith("accounts"):
                host.fate = faults.fate()

    def on_commit(connection: Connection) -> None:
        host = HOST.get(None)
        if host is not None and connection is host.writes_on and faults.strikes("disk fails at the commit"):
            raise _failure("COMMIT", "disk I/O error")

    event.listen(Engine, "before_cursor_execute", on_statement)
    event.listen(Engine, "commit", on_commit)
    try:
        with mock.patch.object(Store, "write", write):
            yield
    finally:
        event.remove(Engine, "before_cursor_execute", on_statement)
        event.remove(Engine, "commit", on_commit)


def _failure(statement: str, said: str) -> OperationalError:
    return OperationalError(statement, None, sqlite3.OperationalError(said))


class TroubledVenue:
    """A venue that sometimes has no price, or an old one."""

    def __init__(self, venue: Venue, faults: Faults) -> None:
        self._venue = venue
        self._faults = faults

    @property
    def name(self) -> str:
        return self._venue.name

    def instruments(self) -> tuple[Instrument, ...]:
        return self._venue.instruments()

    def instrument(self, symbol: str) -> Instrument:
        return self._venue.instrument(symbol)

    def quote(self, symbol: str, now: datetime) -> Quote:
        quote = self._venue.quote(symbol, now)
        if self._faults.strikes("no price"):
            raise VenueUnavailable(f"the upstream did not answer for {symbol}")
        return replace(quote, stale=True) if self._faults.strikes("stale price") else quote

    def bars(self, symbol: str, interval: Interval, count: int, now: datetime) -> tuple[Bar, ...]:
        return self._venue.bars(symbol, interval, count, now)

    def corporate_actions(self, symbols: Collection[str], first: date, last: date) -> tuple[CorporateAction, ...]:
        return self._venue.corporate_actions(symbols, first, last)

    def session(self, now: datetime, symbol: str | None = None) -> MarketSession:
        return self._venue.session(now, symbol)


class TroubledCarrier:
    """One push target, which does not take every message."""

    names = ("telegraph",)

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def deliver(self, title: str, message: str, *, is_silent: bool = False) -> Sequence[Delivery]:
        failed = self._faults.strikes("push fails")
        return [Delivery("telegraph", not failed, "no answer" if failed else "")]
