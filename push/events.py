"""What the floor tells its owner by itself: each event a row first, on, silent or off as PUSH_EVENTS says.

A row waits, `held`, for what else happens within BURST, or for the end of the quiet hours; `push/bundle.py` sends what
is due as one message. Halts and errors do not wait for a night's end. An event that is off leaves no row: what it would
tell is on record where it happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, insert, select

from database import Store, lock_run
from push.quiet import QuietHours, quiet_hours
from push.texts import plain_text, shortened
from store import tables
from values.clock import Clock
from values.names import normalise_name
from values.settings import Event, Level, PushSettings

__all__ = ["BURST", "FLOOR", "NOWHERE", "Announcer", "Event", "Level"]

FLOOR = "floor"
"""From whom a message is that is no account's."""
BURST = timedelta(seconds=10)
"""Wall time within which events become one message."""
TITLE_CHARS_MAX = 200
TEXT_CHARS_MAX = 4_000
NOWHERE = "kept, and sent nowhere: no push target is configured"
_URGENT: frozenset[Event] = frozenset({"halt", "error"})


@dataclass(frozen=True, slots=True)
class Announcer:
    """Writes rows and sends nothing, so that no announcement waits for a network. Safe in several threads."""

    store: Store
    clock: Clock
    levels: dict[Event, Level]
    quiet: QuietHours | None
    has_targets: bool

    @classmethod
    def of(cls, store: Store, clock: Clock, settings: PushSettings) -> Announcer:
        return cls(store, clock, settings.event_levels, quiet_hours(settings), settings.is_pushing)

    def announce(
        self, event: Event, account: str | None, title: str, text: str, *, about: str | None = None,
        session_id: str | None = None,
    ) -> int | None:  # fmt: skip
        """Tell the owner; the row's number, None for an event that is off or an `about` that was told before.

        `account` None is the floor itself. `about` (at most 120 characters) names what this tells of: each is told
        once, whatever restarts. Raises Refused `bad_name`, and StoreUnusable.
        """
        if self.levels[event] == "off":
            return None
        with self.store.write() as connection:
            lock_run(connection)
            return self.announce_in(connection, event, account, title, text, about=about, session_id=session_id)

    def announce_in(
        self, connection: Connection, event: Event, account: str | None, title: str, text: str, *,
        about: str | None = None, session_id: str | None = None,
    ) -> int | None:  # fmt: skip
        """The same within the caller's write transaction, which has locked the run."""
        table = tables.notifications
        if self.levels[event] == "off":
            return None
        if about is not None and connection.execute(select(table.c.id).where(table.c.about == about)).first():
            return None
        wall = self.clock.wall()
        row = {
            "account": FLOOR if account is None else normalise_name(account),
            "title": shortened(" ".join(plain_text(title).split()), TITLE_CHARS_MAX) or event,
            "message": shortened(plain_text(text), TEXT_CHARS_MAX),
            "state": "held" if self.has_targets else "no_target",
            "reason": "" if self.has_targets else NOWHERE,
            "session_id": session_id,
            "market_time": self.clock.now(),
            "wall_time": wall,
            "event": event,
            "about": about,
        }
        if self.has_targets:
            row["due_at"] = due = self._due(connection, event, wall)
            row["reason"] = f"waits until {due:%Y-%m-%d %H:%M:%S} UTC"
        number: int = connection.execute(insert(table).values(row).returning(table.c.id)).scalar_one()
        return number

    def _due(self, connection: Connection, event: Event, wall: datetime) -> datetime:
        """When it goes out: with what waits already, where that goes out within the burst, else when the burst ends."""
        if event not in _URGENT and self.quiet is not None and (ends := self.quiet.end_after(wall)) is not None:
            return ends
        table = tables.notifications.c
        waiting = select(func.min(table.due_at)).where(table.state == "held", table.due_at >= wall)
        first: datetime | None = connection.execute(waiting).scalar_one_or_none()
        return wall + BURST if first is None or first > wall + BURST else first
