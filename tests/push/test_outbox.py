"""Messages on record: rows before sends, limits, what became of each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from database import Store
from push.events import NOWHERE
from push.outbox import DAILY, HOURLY
from push.targets import Delivery
from store import tables
from tests.push.desk import PROJECT, WALL, Postman, environment, open_session, outbox_of, pushover, rows
from tests.push_loopback import PushLoopback
from tests.shelf import refused


class TestOutbox:
    def test_a_message_is_on_record_before_it_is_sent(self, store: Store) -> None:
        seen: list[tuple[str, ...]] = []

        def look(_: str) -> Sequence[Delivery]:
            seen.extend((row.account, row.title, row.message, row.state) for row in rows(store))
            return [Delivery("pushover", True)]

        sent = outbox_of(store, Postman(outcome=look))[0].send("Warren", "Trade", "Bought 5 NVDA.")
        assert seen == [("warren", "Trade", "Bought 5 NVDA.", "pending")]
        [row] = rows(store)
        assert (row.id, row.state, row.reason) == (sent.notification_id, "sent", "sent to pushover")
        assert (row.market_time, row.wall_time) == (WALL, WALL)

    def test_without_a_target_it_is_kept_and_said_to_be_sent_nowhere(self, store: Store) -> None:
        carrier = Postman(names=())
        sent = outbox_of(store, carrier)[0].send("warren", "Trade", "Bought 5 NVDA.")
        assert (sent.state, sent.taken_by, sent.note) == ("no_target", (), NOWHERE)
        assert [(row.state, row.message) for row in rows(store)] == [("no_target", "Bought 5 NVDA.")]
        assert carrier.carried == []

    def test_the_twenty_first_within_an_hour_is_refused_until_the_hour_is_over(self, store: Store) -> None:
        carrier = Postman()
        outbox, clock = outbox_of(store, carrier)
        for _ in range(HOURLY):
            outbox.send("warren", "Trade", "Bought 5 NVDA.")
            clock.advance(timedelta(minutes=1))
        with refused("push_limit", "the next is allowed at 2026-03-02T19:00:01Z"):
            outbox.send("warren", "Trade", "One too many.")
        assert [row.state for row in rows(store)] == ["sent"] * HOURLY + ["refused"]
        assert rows(store)[-1].message == "One too many."
        assert "20 an hour and 100 a day are allowed" in rows(store)[-1].reason
        assert len(carrier.carried) == HOURLY
        clock.at = datetime(2026, 3, 2, 19, 0, 1, tzinfo=UTC)
        assert outbox.send("warren", "Trade", "Now it may.").state == "sent"

    def test_the_hundred_and_first_within_a_day_is_refused(self, store: Store) -> None:
        outbox, clock = outbox_of(store)
        for _ in range(DAILY):
            outbox.send("warren", "Trade", "Bought 5 NVDA.")
            clock.advance(timedelta(minutes=4))
        with refused("push_limit", f"within a day; 20 an hour and 100 a day are allowed, and the next is {'allowed'}"):
            outbox.send("warren", "Trade", "One too many.")
        assert "2026-03-03T18:00:01Z" in rows(store)[-1].reason

    def test_each_account_has_a_limit_of_its_own(self, store: Store) -> None:
        outbox, _ = outbox_of(store)
        for _ in range(HOURLY):
            outbox.send("warren", "Trade", "Bought 5 NVDA.")
        assert outbox.send("george", "Trade", "Sold 5 NVDA.").state == "sent"

    def test_what_was_refused_or_went_nowhere_does_not_count(self, store: Store) -> None:
        nowhere, _ = outbox_of(store, Postman(names=()))
        outbox, _ = outbox_of(store)
        for _ in range(HOURLY + 1):
            assert nowhere.send("warren", "Trade", "Bought 5 NVDA.").state == "no_target"
            with refused("bad_message"):
                outbox.send("warren", "Trade", "")
        assert outbox.send("warren", "Trade", "The first that counts.").state == "sent"

    def test_what_failed_counts(self, store: Store) -> None:
        outbox, _ = outbox_of(store, Postman(outcome=lambda _: [Delivery("pushover", False, "no connection")]))
        for _ in range(HOURLY):
            assert outbox.send("warren", "Trade", "Bought 5 NVDA.").state == "failed"
        with refused("push_limit"):
            outbox.send("warren", "Trade", "One too many.")

    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(gaps=st.lists(st.integers(0, 400), min_size=1, max_size=60))
    def test_no_hour_has_more_than_its_limit_and_nothing_is_refused_before_it(
        self, store: Store, gaps: list[int]
    ) -> None:
        with store.write() as connection:
            connection.execute(tables.notifications.delete())
        outbox, clock = outbox_of(store)
        went: list[datetime] = []
        for gap in gaps:
            clock.advance(timedelta(seconds=gap))
            is_allowed = sum(each > clock.at - timedelta(hours=1) for each in went) < HOURLY
            if is_allowed:
                assert outbox.send("warren", "Trade", "Bought 5 NVDA.").state == "sent"
                went.append(clock.at)
            else:
                with refused("push_limit"):
                    outbox.send("warren", "Trade", "Bought 5 NVDA.")

    @pytest.mark.parametrize(
        ("message", "title", "code"),
        [
            ("", "Trade", "bad_message"),
            (" \n\t\x00\x07\u202e ", "Trade", "bad_message"),
            ("x" * 10_001, "Trade", "bad_message"),
            ("x", "t" * 501, "bad_title"),
        ],
    )
    def test_what_can_be_no_message_is_refused_with_a_row_of_bounded_size(
        self, store: Store, message: str, title: str, code: str
    ) -> None:
        carrier = Postman()
        with refused(code, "expected"):
            outbox_of(store, carrier)[0].send("warren", title, message)
        [row] = rows(store)
        assert row.state == "refused"
        assert len(row.message) <= 500
        assert len(row.title) <= 500
        assert carrier.carried == []

    def test_controls_are_removed_and_line_breaks_stay(self, store: Store) -> None:
        carrier = Postman()
        outbox_of(store, carrier)[0].send("warren", "Tr\x1b[31made\nnow", "\x00One\r\ntwo\tthree\u202e \ud800four\x9b")
        assert carrier.carried == [("Tr[31made now", "One\ntwo\tthree four")]
        assert rows(store)[0].message == "One\ntwo\tthree four"

    def test_a_blank_title_becomes_the_floor_s(self, store: Store) -> None:
        carrier = Postman()
        outbox_of(store, carrier)[0].send("warren", " \n", "Bought 5 NVDA.")
        assert carrier.carried == [("Trading floor", "Bought 5 NVDA.")]

    def test_a_name_that_can_be_no_account_s_leaves_nothing(self, store: Store) -> None:
        with refused("bad_name"):
            outbox_of(store)[0].send("Warren!", "Trade", "Bought 5 NVDA.")
        assert rows(store) == []

    def test_the_floor_s_message_belongs_to_the_open_session_and_a_client_s_to_none(self, store: Store) -> None:
        open_session(store)
        outbox, _ = outbox_of(store)
        outbox.send("warren", "Trade", "A floor's server.", actor="floor")
        outbox.send("warren", "Trade", "A desktop's server.", actor="client")
        outbox.send("warren", "Trade", "The floor itself, later.", session_id="trace_warren0")
        assert [row.session_id for row in rows(store)] == ["trace_warren1", None, "trace_warren0"]

    def test_a_message_whose_process_died_is_closed_as_of_unknown_fate_by_the_next(self, store: Store) -> None:
        def die(_: str) -> Sequence[Delivery]:
            raise KeyboardInterrupt

        outbox, clock = outbox_of(store, Postman(outcome=die))
        with pytest.raises(KeyboardInterrupt):
            outbox.send("warren", "Trade", "Lost.")
        assert rows(store)[0].state == "pending"
        outbox, clock = outbox_of(store)
        outbox.send("warren", "Trade", "Too early to tell.")
        assert rows(store)[0].state == "pending"
        clock.advance(timedelta(minutes=3))
        outbox.send("warren", "Trade", "Later.")
        assert rows(store)[0].state == "failed"
        assert "it may have arrived" in rows(store)[0].reason

    def test_what_was_sent_is_said_to_be_sent_also_when_its_row_can_t_be_written(
        self, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        def lose_the_table(_: str) -> Sequence[Delivery]:
            with store.write() as connection:
                connection.execute(text("ALTER TABLE notifications RENAME TO lost"))
            return [Delivery("pushover", True)]

        sent = outbox_of(store, Postman(outcome=lose_the_table))[0].send("warren", "Trade", "Bought 5 NVDA.")
        assert (sent.state, sent.note) == ("sent", "sent to pushover; its row could not be brought up to date")
        assert "notification 1 is sent, and its row is not" in caplog.text

    def test_the_note_says_which_targets_got_what(self, store: Store) -> None:
        deliveries = [
            Delivery("pushover", True, "", 1017), Delivery("ntfy", False, "no connection could be made"),
            Delivery("mmost", True, "", None, is_title_cut=True),
        ]  # fmt: skip
        carrier = Postman(("pushover", "ntfy", "mmost"), lambda _: deliveries)
        sent = outbox_of(store, carrier)[0].send("warren", "Trade", "x" * 3000)
        assert (sent.state, sent.taken_by, sent.is_cut) == ("partly_sent", ("pushover", "mmost"), True)
        assert sent.note == (
            "sent to pushover and mmost; pushover got the first 1,017 of 3,000 characters; mmost got a cut title; "
            "it failed at ntfy: no connection could be made"
        )


BURST = """
import json, sys
from pathlib import Path
from database import Store
from push.outbox import Outbox
from push.targets import Targets
from values.settings import PushSettings
from values.errors import Refused
from values.address import StoreAddress
from values.settings import load
store = Store(StoreAddress.parse(sys.argv[1], Path()))
outbox = Outbox(store, Targets(load(PushSettings)), store.clock())
loaded_early = "apprise" in sys.modules
print("ready", flush=True)
sys.stdin.readline()
done = []
for number in range(12):
    try:
        done.append(outbox.send("warren", "Trade", f"{sys.argv[2]}:{number}").state)
    except Refused as refusal:
        done.append(refusal.code)
print(json.dumps({"done": done, "loaded_early": loaded_early}))
"""


@pytest.mark.both_databases
def test_a_burst_from_three_processes_stops_at_the_limit(store: Store, loopback: PushLoopback) -> None:
    seen = environment(store, **{name.upper(): value for name, value in pushover(loopback).items()})
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BURST, store.address.url, str(number)],
            cwd=PROJECT, env=seen | {"PUSH_URLS": ","}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        told = [json.loads(process.communicate("begin\n", timeout=60)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    outcomes = [outcome for each in told for outcome in each["done"]]
    assert sorted(outcomes) == ["push_limit"] * (36 - HOURLY) + ["sent"] * HOURLY
    assert len(loopback.taken("pushover")) == HOURLY
    assert sorted(row.state for row in rows(store)) == ["refused"] * (36 - HOURLY) + ["sent"] * HOURLY
    assert [each["loaded_early"] for each in told] == [False] * 3, "Apprise is imported at the first send"
