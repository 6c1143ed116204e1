"""Splits, dividends, renames and delistings, applied to every account as transactions, each once.

`look` asks the venue what companies did since the last day that it was asked about and writes all of it in one durable
transaction, so that nothing is applied in part or twice, from however many processes. Who held a share when its
ex-date began is recomputed from the record. Until a symbol has been looked at on a day, nothing of it is traded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import date, datetime
from decimal import ROUND_FLOOR, Decimal

from sqlalchemy import Connection, delete, insert, select, update

from database import Store, insert_log, lock_run, no_earlier
from ledger.book import Book, read_book
from ledger.booking import KIND, Booking, book_action, changes_since
from ledger.units import concerned, looked_days, price_at, splits_of
from market import Market
from store import tables
from values.clock import exchange_day, exchange_day_begins
from values.corporate_action import CorporateAction, Delisting, Dividend, Rename, Split
from values.errors import Refused, VenueUnavailable
from values.instrument import FRACTION, WHOLE
from values.log import LogRow
from values.money import EXACT, plain, usd
from values.quote import Quote

RENAMES_MAX = 8
_ORDER = (Dividend, Split, Rename, Delisting)


def look(store: Store, market: Market, symbols: Collection[str] | None = None) -> list[str]:
    """Apply what companies did up to today to `symbols`, or to all that is held or was traded since the last look.

    A sentence for each account and action. Raises VenueUnavailable, and then nothing is changed.
    """
    if not market.has_corporate_actions:
        return []
    today = exchange_day(market.clock.now())
    with store.read() as connection:
        pending = _pending(connection, _held_lately(connection) if symbols is None else concerned(symbols), today)
    if not pending:
        return []
    actions, asked = _ask(market, pending, today)
    quotes = _quotes(store, market, actions)
    try:
        with store.write() as connection:
            lock_run(connection)  # one at a time, so that an action is new to one process alone
            sentences: list[str] = []
            for action in actions:
                if not _is_known(connection, action):
                    price = _price(connection, action, actions, quotes)
                    sentences += _apply(connection, market, action, price)
            _note_days(connection, asked, today)
    except Refused as refusal:  # a figure that no store can keep
        raise VenueUnavailable(f"what companies did can't be booked: {refusal.sentence}") from refusal
    return sentences


def look_and_tell(store: Store, market: Market) -> list[str]:
    """`look`, for who goes on without an answer: the sentence is then that nobody could say. Orders are refused."""
    try:
        return look(store, market)
    except VenueUnavailable as error:
        return [f"what companies did to what is held is not known, so those who hold it trade nothing: {error}"]


def _held_lately(connection: Connection) -> set[str]:
    """All that is held, and all that was traded since the day began that anything was looked at last."""
    held = set(connection.execute(select(tables.holdings.c.symbol).distinct()).scalars())
    last = connection.execute(select(tables.action_days.c.day).order_by(tables.action_days.c.day.desc()).limit(1))
    if (day := last.scalar_one_or_none()) is not None:
        table = tables.transactions.c
        names = table.account.in_(select(tables.accounts.c.name))  # along the index of accounts and times
        since = names & (table.market_time >= exchange_day_begins(day)) & table.symbol.is_not(None)
        held.update(connection.execute(select(table.symbol).where(since).distinct()).scalars())
    return concerned(held)


def _pending(connection: Connection, symbols: Collection[str], today: date) -> dict[str, date]:
    """The first day to ask about of each symbol that is not up to date. The last day that was looked at is asked
    about again, because an action may be announced on its day; of a symbol that is new, today is."""
    days = looked_days(connection, symbols) if symbols else {}
    first = {symbol: days.get(symbol, today) for symbol in symbols}
    return {symbol: day for symbol, day in first.items() if day < today or symbol not in days}


def _ask(market: Market, pending: Mapping[str, date], today: date) -> tuple[list[CorporateAction], set[str]]:
    """What the venue says, in the order in which it is applied, and all symbols that it was asked about."""
    found: dict[tuple[str, date, type], CorporateAction] = {}
    asked: set[str] = set()
    waiting = dict(pending)
    for _ in range(RENAMES_MAX):
        first = min(waiting.values())
        answer = market.venue.corporate_actions(sorted(waiting), first, today)
        asked |= set(waiting)
        for each in answer:
            if each.symbol not in waiting or not first <= each.ex_date <= today:
                raise VenueUnavailable(
                    f"the {market.name} market told of {each.symbol} on {each.ex_date}, which nobody asked about"
                )
            key = each.symbol, each.ex_date, type(each)
            known = found.get(key)
            if isinstance(each, Dividend) and isinstance(known, Dividend):
                both = EXACT.add(known.usd_per_unit, each.usd_per_unit)
                found[key] = Dividend(each.symbol, each.ex_date, both)
                continue
            if known not in (None, each):
                raise VenueUnavailable(f"the {market.name} market told two different things: {known} and {each}")
            found[key] = each
        renames = [each for each in answer if isinstance(each, Rename)]
        waiting = {each.to_symbol: each.ex_date for each in renames if each.to_symbol not in asked}
        if not waiting:
            targets = {(each.to_symbol, each.ex_date) for each in found.values() if isinstance(each, Rename)}
            return sorted(
                found.values(),
                key=lambda a: (a.ex_date, (a.symbol, a.ex_date) in targets, _ORDER.index(type(a)), a.symbol),
            ), asked
    raise VenueUnavailable(f"the {market.name} market told of {RENAMES_MAX} renames in a row of {', '.join(pending)}")


def _is_known(connection: Connection, action: CorporateAction) -> bool:
    table = tables.corporate_actions.c
    query = select(table.id).where(
        table.symbol == action.symbol, table.ex_date == action.ex_date, table.kind == KIND[type(action)]
    )
    return connection.execute(query).first() is not None


def _quotes(store: Store, market: Market, actions: Iterable[CorporateAction]) -> dict[str, Quote]:
    """Prices that pay fractions and value what is delisted, as far as there are any."""
    found = {}
    for symbol in {each.symbol for each in actions if isinstance(each, Split | Delisting)}:
        try:
            found[symbol] = market.venue.quote(symbol, market.clock.now())
        except (VenueUnavailable, Refused):
            continue
    return found


def _price(
    connection: Connection, action: CorporateAction, actions: Iterable[CorporateAction], quotes: Mapping[str, Quote]
) -> tuple[Decimal, datetime, str] | None:
    """USD for a unit after a split or delisting, rounded down to 1e-8, its time and its source: the venue's price, or
    the last that anybody here traded at."""
    if not isinstance(action, Split | Delisting):
        return None
    seen = quotes.get(action.symbol)
    known = None if seen is None else (seen.price, seen.as_of, str(seen.source))
    if known is None:
        table = tables.transactions.c
        row = connection.execute(
            select(table.quote_price, table.quote_as_of, table.source)
            .where(table.symbol == action.symbol, table.quote_price.is_not(None))
            .order_by(table.id.desc())
            .limit(1)
        ).one_or_none()
        if row is None:
            return None
        known = row.quote_price, row.quote_as_of, row.source
    price, as_of, source = known
    told = {each for each in actions if isinstance(each, Split) and each.symbol == action.symbol}
    told.update(splits_of(connection, [action.symbol]))
    now_worth = price_at(price, as_of, exchange_day_begins(action.ex_date), told, ROUND_FLOOR)
    return (now_worth, as_of, source) if now_worth > 0 else None


def _apply(
    connection: Connection, market: Market, action: CorporateAction, price: tuple[Decimal, datetime, str] | None
) -> Iterator[str]:
    now, wall = no_earlier(connection, market.clock.now()), market.clock.wall()
    own = {field.name: getattr(action, field.name) for field in fields(action)}
    priced = {} if price is None else dict(zip(("price", "price_as_of", "price_source"), price, strict=True))
    connection.execute(
        insert(tables.corporate_actions).values(
            **own, **priced, kind=KIND[type(action)], market_time=now, wall_time=wall
        )
    )
    changes = changes_since(connection, action.symbol, action.ex_date)
    held = select(tables.holdings.c.account).where(tables.holdings.c.symbol == action.symbol)
    for name in sorted({*changes, *connection.execute(held).scalars()}):
        book = read_book(connection, name, lock=True)
        holding = book.held(action.symbol)
        of_record = holding.quantity - changes.get(name, Decimal(0))
        units = of_record if isinstance(action, Split | Dividend) else holding.quantity
        if of_record <= 0 or units == 0:  # what was bought since is of another company with the same symbol
            continue
        step = FRACTION if book.account.kind == "baseline" else WHOLE
        booked = book_action(action, units, holding.quantity, holding.cost, step, price[0] if price else None)
        sentence = _sentence(action, name, units, booked, price)
        connection.execute(
            insert(tables.transactions).values(
                account=name,
                kind=KIND[type(action)],
                symbol=action.symbol,
                quantity=units,
                price=booked.price,
                amount=booked.amount,
                realised=booked.realised,
                cash_after=book.account.cash + booked.amount,
                rationale=f"{sentence} (ex-date {action.ex_date})",
                actor="market",
                market_time=now,
                wall_time=wall,
                ex_date=action.ex_date,
                units_change=booked.units_change,
                to_symbol=action.to_symbol if isinstance(action, Rename) else None,
            )
        )
        _change_state(connection, book, action, booked)
        insert_log(connection, [LogRow("account", name, sentence, wall)])
        yield sentence


def _change_state(connection: Connection, book: Book, action: CorporateAction, booked: Booking) -> None:
    name, accounts = book.account.name, tables.accounts
    changes: dict[str, object] = {
        "cash": book.account.cash + booked.amount,
        "realised": book.account.realised + booked.realised,
    }
    if booked.short and book.account.kind != "baseline":
        reason = (
            f"{name} had sold {plain(booked.short)} {action.symbol} more than a split on {action.ex_date}, told of too "
            "late, left it: its cash is too high by what they brought; "
            f"`trading-floor resume {name}` goes on all the same"
        )
        changes |= {"state": "halted", "state_reason": reason}
    connection.execute(update(accounts).where(accounts.c.name == name).values(**changes))
    if isinstance(action, Rename):
        there = book.held(action.to_symbol)
        _hold(connection, name, action.symbol, Decimal(0), Decimal(0))
        _hold(connection, name, action.to_symbol, there.quantity + booked.quantity, there.cost + booked.cost)
    elif isinstance(action, Split):
        _hold(connection, name, action.symbol, booked.quantity, booked.cost)


def _hold(connection: Connection, account: str, symbol: str, quantity: Decimal, cost: Decimal) -> None:
    table = tables.holdings
    connection.execute(delete(table).where(table.c.account == account, table.c.symbol == symbol))
    if quantity:
        connection.execute(insert(table).values(account=account, symbol=symbol, quantity=quantity, cost=cost))


def _note_days(connection: Connection, symbols: Iterable[str], today: date) -> None:
    table = tables.action_days
    days = looked_days(connection, set(symbols))
    for symbol in sorted(symbols):
        if symbol not in days:
            connection.execute(insert(table).values(symbol=symbol, day=today))
        elif days[symbol] < today:
            connection.execute(update(table).where(table.c.symbol == symbol).values(day=today))


def _sentence(
    action: CorporateAction, name: str, units: Decimal, booked: Booking, price: tuple[Decimal, datetime, str] | None
) -> str:
    if isinstance(action, Dividend):
        return (
            f"{action.symbol} paid {plain(action.usd_per_unit)} USD a unit: {name} got {usd(booked.amount)} USD "
            f"for {plain(units)}"
        )
    if isinstance(action, Split):
        paid = f", and {usd(booked.amount)} USD for a fraction" if booked.price is not None else ""
        return (
            f"{action.symbol} split {plain(action.units_after)} for {plain(action.units_before)}: "
            f"{name} now holds {plain(booked.quantity)}{paid}"
        )
    if isinstance(action, Rename):
        return f"{action.symbol} is now {action.to_symbol}: {name}'s {plain(units)} moved there"
    valued = "no price is known of them" if price is None else f"valued at {plain(price[0])} USD"
    return f"{action.symbol} was delisted: {name}'s {plain(units)} stay, {valued}, and can't be traded"
