"""What an account shows of itself: plain objects in which amounts are decimal text and times ISO 8601 with Z.

Bounded whatever its history: the last 50 transactions and the last 100 recorded values.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import Row, Select, select

from database import Store
from ledger.book import read_book
from ledger.limits import as_shown, read_limits
from ledger.valuation import Valuation, quotes_for
from market import Market
from store import tables
from values.clock import iso
from values.errors import Refused, shown
from values.instrument import kind_of
from values.money import ZERO, notional, plain, ratio

TRANSACTIONS_SHOWN = 50
VALUES_SHOWN = 100


class Position(BaseModel):
    symbol: str
    kind: str
    quantity: str
    average_cost: str = Field(description="USD a unit, spread included")
    cost: str = Field(description="USD that the units held cost")
    price: str | None = Field(description="USD a unit now; null when there is no price")
    value: str | None
    weight: str | None = Field(description="share of the portfolio's value, 0 to 1")
    unrealised_profit: str | None
    as_of: str | None = Field(description="when the price was true")
    source: str | None
    stale: bool = Field(description="true: the price is too old to trade on")


class Transaction(BaseModel):
    id: int
    kind: str = Field(description="deposit, buy, sell, split, dividend, rename or delisting")
    symbol: str | None
    quantity: str | None
    price: str | None = Field(description="USD a unit that was paid or received, spread included")
    amount: str = Field(description="USD that cash changed by")
    realised_profit: str
    cash_after: str
    source: str | None = Field(description="where the price came from")
    rationale: str
    session_id: str | None
    actor: str
    market_time: str
    wall_time: str


class ValuePoint(BaseModel):
    time: str
    value: str


class AccountReport(BaseModel):
    name: str
    balance: str = Field(description="USD in cash")
    strategy: str
    holdings: dict[str, str] = Field(description="symbol to quantity")
    transactions: list[Transaction] = Field(description="the last 50, newest first")
    portfolio_value_time_series: list[ValuePoint] = Field(description="the last 100 recorded values, oldest first")
    total_portfolio_value: str | None = Field(description="USD, cash and holdings; null when a holding has no price")
    total_profit_loss: str | None = Field(description="USD against what was paid in")
    realised_profit: str
    unrealised_profit: str | None
    state: str = Field(description="active, reducing (sells only) or halted (nothing)")
    state_reason: str
    positions: list[Position]
    limits: dict[str, str | None]
    market: str
    market_time: str


class TransactionPage(BaseModel):
    name: str
    transactions: list[Transaction]
    next_cursor: str | None = Field(description="give it back for the next, older page; null on the last")


def report(store: Store, market: Market, name: str) -> AccountReport:
    """The account's state now, from one snapshot. Raises Refused `unknown_account`."""
    with store.read() as connection:
        book = read_book(connection, name)
        limits = read_limits(connection, name)
        newest = _page(name, None).limit(TRANSACTIONS_SHOWN)
        transactions = [transaction(row) for row in connection.execute(newest)]
        values = tables.portfolio_values.c
        points = connection.execute(
            select(values.market_time, values.value)
            .where(values.account == name)
            .order_by(values.market_time.desc(), values.id.desc())
            .limit(VALUES_SHOWN)
        ).all()
    valuation = Valuation(book, quotes_for(store, market, tuple(book.holdings)))
    value, account = valuation.value, book.account
    held = sum((holding.cost for holding in book.holdings.values()), ZERO)
    return AccountReport(
        name=name,
        balance=plain(account.cash),
        strategy=account.strategy,
        holdings={holding.symbol: plain(holding.quantity) for holding in book.holdings.values()},
        transactions=transactions,
        portfolio_value_time_series=[
            ValuePoint(time=iso(row.market_time), value=plain(row.value)) for row in reversed(points)
        ],
        total_portfolio_value=None if value is None else plain(value),
        total_profit_loss=None if value is None else plain(value - account.deposited),
        realised_profit=plain(account.realised),
        unrealised_profit=None if value is None else plain(value - account.cash - held),
        state=account.state,
        state_reason=account.state_reason,
        positions=positions(valuation),
        limits=dict(as_shown(limits)),
        market=market.name,
        market_time=iso(market.clock.now()),
    )


def positions(valuation: Valuation) -> list[Position]:
    total = valuation.value
    found = []
    for holding in valuation.book.holdings.values():
        quote = valuation.quotes.get(holding.symbol)
        value: Decimal | None = None if quote is None else notional(quote.price, holding.quantity)
        found.append(
            Position(
                symbol=holding.symbol,
                kind=kind_of(holding.symbol),
                quantity=plain(holding.quantity),
                average_cost=plain(holding.average_cost),
                cost=plain(holding.cost),
                price=None if quote is None else plain(quote.price),
                value=None if value is None else plain(value),
                weight=None if value is None or not total else plain(ratio(value, total)),
                unrealised_profit=None if value is None else plain(value - holding.cost),
                as_of=None if quote is None else iso(quote.as_of),
                source=None if quote is None else quote.source,
                stale=quote is not None and quote.stale,
            )
        )
    return found


def transaction(row: Row[tuple[object, ...]]) -> Transaction:
    return Transaction(
        id=row.id,
        kind=row.kind,
        symbol=row.symbol,
        quantity=None if row.quantity is None else plain(row.quantity),
        price=None if row.price is None else plain(row.price),
        amount=plain(row.amount),
        realised_profit=plain(row.realised),
        cash_after=plain(row.cash_after),
        source=row.source,
        rationale=row.rationale,
        session_id=row.session_id,
        actor=row.actor,
        market_time=iso(row.market_time),
        wall_time=iso(row.wall_time),
    )


def transactions(store: Store, name: str, cursor: str | None) -> TransactionPage:
    """One page of 50, newest first. Raises Refused `unknown_account` or `bad_cursor`."""
    before = None
    if cursor is not None:
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
            raise Refused("bad_cursor", f"the cursor is {shown(cursor)}; expected a next_cursor from an earlier page")
        before = int(cursor)
    with store.read() as connection:
        read_book(connection, name)
        rows = connection.execute(_page(name, before).limit(TRANSACTIONS_SHOWN + 1)).all()
    page = rows[:TRANSACTIONS_SHOWN]
    return TransactionPage(
        name=name,
        transactions=[transaction(row) for row in page],
        next_cursor=str(page[-1].id) if len(rows) > TRANSACTIONS_SHOWN else None,
    )


def _page(name: str, before: int | None) -> Select[Any]:
    table = tables.transactions.c
    query = select(tables.transactions).where(table.account == name).order_by(table.id.desc())
    return query if before is None else query.where(table.id < before)
