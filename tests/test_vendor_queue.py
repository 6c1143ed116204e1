"""A vendor's limit over many processes: counted where requests arrive, fair, and not held up by the dead."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
from pydantic import SecretStr

from database import Store
from store import tables
from tests.polygon_loopback import KEY, PolygonLoopback, Told, aware
from values.address import StoreAddress
from values.errors import VenueUnavailable
from venues.polygon_client import PolygonClient
from venues.vendor_queue import LEASE_S, VendorQueue

pytestmark = pytest.mark.both_databases

NOW = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


class Hands:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def wall(self) -> datetime:
        return NOW + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds
        self.on_sleep()


def made(store: Store, hands: Hands, *, limit: int = 5, reserved: int = 0) -> VendorQueue:
    return VendorQueue(
        store, limit, 60.0, reserved=reserved, wall=hands.wall, monotonic=hands.monotonic, sleep=hands.sleep
    )


def ask(
    queue: VendorQueue, what: str, *, urgent: bool = True, patience_s: float = 300.0, takes_s: float = 0.0
) -> float:
    """When the request began, in seconds on the queue's clock."""
    with queue.flight(what, urgent, queue.monotonic() + patience_s) as flight:
        assert flight is not None
        with flight.turn():
            began = queue.monotonic()
            queue._sleep(takes_s) if takes_s else None
    return began


def test_a_turn_counts_until_a_whole_window_after_its_answer(store: Store) -> None:
    hands = Hands()
    queue = made(store, hands)
    began = [ask(queue, f"question {n}", takes_s=8.0) for n in range(7)]
    # a request may arrive at any time between its begin and its answer
    for first, sixth in zip(began, began[5:], strict=False):
        assert round(sixth - (first + 8.0), 3) >= 60.0
    assert began[5] <= 8.0 + 60.0 + 1.0, "and no longer than that"


@pytest.mark.sqlite_only
def test_who_has_no_turn_in_time_is_told_how_long_it_would_be(store: Store) -> None:
    hands = Hands()
    queue = made(store, hands)
    for n in range(5):
        ask(queue, f"question {n}")
    begun = hands.passed
    with pytest.raises(VenueUnavailable, match=r"allows 5 requests in 60 s; all are used; try again in \d\d s"):
        ask(queue, "one more", patience_s=9.0)
    assert 9.0 <= hands.passed - begun <= 10.0
    with store.read() as connection:
        assert connection.execute(tables.market_flights.select()).all() == [], "who gave up waits no more"


def test_nobody_asks_what_another_is_asking(store: Store) -> None:
    queue = made(store, Hands())
    with queue.flight("the same", True, 10.0) as first, queue.flight("the same", True, 10.0) as second:
        assert first is not None
        assert second is None
    with queue.flight("the same", True, 10.0) as later:
        assert later is not None


@pytest.mark.sqlite_only
def test_prices_have_turns_that_other_questions_can_not_take(store: Store) -> None:
    hands = Hands()
    queue = made(store, hands, reserved=2)
    for n in range(3):
        assert ask(queue, f"history {n}", urgent=False) < 1
    with pytest.raises(VenueUnavailable, match="of which 2 are for prices; all are used"):
        ask(queue, "history 4", urgent=False, patience_s=9.0)
    assert ask(queue, "a price") == hands.passed


def test_turns_are_taken_in_the_order_of_asking(store: Store) -> None:
    hands = Hands()
    queue = made(store, hands, limit=1)
    ask(queue, "before")
    with (
        queue.flight("first", True, 1000.0) as first,
        queue.flight("second", True, 1000.0) as second,
        queue.flight("history", False, 1000.0) as history,
    ):
        assert first is not None
        assert second is not None
        assert history is not None
        for each in (history, second, first):
            each._say(waiting=True)
        hands.passed += 61.0
        for each in (history, second, first):
            each._say(waiting=True)
        assert [history._take(), second._take(), first._take()] == [False, False, True]


@pytest.mark.sqlite_only
def test_one_that_died_waiting_holds_nobody_up(store: Store) -> None:
    hands = Hands()
    queue = made(store, hands, limit=1)
    with store.write() as connection:
        row = {"urgent": True, "waiting": True, "alive_until": NOW + timedelta(seconds=LEASE_S)}
        connection.execute(tables.market_flights.insert().values(what="of the dead", **row))
    assert LEASE_S <= ask(queue, "of the living") <= LEASE_S + 1.0
    with queue.flight("of the dead", True, 100.0) as taken_over:
        assert taken_over is not None


@pytest.mark.sqlite_only
def test_one_that_stood_still_asks_anew_and_nobody_else_waits_for_it(store: Store) -> None:
    hands = Hands()
    queue = made(store, hands, limit=1)
    ask(queue, "before")
    with queue.flight("slow", True, 1000.0) as slow:
        assert slow is not None
        slow._say(waiting=True)
        hands.passed += 61.0 + LEASE_S
        ask(queue, "another")  # passes the sleeper over, and drops its row
        with slow.turn():
            assert hands.passed >= 2 * 60.0


@pytest.mark.sqlite_only
def test_the_vendors_word_stops_everybody_for_as_long_as_it_says(store: Store) -> None:
    hands = Hands()
    queue = made(store, hands)
    with queue.flight("too many", True, 100.0) as flight:
        assert flight is not None
        with flight.turn():
            flight.pause(30.0)
    begun = hands.passed
    assert 30.0 <= ask(queue, "next") - begun <= 31.0


@pytest.mark.sqlite_only
def test_a_clock_that_was_set_back_stops_nobody_for_longer_than_a_window(store: Store) -> None:
    hands = Hands()
    queue = made(store, hands, limit=1)
    ask(queue, "before")
    hands.passed -= 86_400.0
    begun = hands.passed
    assert 60.0 <= round(ask(queue, "after") - begun, 3) <= 61.0


def trade(url: str, folder: Path, base_url: str, name: str) -> None:
    """A trader's process: four questions that nobody else asks, and how long it had to wait for the slowest."""
    with closing(Store(StoreAddress(url, folder))) as store:
        queue = VendorQueue(store, 5, 0.5, answer_s=2.0)
        client = PolygonClient(SecretStr(KEY), base_url)
        for n in range(4):
            with queue.flight(f"{name} {n}", True, queue.monotonic() + 60) as flight:
                assert flight is not None
                with flight.turn():
                    client.ask("/v1/marketstatus/now")


@pytest.mark.sqlite_only
def test_processes_together_never_send_a_sixth_request_in_a_window(store: Store) -> None:
    """The named form, four servers and the plan's own minute, is `python -m tests.chaos live`."""
    vendor = PolygonLoopback(Told(aware("2026-03-02 12:00")))
    arguments = (store.address.url, store.path, vendor.base_url)
    fork = get_context("fork")  # before the vendor's threads start; it listens already
    children = [fork.Process(target=trade, args=(*arguments, f"trader{n}")) for n in range(3)]
    for child in children:
        child.start()
    with vendor:
        for child in children:
            child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    arrived = sorted(asked.at for asked in vendor.requests)
    assert len(arrived) == 12
    assert all(sixth - first > 0.5 for first, sixth in zip(arrived, arrived[5:], strict=False))
