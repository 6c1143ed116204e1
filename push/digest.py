"""The day in one message: each account's value, its change, its trades and what its model cost.

It goes out once for each day of the owner's, at PUSH_DIGEST_AT or as soon after that as a floor runs. Its figures are
of the last 24 hours of wall time, from the record; no price is asked for.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from database import Store
from push.events import Announcer
from push.quiet import last_at
from store import tables
from values.clock import Clock
from values.money import ZERO, usd
from values.settings import PushSettings

ACCOUNTS_MAX = 40
_DAY = timedelta(days=1)


class Digest:
    """One floor's. Not for several threads."""

    def __init__(self, store: Store, clock: Clock, announcer: Announcer, settings: PushSettings) -> None:
        self._store = store
        self._clock = clock
        self._announcer = announcer
        self._at = time.fromisoformat(settings.push_digest_at)
        self._zone = ZoneInfo(settings.push_time_zone)
        self._made_at = store.run().made_at
        self._told: date | None = None

    def look(self) -> None:
        """Announce the day's digest when it is due and was not told. Raises StoreUnusable."""
        wall = self._clock.wall()
        day, moment = last_at(self._at, self._zone, wall)
        if day == self._told:
            return
        if moment > self._made_at:
            with self._store.read() as connection:
                text = digest_text(connection, wall)
            self._announcer.announce("digest", None, f"The day to {day:%Y-%m-%d}", text, about=f"digest {day}")
        self._told = day


def digest_text(connection: Connection, wall: datetime) -> str:
    """A line for each account, and the whole floor's spending."""
    since = wall - _DAY
    table = tables.accounts.c
    names = connection.execute(
        select(table.name, table.kind, table.state, table.deposited).order_by(table.kind.desc(), table.name)
    ).all()
    spent = _spent(connection, since)
    lines = []
    for name, kind, state, deposited in names[:ACCOUNTS_MAX]:
        now = _value(connection, name, wall)
        if now is None:
            lines.append(f"{name}: no value on record yet")
            continue
        before = _value(connection, name, since)
        change = now - (deposited if before is None else before)
        words = [f"{name}: {usd(now)} USD", f"{'+' if change >= 0 else ''}{usd(change)}"]
        if kind != "baseline":
            trades = _trades(connection, name, since)
            words += [f"{trades} trade{'' if trades == 1 else 's'}", f"{usd(spent.get(name, ZERO))} spent"]
        if state != "active":
            words.append(state)
        lines.append(", ".join(words))
    if len(names) > ACCOUNTS_MAX:
        lines.append(f"and {len(names) - ACCOUNTS_MAX} more accounts")
    lines.append(f"models cost {usd(sum(spent.values(), ZERO))} USD in all")
    return "\n".join(lines)


def _value(connection: Connection, account: str, wall: datetime) -> Decimal | None:
    """The account's newest recorded value by then."""
    table = tables.portfolio_values.c
    rows = select(table.value).where(table.account == account, table.wall_time <= wall)
    newest = rows.order_by(table.market_time.desc(), table.id.desc()).limit(1)
    found: Decimal | None = connection.execute(newest).scalar_one_or_none()
    return found


def _trades(connection: Connection, account: str, since: datetime) -> int:
    table = tables.transactions.c
    fills = select(func.count()).where(
        table.account == account, table.kind.in_(("buy", "sell")), table.wall_time > since
    )
    return int(connection.execute(fills).scalar_one())


def _spent(connection: Connection, since: datetime) -> dict[str, Decimal]:
    table = tables.model_calls.c
    query = select(table.account, func.sum(table.cost_usd)).where(table.wall_time > since).group_by(table.account)
    return {row.account: row[1] for row in connection.execute(query)}
