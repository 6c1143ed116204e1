"""The store: one database that holds one run, its transactions and the floor's named operations on it.

`Store.read` is a consistent snapshot, `Store.write` a durable transaction that is rolled back whole by any exception.
On SQLite writers take turns; on PostgreSQL they meet only at the rows they lock, so whoever changes what it has read
locks it first (`account_record(..., lock=True)`, `lock_run`). Cash and holdings are changed by the ledger alone:
`write_account` opens an account or changes its strategy and nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import StatementError

from store import tables
from store.backend import FloorHold, backend_of
from store.migrate import is_current, revision, upgrade
from store.turns import WAIT_S
from values.address import StoreAddress
from values.clock import Anchor, Clock, ReplayClock, ScaledClock, SystemClock, wall_now
from values.errors import Refused, StoreEmpty, StoreUnusable
from values.log import LogRow
from values.money import STARTING_BALANCE
from values.settings import MarketKind

AccountKind = Literal["trader", "client", "baseline"]
Actor = Literal["floor", "client", "operator", "baseline", "market"]


@dataclass(frozen=True, slots=True)
class Run:
    """What a store was made for. `history_hash` is a replay's price file; `cycle_slot` the last cycle's market time."""

    market: MarketKind
    seed: int
    history_hash: str | None
    history_name: str | None
    made_at: datetime
    started_at: datetime
    anchor: Anchor
    cycle: int
    cycle_slot: datetime | None


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a store that does not exist yet is to be made for."""

    market: MarketKind = "simulated"
    seed: int | None = None
    history_hash: str | None = None
    history_name: str | None = None
    started_at: datetime | None = None


class Store:
    """One run's database. Safe to use from several threads and processes."""

    def __init__(self, where: StoreAddress | Path, new_run: NewRun | None = None) -> None:
        """Open the store at an address, or in an SQLite file; with `new_run`, make it when it is not there.

        Raises StoreEmpty where there is none, and StoreUnusable with what to do for every store that can't be used.
        """
        self.address = StoreAddress.of_file(where) if isinstance(where, Path) else where
        self.path = self.address.path
        self._backend = backend_of(self.address)
        self.migrated_copy: Path | None = None
        try:
            self._backend.prepare(may_make=new_run is not None)
            self._prepare(new_run)
        except BaseException:
            self.close()
            raise

    def _prepare(self, new_run: NewRun | None) -> None:
        with self.read() as connection:
            if is_current(connection) and self._run_row(connection) is not None:
                return
        never = f"the store {self.address} was never set up: remove it and start the floor"
        with self.write() as connection:
            self._backend.hold_alone(connection)
            found = revision(connection)
            if new_run is None and found is None:
                raise StoreEmpty(never)
            if not is_current(connection):
                if found is not None:
                    self.migrated_copy = self._backend.copy_before_migration(found, tables.SCHEMA_REVISION)
                try:
                    upgrade(connection)
                except BaseException:
                    if self.migrated_copy is not None:  # or each attempt would leave one
                        self.migrated_copy.unlink(missing_ok=True)
                    raise
            if self._run_row(connection) is None:
                if new_run is None:
                    raise StoreUnusable(never)
                connection.execute(insert(tables.run).values(_first_run_row(new_run)))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A snapshot; what is read in it belongs together."""
        try:
            with self._backend.read() as connection:
                yield connection
        except StatementError as error:
            raise self._backend.explained(error) from error

    @contextmanager
    def write(self, timeout_s: float = WAIT_S) -> Iterator[Connection]:
        """A durable transaction. Keep network and model calls out of it. Raises StoreBusy after `timeout_s`."""
        try:
            with self._backend.write(timeout_s) as connection:
                yield connection
        except StatementError as error:
            raise self._backend.explained(error) from error

    def close(self) -> None:
        self._backend.close()

    def _run_row(self, connection: Connection) -> Row[tuple[object, ...]] | None:
        return connection.execute(select(tables.run)).one_or_none()

    def run(self) -> Run:
        with self.read() as connection:
            row = connection.execute(select(tables.run)).one()
        return Run(
            market=row.market,
            seed=row.seed,
            history_hash=row.history_hash,
            history_name=row.history_name,
            made_at=row.made_at,
            started_at=row.started_at,
            anchor=_anchor(row),
            cycle=row.cycle,
            cycle_slot=row.cycle_slot,
        )

    def clock(self) -> Clock:
        """The run's clock, the same in every process that opens this store."""
        market = self.run().market
        if market == "live":
            return SystemClock()
        if market == "replay":
            return ReplayClock(lambda: self.run().anchor.market)
        return ScaledClock(lambda: self.run().anchor)

    def anchor(self, market: datetime, factor: int, fast_for: timedelta) -> None:
        """Re-anchor the run's clock: from now on it is `market`, and fast for as long as `fast_for`. The floor's alone.

        Market time never goes back: a clock that runs by itself stays at the time that it has reached by now, and a
        replay raises ValueError.
        """
        with self.write() as connection:
            row, wall = lock_run(connection), wall_now()
            if row.market == "simulated":
                market = max(market, _anchor(row).at(wall))
            elif market < row.anchor_market:
                raise ValueError(f"market time would go back from {row.anchor_market} to {market}")
            connection.execute(
                update(tables.run).values(
                    anchor_wall=wall, anchor_market=market, factor=factor, fast_until=wall + fast_for
                )
            )

    def begin_cycle(self, slot: datetime) -> int:
        """Record that the cycle of market time `slot` begins; its number, from 1."""
        with self.write() as connection:
            number = int(lock_run(connection).cycle) + 1
            connection.execute(update(tables.run).values(cycle=number, cycle_slot=slot))
        return number

    def hold_floor(self) -> FloorHold | None:
        """The right to be this store's floor, or None when another process has it; `floor_holder` says which."""
        return self._backend.hold_floor()

    def floor_holder(self) -> str:
        return self._backend.floor_holder()

    def is_floor_held(self) -> bool:
        """Whether a floor runs on this store. To look never keeps one from starting."""
        return self._backend.is_floor_held()

    def backup(self, target: Path) -> None:
        """A consistent copy as an SQLite file, also while the floor writes.

        Raises Refused `exists` rather than overwrite, `no_folder`, and `no_copy` when there is no room for it.
        """
        if not target.parent.is_dir():
            raise Refused("no_folder", f"{target} is in a folder that does not exist: make it, or name another")
        try:
            target.touch(0o600, exist_ok=False)
        except FileExistsError:
            raise Refused("exists", f"{target} exists already; name a new file") from None
        except OSError as error:
            raise Refused("no_copy", f"{target} can't be written: {error.strerror}") from None
        self._backend.copy_to(target)

    def discard(self) -> None:
        """Remove the store and close it; for `reset`, which has made a copy."""
        self._backend.discard()


