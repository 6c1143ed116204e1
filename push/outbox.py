"""The owner's messages: every one is a row of `notifications` before it is sent, and the row says what became of it.

`pending` becomes `sent`, `partly_sent` (some targets took it) or `failed`; `no_target` and `refused` are final at once.
A trader's message in quiet hours is `held`: the floor sends it when they end. An account may send 20 messages an hour
and 100 a day of wall time, from however many processes; what goes nowhere is not counted, nor what the floor tells.
Nothing is sent twice: a failed message is for its sender to send again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

from sqlalchemy import Connection, insert, select, update

from database import Actor, Store, lock_run
from ledger.orders import open_session
from push.events import NOWHERE
from push.quiet import QuietHours
from push.targets import Delivery
from push.texts import plain_text, shortened
from store import tables
from values.clock import Clock, iso
from values.errors import Refused, StoreUnusable
from values.names import normalise_name

logger = logging.getLogger("floor.push")

HOURLY, DAILY = 20, 100
MESSAGE_CHARS_MAX = 10_000
TITLE_CHARS_MAX = 500
DEFAULT_TITLE = "Trading floor"
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_KEPT_OF_BAD_CHARS = 500
ABANDONED_AFTER = timedelta(minutes=2)
ABANDONED = "the process that sent it ended before it knew what became of it; it may have arrived"

State = Literal["sent", "partly_sent", "failed", "no_target", "held"]


class Carrier(Protocol):
    """What carries messages to the owner; `push.targets.Targets` is the real one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The targets; without any, nothing is sent."""

    def deliver(self, title: str, message: str, *, is_silent: bool = False) -> Sequence[Delivery]:
        """What became of a message at each target. Bounded in time; never raises for a failed send."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a message: `taken_by` are the targets that took it, `note` is all of it as a sentence."""

    notification_id: int
    account: str
    state: State
    taken_by: tuple[str, ...]
    is_cut: bool
    note: str
    deliveries: Sequence[Delivery] = ()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A message's row."""

    number: int
    heading: str
    text: str
    state: State | Literal["pending"]
    reason: str


@dataclass(frozen=True, slots=True)
class Outbox:
    """Safe to use from several threads and processes."""

    store: Store
    carrier: Carrier
    clock: Clock
    quiet: QuietHours | None = None

    def send(
        self, account: object, title: str, message: str, session_id: str | None = None, actor: Actor = "floor"
    ) -> Sent:
        """Keep a message of `account`, then send it; a failed send is the state `failed`, not an exception.

        What `floor` sends without a `session_id` belongs to the account's open session, if there is one. Raises
        Refused `bad_name`, `bad_message`, `bad_title` or `push_limit`, and StoreUnusable; nothing is sent then.
        """
        name = normalise_name(account)
        kept = self._keep(name, title, message, session_id, actor)
        if kept.state != "pending":
            return Sent(kept.number, name, kept.state, (), is_cut=False, note=kept.reason)
        return self.settle(outcome(kept.number, name, kept.text, self.carrier.deliver(kept.heading, kept.text)))

    def _keep(self, name: str, title: str, message: str, session_id: str | None, actor: Actor) -> _Kept:
        """The message's row, as it was written. Counting and keeping are one transaction.

        Raises Refused when the row is a refusal's.
        """
        fault = _fault(title, message)
        if fault is not None:
            title, message = (shortened(each, _KEPT_OF_BAD_CHARS) for each in (title, message))
        heading, text = " ".join(plain_text(title).split()) or DEFAULT_TITLE, plain_text(message)
        is_sendable = bool(self.carrier.names)
        now = self.clock.now()
        with self.store.write() as connection:
            lock_run(connection)  # messages are counted one at a time
            wall = self.clock.wall()
            refusal = fault or (_over_limit(name, _counted(connection, name, wall), wall) if is_sendable else None)
            due = self.quiet.end_after(wall) if actor == "floor" and self.quiet is not None and is_sendable else None
            state: State | Literal["pending", "refused"] = "pending" if is_sendable else "no_target"
            reason = "" if is_sendable else NOWHERE
            if due is not None:
                state, reason = "held", f"kept, and sent when the owner's quiet hours end, at {iso(due)}"
            if refusal is not None:
                state, reason, due = "refused", refusal.sentence, None
            number = connection.execute(
                insert(tables.notifications)
                .values(
                    account=name,
                    title=heading,
                    message=text,
                    state=state,
                    reason=reason,
                    session_id=session_id or (open_session(connection, name) if actor == "floor" else None),
                    market_time=now,
                    wall_time=wall,
                    due_at=due,
                )
                .returning(tables.notifications.c.id)
            ).scalar_one()
        if refusal is not None:
            refusal.is_on_record = True
            raise refusal
        assert state != "refused"
        return _Kept(number, heading, text, state, reason)

    def settle(self, outcome: Sent) -> Sent:
        """Write what became of the message into its row; a message that went out is out, also when that fails."""
        table = tables.notifications
        settled = update(table).where(table.c.id == outcome.notification_id)
        try:
            with self.store.write() as connection:
                connection.execute(settled.values(state=outcome.state, reason=outcome.note))
        except StoreUnusable as error:
            logger.error("notification %d is %s, and its row is not: %s", outcome.notification_id, outcome.state, error)
            return replace(outcome, note=f"{outcome.note}; its row could not be brought up to date")
        return outcome


