"""What the floor tells its owner by itself: levels, bursts, quiet hours, limits, new rows each once, digests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, insert, select, update

from accounts import Account, open_account, set_state
from commands import announcements
from commands.announcements import Announcements
from commands.seats import FloorRecorder
from database import Store, write_account
from market import Market
from push import bundle
from push.bundle import take_due
from push.digest import Digest
from push.events import BURST, NOWHERE, Announcer
from push.outbox import DAILY, HOURLY, Outbox
from push.quiet import QuietHours, last_at, quiet_hours
from push.targets import Delivery
from push.watch import SETTLED_AFTER, Watch
from store import tables
from tests.push.desk import Postman, rows
from tests.shelf import ShelfVenue, refused
from tracers import LogTracer
from traders import SessionEnd
from values.clock import FixedClock
from values.errors import BadSetting, Refused, StoreBusy
from values.push_settings import DEFAULT_LEVELS, EVENTS
from values.session import Outcome
from values.settings import PushSettings, load

WALL = datetime(2026, 3, 2, 18, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NIGHT = "22:00-07:00"


@dataclass
class Floor:
    """One floor's messages over a store, on a clock that the test moves; `again` is a floor after a restart."""

    store: Store
    clock: FixedClock
    settings: PushSettings
    postman: Postman = field(default_factory=Postman)
    is_stopped: bool = False

    def __post_init__(self) -> None:
        self.announcer = Announcer.of(self.store, self.clock, self.settings)
        self.watch = Watch(self.store, self.clock, self.announcer)
        self.digest = Digest(self.store, self.clock, self.announcer, self.settings)
        self.market = Market(ShelfVenue(), self.clock)

    def again(self, **given: Any) -> Floor:
        settings = load(PushSettings, **(self.settings.model_dump(exclude_unset=True) | given))
        return Floor(self.store, self.clock, settings, self.postman)

    def send_due(self) -> list[tuple[str, str]]:
        """What goes out now, one message after the other."""
        before = len(self.postman.carried)
        while (due := take_due(self.store, self.clock, self.announcer.levels)) is not None:
            self.postman.deliver(due.title, due.message, is_silent=due.is_silent)
            with self.store.write() as connection:
                mine = tables.notifications.c.id == due.number
                connection.execute(update(tables.notifications).where(mine).values(state="sent"))
        return self.postman.carried[before:]

    def after(self, wait: timedelta) -> list[tuple[str, str]]:
        self.clock.advance(wait)
        return self.send_due()

    def states(self) -> list[str]:
        return [row.state for row in rows(self.store)]

    def titles(self) -> list[str]:
        return [row.title for row in rows(self.store)]


def floor_of(store: Store, **given: Any) -> Floor:
    return Floor(store, FixedClock(WALL), load(PushSettings, push_urls="ntfy://localhost/topic", **given))


@pytest.fixture
def floor(store: Store) -> Floor:
    return floor_of(store)


class TestSettings:
    def test_each_event_has_a_level_and_what_is_left_out_keeps_its_default(self) -> None:
        levels = load(PushSettings, push_events=" Trade=ON, session = off,").event_levels
        assert levels == {**DEFAULT_LEVELS, "trade": "on", "session": "off"}
        assert load(PushSettings).event_levels == DEFAULT_LEVELS
        assert (levels["halt"], levels["budget"], levels["error"], levels["refusal"]) == ("on", "on", "on", "off")

    @pytest.mark.parametrize(
        "given",
        [
            {"push_events": "trade"}, {"push_events": "trade=loud"}, {"push_events": "trades=on"},
            {"push_quiet_hours": "22-7"}, {"push_quiet_hours": "22:00-22:00"}, {"push_quiet_hours": "24:00-07:00"},
            {"push_time_zone": "Moon/Base"}, {"push_time_zone": "../etc/passwd"}, {"push_digest_at": "9:30"},
        ],
        ids=str,
    )  # fmt: skip
    def test_a_wrong_value_is_told_with_what_is_allowed(self, given: dict[str, str]) -> None:
        [(name, value)] = given.items()
        with pytest.raises(BadSetting) as wrong:
            load(PushSettings, **given)
        assert wrong.value.sentence.startswith(f"{name.upper()} is '{value}'; allowed: ")