def lock_run(connection: Connection) -> Row[Any]:
    """The run's row, locked until the write transaction ends: what is done under it is done by one at a time."""
    return connection.execute(select(tables.run).with_for_update(key_share=True)).one()


def _anchor(row: Row[Any]) -> Anchor:
    return Anchor(row.anchor_wall, row.anchor_market, row.factor, row.fast_until)


def _first_run_row(new_run: NewRun) -> dict[str, object]:
    wall = wall_now()
    market = new_run.started_at or wall.replace(microsecond=0)
    return {
        "id": 1,
        "market": new_run.market,
        "seed": secrets.randbits(32) if new_run.seed is None else new_run.seed,
        "history_hash": new_run.history_hash,
        "history_name": new_run.history_name,
        "made_at": wall,
        "started_at": market,
        "anchor_wall": wall,
        "anchor_market": market,
        "factor": 1,
        "fast_until": wall,
        "cycle": 0,
        "cycle_slot": None,
    }


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account's current state as the store keeps it. USD; `deposited` is what was paid in."""

    name: str
    kind: AccountKind
    state: Literal["active", "reducing", "halted"]
    state_reason: str
    paused: bool
    cash: Decimal
    realised: Decimal
    deposited: Decimal
    strategy: str
    opened_at: datetime


def account_record(connection: Connection, name: str, *, lock: bool = False) -> AccountRecord | None:
    """The account within the caller's transaction, None when there is none.

    With `lock`, no other transaction changes the account or its holdings until this one ends.
    """
    table = tables.accounts.c
    query = select(*(table[field.name] for field in fields(AccountRecord))).where(table.name == name)
    row = connection.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    return None if row is None else AccountRecord(**row._mapping)


def read_account(store: Store, name: str) -> AccountRecord | None:
    with store.read() as connection:
        return account_record(connection, name)


