"""The one reader of the store behind all tabs: a thread that looks, renders what changed, and hands out the newest.

Log lines are read twice a second; values every two minutes, and at once after a trade, a session's begin or end, or
anything the owner asked for. A store that fails is said in `View.broken`; the last view stays, and the reader goes on
trying, less and less often but at least every 5 s.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from dashboard import survey
from dashboard.record import Record
from dashboard.snapshots import Snapshots
from dashboard.survey import House
from dashboard.view import AccountView, Health, View
from database import Store
from market import Market
from values.errors import Refused, StoreUnusable, VenueUnavailable
from values.quote import Quote

logger = logging.getLogger("floor.dashboard")

LOGS_EVERY_S = 0.5
HEADER_EVERY_S = 5.0
VALUES_EVERY_S = 120.0
RETRY_MAX_S = 5.0
CLOSE_S = 10.0
NOTHING = View(None, (), {}, (), Health((), (), ()), ())
"""Before the first read."""

Panels = Mapping[str, Callable[[View], object]]
"""Of the floor as a whole: header, leaderboard, columns, equity, drawdown, notifications, health,
parts."""
Columns = Mapping[str, Callable[[View, AccountView], object]]
"""Of one account: top, strategy, log, holdings, trades, decisions, value. Warren's log is the snapshot `log:warren`."""


def _curves(account: AccountView) -> tuple[object, ...]:
    return account.title, account.role, account.deposited, account.points


_PART_OF_VIEW: Mapping[str, Callable[[View], tuple[object, ...]]] = {
    "header": lambda view: (view.header, view.broken),
    "leaderboard": lambda view: (view.accounts,),
    "equity": lambda view: tuple(part for each in by_name(view) for part in _curves(each)),
    "drawdown": lambda view: tuple(part for each in by_name(view) for part in _curves(each)),
    "notifications": lambda view: (view.notifications,),
    "health": lambda view: (view.health,),
    "columns": lambda view: tuple(part for each in view.traders for part in (each.name, each.title, each.role)),
    "parts": lambda view: (view.parts,),
}
_PART_OF_ACCOUNT: Mapping[str, Callable[[View, AccountView], tuple[object, ...]]] = {
    "top": lambda _, account: (account,),
    "log": lambda view, account: (view.logs.get(account.name),),
    "holdings": lambda _, account: (account.title, account.positions),
    "trades": lambda _, account: (account.title, account.transactions),
    "decisions": lambda _, account: (account.title, account.decisions),
    "strategy": lambda _, account: (account.strategy, account.strategy_change),
    "value": lambda _, account: _curves(account),
}


def by_name(view: View) -> list[AccountView]:
    return sorted(view.accounts, key=lambda each: each.name)


