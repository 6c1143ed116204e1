"""A live market on this machine: a store of its own, and the venue over the vendor's loopback with a short patience."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from database import NewRun, Store
from tests.faulty_http import Loopback
from tests.polygon_loopback import KEY, PolygonLoopback
from values.clock import wall_now
from values.market_settings import PolygonPlan
from venues.polygon import PolygonVenue
from venues.polygon_client import PolygonClient
from venues.vendor_answers import VendorAnswers
from venues.vendor_queue import VendorQueue


def live_store(path: Path) -> Store:
    return Store(path, NewRun("live"))


def polygon(
    store: Store,
    vendor: Loopback,
    plan: PolygonPlan = "free",
    *,
    limit: int = 1000,
    deadline_s: float = 8.0,
    key: str = KEY,
    wall: Callable[[], datetime] = wall_now,
) -> PolygonVenue:
    """A venue with a limit that is not in the way, unless the test says another. `wall` ages what is kept."""
    client = PolygonClient(SecretStr(key), vendor.base_url, deadline_s=deadline_s)
    queue = VendorQueue(store, limit, 60.0, answer_s=deadline_s + 1, wall=wall)
    return PolygonVenue(VendorAnswers("polygon", client, queue), plan, wall=vendor_time(vendor))


def vendor_time(vendor: Loopback) -> Callable[[], datetime]:
    return (lambda: vendor.told.now) if isinstance(vendor, PolygonLoopback) else wall_now


class Wall:
    """Wall time for what the store keeps, moved by the test."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            return wall_now() + self._ahead

    def pass_by(self, span: timedelta) -> None:
        with self._lock:
            self._ahead += span