def write_account(
    store: Store,
    name: str,
    *,
    strategy: str,
    actor: Actor,
    kind: AccountKind = "client",
    limits: Mapping[str, Decimal | None] | None = None,
    balance: Decimal = STARTING_BALANCE,
    session_id: str | None = None,
    must_be_new: bool = False,
) -> bool:
    """Open the account `name` with `balance` USD, or change the strategy of the one that is there; whether it is new.

    Never changes the cash or holdings of an account that exists; `kind`, `limits` and `balance` are for a new one.
    With `must_be_new`, one that exists is left as it is: raises Refused `account_exists`.
    """
    clock = store.clock()
    with store.write() as connection:
        lock_run(connection)  # an account that is not there yet has no row of its own to lock
        now, wall = no_earlier(connection, clock.now()), clock.wall()
        acted = {"actor": actor, "market_time": now, "wall_time": wall}
        is_new = account_record(connection, name, lock=True) is None
        if must_be_new and not is_new:
            raise Refused("account_exists", f"there is an account {name} already; choose another name")
        if is_new:
            connection.execute(
                insert(tables.accounts).values(
                    name=name,
                    kind=kind,
                    state="active",
                    state_reason="",
                    paused=False,
                    cash=balance,
                    realised=Decimal(0),
                    deposited=balance,
                    strategy=strategy,
                    opened_at=now,
                )
            )
            connection.execute(
                insert(tables.transactions).values(
                    account=name,
                    kind="deposit",
                    amount=balance,
                    realised=Decimal(0),
                    cash_after=balance,
                    rationale="opening deposit",
                    **acted,
                )
            )
            for key, value in (limits or {}).items():
                connection.execute(insert(tables.limits).values(account=name, key=key, value=value, **acted))
        else:
            connection.execute(update(tables.accounts).where(tables.accounts.c.name == name).values(strategy=strategy))
        connection.execute(
            insert(tables.strategies).values(account=name, strategy=strategy, session_id=session_id, **acted)
        )
    return is_new


def no_earlier(connection: Connection, moment: datetime) -> datetime:
    """`moment`, or the last transaction's market time where that is later: for the transaction that is written next."""
    table = tables.transactions.c
    last = connection.execute(select(table.market_time).order_by(table.id.desc()).limit(1)).scalar_one_or_none()
    return moment if last is None or last < moment else last


def insert_log(connection: Connection, rows: Sequence[LogRow]) -> None:
    """Log rows within the caller's transaction."""
    if rows:
        connection.execute(insert(tables.logs), [asdict(row) for row in rows])


def write_log(store: Store, rows: Sequence[LogRow]) -> None:
    with store.write() as connection:
        insert_log(connection, rows)


def read_log(
    store: Store, account: str | None = None, after_id: int = 0, limit_rows: int = 100
) -> list[tuple[int, LogRow]]:
    """The newest log rows after `after_id`, oldest first, each with its id; at most `limit_rows`."""
    table = tables.logs.c
    query = select(tables.logs).where(table.id > after_id).order_by(table.id.desc()).limit(limit_rows)
    if account is not None:
        query = query.where(table.account == account)
    with store.read() as connection:
        found = connection.execute(query).mappings().all()
    return [(row["id"], LogRow(**{key: value for key, value in row.items() if key != "id"})) for row in reversed(found)]


def write_market(store: Store, key: str, value: str, market_time: datetime) -> None:
    """Keep a market answer under `key`, in place of the one that was there."""
    table = tables.market_cache
    with store.write() as connection:
        lock_run(connection)
        changed = connection.execute(
            update(table).where(table.c.key == key).values(value=value, market_time=market_time, wall_time=wall_now())
        )
        if changed.rowcount == 0:
            connection.execute(
                insert(table).values(key=key, value=value, market_time=market_time, wall_time=wall_now())
            )


def read_market(store: Store, key: str) -> tuple[str, datetime] | None:
    """The market answer kept under `key` and its market time."""
    table = tables.market_cache.c
    with store.read() as connection:
        row = connection.execute(select(table.value, table.market_time).where(table.key == key)).one_or_none()
    return None if row is None else (row.value, row.market_time)


def forget_market(store: Store, first: str, last: str) -> None:
    """Drop the market answers whose keys are in [first, last), in the order of their letters."""
    key = tables.market_cache.c.key
    with store.read() as connection:
        found = [each for each in connection.execute(select(key)).scalars() if first <= each < last]
    if found:
        with store.write() as connection:
            connection.execute(delete(tables.market_cache).where(key.in_(found)))