class TestQuietHours:
    @pytest.mark.parametrize(
        ("hours", "zone", "wall", "until"),
        [
            (NIGHT, "UTC", "2026-03-02T21:59:59", None),
            (NIGHT, "UTC", "2026-03-02T22:00:00", "2026-03-03T07:00:00"),
            (NIGHT, "UTC", "2026-03-03T06:59:59", "2026-03-03T07:00:00"),
            (NIGHT, "UTC", "2026-03-03T07:00:00", None),
            ("12:00-13:30", "UTC", "2026-03-03T13:00:00", "2026-03-03T13:30:00"),
            (NIGHT, "America/New_York", "2026-07-02T04:00:00", "2026-07-02T11:00:00"),
            (NIGHT, "Europe/Berlin", "2026-03-29T00:30:00", "2026-03-29T05:00:00"),  # the night that loses an hour
            (NIGHT, "Europe/Berlin", "2026-10-25T00:30:00", "2026-10-25T06:00:00"),  # and the one that gains it
        ],
    )
    def test_they_end_when_the_owner_s_clock_says_so(self, hours: str, zone: str, wall: str, until: str | None) -> None:
        quiet = quiet_hours(load(PushSettings, push_quiet_hours=hours, push_time_zone=zone))
        assert quiet is not None
        found = quiet.end_after(datetime.fromisoformat(f"{wall}+00:00"))
        assert (None if found is None else f"{found:%Y-%m-%dT%H:%M:%S}") == until

    @given(
        begin=st.times().map(lambda each: each.replace(second=0, microsecond=0)),
        end=st.times().map(lambda each: each.replace(second=0, microsecond=0)),
        wall=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    )
    def test_a_moment_is_quiet_or_not_and_their_end_is_not(self, begin: Any, end: Any, wall: datetime) -> None:
        quiet = QuietHours(begin, end, ZoneInfo("UTC"))
        until = quiet.end_after(wall)
        at = wall.time()
        inside = begin <= at < end if begin < end else begin != end and (at >= begin or at < end)
        assert (until is not None) == (inside if begin != end else True)
        if until is not None and begin != end:
            assert wall < until <= wall + timedelta(days=1)
            assert quiet.end_after(until) is None

    def test_a_time_of_day_was_last_today_or_yesterday(self) -> None:
        zone = load(PushSettings, push_quiet_hours=NIGHT, push_time_zone="Europe/Berlin")
        quiet = quiet_hours(zone)
        assert quiet is not None
        at = datetime(2026, 3, 2, 21, 30, tzinfo=UTC).time()
        assert last_at(at, quiet.zone, datetime(2026, 3, 2, 20, 29, tzinfo=UTC))[0].isoformat() == "2026-03-01"
        day, moment = last_at(at, quiet.zone, datetime(2026, 3, 2, 20, 30, tzinfo=UTC))
        assert (day.isoformat(), moment) == ("2026-03-02", datetime(2026, 3, 2, 20, 30, tzinfo=UTC))


