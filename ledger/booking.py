"""What a corporate action does to one holding: figures alone, for the books and for who checks them.

A dividend is paid in cash, rounded down to 1e-6. After a split the holding is rounded down to what can be held, whole
shares or for a baseline 1e-8; the fraction of a share is paid in cash at the price known when the split was applied,
in the new units, rounded down to 1e-6, and takes its part of the cost with it, half-even to 1e-6.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_FLOOR, Decimal, localcontext
from typing import Any

from sqlalchemy import Connection, Row, select

from store import tables
from values.clock import exchange_day_begins
from values.corporate_action import CorporateAction, Delisting, Dividend, Rename, Split
from values.instrument import FRACTION
from values.money import EXACT, ZERO, notional, share_of_cost

KIND = {Dividend: "dividend", Split: "split", Rename: "rename", Delisting: "delisting"}


@dataclass(frozen=True, slots=True)
class Booking:
    """One action on one holding. `quantity` and `cost` are the holding's after it; a rename then moves it as it is.

    `short` are units that the split takes away and that were sold before it was known.
    """

    amount: Decimal = ZERO
    realised: Decimal = ZERO
    price: Decimal | None = None
    units_change: Decimal | None = None
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    short: Decimal = ZERO


def book_action(
    action: CorporateAction, of_record: Decimal, quantity: Decimal, cost: Decimal, step: Decimal, price: Decimal | None
) -> Booking:
    """`of_record` units were held when the ex-date began, `quantity` are now; `price` is a unit's after a split."""
    if isinstance(action, Dividend):
        paid = notional(action.usd_per_unit, of_record, "sell")
        return Booking(paid, paid, action.usd_per_unit, None, quantity, cost)
    if isinstance(action, Rename):
        return Booking(units_change=-quantity, quantity=quantity, cost=cost)
    if isinstance(action, Delisting):
        return Booking(quantity=quantity, cost=cost)
    with localcontext(EXACT):
        exact = of_record * action.units_after / action.units_before
        whole = (exact / step).to_integral_value(ROUND_FLOOR) * step
        after = quantity + whole - of_record
        rest = exact - whole if step != FRACTION else ZERO
        short, after = max(-after, ZERO), max(after, ZERO)
        paid = gone = ZERO
        if rest and price is not None:
            paid, gone = notional(price, rest, "sell"), share_of_cost(cost, rest, after + rest)
        if after == 0:
            gone = cost
    return Booking(
        amount=paid,
        realised=paid - gone,
        price=price if rest else None,
        units_change=after - quantity,
        quantity=after,
        cost=cost - gone,
        short=short,
    )


def changes_since(
    connection: Connection, symbol: str, ex_date: date, account: str | None = None, before_id: int | None = None
) -> dict[str, Decimal]:
    """By account, how many units of `symbol` came in since `ex_date` began: what is held now less these was held then.

    What an earlier ex-date did counts as done then, whenever it was written.
    """
    table, accounts = tables.transactions.c, tables.accounts.c
    query = select(
        table.account, table.kind, table.symbol, table.quantity, table.ex_date, table.units_change, table.to_symbol
    ).where(
        table.account.in_(select(accounts.name)) if account is None else table.account == account,
        table.market_time >= exchange_day_begins(ex_date),
        (table.symbol == symbol) | (table.to_symbol == symbol),
    )
    if before_id is not None:
        query = query.where(table.id < before_id)
    found: dict[str, Decimal] = {}
    for row in connection.execute(query):
        if row.kind in ("buy", "sell"):
            change = row.quantity if row.kind == "buy" else -row.quantity
        elif row.units_change is None or row.ex_date < ex_date:
            continue
        elif row.symbol == symbol:
            change = row.units_change
        elif row.ex_date == ex_date:  # what is renamed on a day has its new name from the day's beginning
            continue
        else:
            change = -row.units_change
        found[row.account] = found.get(row.account, ZERO) + change
    return found


def told_actions(connection: Connection) -> dict[tuple[str, date, str], tuple[CorporateAction, Decimal | None]]:
    """All that the venue told, by symbol, ex-date and kind, each with the price of a unit after it."""
    rows = connection.execute(select(tables.corporate_actions).order_by(tables.corporate_actions.c.id))
    return {(row.symbol, row.ex_date, row.kind): (_action(row), row.price) for row in rows}


def _action(row: Row[Any]) -> CorporateAction:
    if row.kind == "split":
        return Split(row.symbol, row.ex_date, row.units_before, row.units_after)
    if row.kind == "dividend":
        return Dividend(row.symbol, row.ex_date, row.usd_per_unit)
    if row.kind == "rename":
        return Rename(row.symbol, row.ex_date, row.to_symbol)
    return Delisting(row.symbol, row.ex_date)
