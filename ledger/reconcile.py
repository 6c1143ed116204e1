"""Recomputes every account, and what models cost, from the record and names each difference. Records are
read as streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, Row, select

from ledger.book import read_book
from ledger.difference import Difference
from ledger.model_costs import cost_differences
from store import tables
from values.money import ZERO, fill_price, notional, plain, share_of_cost


@dataclass(slots=True)
class _Recomputed:
    cash: Decimal = ZERO
    realised: Decimal = ZERO
    deposited: Decimal = ZERO

    def apply(
        self, row: Row[tuple[object, ...]], held: dict[str, tuple[Decimal, Decimal]]
    ) -> Iterator[tuple[str, str, str]]:
        """Book one transaction anew; yields (what, found, expected) for each figure of the row that is not so."""
        label = f"transaction {row.id}"
        amount, realised = ZERO, ZERO
        malformed = list(_malformed(row))
        yield from ((f"the {what} of {label}", found, expected) for what, found, expected in malformed)
        if row.kind == "deposit":
            amount = row.amount
            self.deposited += amount
        elif not malformed:
            price = fill_price(row.quote_price, row.kind)
            if row.price != price:
                yield f"the price of {label}", plain(row.price), plain(price)
            gross = notional(row.price, row.quantity, row.kind)
            quantity, cost = held.get(row.symbol, (ZERO, ZERO))
            if row.kind == "buy":
                amount, quantity, cost = -gross, quantity + row.quantity, cost + gross
            elif row.quantity > quantity:
                yield f"the quantity of {label}", plain(row.quantity), f"at most {plain(quantity)}"
            else:
                sold = share_of_cost(cost, row.quantity, quantity)
                amount, realised = gross, gross - sold
                quantity, cost = quantity - row.quantity, cost - sold
            held[row.symbol] = (quantity, cost)
            if quantity == 0:
                del held[row.symbol]
        self.cash += amount
        self.realised += realised
        for what, found, expected in (
            ("amount", row.amount, amount),
            ("realised profit", row.realised, realised),
            ("cash after it", row.cash_after, self.cash),
        ):
            if found != expected:
                yield f"the {what} of {label}", plain(found), plain(expected)


_OF_A_TRADE = ("symbol", "quantity", "price", "quote_price", "quote_as_of", "quote_seen_at", "source")


def _malformed(row: Row[tuple[object, ...]]) -> Iterator[tuple[str, str, str]]:
    """What a row of its kind may not have, or lacks."""
    if row.kind not in ("deposit", "buy", "sell"):
        yield "kind", str(row.kind), "deposit, buy or sell"
        return
    for column in _OF_A_TRADE:
        value = getattr(row, column)
        if row.kind == "deposit" and value is not None:
            yield column.replace("_", " "), str(value), "nothing"
        if row.kind != "deposit" and (value is None or (isinstance(value, Decimal) and value <= 0)):
            yield column.replace("_", " "), "nothing" if value is None else str(value), "what was traded"


def reconcile_account(connection: Connection, name: str) -> Iterator[Difference]:
    """Every difference between the account's state and its record, within the caller's transaction."""
    book = read_book(connection, name)
    made = _Recomputed()
    held: dict[str, tuple[Decimal, Decimal]] = {}
    table = tables.transactions.c
    record = connection.execution_options(yield_per=1_000).execute(
        select(tables.transactions).where(table.account == name).order_by(table.id)
    )
    for row in record:
        for what, found, expected in made.apply(row, held):
            yield Difference(name, what, found, expected)
    account = book.account
    for what, kept_sum, made_sum in (
        ("cash", account.cash, made.cash),
        ("realised profit", account.realised, made.realised),
        ("the sum of deposits", account.deposited, made.deposited),
    ):
        if kept_sum != made_sum:
            yield Difference(name, what, plain(kept_sum), plain(made_sum))
    for symbol in sorted({*held, *book.holdings}):
        quantity, cost = held.get(symbol, (ZERO, ZERO))
        kept = book.held(symbol)
        if kept.quantity != quantity:
            yield Difference(name, f"the holding of {symbol}", plain(kept.quantity), plain(quantity))
        if kept.cost != cost:
            yield Difference(name, f"the cost of {symbol}", plain(kept.cost), plain(cost))


def reconcile(connection: Connection) -> Iterator[Difference]:
    """Every difference in every account of the store, and in what belongs to no account."""
    known = set(connection.execute(select(tables.accounts.c.name)).scalars())
    named = known.union(
        *(
            connection.execute(select(table.c.account).distinct()).scalars()
            for table in (tables.transactions, tables.holdings)
        )
    )
    for name in sorted(named):
        if name in known:
            yield from reconcile_account(connection, name)
        else:
            yield Difference(name, "the account", "missing", "one that has transactions or holdings")
    yield from cost_differences(connection)