class TestAnnouncer:
    def test_an_event_is_a_row_that_waits_and_then_goes_out(self, floor: Floor) -> None:
        number = floor.announcer.announce("halt", "Warren", "warren is halted", "a loss of 5 %", session_id="s1")
        [row] = rows(floor.store)
        assert (row.id, row.account, row.event, row.session_id) == (number, "warren", "halt", "s1")
        assert (row.state, row.due_at, row.reason) == ("held", WALL + BURST, "waits until 2026-03-02 18:00:10 UTC")
        assert floor.send_due() == []
        assert floor.after(BURST) == [("warren is halted", "a loss of 5 %")]
        assert floor.after(HOUR) == []

    def test_an_event_that_is_off_leaves_no_row(self, store: Store) -> None:
        floor = floor_of(store, push_events=",".join(f"{event}=off" for event in EVENTS))
        assert [floor.announcer.announce(event, None, "t", "x") for event in EVENTS] == [None] * len(EVENTS)
        assert rows(store) == []

    def test_without_a_target_it_is_kept_and_said_to_be_sent_nowhere(self, store: Store) -> None:
        floor = Floor(store, FixedClock(WALL), load(PushSettings))
        floor.announcer.announce("session", "warren", "warren: session completed", "Done.")
        [row] = rows(store)
        assert (row.state, row.reason, row.due_at) == ("no_target", NOWHERE, None)
        assert floor.after(HOUR) == []

    def test_what_it_tells_of_is_told_once(self, floor: Floor) -> None:
        assert floor.announcer.announce("budget", None, "80 %", "", about="budget 2026-03-02") is not None
        assert floor.again().announcer.announce("budget", None, "80 %", "", about="budget 2026-03-02") is None
        assert len(rows(floor.store)) == 1

    def test_text_of_a_model_is_plain_and_bounded_and_a_bad_name_is_refused(self, floor: Floor) -> None:
        floor.announcer.announce("session", "warren", "a\nb\x1b[31m" + "t" * 500, "x\u202e\x00y" * 9_000)
        [row] = rows(floor.store)
        assert row.title.startswith("a b[31mttt")
        assert (len(row.title), len(row.message), row.message[:4]) == (200, 4_000, "xyxy")
        with refused("bad_name"):
            floor.announcer.announce("halt", "war ren", "t", "x")

    @pytest.mark.parametrize(
        ("levels", "events", "is_silent"),
        [
            ("trade=silent", ["trade"], True), ("trade=on", ["trade"], False),
            ("trade=silent,session=silent", ["trade", "session"], True), ("", ["trade", "halt"], False),
        ],
    )  # fmt: skip
    def test_a_message_is_silent_when_all_in_it_is(
        self, store: Store, levels: str, events: list[Any], is_silent: bool
    ) -> None:
        floor = floor_of(store, push_events=levels)
        for event in events:
            floor.announcer.announce(event, None, "t", "x")
        assert len(floor.after(BURST)) == 1
        assert floor.postman.silent == [is_silent]


class TestBundles:
    def test_a_burst_is_one_message_with_what_is_urgent_first(self, floor: Floor) -> None:
        floor.announcer.announce("trade", "ray", "ray bought 5 GLD at 300", "the trend\nholds")
        floor.clock.advance(timedelta(seconds=6))
        floor.announcer.announce("session", "ray", "ray: session completed", "Bought gold.")
        floor.announcer.announce("halt", "warren", "warren is halted", "a loss of 5 %")
        [(title, message)] = floor.after(timedelta(seconds=4))
        assert title == "3 messages: 1 trade, 1 session, 1 halt"
        assert message == (
            "warren is halted - a loss of 5 %\nray bought 5 GLD at 300 - the trend holds\n"
            "ray: session completed - Bought gold."
        )
        assert floor.states() == ["merged", "merged", "merged", "sent"]
        assert [row.carried_by for row in rows(floor.store)] == [4, 4, 4, None]
        floor.announcer.announce("trade", "ray", "ray sold 5 GLD at 300", "the trend broke")
        assert floor.after(BURST) == [("ray sold 5 GLD at 300", "the trend broke")]

    def test_a_great_burst_is_cut_with_its_number_and_no_row_is_lost(
        self, floor: Floor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bundle, "MEMBERS_MAX", 45)
        for number in range(50):
            floor.announcer.announce("trade", "ray", f"trade {number}", "x" * 1_000)
        sent = floor.after(BURST)
        assert [title for title, _ in sent] == ["45 messages: 45 trade", "5 messages: 5 trade"]
        assert sent[0][1].splitlines()[-1] == "and 5 more, which the dashboard shows"
        assert len(sent[0][1]) <= 10_000
        assert floor.states().count("merged") == 50

    def test_the_floor_s_own_messages_have_a_limit_and_what_is_beyond_it_waits(self, floor: Floor) -> None:
        sent = []
        for number in range(HOURLY + 3):
            floor.announcer.announce("trade", "ray", f"trade {number}", "")
            sent += floor.after(MINUTE)
        assert len(sent) == HOURLY
        waiting = [row for row in rows(floor.store) if row.state == "held"]
        assert len(waiting) == 3
        assert "the floor sends 20 an hour and 100 a day at most" in waiting[0].reason
        assert floor.after(WALL + HOUR - floor.clock.at) == []
        [(title, message)] = floor.after(2 * MINUTE)
        assert title == "3 messages: 3 trade"
        assert message.splitlines() == ["trade 20", "trade 21", "trade 22"]

    def test_no_day_has_more_than_its_limit(self, floor: Floor) -> None:
        with floor.store.write() as connection:
            sent = {"account": "floor", "title": "t", "message": "x", "state": "sent", "reason": "", "event": "trade"}
            moments = [WALL + 10 * MINUTE * at for at in range(DAILY)]
            connection.execute(
                insert(tables.notifications),
                [{**sent, "due_at": at, "market_time": at, "wall_time": at} for at in moments],
            )
        floor.clock.at = moments[-1] + HOUR
        floor.announcer.announce("trade", "ray", "one too many", "")
        assert floor.after(MINUTE) == []
        assert "waits until 2026-03-03T18:00:00Z" in rows(floor.store)[-1].reason
        floor.clock.at = WALL + timedelta(days=1)
        assert floor.send_due() == [("one too many", "one too many")]

    def test_what_the_floor_tells_of_a_trader_does_not_use_up_the_trader_s_own_messages(self, floor: Floor) -> None:
        for number in range(HOURLY):
            floor.announcer.announce("trade", "warren", f"trade {number}", "")
            floor.after(BURST)
        assert Outbox(floor.store, Postman(), floor.clock).send("warren", "Mine", "So it is.").state == "sent"

    def test_one_that_was_on_its_way_when_its_floor_died_is_closed_and_not_sent_again(self, floor: Floor) -> None:
        floor.announcer.announce("halt", "warren", "warren is halted", "")
        floor.clock.advance(BURST)
        assert take_due(floor.store, floor.clock, floor.announcer.levels) is not None
        again = floor.again()
        again.announcer.announce("halt", "ray", "ray is halted", "")
        assert again.after(5 * MINUTE) == [("ray is halted", "ray is halted")]
        assert floor.states() == ["failed", "sent"]
        assert "it may have arrived" in rows(floor.store)[0].reason


