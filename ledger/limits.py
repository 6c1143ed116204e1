"""What an account may not do: limits that belong to it, and the operator alone changes.

    max_position_share      largest share of the account's value in one symbol after a buy, 0 to 1
    max_order_usd           largest buy, USD with spread
    min_cash_usd            cash that a buy must leave
    max_trades_per_session  fills in one floor session, buys and sells
    max_trades_per_day      fills in one UTC market day, buys and sells
    max_daily_loss_share    fall from the day's opening value that halts the account, 0 to 1

None means no limit. The limits on size never keep an account from selling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, time
from decimal import Decimal

from sqlalchemy import Connection, func, insert, select

from database import Actor
from ledger.book import Book
from store import tables
from values.clock import Clock, market_day
from values.errors import Refused, shown
from values.instrument import Instrument
from values.money import PRICE_DECIMALS, ZERO, affordable, exact, notional, plain, to_scaled, usd

SHARES = frozenset({"max_position_share", "max_daily_loss_share"})
COUNTS = frozenset({"max_trades_per_session", "max_trades_per_day"})


@dataclass(frozen=True, slots=True)
class Limits:
    max_position_share: Decimal | None = None
    max_order_usd: Decimal | None = None
    min_cash_usd: Decimal | None = None
    max_trades_per_session: Decimal | None = None
    max_trades_per_day: Decimal | None = None
    max_daily_loss_share: Decimal | None = None


KEYS = tuple(field.name for field in fields(Limits))


def parse_limit(key: str, value: object) -> Decimal | None:
    """The value of a limit; `off` means none. Raises Refused `bad_limit` with what is allowed."""
    if key not in KEYS:
        raise Refused("bad_limit", f"there is no limit {shown(key)}; there are {', '.join(KEYS)}")
    if value == "off":
        return None
    try:
        number = exact(value, key)
        to_scaled(number, PRICE_DECIMALS, key)
    except Refused as refusal:
        raise Refused("bad_limit", f"{refusal.sentence}, or off") from None
    if key in SHARES and not 0 < number <= 1:
        raise Refused("bad_limit", f"{key} is {shown(str(number))}; expected a share above 0, up to 1, or off")
    if key in COUNTS and (number != number.to_integral_value() or not 0 <= number <= 1_000_000):
        raise Refused("bad_limit", f"{key} is {shown(str(number))}; expected a whole number from 0 to 1000000, or off")
    if number < 0:
        raise Refused("bad_limit", f"{key} is {shown(str(number))}; expected 0 or more USD, or off")
    return number


def read_limits(connection: Connection, name: str) -> Limits:
    """The limits in force: the newest row of each key."""
    table = tables.limits.c
    newest = select(func.max(table.id)).where(table.account == name).group_by(table.key)
    rows = connection.execute(select(table.key, table.value).where(table.id.in_(newest)))
    return Limits(**{row.key: row.value for row in rows if row.key in KEYS})


def write_limit(connection: Connection, name: str, key: str, value: Decimal | None, actor: Actor, clock: Clock) -> None:
    connection.execute(
        insert(tables.limits).values(
            account=name, key=key, value=value, actor=actor, market_time=clock.now(), wall_time=clock.wall()
        )
    )


def check_trade_count(connection: Connection, name: str, limits: Limits, session_id: str | None, now: datetime) -> None:
    """Raises Refused `over_limit` when one more fill would pass a limit on their number."""
    table = tables.transactions.c
    fills = select(func.count()).where(table.account == name, table.kind.in_(("buy", "sell")))
    if limits.max_trades_per_session is not None and session_id is not None:
        done = connection.execute(fills.where(table.session_id == session_id)).scalar_one()
        if done >= limits.max_trades_per_session:
            raise Refused("over_limit", f"{name} has made {done} trades this session, and may make no more in it")
    if limits.max_trades_per_day is not None:
        opened = datetime.combine(market_day(now), time(), UTC)
        done = connection.execute(fills.where(table.market_time >= opened)).scalar_one()
        if done >= limits.max_trades_per_day:
            raise Refused(
                "over_limit", f"{name} has made {done} trades today (UTC), and may make no more until tomorrow"
            )


@dataclass(frozen=True, slots=True)
class Purchase:
    """A buy about to be made: at `quote_price`, filling at `price`. USD a unit."""

    instrument: Instrument
    step: Decimal
    quantity: Decimal
    quote_price: Decimal
    price: Decimal

    @property
    def cost(self) -> Decimal:
        return notional(self.price, self.quantity, "buy")

    def fitting(self, budget: Decimal) -> Decimal:
        """The largest quantity whose cost is within `budget`."""
        return affordable(budget, self.price, self.step)


def check_purchase(book: Book, value: Decimal, limits: Limits, buy: Purchase) -> None:
    """Raises Refused `insufficient_cash` or `over_limit`, with the quantity that every limit would allow."""
    name, symbol = book.account.name, buy.instrument.symbol
    asked = f"buying {plain(buy.quantity)} {symbol} at {plain(buy.price)} costs {usd(buy.cost)} USD"
    spendable = book.account.cash - (limits.min_cash_usd or ZERO)
    room = [buy.fitting(spendable)]
    if limits.max_order_usd is not None:
        room.append(buy.fitting(limits.max_order_usd))
    over_share = None
    if limits.max_position_share is not None:
        share = limits.max_position_share
        held = notional(buy.quote_price, book.held(symbol).quantity)
        # the spread leaves the value, so the room solves held + q*quote <= share * (value - q*(price - quote))
        lost = buy.price - buy.quote_price
        room.append(affordable(share * value - held, buy.quote_price + share * lost, buy.step))
        if buy.quantity > room[-1]:
            over_share = f"would put more than {plain(share * 100)} % of {name}'s {usd(value)} USD into it"
    fits = f"{plain(min(room))} would fit" if min(room) > 0 else "none would fit"
    if buy.cost > book.account.cash:
        raise Refused("insufficient_cash", f"{asked} and {name} has {usd(book.account.cash)} USD; {fits}")
    if buy.cost > spendable:
        raise Refused(
            "over_limit",
            f"{asked}, less than {usd(limits.min_cash_usd or ZERO)} USD, {name}'s minimum, would be left; {fits}",
        )
    if limits.max_order_usd is not None and buy.cost > limits.max_order_usd:
        raise Refused("over_limit", f"{asked}, over {name}'s largest order of {usd(limits.max_order_usd)} USD; {fits}")
    if over_share is not None:
        raise Refused("over_limit", f"{asked} and {over_share}; {fits}")


def as_shown(limits: Limits) -> Mapping[str, str | None]:
    return {key: None if (value := getattr(limits, key)) is None else plain(value) for key in KEYS}