class Reader:
    """`start` it, or `step` it by hand with a monotonic time. `open_market` is asked again when the store was reset."""

    def __init__(
        self,
        store: Store,
        open_market: Callable[[Store], Market],
        house: House,
        panels: Panels,
        columns: Columns,
    ) -> None:
        self.snapshots = Snapshots()
        self.view = NOTHING
        self._store = store
        self._open_market = open_market
        self._house = house
        self._panels = panels
        self._columns = columns
        self._market: Market | None = None
        self._record: Record | None = None
        self._file: tuple[int, int] | None = None
        self._quotes: Mapping[str, Quote] = {}
        self._values_at = self._header_at = self._retry_at = 0.0
        self._failures = 0
        self._parts: dict[str, tuple[object, ...]] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="dashboard-reader", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; at once, but for a read that is under way."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        self.step(time.monotonic())
        while not self._closing.wait(LOGS_EVERY_S):
            self.step(time.monotonic())

    @property
    def market(self) -> Market | None:
        """The market of the store as it was read last; None before that."""
        return self._market

    def step(self, now: float) -> None:
        """Look at the store as the time asks for, and render what that changed. Never raises."""
        if self._failures and now < self._retry_at:
            return
        try:
            self._look(now)
        except (StoreUnusable, VenueUnavailable, Refused, sqlite3.Error, OSError) as error:
            self._fail(now, f"{error}")
        except Exception as error:  # a fault of ours must not end the only reader
            logger.exception("the dashboard's reader failed")
            self._fail(now, f"the dashboard failed: {type(error).__name__}: {error}")
        else:
            self._failures = 0
            if self.view.broken is not None:
                self.view = replace(self.view, broken=None)
        self._render()

    def _fail(self, now: float, sentence: str) -> None:
        self._retry_at = now + min(RETRY_MAX_S, LOGS_EVERY_S * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        if self.view.broken != sentence:
            self.view = replace(self.view, broken=sentence)

    def _look(self, now: float) -> None:
        self._check_file()
        record, market = self._record, self._market
        if record is not None and record.run.made_at != self._store.run().made_at:
            record = None  # the store was reset: nothing of the old one counts
        if record is None or market is None:
            self._market = market = self._open_market(self._store)
            self._record = record = Record(self._store, market.clock.wall)
            self._look_at_values(record, market, now)
        else:
            record.refresh_logs()
            if now >= self._values_at or record.has_news():
                record.refresh_values()
                self._look_at_values(record, market, now)
            elif now >= self._header_at:
                self._look_at_header(record, market, now)
        self._take_the_rest(record)

    def _check_file(self) -> None:
        """A file that was replaced is opened anew; SQLite would go on with the one that is gone."""
        if not self._store.address.is_file:
            return
        try:
            found = self._store.path.stat()
        except FileNotFoundError:
            raise StoreUnusable(f"there is no store at {self._store.path} any more: start the floor") from None
        file = (found.st_dev, found.st_ino)
        if self._file not in (None, file):
            self._store.close()
            self._record = None
        self._file = file

    def _look_at_values(self, record: Record, market: Market, now: float) -> None:
        self._quotes = survey.prices(self._store, record, market)
        self._look_at_header(record, market, now)
        self._values_at = now + VALUES_EVERY_S
        assert self.view.header is not None
        known = {each.name: each for each in self.view.accounts}
        found = survey.accounts(record, market, self._house, self._quotes, self.view.header.running)
        # what is equal stays the same object, by which a panel's part is known
        accounts = tuple(each if each != known.get(each.name) else known[each.name] for each in found)
        if len(accounts) != len(self.view.accounts) or any(
            one is not other for one, other in zip(accounts, self.view.accounts, strict=True)
        ):
            self.view = replace(self.view, accounts=accounts)

    def _look_at_header(self, record: Record, market: Market, now: float) -> None:
        self._header_at = now + HEADER_EVERY_S
        header = survey.header(self._store, record, market, self._house, self._quotes)
        self.view = replace(self.view, header=header)

    def _take_the_rest(self, record: Record) -> None:
        logs = {name: tally.logs.rows for name, tally in record.tallies.items()}
        self.view = replace(
            self.view,
            logs=logs,
            notifications=record.notifications,
            health=record.health,
            parts=record.parts,
            symbols=tuple(sorted(record.symbols)),
        )

    def _render(self) -> None:
        """Every panel whose part of the view is another than at its last rendering."""
        view = self.view
        for name, panel in self._panels.items():
            self._render_one(name, _PART_OF_VIEW[name](view), partial(panel, view))
        for account in view.columns:
            for kind, column in self._columns.items():
                part = _PART_OF_ACCOUNT[kind](view, account)
                self._render_one(f"{kind}:{account.name}", part, partial(column, view, account))
        if view.header is not None:
            there = {each.name for each in view.columns}
            for name in self.snapshots.names():
                _, is_of_account, owner = name.partition(":")
                if is_of_account and owner not in there:
                    self.snapshots.empty(name)
                    self._parts.pop(name, None)

    def _render_one(self, name: str, part: tuple[object, ...], render: Callable[[], object]) -> None:
        before = self._parts.get(name)
        if before is not None and len(before) == len(part) and all(map(_same, before, part)):
            return
        try:
            self.snapshots.put(name, render())
        except Exception:  # one panel's fault is not the others'
            logger.exception("the panel %s could not be rendered", name)
        self._parts[name] = part


def _same(one: object, other: object) -> bool:
    """Whether a part is as it was: the same object, or an equal plain value."""
    return one is other or (not isinstance(one, tuple) and one == other)
