"""The accounts server, made to die at a named point of its first trade: launched by tests, never by the product.

The point is set through SQLAlchemy's events. A marker file, removed just before the death, lets it happen once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import Pool

import accounts_server

POINTS = ("before_begin", "before_commit", "after_commit", "hang_before_commit", "hang_after_commit")


def arm(point: str, marker: Path) -> None:
    """Die, or stop for ever, at `point` of the next transaction that writes a trade."""
    written = False
    committed = False

    def act() -> None:
        if marker.exists():
            marker.unlink()
            os.kill(os.getpid(), signal.SIGSTOP if point.startswith("hang") else signal.SIGKILL)

    @event.listens_for(Engine, "before_cursor_execute")
    def _on_statement(_connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        nonlocal written
        if statement.startswith("BEGIN IMMEDIATE") and point == "before_begin":
            act()
        if statement.startswith("INSERT INTO transactions"):
            written = True

    @event.listens_for(Engine, "commit")
    def _on_commit(_connection: Connection) -> None:
        nonlocal committed
        if written:
            committed = True
            if point.endswith("before_commit"):
                act()

    @event.listens_for(Pool, "checkin")
    def _on_checkin(*_: Any) -> None:
        if committed and point.endswith("after_commit"):
            act()


if __name__ == "__main__":
    arm(sys.argv.pop(1), Path(sys.argv.pop(1)))
    accounts_server.main()
