"""The accounts server, made to die or to stop for ever at a named point of its first trade: launched by tests alone.

Points of the transaction are set through SQLAlchemy's events, those of the reply around what writes it. A marker
file, removed just before, lets it happen once.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import Pool

import accounts_server
import wire.stdio

WRITTEN = ("transactions", "accounts", "holdings", "logs")
POINTS = tuple(f"{when}_{what}" for what in ("begin", *WRITTEN, "commit", "reply") for when in ("before", "after"))
FAULTS = {"killed": signal.SIGKILL, "hung": signal.SIGSTOP}
_WRITE = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")


class _Trap:
    """`reached` says where the server is; at the point it was set for, the fault happens, once."""

    def __init__(self, point: str, fault: signal.Signals, marker: Path) -> None:
        self._point = point
        self._fault = fault
        self._marker = marker
        self.has_written = False
        self.has_committed = False

    def reached(self, point: str) -> None:
        if point == self._point and self._marker.exists():
            self._marker.unlink()
            os.kill(os.getpid(), self._fault)
            threading.Event().wait()  # a stop takes effect on all threads, but not on all at once


def arm(point: str, fault: signal.Signals, marker: Path) -> None:
    trap = _Trap(point, fault, marker)

    @event.listens_for(Engine, "before_cursor_execute")
    def _before(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if (what := _step(statement)) is not None:
            trap.reached(f"before_{what}")

    @event.listens_for(Engine, "after_cursor_execute")
    def _after(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if (what := _step(statement)) is not None:
            trap.has_written |= what == "transactions"
            trap.reached(f"after_{what}")

    @event.listens_for(Engine, "commit")
    def _on_commit(_connection: Connection) -> None:
        if trap.has_written:
            trap.has_committed = True
            trap.reached("before_commit")

    @event.listens_for(Pool, "checkin")
    def _on_checkin(*_: Any) -> None:
        if trap.has_committed:
            trap.reached("after_commit")

    put = wire.stdio._put

    def _put(sink: int, data: bytes) -> None:
        """The reply after the first trade's commit is that trade's."""
        if trap.has_committed:
            trap.reached("before_reply")
        put(sink, data)
        if trap.has_committed:
            trap.reached("after_reply")

    wire.stdio._put = _put


def _step(statement: str) -> str | None:
    if statement.startswith("BEGIN IMMEDIATE"):
        return "begin"
    found = _WRITE.match(statement)
    return found[1] if found is not None and found[1] in WRITTEN else None


def main() -> None:
    """`tests.crashing_server POINT FAULT MARKER ...`, the rest being the accounts server's own arguments."""
    point, fault, marker = sys.argv.pop(1), FAULTS[sys.argv.pop(1)], Path(sys.argv.pop(1))
    arm(point, fault, marker)
    accounts_server.main()


if __name__ == "__main__":
    main()
