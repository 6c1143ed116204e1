"""The trading day's opening value, and the loss against it that halts an account.

The day is a UTC market date. It opens at the last value recorded before it, or, where there is none, at the first
value seen on it.
"""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal

from sqlalchemy import Connection, select, update

from ledger.book import Book
from ledger.limits import Limits
from store import tables
from values.clock import market_day
from values.money import plain, usd


def opening_value(connection: Connection, name: str, value: Decimal, now: datetime) -> Decimal:
    """USD that the account was worth when today opened; written down the first time a day asks."""
    table = tables.accounts
    today = market_day(now)
    day, opened = connection.execute(select(table.c.day, table.c.day_open_value).where(table.c.name == name)).one()
    if day == today and opened is not None:
        return Decimal(opened)
    values = tables.portfolio_values.c
    before = connection.execute(
        select(values.value)
        .where(values.account == name, values.market_time < datetime.combine(today, time(), UTC))
        .order_by(values.market_time.desc(), values.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    # a day without a value was opened anew by `resume` while there was no price: what was before it does not count
    opening = value if before is None or day == today else Decimal(before)
    connection.execute(update(table).where(table.c.name == name).values(day=today, day_open_value=opening))
    return opening


def halt_reason(connection: Connection, book: Book, limits: Limits, value: Decimal, now: datetime) -> str | None:
    """Why today's loss halts the account, None when it does not. The state is changed in the caller's transaction."""
    name = book.account.name
    opening = opening_value(connection, name, value, now)
    if limits.max_daily_loss_share is None or opening <= 0 or value > opening * (1 - limits.max_daily_loss_share):
        return None
    reason = (
        f"{name} is worth {usd(value)} USD, down from {usd(opening)} at the day's opening: a loss of "
        f"{plain(limits.max_daily_loss_share * 100)} % or more in a day halts it until `trading-floor resume {name}`"
    )
    connection.execute(
        update(tables.accounts).where(tables.accounts.c.name == name).values(state="halted", state_reason=reason)
    )
    return reason
