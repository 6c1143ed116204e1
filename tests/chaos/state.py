"""What proofs about a damaged, full or copied store ask of it: all it holds, as one value, and whether it is whole.

Both look at the rows as the database has them, past the product's own types. `Activity` does, by chance, all that a
floor does to its store.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from accounts import Account, list_accounts, open_account
from database import Store, write_log
from ledger.reconcile import reconcile
from ledger.sessions import end_session_row, open_session_row
from ledger.texts import RATIONALE_CHARS_MAX
from market import Market
from store import tables
from tests.conftest import START
from tests.shelf import ShelfVenue
from values.errors import Refused
from values.log import LogRow

RICH = 10**8
SYMBOLS = ("AAPL", "BRK.B", "MSFT", "NVDA", "SPY")


def fingerprint(connection: Connection, but: Collection[str] = ()) -> str:
    """Every row of every table of ours, as one value; `but` names tables to leave out."""
    digest = hashlib.sha256()
    for table in (each for each in tables.metadata.sorted_tables if each.name not in but):
        keys = ", ".join(column.name for column in table.primary_key)
        rows = connection.exec_driver_sql(f"SELECT * FROM {table.name} ORDER BY {keys}")
        digest.update(f"{table.name} {[tuple(row) for row in rows]}".encode())
    return digest.hexdigest()


def faults(connection: Connection) -> list[str]:
    """What is wrong with its pages, its references and its books; nothing, when all is well."""
    pages = [str(each) for each in connection.exec_driver_sql("PRAGMA integrity_check").scalars() if each != "ok"]
    lost = [f"{row[0]} refers to a row of {row[2]} that is not there"
            for row in connection.exec_driver_sql("PRAGMA foreign_key_check")]  # fmt: skip
    return [*pages, *lost, *(pages or map(str, reconcile(connection)))]


def state_of(store: Store, but: Collection[str] = ()) -> str:
    with store.read() as connection:
        return fingerprint(connection, but)


def faults_of(store: Store) -> list[str]:
    with store.read() as connection:
        return faults(connection)


def orders_of(store: Store) -> dict[str, int]:
    """The key of each order that was filled, and its transaction."""
    table = tables.transactions.c
    with store.read() as connection:
        rows = connection.execute(select(table.order_key, table.id).where(table.kind != "deposit")).all()
    return {row.order_key: row.id for row in rows}


@dataclass
class Activity:
    """Things that a floor does, each one durable transaction. `filled` are the orders that were acknowledged.

    `reasons` says how many words the reason for an order may have.
    """

    store: Store
    chance: random.Random
    reasons: Sequence[int] = (1, 20, RATIONALE_CHARS_MAX // 4)
    filled: dict[str, int] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.market = Market(ShelfVenue(), self.store.clock())
        if not list_accounts(self.store):
            self.open_account("warren")
        self.warren = Account(self.store, self.market, "warren", "floor")

    def anything(self) -> Callable[[], object]:
        """One of them, with its arguments drawn already: called again after a failure, it is the same again."""
        number = next(self.numbers)
        return self.chance.choice(
            (self.order(number), self.order(number), self.log(number), self.session(number), self.account(number))
        )

    def order(self, number: int) -> Callable[[], object]:
        """A purchase under a key of its own, with a reason of one word or of pages."""
        symbol, quantity = self.chance.choice(SYMBOLS), self.chance.randint(1, 5)
        reason = "why " * self.chance.choice(self.reasons)
        key = f"order:{number}"

        def place() -> None:
            self.filled[key] = self.warren.buy_shares(symbol, quantity, reason, key).transaction_id

        return place

    def log(self, number: int) -> Callable[[], object]:
        message = f"{number} " + "x" * self.chance.choice((10, 1_000, 20_000))
        rows = [LogRow("trace", "warren", message, START)] * self.chance.randint(1, 3)
        return lambda: write_log(self.store, rows)

    def session(self, number: int) -> Callable[[], object]:
        return lambda: open_session_row(self.store, f"trace_{number:020}", "warren", 1, "trade", "scripted/test")

    def end_session(self, number: int) -> Callable[[], object]:
        def end() -> None:
            end_session_row(
                self.store, f"trace_{number:020}", outcome="completed", reason="", appraisal="well " * 500, turns=1,
                tool_calls=1, calls=(),
            )  # fmt: skip

        return end

    def account(self, number: int) -> Callable[[], object]:
        return lambda: self.open_account(f"client-{number}")

    def refused(self) -> str:
        """Ask for what is refused in any case; the code that the caller hears."""
        try:
            self.warren.buy_shares("ZZZZ", 1, "a mistake")
        except Refused as refusal:
            return refusal.code
        return "filled"

    def open_account(self, name: str) -> None:
        open_account(self.store, self.market, name, kind="trader", balance=RICH, strategy=f"{name} waits. " * 50)  # type: ignore[arg-type]
