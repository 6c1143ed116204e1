"""`push-test`: a message to every target through the outbox and sending code of all others, and what became of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from commands.tables import one_line
from database import NewRun, Store
from push.outbox import Outbox
from push.targets import Targets
from values.errors import StoreEmpty
from values.push_settings import LEVELS
from values.settings import PushSettings, load

SENDER = "operator"
TITLE = "Trading floor: test"
TEXT = "This device hears the trading floor."


def push_test() -> int:
    """0 when every target took the message, else 1. Raises BadSetting, Refused `push_limit` and StoreUnusable."""
    settings = load(PushSettings)
    targets = Targets(settings)
    targets.check()
    if not targets.names:
        print("no push target is set: `trading-floor init` asks for Pushover's keys and for PUSH_URLS")
        return 1
    with _store(settings) as store:
        sent = Outbox(store, targets, store.clock()).send(SENDER, TITLE, TEXT, actor="operator")
    for each in sent.deliveries:
        became = "took the message" if each.is_taken else f"did not take it: {one_line(each.reason)}"
        print(f"{each.target:<12} {became}")
    for line in _told(settings):
        print(line)
    return 0 if sent.state == "sent" else 1


@contextmanager
def _store(settings: PushSettings) -> Iterator[Store]:
    """The owner's store; where there is none yet, one that is gone afterwards: a test makes no run."""
    with tempfile.TemporaryDirectory(prefix="trading-floor-push-") as folder:
        try:
            store = Store(settings.store_address)
        except StoreEmpty:
            store = Store(Path(folder) / "accounts.db", NewRun())
        with closing(store):
            yield store


def _told(settings: PushSettings) -> Iterator[str]:
    """What such a device will hear of."""
    levels = settings.event_levels
    for level in LEVELS:
        events = ", ".join(event for event, its in levels.items() if its == level)
        yield f"{level:<12} {events or 'no event'}"
    if settings.push_quiet_hours is not None:
        yield f"quiet        {settings.push_quiet_hours} {settings.push_time_zone}, but for halts and errors"
