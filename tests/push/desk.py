"""What tests of messages share: a carrier that takes everything, settings of the loopback server, rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Row, insert, select

from database import Store
from push.outbox import Outbox
from push.targets import Delivery, Targets
from store import tables
from tests.push_loopback import PushLoopback
from values.clock import FixedClock
from values.settings import PushSettings, load

PROJECT = Path(__file__).resolve().parent.parent.parent
SNAPSHOT = PROJECT / "tests" / "snapshots" / "push_tools.json"
START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
WALL = datetime(2026, 3, 2, 18, 0, 0, 250_000, tzinfo=UTC)
VARIABLES = ("PUSHOVER_USER", "PUSHOVER_TOKEN", "PUSHOVER_BASE_URL", "PUSH_URLS")
CANARIES = ("canaryTOKEN7Q", "canaryUSER9Z", "canaryPASS3W", "canaryTOPIC5R", "canaryLOGIN2K", "canaryHOOK8M")
TOKEN, USER, PASSWORD, TOPIC, LOGIN, HOOK = CANARIES
NEVER = ("silent", "drip")
"""The faults that only a deadline ends."""
SHORT_S = 1.0


@dataclass
class Postman:
    """A carrier that takes what it is given, unless it is told otherwise, and looks at the record while it has it."""

    names: tuple[str, ...] = ("pushover",)
    outcome: Callable[[str], Sequence[Delivery]] = lambda _: [Delivery("pushover", True)]
    carried: list[tuple[str, str]] = field(default_factory=list)
    silent: list[bool] = field(default_factory=list)

    def deliver(self, title: str, message: str, *, is_silent: bool = False) -> Sequence[Delivery]:
        self.carried.append((title, message))
        self.silent.append(is_silent)
        return self.outcome(message)


def rows(store: Store, account: str | None = None) -> Sequence[Row[Any]]:
    table = tables.notifications
    query = select(table).order_by(table.c.id)
    with store.read() as connection:
        return connection.execute(query if account is None else query.where(table.c.account == account)).all()


def open_session(store: Store) -> None:
    with store.write() as connection:
        connection.execute(
            insert(tables.sessions).values(
                id="trace_warren1", account="warren", cycle=1, mode="trade", model="house", outcome="open", reason="",
                appraisal="", turns=0, tool_calls=0, input_tokens=0, output_tokens=0, cost_usd=Decimal(0),
                market_time=START, wall_time=WALL,
            )
        )  # fmt: skip


def outbox_of(store: Store, carrier: Postman | Targets | None = None, at: datetime = WALL) -> tuple[Outbox, FixedClock]:
    clock = FixedClock(at)
    return Outbox(store, carrier or Postman(), clock), clock


def pushover(loopback: PushLoopback, token: str = TOKEN) -> dict[str, Any]:
    return {"pushover_user": USER, "pushover_token": token, "pushover_base_url": loopback.url}


def ntfy(loopback: PushLoopback, options: str = "", password: str = PASSWORD) -> str:
    return f"ntfy://{LOGIN}:{password}@{loopback.address}/{TOPIC}{options}"


def mattermost(loopback: PushLoopback) -> str:
    return f"mmost://{loopback.address}/{HOOK}"


def targets_of(*, deadline_s: float = 10.0, **given: Any) -> Targets:
    return Targets(load(PushSettings, **given), deadline_s)


def send(store: Store, message: str = "Bought 5 NVDA.", title: str = "Trade", **given: Any) -> tuple[str, str]:
    """State and note of a message that the targets of these settings got."""
    sent = outbox_of(store, targets_of(**given))[0].send("warren", title, message)
    assert (rows(store)[-1].state, rows(store)[-1].reason) == (sent.state, sent.note), "the row says what was answered"
    return sent.state, sent.note


def environment(store: Store, **given: str) -> dict[str, str]:
    """All that a server process of a test sees: every push setting is there, so that no .env of this machine speaks."""
    always = {key: os.environ[key] for key in ("PATH", "HOME", "PYTHONPATH") if key in os.environ}
    return {**always, "DATABASE_URL": store.address.url, **given}
