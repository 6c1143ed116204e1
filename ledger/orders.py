"""One order, one fill: checked against quotes taken before the write lock, booked under it, once.

In a live market nothing is traded before the books know what companies did to their shares. No price is asked for
while the store is locked. When another process has meanwhile bought a symbol that there is no quote for, or the day
has turned, the order goes round again, at most five times. Margin and short sales are not modelled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, delete, insert, select, update

from database import Actor, Store, insert_log, no_earlier
from ledger.book import Book, read_book
from ledger.corporate_actions import look
from ledger.day import halt_reason
from ledger.limits import Limits, Purchase, check_purchase, check_trade_count, read_limits
from ledger.texts import check_rationale
from ledger.units import check_tradable, check_units, delisted_quotes, in_todays_units, not_looked_at
from market import Market
from store import tables
from values.errors import Refused, UnknownSymbol, VenueUnavailable, shown
from values.instrument import FRACTION, Instrument, normalise_symbol, parse_quantity
from values.log import LogRow
from values.money import Side, fill_price, notional, plain, share_of_cost, usd
from values.quote import Quote

ROUNDS_MAX = 5
_SESSION = "trace_"
_KEY = re.compile(r"[!-~]{1,80}")


@dataclass(frozen=True, slots=True)
class Order:
    """What a caller asks for. `key` is unique per account for ever; the same key and order fill once."""

    account: str
    side: Side
    symbol: object
    quantity: object
    rationale: str
    actor: Actor
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """A booked trade. USD; `amount` is what cash changed by, `holding` the units held after it.

    `is_repeat`: the order's key had been filled before, and this is that fill; `cash` and `holding` are then of now.
    """

    transaction_id: int
    account: str
    side: Side
    symbol: str
    quantity: Decimal
    price: Decimal
    amount: Decimal
    realised: Decimal
    quote_price: Decimal
    quote_as_of: datetime
    source: str
    market_time: datetime
    cash: Decimal
    holding: Decimal
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class _Checked:
    """A well-formed order with the quotes it will be judged by."""

    order: Order
    instrument: Instrument
    step: Decimal
    quantity: Decimal
    quotes: dict[str, Quote]


@dataclass(frozen=True, slots=True)
class _GoRound:
    """A holding appeared that there is no quote for yet."""


def place(store: Store, market: Market, order: Order) -> Fill:
    """Fill `order` or raise Refused with the reason; either way the books stay true.

    Raises StoreBusy when the store's write turn does not come.
    """
    if order.key is not None and not _KEY.fullmatch(order.key):
        raise Refused("bad_order_key", f"the order key is {shown(order.key)}; expected 1 to 80 printable characters")
    check_rationale(order.rationale)
    instrument = _instrument(store, market, order)
    with store.read() as connection:
        book = read_book(connection, order.account)
        step = FRACTION if book.account.kind == "baseline" else instrument.step
        quantity = parse_quantity(order.quantity, instrument.symbol, step)
        earlier = _earlier_fill(connection, order, instrument.symbol, quantity, book)
        lasting = delisted_quotes(connection, market, tuple(book.holdings))
    if earlier is not None:
        return earlier
    quotes: dict[str, Quote] = {}
    for _ in range(ROUNDS_MAX):
        # of what was sold meanwhile, the price is still known
        quotes |= _quotes(market, instrument, book, order.side, lasting)
        checked = _Checked(order, instrument, step, quantity, quotes)
        with store.write() as connection:
            outcome = _book(connection, market, checked)
        if isinstance(outcome, Fill):
            return outcome
        if isinstance(outcome, Refused):
            raise outcome
        _instrument(store, market, order)
        with store.read() as connection:
            book = read_book(connection, order.account)
            lasting = delisted_quotes(connection, market, tuple(book.holdings))
    raise Refused("busy", f"{order.account}'s holdings kept changing under this order; nothing was traded, try again")


def _instrument(store: Store, market: Market, order: Order) -> Instrument:
    """What is to be traded, once all that companies did to it, and to what the account holds, is in the books.

    Raises Refused: `no_price` where nobody can say what they did, for buys and sales alike, because a split would
    make every unit another; `renamed` and `delisted`.
    """
    if not market.has_corporate_actions:
        return market.instrument(order.symbol)
    symbol = normalise_symbol(order.symbol)
    with store.read() as connection:
        concerned = set(read_book(connection, order.account).holdings)
    instrument = unknown = None
    try:
        instrument = market.instrument(symbol)
        concerned.add(symbol)
    except UnknownSymbol as error:  # perhaps no longer
        unknown = error
    try:
        look(store, market, concerned)
    except VenueUnavailable as error:
        raise Refused(
            "no_price",
            f"whether {symbol} or a holding was split today is not known ({error}), so no unit of it has a sure price; "
            "nothing was traded",
        ) from error
    with store.read() as connection:
        check_tradable(connection, market, symbol, read_book(connection, order.account).held(symbol).quantity)
    if instrument is None:
        assert unknown is not None
        raise unknown
    return instrument


def _quotes(
    market: Market, instrument: Instrument, book: Book, side: Side, lasting: Mapping[str, Quote]
) -> dict[str, Quote]:
    """The traded symbol's quote, which must be fit to trade on, and the others' as far as there are any.

    `lasting` are the last prices known of what was delisted.
    """
    symbol, now = instrument.symbol, market.clock.now()
    session = market.venue.session(now, symbol)
    if market.minds_closed and not session.is_open:
        raise Refused("market_closed", f"{symbol} does not trade now: {session.note}")
    try:
        quote = market.venue.quote(symbol, now)
    except VenueUnavailable as error:
        raise Refused("no_price", f"there is no price for {symbol} now ({error}); nothing was traded") from error
    if quote.stale:
        raise Refused(
            "stale_price",
            f"the price of {symbol} is of {quote.as_of:%Y-%m-%d %H:%M} UTC, too old to trade on; wait for a new one",
        )
    if fill_price(quote.price, side) <= 0:
        raise Refused("price_too_small", f"{symbol} at {plain(quote.price)} is worth nothing after the spread")
    quotes = {**lasting, symbol: quote}
    for held in book.holdings:
        if held not in quotes:
            try:
                quotes[held] = market.venue.quote(held, now)
            except (VenueUnavailable, Refused) as error:
                if side == "buy":
                    raise Refused(
                        "unpriced_holding", f"{held} can't be priced now ({error}), so only sales are possible"
                    ) from error
    return quotes


def _book(connection: Connection, market: Market, checked: _Checked) -> Fill | Refused | _GoRound:
    """Judge and write within one transaction. A Refused is returned, so that a halt it caused is kept."""
    order, symbol = checked.order, checked.instrument.symbol
    book = read_book(connection, order.account, lock=True)
    try:
        earlier = _earlier_fill(connection, order, symbol, checked.quantity, book)
        if earlier is not None:
            return earlier
        now = no_earlier(connection, market.clock.now())
        if order.side == "buy" and book.unpriced(checked.quotes):
            return _GoRound()
        if not_looked_at(connection, market, {symbol, *book.holdings}, now):
            return _GoRound()
        check_tradable(connection, market, symbol, book.held(symbol).quantity)
        check_units(connection, market, checked.quotes[symbol])
        quotes = in_todays_units(connection, market, checked.quotes, tuple(checked.quotes), now)
        _judge(connection, replace(checked, quotes=quotes), book, now)
    except Refused as refusal:
        return refusal
    return _write(connection, checked, book, now, market.clock.wall())


def _judge(connection: Connection, checked: _Checked, book: Book, now: datetime) -> None:
    """Raises Refused for every rule that the order breaks, the account's state first."""
    order, quote = checked.order, checked.quotes[checked.instrument.symbol]
    name, symbol = order.account, checked.instrument.symbol
    _check_session(connection, order)
    state = book.account.state
    if state == "halted":
        raise Refused("halted", f"{name} is halted and trades nothing: {book.account.state_reason}")
    if state == "reducing" and order.side == "buy":
        raise Refused("reducing", f"{name} may only sell: {book.account.state_reason}")
    limits = Limits() if book.account.kind == "baseline" else read_limits(connection, name)
    value = book.value(checked.quotes)
    if value is not None and (reason := halt_reason(connection, book, limits, value, now)) is not None:
        raise Refused("halted", reason)
    check_trade_count(connection, name, limits, _open_session(connection, order), now)
    if order.side == "sell":
        held = book.held(symbol).quantity
        if checked.quantity > held:
            raise Refused(
                "insufficient_shares",
                f"selling {plain(checked.quantity)} {symbol} but {name} holds {plain(held)}, and can not sell short",
            )
        return
    assert value is not None
    purchase = Purchase(
        checked.instrument, checked.step, checked.quantity, quote.price, fill_price(quote.price, order.side)
    )
    check_purchase(book, value, limits, purchase)


