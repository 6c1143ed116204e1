"""Messages that were held and are due, sent as one; the floor's own limit, and what became of them.

What goes beyond HOURLY or DAILY is not lost: it waits until a message is allowed again and goes out in that.
One process may send: the one that holds the floor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from database import Store, lock_run
from push.events import FLOOR
from push.outbox import ABANDONED, ABANDONED_AFTER, DAILY, HOURLY, MESSAGE_CHARS_MAX, next_allowed
from push.texts import shortened
from store import tables
from values.clock import Clock, iso
from values.settings import Event, Level

MEMBERS_MAX = 200
"""Messages that go out as one at most; more wait for the next."""
_LINES_MAX = 40
_LINE_CHARS_MAX = 240
_OUT = ("pending", "sent", "partly_sent", "failed")
_T = tables.notifications


@dataclass(frozen=True, slots=True)
class Bundle:
    """A message that is on record as `pending` and is now to be sent."""

    number: int
    account: str
    title: str
    message: str
    is_silent: bool


def take_due(store: Store, clock: Clock, levels: dict[Event, Level], ahead: timedelta = timedelta(0)) -> Bundle | None:
    """What is due by now, or `ahead` of its time, as one message; None when nothing is, or none is allowed yet."""
    wall = clock.wall()
    query = select(_T).where(_T.c.state == "held", _T.c.due_at <= wall + ahead).order_by(_T.c.id).limit(MEMBERS_MAX)
    with store.read() as connection:
        if connection.execute(query).first() is None:
            return None
    with store.write() as connection:
        lock_run(connection)
        _close_abandoned(connection, wall)
        members = connection.execute(query).all()
        if not members:
            return None
        times = select(_T.c.due_at).where(_T.c.state.in_(_OUT), _T.c.due_at > wall - timedelta(days=1))
        too_many = next_allowed(sorted(filter(None, connection.execute(times).scalars()), reverse=True), wall)
        if too_many is not None:
            why = f"waits until {iso(too_many.until)}: the floor sends {HOURLY} an hour and {DAILY} a day at most"
            held = update(_T).where(_T.c.state == "held", _T.c.due_at <= wall + ahead)
            connection.execute(held.values(due_at=too_many.until, reason=why))
            return None
        return _sent_off(connection, members, clock, levels)


def _sent_off(connection: Connection, members: Sequence[Row[Any]], clock: Clock, levels: dict[Event, Level]) -> Bundle:
    """The members' rows, and that of what they go out in, as they are while it is on its way."""
    wall = clock.wall()
    is_silent = all(each.event is not None and levels[each.event] != "on" for each in members)
    if len(members) == 1:
        [one] = members
        connection.execute(update(_T).where(_T.c.id == one.id).values(state="pending", reason="", due_at=wall))
        return Bundle(one.id, one.account, one.title, one.message or one.title, is_silent)
    title, message = merged(members)
    number = connection.execute(
        insert(_T)
        .values(
            account=FLOOR, title=title, message=message, state="pending", reason="", market_time=clock.now(),
            wall_time=wall, event="bundle", due_at=wall,
        )
        .returning(_T.c.id)
    ).scalar_one()  # fmt: skip
    mine = update(_T).where(_T.c.id.in_([each.id for each in members]))
    connection.execute(mine.values(state="merged", reason=f"goes out in message {number}", carried_by=number))
    return Bundle(number, FLOOR, title, message, is_silent)


def merged(members: Sequence[Row[Any]]) -> tuple[str, str]:
    """Title and text of several messages: a line each, what is urgent first, as many as fit."""
    counts = Counter(each.event or "message" for each in members)
    title = f"{len(members)} messages: {', '.join(f'{count} {event}' for event, count in counts.most_common())}"
    in_order = sorted(members, key=lambda each: each.event not in ("halt", "error", "budget"))
    lines = [_line(each) for each in in_order[:_LINES_MAX]]
    if len(members) > _LINES_MAX:
        lines.append(f"and {len(members) - _LINES_MAX} more, which the dashboard shows")
    return title, shortened("\n".join(lines), MESSAGE_CHARS_MAX)


def _line(row: Row[Any]) -> str:
    whose = "" if row.event is not None or row.title.startswith(row.account) else f"{row.account}: "
    return shortened(" - ".join(" ".join(part.split()) for part in (whose + row.title, row.message) if part),
                     _LINE_CHARS_MAX)  # fmt: skip


def _close_abandoned(connection: Connection, wall: datetime) -> None:
    lost = _T.c.due_at < wall - ABANDONED_AFTER
    closed = update(_T).where(_T.c.state == "pending", lost)
    connection.execute(closed.values(state="failed", reason=ABANDONED))