class TestNights:
    @pytest.fixture
    def night(self, store: Store) -> Floor:
        floor = floor_of(store, push_quiet_hours=NIGHT)
        floor.clock.at = datetime(2026, 3, 2, 23, 0, tzinfo=UTC)
        return floor

    def test_messages_wait_for_the_morning_and_are_one_then_whatever_restarts(self, night: Floor) -> None:
        for event in ("trade", "session", "budget", "digest"):
            night.announcer.announce(event, None, f"a {event}", "")
        assert night.after(7 * HOUR) == []
        with closing(Store(night.store.address)) as reopened:
            morning = Floor(reopened, night.clock, night.settings)
            assert [(title, len(text.splitlines())) for title, text in morning.after(HOUR)] == [
                ("4 messages: 1 trade, 1 session, 1 budget, 1 digest", 4)
            ]

    def test_halts_and_errors_do_not_wait(self, night: Floor) -> None:
        night.announcer.announce("trade", "ray", "ray bought", "")
        night.announcer.announce("halt", "ray", "ray is halted", "")
        night.announcer.announce("error", None, "the floor can't start", "")
        assert [title for title, _ in night.after(BURST)] == ["2 messages: 1 halt, 1 error"]

    def test_a_trader_s_own_message_waits_too_and_an_owner_s_does_not(self, night: Floor) -> None:
        outbox = Outbox(night.store, night.postman, night.clock, night.announcer.quiet)
        sent = outbox.send("warren", "News", "I begin.", actor="floor")
        assert (sent.state, sent.note) == (
            "held", "kept, and sent when the owner's quiet hours end, at 2026-03-03T07:00:00Z",
        )  # fmt: skip
        assert outbox.send("operator", "News", "Hello.", actor="operator").state == "sent"
        night.announcer.announce("session", "warren", "warren: session completed", "Done.")
        [(_, message)] = night.after(8 * HOUR)
        assert message == "warren: News - I begin.\nwarren: session completed - Done."
        assert night.postman.silent == [False, False], "a trader's own words are heard"

    def test_a_talkative_trader_s_night_counts_to_its_limit(self, night: Floor) -> None:
        outbox = Outbox(night.store, night.postman, night.clock, night.announcer.quiet)
        for _ in range(HOURLY):
            outbox.send("warren", "News", "And another thing.", actor="floor")
        with refused("push_limit"):
            outbox.send("warren", "News", "And another thing.", actor="floor")
        assert len(night.after(8 * HOUR)) == 1