def _write(connection: Connection, checked: _Checked, book: Book, now: datetime, wall: datetime) -> Fill:
    order, quote = checked.order, checked.quotes[checked.instrument.symbol]
    side, symbol, quantity = order.side, checked.instrument.symbol, checked.quantity
    price = fill_price(quote.price, side)
    gross = notional(price, quantity, side)
    before = book.held(symbol)
    if side == "buy":
        amount, realised = -gross, Decimal(0)
        held, cost = before.quantity + quantity, before.cost + gross
    else:
        cost_sold = share_of_cost(before.cost, quantity, before.quantity)
        amount, realised = gross, gross - cost_sold
        held, cost = before.quantity - quantity, before.cost - cost_sold
    cash = book.account.cash + amount
    session_id = _open_session(connection, order)
    transaction_id = connection.execute(
        insert(tables.transactions)
        .values(
            account=order.account,
            kind=side,
            symbol=symbol,
            quantity=quantity,
            price=price,
            amount=amount,
            realised=realised,
            cash_after=cash,
            quote_price=quote.price,
            quote_as_of=quote.as_of,
            quote_seen_at=quote.seen_at,
            source=quote.source,
            rationale=order.rationale,
            order_key=order.key,
            session_id=session_id,
            actor=order.actor,
            market_time=now,
            wall_time=wall,
        )
        .returning(tables.transactions.c.id)
    ).scalar_one()
    accounts, holdings = tables.accounts, tables.holdings
    connection.execute(
        update(accounts)
        .where(accounts.c.name == order.account)
        .values(cash=cash, realised=book.account.realised + realised)
    )
    this = (holdings.c.account == order.account) & (holdings.c.symbol == symbol)
    if held == 0:
        connection.execute(delete(holdings).where(this))
    elif before.quantity == 0:
        connection.execute(insert(holdings).values(account=order.account, symbol=symbol, quantity=held, cost=cost))
    else:
        connection.execute(update(holdings).where(this).values(quantity=held, cost=cost))
    verb = "bought" if side == "buy" else "sold"
    message = (
        f"{verb} {plain(quantity)} {symbol} at {plain(price)} ({quote.source}) for {usd(abs(amount))} USD; "
        f"cash {usd(cash)} USD"
    )
    insert_log(connection, [LogRow("account", order.account, message, wall, session_id)])
    return Fill(
        transaction_id, order.account, side, symbol, quantity, price, amount, realised, quote.price, quote.as_of,
        quote.source, now, cash, held,
    )  # fmt: skip


