"""What language models may cost: by trader and wall day (UTC), and by the floor and day; kept in the store.

A call's most is added to the day's spending before it is made, under the row's own lock, so that no number of calls at
once in any number of processes passes a cap. Settled, what it did cost stands there instead, and the call is on record.
What a process left behind that ended has cost the most. What costs nothing leaves no row here.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection, Row, delete, insert, select, update

from database import Store
from model_clients.meter import OverBudget
from store import tables
from store.model_calls import FLOOR, add_spending, call_values, insert_calls, open_days
from values.clock import wall_now
from values.money import plain
from values.usage import ModelCall, Rates, Tokens

NEAR = Decimal("0.8")
"""Of a day's cap: from there on the owner is told, once."""
ABANDONED_AFTER = timedelta(minutes=15)
"""No call takes as long: whoever made it has forgotten it."""
_CALL_COLUMNS = (
    "model", "input_tokens", "output_tokens", "cache_write_tokens", "input_usd", "cached_usd", "cache_write_usd",
    "output_usd", "cost_usd", "wall_time",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CapNear:
    """A day's spending has reached NEAR of its cap. `account` is FLOOR for the floor's. USD."""

    account: str
    day: date
    cost_usd: Decimal
    cap_usd: Decimal
    by: str
    """The account whose call did it."""

    @property
    def sentence(self) -> str:
        whose = f"{self.account}'s" if self.account else "the floor's"
        return (
            f"models have cost ${self.cost_usd:.2f} today, of {whose} cap of ${self.cap_usd:.2f}; "
            "at the cap sessions end over_budget until midnight UTC"
        )


@dataclass(slots=True)
class Budget:
    """Caps are USD a wall day. `tell` hears of each day's cap once, when it is near. Safe in several threads."""

    store: Store
    trader_day_usd: Decimal
    floor_day_usd: Decimal
    tell: Callable[[CapNear], None] = lambda _: None
    wall: Callable[[], datetime] = wall_now
    owner: str = field(default_factory=lambda: f"{os.getpid()}-{secrets.token_hex(8)}")

    async def reserve(self, session_id: str, account: str, most: ModelCall) -> int:
        """Raises OverBudget with what is left, and StoreUnusable; nothing is held then."""
        return await asyncio.to_thread(self._reserve, session_id, account, most)

    async def settle(self, reservation: int, call: ModelCall | None) -> None:
        """None gives the reservation back. One that was settled already stays so. Raises StoreUnusable."""
        near = await asyncio.to_thread(self._settle, reservation, call)
        for each in near:
            await asyncio.to_thread(self.tell, each)

    def settle_abandoned(self, *, of_others: bool = False) -> int:
        """Settle what was forgotten, at its most; with `of_others` all that other processes hold, for a floor that
        has just begun and is the only one. How many there were."""
        table = tables.reservations.c
        is_abandoned = table.wall_time < self.wall() - ABANDONED_AFTER
        if of_others:
            is_abandoned |= table.owner != self.owner
        with self.store.write() as connection:
            found = connection.execute(select(tables.reservations).where(is_abandoned)).all()
            for row in found:
                _replace(connection, row, _as_most(row))
        return len(found)

    def _caps(self, account: str) -> Iterator[tuple[str, Decimal]]:
        """Always in this order, so that no two writers wait for each other."""
        yield FLOOR, self.floor_day_usd
        yield account, self.trader_day_usd

    def _reserve(self, session_id: str, account: str, most: ModelCall) -> int:
        day = most.wall_time.astimezone(UTC).date()
        with self.store.write() as connection:
            open_days(connection, day, account)
            for whose, cap in self._caps(account):
                if not _add(connection, day, whose, most.cost_usd, cap):
                    raise _over(connection, day, whose, cap, most)
            values = call_values(most)
            number: int = connection.execute(
                insert(tables.reservations)
                .values(
                    session_id=session_id,
                    account=account,
                    owner=self.owner,
                    **{name: values[name] for name in _CALL_COLUMNS},
                )
                .returning(tables.reservations.c.id)
            ).scalar_one()
        return number

    def _settle(self, reservation: int, call: ModelCall | None) -> list[CapNear]:
        table = tables.reservations
        with self.store.write() as connection:
            row = connection.execute(select(table).where(table.c.id == reservation)).one_or_none()
            if row is None:
                return []
            _replace(connection, row, call)
            day = row.wall_time.astimezone(UTC).date()
            return [
                each
                for whose, cap in self._caps(row.account)
                if (each := _near(connection, day, whose, cap, row.account)) is not None
            ]


def _add(connection: Connection, day: date, account: str, usd: Decimal, cap: Decimal) -> bool:
    """Whether the day's spending could take `usd` more within the cap; it has it then."""
    table = tables.spending
    fitting = (
        update(table)
        .where(table.c.day == day, table.c.account == account, table.c.cost_usd <= cap - usd)
        .values(cost_usd=table.c.cost_usd + usd)
    )
    return bool(connection.execute(fitting).rowcount)


def _over(connection: Connection, day: date, account: str, cap: Decimal, most: ModelCall) -> OverBudget:
    table = tables.spending.c
    spent = connection.execute(select(table.cost_usd).where(table.day == day, table.account == account)).scalar_one()
    who = f"{account} may" if account else "the floor may"
    return OverBudget(
        f"{who} cost {plain(cap)} USD a day: {plain(spent)} is spent or held on {day}, and the next call of "
        f"{most.model} can cost up to {plain(most.cost_usd)}"
    )


def _replace(connection: Connection, row: Row[tuple[object, ...]], call: ModelCall | None) -> None:
    """The call on record in the place of its reservation; a call of None costs nothing and leaves nothing."""
    table = tables.reservations
    if not connection.execute(delete(table).where(table.c.id == row.id)).rowcount:
        return  # another process found it abandoned
    change = (Decimal(0) if call is None else call.cost_usd) - row.cost_usd
    add_spending(connection, row.wall_time.astimezone(UTC).date(), row.account, change)
    if call is not None:
        insert_calls(connection, row.session_id, row.account, [call])


def _near(connection: Connection, day: date, account: str, cap: Decimal, by: str) -> CapNear | None:
    table = tables.spending
    found = connection.execute(
        update(table)
        .where(
            table.c.day == day, table.c.account == account, table.c.is_told.is_(False), table.c.cost_usd >= cap * NEAR
        )
        .values(is_told=True)
        .returning(table.c.cost_usd)
    ).scalar_one_or_none()
    return None if found is None or not found else CapNear(account, day, found, cap, by)


def _as_most(row: Row[tuple[object, ...]]) -> ModelCall:
    return ModelCall(
        row.model,
        Tokens(row.input_tokens, row.output_tokens, written=row.cache_write_tokens),
        Rates(row.input_usd, row.cached_usd, row.cache_write_usd, row.output_usd),
        True,
        0.0,
        "unknown",
        row.wall_time,
    )