def open_one(floor: Floor, name: str = "warren") -> Account:
    open_account(floor.store, floor.market, name, kind="trader", actor="floor")
    return Account(floor.store, floor.market, name, "floor")


class TestWatch:
    @pytest.mark.both_databases
    def test_fills_refusals_and_halts_are_told_each_once_whatever_restarts(self, store: Store) -> None:
        floor = floor_of(store, push_events="refusal=on")
        account = open_one(floor)
        account.buy_shares("AAPL", 5, "calm and cheap")
        floor.watch.look()
        floor.watch.look()
        with pytest.raises(Refused):
            account.buy_shares("AAPL", 100_000, "all in")
        restarted = floor.again()
        restarted.watch.look()
        set_state(store, floor.market, "warren", "halted", "a loss of 5 %")
        floor.again().watch.look()
        floor.again().watch.look()
        told = [(row.event, row.account, row.title, row.message) for row in rows(store)]
        assert told[0] == ("trade", "warren", "warren bought 5 AAPL at 200.4", "calm and cheap")
        assert told[1][:3] == ("refusal", "warren", "warren: buy_shares refused (insufficient_cash)")
        assert told[2] == ("halt", "warren", "warren is halted", "a loss of 5 %")
        assert len(told) == 3
        floor.clock.advance(2 * SETTLED_AFTER)
        floor.again().watch.look()
        set_state(store, floor.market, "warren", "active", "")
        account.sell_shares("AAPL", 5, "no longer")
        floor.again().watch.look()
        set_state(store, floor.market, "warren", "halted", "again")
        floor.again().watch.look()
        assert [row.title for row in rows(store)][3:] == [
            "warren sold 5 AAPL at 199.6", "warren is halted",
        ]  # fmt: skip

    def test_what_was_told_costs_no_write_and_is_behind_the_bookmark_once_it_is_settled(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        floor = floor_of(store)
        open_one(floor).buy_shares("AAPL", 5, "calm and cheap")
        floor.watch.look()

        def refuse(_: Store) -> None:
            raise AssertionError("a look without news writes")

        with monkeypatch.context() as patched:
            patched.setattr(Store, "write", refuse)
            floor.watch.look()
        floor.clock.advance(2 * SETTLED_AFTER)
        floor.watch.look()
        with store.read() as connection:
            newest = connection.execute(select(func.max(tables.transactions.c.id))).scalar_one()
            reached = select(tables.bookmarks.c.reached).where(tables.bookmarks.c.source == "transactions")
            assert connection.execute(reached).scalar_one() == str(newest)

    def test_a_record_that_was_there_before_the_first_look_is_not_told(self, store: Store) -> None:
        early = Floor(store, FixedClock(WALL), load(PushSettings))
        with store.write() as connection:
            connection.execute(tables.bookmarks.delete())
        open_one(early).buy_shares("AAPL", 5, "long ago")
        floor = early.again(push_urls="ntfy://localhost/topic")
        floor.watch.look()
        assert rows(store) == []

    def test_a_row_that_becomes_visible_against_the_order_of_ids_is_told_too(self, store: Store) -> None:
        floor = floor_of(store)
        account = open_one(floor)
        account.buy_shares("AAPL", 1, "first")
        account.buy_shares("AAPL", 2, "second")
        table = tables.transactions
        with store.write() as connection:
            late = dict(connection.execute(select(table).where(table.c.rationale == "first")).one()._mapping)
            connection.execute(table.delete().where(table.c.id == late["id"]))
        floor.watch.look()
        with store.write() as connection:
            connection.execute(insert(table).values(late))
        floor.watch.look()
        assert [row.message for row in rows(store)] == ["second", "first"]

    def test_neither_baselines_nor_anybody_without_a_target_fills_the_page_with_trades(self, store: Store) -> None:
        floor = Floor(store, FixedClock(WALL), load(PushSettings))
        open_one(floor).buy_shares("AAPL", 1, "as it is")
        floor.watch.look()
        assert rows(store) == []
        told = floor.again(push_urls="ntfy://localhost/topic")
        write_account(store, "index", strategy="", actor="baseline", kind="baseline")
        Account(store, floor.market, "index", "baseline").buy_shares("AAPL", 1, "always")
        told.watch.look()
        assert [row.account for row in rows(store)] == ["warren"], "what was new a moment ago is told all the same"

    def test_a_refusal_for_a_name_that_is_none_is_the_floor_s(self, store: Store) -> None:
        floor = floor_of(store, push_events="refusal=on")
        with store.write() as connection:
            connection.execute(
                insert(tables.refusals).values(
                    account="<b>no body</b>", tool="get_balance", code="bad_name", sentence="no name", arguments="{}",
                    actor="client", market_time=WALL, wall_time=WALL,
                )
            )  # fmt: skip
        floor.watch.look()
        assert [(row.account, row.title) for row in rows(store)] == [
            ("floor", "a caller: get_balance refused (bad_name)")
        ]


class TestDigest:
    def digests(self, floor: Floor) -> list[str]:
        return [row.title for row in rows(floor.store) if row.event == "digest"]

    def made_at(self, floor: Floor, at: datetime) -> Floor:
        with floor.store.write() as connection:
            connection.execute(update(tables.run).values(made_at=at))
        return floor.again()

    def test_it_goes_out_once_a_day_at_its_hour_and_is_neither_missed_nor_doubled(self, store: Store) -> None:
        floor = self.made_at(floor_of(store), WALL)
        for _ in range(2):
            floor.digest.look()
            assert self.digests(floor) == []
            floor = floor.again()
        floor.clock.at = datetime(2026, 3, 2, 21, 30, tzinfo=UTC)
        for _ in range(2):
            floor.digest.look()
            floor.digest.look()
            assert self.digests(floor) == ["The day to 2026-03-02"]
            floor = floor.again()
        floor.clock.advance(timedelta(days=3, hours=5))
        floor = floor.again()
        floor.digest.look()
        assert self.digests(floor) == ["The day to 2026-03-02", "The day to 2026-03-05"], "one, however long it was"
        floor.clock.at = datetime(2026, 3, 6, 21, 30, tzinfo=UTC)
        floor.digest.look()
        assert self.digests(floor)[2:] == ["The day to 2026-03-06"]

    def test_it_says_each_account_s_value_change_trades_and_spending(self, store: Store) -> None:
        floor = self.made_at(floor_of(store), WALL - timedelta(days=9))
        account = open_one(floor)
        open_one(floor, "ray")
        write_account(store, "baseline-cash", strategy="", actor="baseline", kind="baseline")
        for days, value in ((2, "9900"), (1, "9950"), (0, "10025.50")):
            self.value(store, "warren", Decimal(value), WALL - timedelta(days=days))
        self.value(store, "baseline-cash", Decimal(10_000), WALL)
        floor.clock.at = WALL - timedelta(days=2)
        account.buy_shares("AAPL", 1, "old")
        floor.clock.at = WALL
        account.buy_shares("AAPL", 1, "new")
        set_state(store, floor.market, "warren", "reducing", "so")
        for hours, cost in ((30, "7"), (2, "0.031"), (1, "0.02")):
            with store.write() as connection:
                connection.execute(
                    insert(tables.model_calls).values(
                        session_id="s", account="warren", model="m", input_tokens=1, output_tokens=1,
                        cost_usd=Decimal(cost), latency_ms=1.0, finish_reason="stop",
                        wall_time=WALL - timedelta(hours=hours),
                    )
                )  # fmt: skip
        floor.digest.look()
        [row] = [row for row in rows(store) if row.event == "digest"]
        assert row.message.splitlines() == [
            "ray: no value on record yet",
            "warren: 10,025.50 USD, +75.50, 1 trade, 0.05 spent, reducing",
            "baseline-cash: 10,000.00 USD, +0.00",
            "models cost 0.05 USD in all",
        ]

    def value(self, store: Store, account: str, value: Decimal, at: datetime) -> None:
        with store.write() as connection:
            connection.execute(
                insert(tables.portfolio_values).values(
                    account=account, value=value, cash=value, stale=False, market_time=at, wall_time=at
                )
            )


@dataclass
class Hanging(Postman):
    """A carrier that has a message and never says what became of it, until it is let go."""

    asked: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def deliver(self, title: str, message: str, *, is_silent: bool = False) -> Sequence[Delivery]:
        self.asked.set()
        self.let_go.wait()
        return super().deliver(title, message, is_silent=is_silent)


def task_of(
    floor: Floor, postman: Postman, *, is_stopped: bool = False, said: list[str] | None = None
) -> Announcements:
    lines = [] if said is None else said
    told = asyncio.Event()
    if is_stopped:
        told.set()

    async def stopped() -> None:
        await told.wait()

    return Announcements(floor.store, postman, floor.clock, floor.settings, lines.append, stopped)


class TestTask:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(announcements, "LOOK_S", 0.005)

    async def test_what_is_due_is_sent_while_the_floor_runs(self, floor: Floor) -> None:
        async with task_of(floor, floor.postman) as task:
            task.announcer.announce("halt", "warren", "warren is halted", "a loss")
            floor.clock.advance(BURST)
            async with asyncio.timeout(10):
                while floor.states() != ["sent"]:
                    await asyncio.sleep(0)
        assert floor.postman.carried == [("warren is halted", "a loss")]
        assert rows(floor.store)[0].reason == "sent to pushover"

    async def test_a_floor_that_ends_by_itself_sends_what_is_held_for_a_burst_and_nothing_of_a_night_s(
        self, store: Store
    ) -> None:
        floor = floor_of(store, push_quiet_hours="17:00-19:00")
        async with task_of(floor, floor.postman) as task:
            task.announcer.announce("session", "warren", "warren: session completed", "Done.")
            task.announcer.announce("error", None, "the floor can't start", "no server")
        assert floor.postman.carried == [("the floor can't start", "no server")]
        assert floor.states() == ["held", "sent"]

    async def test_a_floor_that_is_told_to_stop_leaves_it_to_the_next(self, floor: Floor) -> None:
        async with task_of(floor, floor.postman, is_stopped=True) as task:
            task.announcer.announce("halt", "warren", "warren is halted", "")
        assert (floor.postman.carried, floor.states()) == ([], ["held"])
        assert floor.again().after(HOUR) == [("warren is halted", "warren is halted")]

    @pytest.mark.parametrize("is_stopped", [True, False])
    async def test_a_target_that_hangs_delays_neither_a_session_nor_the_floor_s_end(
        self, floor: Floor, monkeypatch: pytest.MonkeyPatch, is_stopped: bool
    ) -> None:
        monkeypatch.setattr(announcements, "END_S", 0.05)
        hanging = Hanging()
        with LogTracer(lambda _: None) as tracer:
            async with asyncio.timeout(10), task_of(floor, hanging, is_stopped=is_stopped) as task:
                task.announcer.announce("halt", "warren", "warren is halted", "")
                floor.clock.advance(BURST)
                await asyncio.to_thread(hanging.asked.wait)
                recorder = FloorRecorder(floor.store, tracer, task.announcer)
                await recorder.ended(SessionEnd("trace_warren1", "warren", "failed", "no model", "", 1, 0, ()))
        hanging.let_go.set()
        assert floor.states() == ["pending", "held"]
        assert rows(floor.store)[1].event == "error"

    async def test_a_store_that_is_busy_is_told_once_and_nothing_is_lost(
        self, floor: Floor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said: list[str] = []
        task = task_of(floor, floor.postman, said=said)
        task.announcer.announce("halt", "warren", "warren is halted", "")

        def busy(*_: object) -> None:
            raise StoreBusy("another process writes")

        with monkeypatch.context() as patched:
            patched.setattr(Watch, "look", busy)
            await task.look()
            await task.look()
        assert said == ["messages to the owner wait for the store: another process writes"]
        async with task:
            pass
        assert floor.postman.carried == [("warren is halted", "warren is halted")]

    async def test_sessions_are_told_as_what_their_ends_are(self, floor: Floor) -> None:
        ends: tuple[Outcome, ...] = ("completed", "failed", "timed_out", "over_budget", "halted", "interrupted")
        with LogTracer(lambda _: None) as tracer:
            recorder = FloorRecorder(floor.store, tracer, floor.announcer)
            for end in ends:
                await recorder.ended(SessionEnd(f"trace_{end}", "warren", end, "why", "", 1, 0, ()))
        assert [(row.event, row.title) for row in rows(floor.store)] == [
            ("session", "warren: session completed"), ("error", "warren: session failed"),
            ("error", "warren: session timed out"), ("budget", "warren: session over budget"),
            ("session", "warren: session halted"),
        ]  # fmt: skip
