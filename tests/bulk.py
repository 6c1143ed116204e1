"""A long record in little time, for tests and benchmarks of what stands behind it: rows that reconcile, made in SQL.

`python -m tests.bulk STORE ACCOUNT COUNT` adds COUNT transactions again and again, and prints a line each time.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from sqlalchemy import Connection, String, cast, func, insert, literal, select, update

from database import AccountRecord, Store
from ledger.book import read_book
from store import tables
from store.columns import Moment, cash
from values.money import ZERO, fill_price, notional

SYMBOL = "JPM"
"""What the record trades. The account may not hold it."""
QUOTE = Decimal(1)
A_DAY = 500
"""Transactions of one day; the days go back from the account's opening, so that no limit of today counts them."""
A_BATCH = 20_000
"""Transactions that are committed together."""


def fill_record(store: Store, account: str, count: int) -> None:
    """Add `count` transactions, an even number, to the account's record: buys of one share, and its sale, in turn.

    Each pair costs the account the spread on one dollar. Raises ValueError when the account holds SYMBOL already.
    """
    if count % 2:
        raise ValueError(f"{count} transactions are not pairs of a buy and a sale")
    for done in range(0, count, A_BATCH):
        with store.write() as connection:
            _add(connection, account, min(A_BATCH, count - done) // 2)


def _add(connection: Connection, name: str, pairs: int) -> None:
    book = read_book(connection, name)
    if book.held(SYMBOL).quantity:
        raise ValueError(f"{name} holds {SYMBOL}, which the record is to buy and sell")
    table = tables.transactions.c
    last_id, rows = connection.execute(
        select(func.max(table.id), func.count()).where(table.account == name)
    ).one()  # a part of each key, and of each day's distance
    paid = notional(fill_price(QUOTE, "buy"), Decimal(1), "buy")
    cost = paid - notional(fill_price(QUOTE, "sell"), Decimal(1), "sell")
    first = _first_pair(connection, book.account, paid, cost, f"record:{last_id}:")
    for start in range(1, pairs, A_DAY // 2):
        day = book.account.opened_at - timedelta(days=1 + (rows + 2 * start) // A_DAY)
        _copy(connection, first, range(start, min(start + A_DAY // 2, pairs)), cost, f"record:{last_id}:", day)
    accounts = tables.accounts
    connection.execute(
        update(accounts)
        .where(accounts.c.name == name)
        .values(cash=book.account.cash - pairs * cost, realised=book.account.realised - pairs * cost)
    )


def _first_pair(
    connection: Connection, account: AccountRecord, paid: Decimal, cost: Decimal, keys: str
) -> tuple[int, int]:
    """Insert the buy and the sale that the others are copies of; their ids."""
    day = account.opened_at - timedelta(days=1)
    common = {
        "account": account.name, "symbol": SYMBOL, "quantity": Decimal(1), "quote_price": QUOTE, "quote_as_of": day,
        "quote_seen_at": day, "source": "simulated", "rationale": "one of many", "actor": "client",
        "market_time": day, "wall_time": day,
    }  # fmt: skip
    buy = {
        "kind": "buy", "price": fill_price(QUOTE, "buy"), "amount": -paid, "realised": ZERO,
        "cash_after": account.cash - paid, "order_key": f"{keys}buy:0",
    }  # fmt: skip
    sell = {
        "kind": "sell", "price": fill_price(QUOTE, "sell"), "amount": paid - cost, "realised": -cost,
        "cash_after": account.cash - cost, "order_key": f"{keys}sell:0",
    }  # fmt: skip
    table = tables.transactions
    bought, sold = (
        connection.execute(insert(table).values(**common, **row).returning(table.c.id)).scalar_one()
        for row in (buy, sell)
    )
    return bought, sold


def _copy(
    connection: Connection, first: tuple[int, int], numbers: range, cost: Decimal, keys: str, day: datetime
) -> None:
    """The pairs of these numbers, each with the cash that is left after those before it."""
    pair = select(literal(numbers[0]).label("number")).cte("pair", recursive=True)
    pair = pair.union_all(select(pair.c.number + 1).where(pair.c.number < numbers[-1]))
    table = tables.transactions
    changed = {
        "cash_after": table.c.cash_after - literal(cost, cash()) * pair.c.number,
        "order_key": literal(keys) + table.c.kind + ":" + cast(pair.c.number, String),
    } | {name: literal(day, Moment()) for name in ("quote_as_of", "quote_seen_at", "market_time", "wall_time")}
    columns = [column for column in table.c if column.name != "id"]
    rows = (
        select(*(changed.get(column.name, column) for column in columns))
        .select_from(pair.join(table, table.c.id.in_(first)))
        .order_by(pair.c.number, table.c.id)
    )
    connection.execute(insert(table).from_select([column.name for column in columns], rows))


def main() -> None:
    store, account, count = Store(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
    while True:
        fill_record(store, account, count)
        print("committed", flush=True)


if __name__ == "__main__":
    main()