def _check_session(connection: Connection, order: Order) -> None:
    """Raises Refused `session_over` for an order whose key names a session of the floor's that is not open.

    The server of a floor that was killed may still have one in hand when the next floor has closed that session.
    """
    named = "" if order.key is None else order.key.rpartition(":")[0]
    if order.actor == "floor" and named.startswith(_SESSION) and named != open_session(connection, order.account):
        raise Refused("session_over", f"the session {named} has ended, and nothing more is traded for it")


def _open_session(connection: Connection, order: Order) -> str | None:
    """The session that the order belongs to: only a server that the floor launched acts in one."""
    if order.actor != "floor":
        return None
    return open_session(connection, order.account)


def open_session(connection: Connection, name: str) -> str | None:
    table = tables.sessions.c
    return connection.execute(
        select(table.id).where(table.outcome == "open", table.account == name).order_by(table.wall_time.desc()).limit(1)
    ).scalar_one_or_none()


def _earlier_fill(connection: Connection, order: Order, symbol: str, quantity: Decimal, book: Book) -> Fill | None:
    """The fill that this order's key has had. Raises Refused `key_reused` when that was another order's."""
    if order.key is None:
        return None
    table = tables.transactions.c
    row = connection.execute(
        select(tables.transactions).where(table.account == order.account, table.order_key == order.key)
    ).one_or_none()
    if row is None:
        return None
    if (row.kind, row.symbol, row.quantity) != (order.side, symbol, quantity):
        raise Refused(
            "key_reused",
            f"the order key {order.key} was used to {row.kind} {plain(row.quantity)} {row.symbol}; "
            f"a new order needs a new key",
        )
    return Fill(
        row.id, order.account, order.side, symbol, quantity, row.price, row.amount, row.realised, row.quote_price,
        row.quote_as_of, row.source, row.market_time, book.account.cash, book.held(symbol).quantity, is_repeat=True,
    )  # fmt: skip
