"""New rows of the record that the owner is to hear of: fills, refusals and halts, each told once.

What was read is remembered in the store, in the transaction that tells of it, so that a restart neither repeats nor
loses a row. On PostgreSQL two transactions may become visible against the order of their ids: a bookmark stays behind
rows that are younger than SETTLED_AFTER.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, func, insert, select, update

from database import Store, lock_run
from push.events import Announcer
from push.texts import shortened
from store import tables
from values.clock import Clock
from values.errors import Refused
from values.money import plain
from values.names import normalise_name

ROWS_MAX = 1_000
"""Of each table, in one look."""
SETTLED_AFTER = timedelta(seconds=60)
RATIONALE_CHARS_MAX = 500
_SOURCES: tuple[Table, ...] = (tables.transactions, tables.refusals)
_HALTED, _ABLE = "halted", "able"


class Watch:
    """One floor's eye on its store. Not for several threads."""

    def __init__(self, store: Store, clock: Clock, announcer: Announcer) -> None:
        """What is in the record now is known to an owner whose store has no bookmark yet."""
        self._store = store
        self._clock = clock
        self._announcer = announcer
        self._seen: dict[str, set[int]] = {each.name: set() for each in _SOURCES}
        with store.write() as connection:
            lock_run(connection)
            known = _bookmarks(connection)
            for table in _SOURCES:
                if table.name not in known:
                    newest = connection.execute(select(func.max(table.c.id))).scalar_one() or 0
                    _remember(connection, table.name, str(newest), is_new=True)

    def look(self) -> None:
        """Tell what is new. Raises StoreUnusable; what was not told then is told by the next look."""
        wall = self._clock.wall()
        with self._store.read() as connection:
            known = _bookmarks(connection)
            found = {table.name: _after(connection, table, int(known[table.name])) for table in _SOURCES}
            states = _changed_states(connection, known)
        fresh = {name: [row for row in rows if row.id not in self._seen[name]] for name, rows in found.items()}
        moved = {name: to for name, rows in found.items() if (to := _settled(rows, wall)) is not None}
        if not states and not moved and not any(fresh.values()):
            return
        with self._store.write() as connection:
            lock_run(connection)
            if self._announcer.has_targets:  # who has none looks at the page, which has every fill and refusal
                for row in fresh[tables.transactions.name]:
                    self._tell_fill(connection, row)
                for row in fresh[tables.refusals.name]:
                    self._tell_refusal(connection, row)
            for account, state, reason in states:
                if state == _HALTED:
                    self._announcer.announce_in(connection, "halt", account, f"{account} is halted", reason)
                _remember(connection, f"state {account}", state, is_new=f"state {account}" not in known)
            for name, to in moved.items():
                _remember(connection, name, str(to), is_new=False)
        for name, rows in found.items():
            self._seen[name] = {row.id for row in rows if row.id > moved.get(name, 0)}

    def _tell_fill(self, connection: Connection, row: Row[Any]) -> None:
        if row.kind not in ("buy", "sell") or row.actor == "baseline":
            return
        done = "bought" if row.kind == "buy" else "sold"
        title = f"{row.account} {done} {plain(row.quantity)} {row.symbol} at {plain(row.price)}"
        text = shortened(row.rationale, RATIONALE_CHARS_MAX)
        self._announcer.announce_in(
            connection, "trade", row.account, title, text, about=f"transaction {row.id}", session_id=row.session_id
        )

    def _tell_refusal(self, connection: Connection, row: Row[Any]) -> None:
        try:
            account: str | None = normalise_name(row.account)
        except Refused:  # what the caller gave for a name, and the refusal may be of just that
            account = None
        self._announcer.announce_in(
            connection, "refusal", account, f"{account or 'a caller'}: {row.tool} refused ({row.code})", row.sentence,
            about=f"refusal {row.id}", session_id=row.session_id,
        )  # fmt: skip


def _bookmarks(connection: Connection) -> dict[str, str]:
    return {row.source: row.reached for row in connection.execute(select(tables.bookmarks))}


def _remember(connection: Connection, source: str, reached: str, *, is_new: bool) -> None:
    table = tables.bookmarks
    if is_new:
        connection.execute(insert(table).values(source=source, reached=reached))
    else:
        connection.execute(update(table).where(table.c.source == source).values(reached=reached))


def _after(connection: Connection, table: Table, row_id: int) -> Sequence[Row[Any]]:
    query = select(table).where(table.c.id > row_id).order_by(table.c.id).limit(ROWS_MAX)
    return connection.execute(query).all()


def _settled(rows: Sequence[Row[Any]], wall: datetime) -> int | None:
    """Up to which id no row can appear any more; None for no further than before."""
    if len(rows) == ROWS_MAX:
        return int(rows[-1].id)
    settled = [int(row.id) for row in rows if row.wall_time < wall - SETTLED_AFTER]
    return max(settled, default=None)


def _changed_states(connection: Connection, known: dict[str, str]) -> list[tuple[str, str, str]]:
    """Accounts that were halted or resumed since the last look: name, state and why."""
    table = tables.accounts.c
    query = select(table.name, table.state, table.state_reason).where(table.kind != "baseline").order_by(table.name)
    found = ((row.name, _HALTED if row.state == "halted" else _ABLE, row.state_reason) for row in
             connection.execute(query))  # fmt: skip
    return [each for each in found if known.get(f"state {each[0]}", _ABLE) != each[1]]
