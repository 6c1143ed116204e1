"""What the store has said so far: read whole once, then only what is new.

Every refresh is one snapshot of the store, and changes nothing here when it fails half way. What an update costs
depends on what is new and on how many accounts there are, not on how much has happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from dashboard import queries
from dashboard.health import CALLS_LOOKED_THROUGH, FAULTS_SHOWN, Call, CallRecord, refused_call
from dashboard.queries import OpenAccount, newest_of, of
from dashboard.series import Series
from dashboard.tail import Tail
from dashboard.tally import LOGS_KEPT, ROWS_KEPT, Tally
from dashboard.view import Decision, Fault, Health, LogLine, Notification, PartLine, StrategyChange, Trade
from database import Store
from ledger.limits import as_shown, read_limits
from store import tables
from values.clock import wall_now
from values.money import CASH_DECIMALS, from_scaled

_FOLLOWED = ("transactions", "portfolio_values", "refusals", "decisions", "model_calls")
LOGS_AT_ONCE = 5_000
"""With more new log rows than these, after a laptop's sleep, each account's newest are read instead."""


class Record:
    """`Record(store)` is the first read; `refresh_logs` and `refresh_values` bring it up to date."""

    def __init__(self, store: Store, wall: Callable[[], datetime] = wall_now) -> None:
        self._store = store
        self.run = store.run()
        self.tallies: dict[str, Tally] = {}
        self.symbols: set[str] = set()
        self.running: dict[str, str] = {}  # account to its open session's model
        self.limits: Mapping[str, Mapping[str, str | None]] = {}
        self.strategy_changes: Mapping[str, StrategyChange] = {}
        self.notifications: tuple[Notification, ...] = ()
        self.parts: tuple[PartLine, ...] = ()
        self._calls = CallRecord()
        self._health: Health | None = None
        today = wall().astimezone(UTC).date()
        with store.read() as connection:
            self._signs = queries.signs_of_change(connection)
            self._tails = {name: Tail(connection, tables.metadata.tables[name]) for name in _FOLLOWED}
            self._logs = Tail(connection, tables.logs)
            self._told = Tail(connection, tables.notifications)
            self.accounts = queries.open_accounts(connection)
            self.tallies = {name: _empty(account) for name, account in self.accounts.items()}
            self._add_up(connection)
            self._read_newest(connection)
            self._spent = Counter({today: queries.spent_since(connection, datetime.combine(today, time(), UTC))})
            self.limits = self._read_limits(connection)
            self.strategy_changes = queries.strategy_changes(connection, self.accounts)
            self.notifications = _notifications(connection)
            self.parts = _parts(connection)

    def _add_up(self, connection: Connection) -> None:
        """The whole history, once: fills are added up by the database, recorded values pass by."""
        tallies = self.tallies
        for fills in queries.all_fills(connection):
            tallies[fills.account].add_fills(fills.kind, fills.count, fills.wins, fills.spread)
            self.symbols.add(fills.symbol)
        for _, account, value, moment in queries.streamed(
            connection, queries.VALUES.order_by(tables.portfolio_values.c.id)
        ):
            tallies[account].series.add(moment, value)
        for row in queries.model_use(connection):
            if row.account in tallies:
                tallies[row.account].add_model_use(int(row.cost), int(row.read), int(row.cached), int(row.written))
        for name, count in queries.refusal_counts(connection, list(tallies)).items():
            tallies[name].refusals = count

    def _read_newest(self, connection: Connection) -> None:
        for name, tally in self.tallies.items():
            trades = newest_of(connection, queries.TRADES, tables.transactions, name, ROWS_KEPT)
            tally.transactions.add(of(Trade, row) for row in trades)
            decisions = newest_of(connection, queries.DECISIONS, tables.decisions, name, ROWS_KEPT)
            tally.decisions.add(of(Decision, row) for row in decisions)
            tally.logs.add(_lines(newest_of(connection, queries.LOGS, tables.logs, name, LOGS_KEPT)))
        self._calls.add_calls(_calls(queries.newest_calls(connection, self._logs.newest, CALLS_LOOKED_THROUGH)))
        newest = connection.execute(queries.REFUSALS.order_by(tables.refusals.c.id.desc()).limit(FAULTS_SHOWN)).all()
        self._note_refusals(newest)
        self._note_sessions(queries.sessions_that_ended_badly(connection, FAULTS_SHOWN))
        self._note_sessions(self._newest_sessions(connection))

    def has_news(self) -> bool:
        """Whether anything but a log row has changed since the values were read. Cheap."""
        with self._store.read() as connection:
            return queries.signs_of_change(connection) != self._signs

    def refresh_logs(self) -> None:
        """Read new log rows, and messages to the owner that are new or were still being sent."""
        with self._store.read() as connection:
            ids = self._logs.new(connection)
            rows, lines = self._new_log_rows(connection, ids)
            told = self._told.new(connection)
            is_sending = any(each.state in ("pending", "held") for each in self.notifications)
            notifications = _notifications(connection) if told or is_sending else self.notifications
            parts = _parts(connection)
        for name, mine in lines.items():
            self.tallies[name].logs.add(_lines(mine))
        self._logs.accept(ids)
        calls = [row for row in rows if row.type == "function"]
        if calls:
            self._calls.add_calls(_calls(calls))
            self._health = None
        if notifications != self.notifications:
            self.notifications = notifications
        if parts != self.parts:
            self.parts = parts
        self._told.accept(told)

    def _new_log_rows(self, connection: Connection, ids: list[int]) -> tuple[list[Any], dict[str, list[Any]]]:
        """New rows for the calls' record, and by account."""
        if len(ids) > LOGS_AT_ONCE:
            calls = queries.newest_calls(connection, ids[-1], CALLS_LOOKED_THROUGH)
            known = {name: newest_of(connection, queries.LOGS, tables.logs, name, LOGS_KEPT) for name in self.tallies}
            wanted = set(ids)
            return [row for row in calls if row.id in wanted], known
        rows = self._logs.rows(connection, queries.LOGS, ids)
        return rows, _by_account(rows, self.tallies)

    def refresh_values(self) -> None:
        """Read what is new of everything else, and the accounts as they are now."""
        run = self._store.run()
        with self._store.read() as connection:
            signs = queries.signs_of_change(connection)
            accounts = queries.open_accounts(connection)
            added = {name: _empty(account) for name, account in accounts.items() if name not in self.tallies}
            for name, tally in added.items():
                tally.logs.add(_lines(newest_of(connection, queries.LOGS, tables.logs, name, LOGS_KEPT)))
                tally.refusals = queries.refusal_counts(connection, [name]).get(name, 0)
            ids = {name: tail.new(connection) for name, tail in self._tails.items()}

            def new(table: str, query: Any) -> list[Any]:
                return self._tails[table].rows(connection, query, ids[table])

            trades, decisions = new("transactions", queries.TRADES), new("decisions", queries.DECISIONS)
            values, refusals = new("portfolio_values", queries.VALUES), new("refusals", queries.REFUSALS)
            calls = new("model_calls", queries.MODEL_CALLS)
            sessions = self._newest_sessions(connection, accounts)
            limits, strategy_changes = self.limits, self.strategy_changes
            if signs != self._signs:
                limits = self._read_limits(connection, accounts)
                strategy_changes = queries.strategy_changes(connection, accounts)
        known = frozenset(self.tallies)
        self.tallies |= added
        self.run, self.accounts, self._signs = run, accounts, signs
        self.limits, self.strategy_changes = limits, strategy_changes
        self._add_trades(trades)
        for name, mine in _by_account(decisions, self.tallies).items():
            self.tallies[name].decisions.add(of(Decision, row) for row in mine)
        for _, account, value, moment in values:
            self.tallies[account].series.add(moment, value)
        self._add_calls(calls)
        for row in refusals:
            if row.account in known:
                self.tallies[row.account].refusals += 1
        self._note_refusals(refusals)
        self._note_sessions(sessions)
        for name, tail in self._tails.items():
            tail.accept(ids[name])

    def _add_trades(self, rows: list[Any]) -> None:
        for name, mine in _by_account(rows, self.tallies).items():
            tally = self.tallies[name]
            tally.transactions.add(of(Trade, row) for row in mine)
            for row in mine:
                if row.symbol is not None:
                    self.symbols.add(row.symbol)
                if row.kind in queries.FILLS:
                    gap = 0 if row.raw_quote_price is None else abs(row.raw_price - row.raw_quote_price)
                    tally.add_fills(row.kind, 1, int(row.raw_realised > 0), gap * row.raw_quantity)

    def _add_calls(self, rows: list[Any]) -> None:
        for row in rows:
            if row.account in self.tallies:
                used = (row.raw_cost_usd, row.input_tokens, row.cached_tokens, row.output_tokens)
                self.tallies[row.account].add_model_use(*used)
            self._spent[row.wall_time.date()] += row.raw_cost_usd
        for day in sorted(self._spent)[:-2]:
            del self._spent[day]

    def _newest_sessions(self, connection: Connection, accounts: Mapping[str, OpenAccount] | None = None) -> list[Any]:
        acting = [
            name
            for name, account in (self.accounts if accounts is None else accounts).items()
            if account.book.account.kind == "trader"
        ]
        return [row for name in acting for row in queries.newest_sessions(connection, name)]

    def _note_sessions(self, rows: Iterable[Any]) -> None:
        """Newest first of each account: what runs, by which model, and what ended badly."""
        rows = list(rows)
        self.running = {row.account: row.model for row in rows if row.outcome == "open"}
        for row in reversed(rows):
            if row.account in self.tallies:
                self.tallies[row.account].model = row.model
            if row.outcome in queries.ENDED_BADLY:
                fault = Fault(row.account, f"session {row.outcome}", row.reason, row.ended_wall_time or row.wall_time)
                self._calls.add_fault("session", row.id, fault)
        self._health = None

    def _note_refusals(self, rows: Iterable[Any]) -> None:
        for row in rows:
            sentence = f"{row.code}: {row.sentence}"
            fault = Fault(row.account, f"refused {row.tool}", sentence, row.wall_time)
            self._calls.add_refusal(row.id, fault, refused_call(row.session_id, row.tool, row.code))
        self._health = None

    def _read_limits(
        self, connection: Connection, accounts: Mapping[str, OpenAccount] | None = None
    ) -> Mapping[str, Mapping[str, str | None]]:
        names = self.accounts if accounts is None else accounts
        return {name: as_shown(read_limits(connection, name)) for name in names}

    @property
    def health(self) -> Health:
        if self._health is None:
            self._health = self._calls.health()
        return self._health

    def spent_on(self, day: date) -> Decimal:
        """USD that model calls of a wall day (UTC) have cost; today's and yesterday's are known."""
        return from_scaled(self._spent.get(day, 0), CASH_DECIMALS)


def _empty(account: OpenAccount) -> Tally:
    return Tally(Series(account.raw_deposited))


def _parts(connection: Connection) -> tuple[PartLine, ...]:
    return tuple(of(PartLine, row) for row in connection.execute(queries.PARTS))


def _notifications(connection: Connection) -> tuple[Notification, ...]:
    newest = queries.NOTIFICATIONS.order_by(tables.notifications.c.id.desc()).limit(queries.NOTIFICATIONS_KEPT)
    return tuple(of(Notification, row) for row in connection.execute(newest))


def _lines(rows: Iterable[Any]) -> list[LogLine]:
    return [of(LogLine, row) for row in rows]


def _calls(rows: Iterable[Any]) -> list[Call]:
    return [Call(row.account, of(LogLine, row)) for row in rows]


def _by_account(rows: Iterable[Any], known: Mapping[str, object]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        if row.account in known:
            found.setdefault(row.account, []).append(row)
    return found