def _fault(title: str, message: str) -> Refused | None:
    """Why this can't be a message."""
    if len(message) > MESSAGE_CHARS_MAX or not plain_text(message):
        return Refused(
            "bad_message",
            f"the message has {len(message)} characters; expected 1 to {MESSAGE_CHARS_MAX} that can be seen",
        )
    if len(title) > TITLE_CHARS_MAX:
        return Refused("bad_title", f"the title has {len(title)} characters; expected at most {TITLE_CHARS_MAX}")
    return None


def _counted(connection: Connection, name: str, wall: datetime) -> list[datetime]:
    """When the account's messages of the last day went out or tried to, newest first; at most DAILY.

    Closes the rows of messages whose process ended while it sent them. Reads no row that is older than a day.
    """
    table = tables.notifications
    own = select(table.c.id, table.c.state, table.c.wall_time).where(table.c.account == name)
    query = own.where(table.c.event.is_(None))
    times: list[datetime] = []
    abandoned = []
    with connection.execute(query.order_by(table.c.id.desc())) as rows:
        for row in rows:
            if len(times) == DAILY or row.wall_time <= wall - _DAY:
                break
            if row.state not in ("refused", "no_target"):
                times.append(row.wall_time)
            if row.state == "pending" and row.wall_time < wall - ABANDONED_AFTER:
                abandoned.append(row.id)
    if abandoned:
        closed = update(table).where(table.c.id.in_(abandoned))
        connection.execute(closed.values(state="failed", reason=ABANDONED))
    return times


def _over_limit(name: str, times: Sequence[datetime], wall: datetime) -> Refused | None:
    """The refusal of one more message, with when it would be allowed."""
    too_many = next_allowed(times, wall)
    if too_many is None:
        return None
    return Refused(
        "push_limit",
        f"{name} has sent {too_many.most} messages within {too_many.span}; {HOURLY} an hour and {DAILY} a day are "
        f"allowed, and the next is allowed at {iso(too_many.until)} (wall time)",
    )


class TooMany(NamedTuple):
    """No message is allowed before `until`, because there were `most` within `span`."""

    until: datetime
    most: int
    span: str


def next_allowed(times: Sequence[datetime], wall: datetime) -> TooMany | None:
    """When one more message is allowed after those of `times`, newest first, to the whole second; None for now."""
    limits = ((HOURLY, _HOUR, "an hour"), (DAILY, _DAY, "a day"))
    waits = [TooMany(times[most - 1] + span, most, word) for most, span, word in limits if len(times) >= most]
    longest = max(waits, default=None)
    if longest is None or longest.until <= wall:
        return None
    until = longest.until
    return longest._replace(until=until.replace(microsecond=0) + timedelta(seconds=until.microsecond > 0))


def outcome(number: int, name: str, text: str, deliveries: Sequence[Delivery]) -> Sent:
    """What targets made of a message, as its row is to say it."""
    taken = [each for each in deliveries if each.is_taken]
    failed = "; ".join(f"{each.target}: {each.reason}" for each in deliveries if not each.is_taken)
    where = " and ".join(each.target for each in taken)
    cuts = [f"; {each.target} got {_part(each, len(text))}" for each in taken if _is_cut(each)]
    state: State = "failed" if not taken else "partly_sent" if failed else "sent"
    note = f"sent to {where or 'no target'}{''.join(cuts)}"
    if failed:
        note += f"; it failed at {failed}" if taken else f": {failed}"
    return Sent(number, name, state, tuple(each.target for each in taken), bool(cuts), note, tuple(deliveries))


def _is_cut(delivery: Delivery) -> bool:
    return delivery.is_title_cut or delivery.kept_chars is not None


def _part(delivery: Delivery, chars: int) -> str:
    """How much of a message a target got."""
    title = "a cut title" if delivery.is_title_cut else ""
    body = "" if delivery.kept_chars is None else f"the first {delivery.kept_chars:,} of {chars:,} characters"
    return " and ".join(filter(None, (title, body)))
