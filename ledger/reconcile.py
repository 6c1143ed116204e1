"""Recomputes every account, and what models cost, from the record and names each difference. Records are
read as streams."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from sqlalchemy import Connection, Row, select

from ledger.book import read_book
from ledger.booking import KIND, book_action, changes_since, told_actions
from ledger.difference import Difference
from ledger.model_costs import cost_differences
from store import tables
from values.corporate_action import CorporateAction, Dividend, Rename, Split
from values.instrument import FRACTION, WHOLE
from values.money import ZERO, fill_price, notional, plain, share_of_cost


@dataclass(slots=True)
class _Recomputed:
    connection: Connection
    step: Decimal
    actions: Mapping[tuple[str, date, str], tuple[CorporateAction, Decimal | None]]
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
        elif row.kind in _ACTION_KINDS:
            if not malformed:
                amount, realised = yield from self._act(row, held, label)
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

    def _act(
        self, row: Row[tuple[object, ...]], held: dict[str, tuple[Decimal, Decimal]], label: str
    ) -> Generator[tuple[str, str, str], None, tuple[Decimal, Decimal]]:
        """Book one corporate action anew; what it adds to cash and to the realised profit."""
        action, price = self.actions.get((row.symbol, row.ex_date, row.kind), (None, None))
        if action is None:
            yield f"the {row.kind} of {label}", f"of {row.symbol} on {row.ex_date}", "one that the venue told of"
            return ZERO, ZERO
        quantity, cost = held.get(row.symbol, (ZERO, ZERO))
        of_record = quantity
        if isinstance(action, Split | Dividend):
            since = changes_since(self.connection, row.symbol, row.ex_date, row.account, row.id)
            of_record = quantity - since.get(row.account, ZERO)
        booked = book_action(action, of_record, quantity, cost, self.step, price)
        for what, found, expected in (
            ("quantity", row.quantity, of_record),
            ("price", row.price, booked.price),
            ("units", row.units_change, booked.units_change),
            ("new symbol", row.to_symbol, action.to_symbol if isinstance(action, Rename) else None),
        ):
            if found != expected:
                yield f"the {what} of {label}", _text(found), _text(expected)
        if isinstance(action, Rename):
            there, paid = held.get(action.to_symbol, (ZERO, ZERO))
            held.pop(row.symbol, None)
            held[action.to_symbol] = (there + quantity, paid + cost)
        elif booked.quantity:
            held[row.symbol] = (booked.quantity, booked.cost)
        else:
            held.pop(row.symbol, None)
        return booked.amount, booked.realised


def _text(value: object) -> str:
    return "nothing" if value is None else plain(value) if isinstance(value, Decimal) else str(value)


_ACTION_KINDS = frozenset(KIND.values())
_KINDS = ("deposit", "buy", "sell", *KIND.values())
_OF_AN_ACTION = ("ex_date", "units_change", "to_symbol")
_OF_A_TRADE = ("symbol", "quantity", "price", "quote_price", "quote_as_of", "quote_seen_at", "source")


def _malformed(row: Row[tuple[object, ...]]) -> Iterator[tuple[str, str, str]]:
    """What a row of its kind may not have, or lacks."""
    if row.kind not in _KINDS:
        yield "kind", str(row.kind), f"one of {', '.join(_KINDS)}"
        return
    if row.kind in _ACTION_KINDS:
        for column in ("symbol", "quantity", "ex_date"):
            if getattr(row, column) is None:
                yield column.replace("_", " "), "nothing", "what the company's action concerns"
        return
    for column in _OF_AN_ACTION:
        if (value := getattr(row, column)) is not None:
            yield column.replace("_", " "), str(value), "nothing"
    for column in _OF_A_TRADE:
        value = getattr(row, column)
        if row.kind == "deposit" and value is not None:
            yield column.replace("_", " "), str(value), "nothing"
        if row.kind != "deposit" and (value is None or (isinstance(value, Decimal) and value <= 0)):
            yield column.replace("_", " "), "nothing" if value is None else str(value), "what was traded"


def reconcile_account(connection: Connection, name: str) -> Iterator[Difference]:
    """Every difference between the account's state and its record, within the caller's transaction."""
    book = read_book(connection, name)
    made = _Recomputed(connection, FRACTION if book.account.kind == "baseline" else WHOLE, told_actions(connection))
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
