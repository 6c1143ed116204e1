"""Messages to the owner: rows, limits, targets on a loopback server, what is told when it fails, and the MCP server."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult, TextContent
from sqlalchemy import Row, insert, select, text

import push_server
from database import NewRun, Store, write_account
from push.outbox import DAILY, HOURLY, NOWHERE, Outbox
from push.targets import Delivery, Targets
from push.texts import MARK
from push_server import build
from store import tables
from tests.chaos.upstreams import Indiscreet
from tests.push_loopback import Fault, PushLoopback, Service
from tests.shelf import refused
from values.clock import FixedClock, iso
from values.errors import BadSetting
from values.settings import PushSettings, load

PROJECT = Path(__file__).resolve().parent.parent
SNAPSHOT = Path(__file__).parent / "snapshots" / "push_tools.json"
START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
WALL = datetime(2026, 3, 2, 18, 0, 0, 250_000, tzinfo=UTC)
VARIABLES = ("PUSHOVER_USER", "PUSHOVER_TOKEN", "PUSHOVER_BASE_URL", "PUSH_URLS")
CANARIES = ("canaryTOKEN7Q", "canaryUSER9Z", "canaryPASS3W", "canaryTOPIC5R", "canaryLOGIN2K", "canaryHOOK8M")
TOKEN, USER, PASSWORD, TOPIC, LOGIN, HOOK = CANARIES
NEVER = ("silent", "drip")
"""The faults that only a deadline ends."""
SHORT_S = 1.0


@pytest.fixture(autouse=True)
def no_push_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PushSettings.model_config, "env_file", None)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as it is made, for a copy each test."""
    path = tmp_path_factory.mktemp("push") / "accounts.db"
    with closing(Store(path, NewRun("simulated", 7))) as store:
        write_account(store, "warren", strategy="", actor="operator")
    return path


@pytest.fixture
def store(new_store: Path, tmp_path: Path) -> Iterator[Store]:
    with closing(Store(Path(shutil.copy(new_store, tmp_path)))) as opened:
        yield opened


@pytest.fixture
def loopback() -> Iterator[PushLoopback]:
    with PushLoopback(TOKEN, USER, PASSWORD) as server:
        yield server


@pytest.fixture
def heard() -> Iterator[StringIO]:
    """What a program that logs everything would have logged."""
    told = StringIO()
    handler, root = logging.StreamHandler(told), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield told
    root.setLevel(before)
    root.removeHandler(handler)


@dataclass
class Postman:
    """A carrier that takes what it is given, unless it is told otherwise, and looks at the record while it has it."""

    names: tuple[str, ...] = ("pushover",)
    outcome: Callable[[str], Sequence[Delivery]] = lambda _: [Delivery("pushover", True)]
    carried: list[tuple[str, str]] = field(default_factory=list)

    def deliver(self, title: str, message: str) -> Sequence[Delivery]:
        self.carried.append((title, message))
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


def environment(store: Store, **given: str) -> dict[str, str]:
    """All that a server process of a test sees: every push setting is there, so that no .env of this machine speaks."""
    always = {key: os.environ[key] for key in ("PATH", "HOME", "PYTHONPATH") if key in os.environ}
    return {**always, "DATABASE_URL": store.address.url, **given}


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


class TestTargets:
    def test_pushover_gets_its_form_with_plain_text(self, store: Store, loopback: PushLoopback) -> None:
        message = "<b>Bought</b> *5* [NVDA](https://example.com) & more\nat 187.42 \\n :smile: €"
        assert send(store, message, **pushover(loopback)) == ("sent", "sent to pushover")
        [push] = loopback.taken()
        assert push.fields == {
            "token": TOKEN, "user": USER, "title": "Trade", "message": message, "device": "ALL_DEVICES",
            "priority": "0", "sound": "pushover",
        }  # fmt: skip
        assert push.headers["Content-Type"] == "application/x-www-form-urlencoded"

    def test_ntfy_gets_its_json_with_plain_text(self, store: Store, loopback: PushLoopback) -> None:
        message = "<b>Bought</b> *5* [NVDA](https://example.com) & more\nat 187.42 \\n :smile: €"
        assert send(store, message, push_urls=ntfy(loopback)) == ("sent", "sent to ntfy")
        [push] = loopback.taken()
        assert push.fields == {"topic": TOPIC, "title": "Trade", "message": message}
        assert "X-Markdown" not in push.headers
        assert "X-Icon" not in push.headers

    def test_every_target_gets_the_message(self, store: Store, loopback: PushLoopback) -> None:
        urls = f"{ntfy(loopback)}, {mattermost(loopback)}"
        assert send(store, push_urls=urls, **pushover(loopback)) == ("sent", "sent to pushover and ntfy and mmost")
        assert {push.service: push.message for push in loopback.taken()} == {
            "pushover": "Bought 5 NVDA.", "ntfy": "Bought 5 NVDA.", "mattermost": "Trade\r\nBought 5 NVDA.",
        }  # fmt: skip

    def test_two_topics_of_one_address_get_it_without_a_wait(self, store: Store, loopback: PushLoopback) -> None:
        assert send(store, push_urls=ntfy(loopback, "/second"), deadline_s=4.0)[0] == "sent"
        assert {push.fields["topic"] for push in loopback.taken()} == {TOPIC, "second"}

    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            ("error_500", "error=500"),
            ("limit_429", "HTTP 429, it says"),
            ("html", "HTTP 200 with text/html that is no answer of"),
            ("reset", "it may have arrived"),
            ("silent", "no answer within 1 s; it may still arrive"),
            ("drip", "no answer within 1 s; it may still arrive"),
            ("redirect", "error=307"),
        ],
    )
    def test_a_service_that_fails_is_never_said_to_have_it(
        self, store: Store, loopback: PushLoopback, fault: Fault, expected: str
    ) -> None:
        loopback.faults = {"pushover": fault, "ntfy": fault}
        deadline_s = SHORT_S if fault in NEVER else 10.0
        state, note = send(store, deadline_s=deadline_s, push_urls=ntfy(loopback), **pushover(loopback))
        assert state == "failed"
        told = note.removeprefix("sent to no target: pushover: ").split("; ntfy: ")
        assert len(told) == 2
        assert all(expected in each for each in told), note
        assert [push.service for push in loopback.received if not push.is_taken] in (
            ["pushover", "ntfy"],
            ["ntfy", "pushover"],
        ), "each was asked once, and nobody else was"

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"pushover_token": "wrong-token-1"}, 'HTTP 400, it says "application token is invalid, see [address]'),
            ({"pushover_user": "wrong-user-1"}, 'HTTP 400, it says "user identifier is not a valid user'),
        ],
    )
    def test_the_reason_is_the_service_s_own(
        self, store: Store, loopback: PushLoopback, given: dict[str, Any], expected: str
    ) -> None:
        state, note = send(store, **(pushover(loopback) | given))
        assert (state, note.startswith(f"sent to no target: pushover: {expected}")) == ("failed", True), note

    def test_a_wrong_password_at_ntfy_is_told_in_its_words(self, store: Store, loopback: PushLoopback) -> None:
        state, note = send(store, push_urls=ntfy(loopback, password="wrong-password"))
        assert (state, note) == ("failed", 'sent to no target: ntfy: HTTP 401, it says "unauthorized"')

    def test_one_of_two_targets_is_said_exactly(self, store: Store, loopback: PushLoopback) -> None:
        loopback.faults = {"pushover": "limit_429"}
        state, note = send(store, push_urls=ntfy(loopback), **pushover(loopback))
        assert state == "partly_sent"
        assert note.startswith("sent to ntfy; it failed at pushover: HTTP 429")
        assert [push.service for push in loopback.taken()] == ["ntfy"]

    def test_a_failed_target_that_its_owner_calls_optional_has_failed(
        self, store: Store, loopback: PushLoopback
    ) -> None:
        loopback.faults = {"ntfy": "error_500"}
        assert send(store, push_urls=ntfy(loopback, "?optional=yes"))[0] == "failed"

    def test_a_target_s_own_read_limit_ends_it_before_the_deadline(self, store: Store, loopback: PushLoopback) -> None:
        loopback.faults = {"ntfy": "silent"}
        note = send(store, push_urls=ntfy(loopback, "?rto=0.1"))[1]
        assert note == "sent to no target: ntfy: no answer in time; it may still arrive"

    def test_a_port_where_nobody_listens_is_no_connection(self, store: Store) -> None:
        with PushLoopback() as gone:
            given = pushover(gone)
        assert send(store, **given)[1] == "sent to no target: pushover: no connection could be made"

    def test_a_long_message_is_cut_with_a_mark_to_what_each_service_allows(
        self, store: Store, loopback: PushLoopback
    ) -> None:
        message = "".join(str(number % 10) for number in range(9_000))
        urls = f"{ntfy(loopback)} {mattermost(loopback)}"
        sent = outbox_of(store, targets_of(push_urls=urls, **pushover(loopback)))[0].send("warren", "Trade", message)
        got = {push.service: push.message for push in loopback.taken()}
        assert {service: len(each) for service, each in got.items()} == {
            "pushover": 1024, "ntfy": 4094, "mattermost": 4000,
        }  # fmt: skip
        assert len(got["ntfy"].encode()) == 4096
        assert all(each.endswith(MARK) for each in got.values())
        assert got["pushover"].removesuffix(MARK) == message[:1017]
        assert sent.is_cut
        assert "pushover got the first 1,017 of 9,000 characters" in sent.note
        assert rows(store)[0].message == message, "the record keeps the whole"

    def test_a_long_title_is_cut_too(self, store: Store, loopback: PushLoopback) -> None:
        note = send(store, title="t" * 400, push_urls=ntfy(loopback), **pushover(loopback))[1]
        assert {push.service: push.title for push in loopback.taken()} == {
            "pushover": "t" * 243 + MARK, "ntfy": "t" * 193 + MARK,
        }  # fmt: skip
        assert note == "sent to pushover and ntfy; pushover got a cut title; ntfy got a cut title"

    @settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        unit=st.text(st.characters(exclude_categories=("Cc", "Cs", "Cf", "Zs", "Zl", "Zp")), min_size=1, max_size=4),
        times=st.integers(1, 2400),
    )
    def test_what_a_service_gets_is_the_text_or_its_beginning_and_the_mark(
        self, loopback: PushLoopback, unit: str, times: int
    ) -> None:
        loopback.received.clear()
        message = unit * times
        deliveries = targets_of(push_urls=ntfy(loopback), **pushover(loopback)).deliver("Trade", message)
        assert [each.is_taken for each in deliveries] == [True, True]
        for delivery in deliveries:
            [got] = [push.message for push in loopback.taken() if push.service == delivery.target]
            kept = len(message) if delivery.kept_chars is None else delivery.kept_chars
            assert got == (message if kept == len(message) else message[:kept] + MARK)
        assert len(loopback.taken("pushover")[0].message) <= 1024
        assert len(loopback.taken("ntfy")[0].message.encode()) <= 4096

    @pytest.mark.parametrize(
        "given", [{"pushover_user": USER}, {"pushover_token": TOKEN}], ids=["a user alone", "a token alone"]
    )
    def test_one_pushover_key_alone_is_a_wrong_setting(self, given: dict[str, Any]) -> None:
        [missing] = {"pushover_user", "pushover_token"} - set(given)
        with pytest.raises(BadSetting, match=f"{missing.upper()} is None; allowed: both") as wrong:
            targets_of(**given)
        assert not any(canary in str(wrong.value) for canary in CANARIES)

    def test_an_entry_without_a_scheme_is_named_by_its_place(self) -> None:
        with pytest.raises(BadSetting, match="entry 2 of PUSH_URLS") as wrong:
            targets_of(push_urls=f"ntfy://localhost/{TOPIC} {PASSWORD}.example.com/{TOPIC}")
        assert not any(canary in str(wrong.value) for canary in CANARIES)

    def test_an_address_that_apprise_does_not_know_is_named_by_its_place_and_scheme(
        self, store: Store, loopback: PushLoopback
    ) -> None:
        given: dict[str, Any] = {"push_urls": f"{ntfy(loopback)},nosuch://{PASSWORD}@{TOPIC}/"}
        sentence = "entry 2 of PUSH_URLS is 'nosuch://[secret]'; allowed: a URL that Apprise understands"
        with pytest.raises(BadSetting) as wrong:
            targets_of(**given).check()
        assert sentence in str(wrong.value)
        state, note = send(store, **given)
        assert (state, note.startswith(f"sent to ntfy; it failed at nosuch: {sentence}")) == ("partly_sent", True), note

    def test_settings_that_apprise_understands_pass_the_check(self, loopback: PushLoopback) -> None:
        targets_of(push_urls=ntfy(loopback), **pushover(loopback)).check()
        assert loopback.received == []

    @pytest.mark.parametrize(
        ("urls", "names"),
        [
            ("", ()),
            (" , ,\n", ()),
            ("ntfy://a/b", ("ntfy",)),
            ("NTFYS://a/b,discord://c/d", ("ntfys", "discord")),
            ("ntfy://a/b\n\tntfy://c/d ,  slack://e", ("ntfy (1)", "ntfy (2)", "slack")),
            ("mailto://u:p@h.example?to=a@h.example,b@h.example,ntfy://a/b,", ("mailto", "ntfy")),
        ],
    )
    def test_addresses_are_parted_by_spaces_and_by_commas_before_a_scheme(
        self, urls: str, names: tuple[str, ...]
    ) -> None:
        assert targets_of(push_urls=urls).names == names

    def test_a_base_url_that_is_no_address_is_a_wrong_setting(self) -> None:
        with pytest.raises(BadSetting, match="PUSHOVER_BASE_URL is 'localhost:80'; allowed: an address that starts"):
            load(PushSettings, pushover_base_url="localhost:80")

    @pytest.mark.parametrize("fault", ["error_500", "limit_429", "html", "reset", "drip", "redirect", "wrong", "gone"])
    def test_no_failure_shows_a_part_of_an_address(
        self,
        store: Store,
        fault: Any,
        capfd: pytest.CaptureFixture[str],
        heard: StringIO,
    ) -> None:
        with PushLoopback("only", "these", "known") as server:
            services: tuple[Service, ...] = ("pushover", "ntfy", "mattermost")
            server.faults = {} if fault in ("wrong", "gone") else dict.fromkeys(services, fault)
            encoded = ntfy(server).replace(TOPIC, f"%{ord(TOPIC[0]):x}{TOPIC[1:]}")
            urls = f"{encoded} nosuch://{PASSWORD}/{HOOK} {mattermost(server)} pover://{USER}@{TOKEN}/%20?x={LOGIN}"
            targets = targets_of(deadline_s=SHORT_S if fault in NEVER else 10.0, push_urls=urls, **pushover(server))
            if fault != "gone":
                outbox_of(store, targets)[0].send("warren", "Trade", "Bought 5 NVDA.")
        if fault == "gone":
            outbox_of(store, targets)[0].send("warren", "Trade", "Bought 5 NVDA.")
        [row] = rows(store)
        assert row.state in ("failed", "partly_sent")
        shown = " ".join([row.reason, *capfd.readouterr(), heard.getvalue(), repr(targets.__dict__), *targets.names])
        assert [canary for canary in CANARIES if canary.lower() in shown.lower()] == []

    def test_a_service_that_quotes_its_own_header_does_not_show_the_password(self, store: Store) -> None:
        """A gateway's error may quote the request, and in a Basic header user and password are base64."""
        with Indiscreet(lambda _: {}, {"push": "refuses"}) as service:
            token, user = "canaryofpushovertoken000000001", "canaryofpushoveruser0000000002"
            urls = f"ntfy://{LOGIN}:{PASSWORD}@{service.address}/{TOPIC}"
            targets = targets_of(
                push_urls=urls,
                pushover_base_url=f"http://{service.address}",
                pushover_token=token,
                pushover_user=user,
            )
            outbox_of(store, targets)[0].send("warren", "Trade", "Bought 5 NVDA.")
        assert sorted(service.failed) == ["ntfy refuses", "pushover refuses"]
        [row] = rows(store)
        assert (row.state, row.reason.count("you sent Basic [hidden]")) == ("failed", 2)
        words = re.findall(r"[\w+/-]+=*", row.reason)
        decoded = b"".join(b64decode(word + "==") for word in words if len(word) % 4 != 1)
        for canary in (PASSWORD, LOGIN, token, user):
            assert canary not in row.reason
            assert canary.encode() not in decoded


def text_of(result: CallToolResult) -> str:
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


class TestServer:
    async def test_the_tools_are_those_of_the_snapshot(self, store: Store) -> None:
        async with Client(build(outbox_of(store)[0])) as client:
            listed = [tool.model_dump(mode="json", exclude_none=True) for tool in (await client.list_tools()).tools]
        assert listed == json.loads(SNAPSHOT.read_text("utf-8")), (
            "a changed tool is a decision: write the snapshot anew"
        )

    async def test_a_bound_server_s_message_is_its_account_s_and_says_what_became_of_it(
        self, store: Store, loopback: PushLoopback
    ) -> None:
        open_session(store)
        outbox, _ = outbox_of(store, targets_of(push_urls=ntfy(loopback), **pushover(loopback)))
        async with Client(build(outbox, bound="Warren", actor="client")) as client:
            result = await client.call_tool("push", {"message": "Bought 5 NVDA."})
        assert result.structured_content == {
            "notification_id": 1, "state": "sent", "targets": 2, "cut": False, "note": "sent to pushover and ntfy",
        }  # fmt: skip
        assert json.loads(text_of(result)) == result.structured_content
        [row] = rows(store)
        assert (row.account, row.title, row.state) == ("warren", "Trading floor", "sent")
        assert row.session_id is None, "a client's message is no part of the floor's session"

    async def test_the_operator_s_messages_are_the_operator_s(self, store: Store) -> None:
        async with Client(build(outbox_of(store, Postman(names=()))[0])) as client:
            result = await client.call_tool("push", {"message": "Good morning.", "title": "Hello"})
        assert result.structured_content is not None
        assert not result.is_error
        assert (result.structured_content["state"], result.structured_content["targets"]) == ("no_target", 0)
        assert result.structured_content["note"] == NOWHERE
        assert [row.account for row in rows(store)] == ["operator"]

    async def test_a_cut_message_says_so(self, store: Store, loopback: PushLoopback) -> None:
        async with Client(build(outbox_of(store, targets_of(**pushover(loopback)))[0])) as client:
            result = await client.call_tool("push", {"message": "x" * 1025})
        assert result.structured_content is not None
        assert result.structured_content["cut"] is True
        assert "the first 1,017 of 1,025 characters" in result.structured_content["note"]

    async def test_a_message_that_no_target_took_is_an_error_with_the_reason(
        self, store: Store, loopback: PushLoopback
    ) -> None:
        async with Client(build(outbox_of(store, targets_of(**pushover(loopback, "wrong-token-1")))[0])) as client:
            result = await client.call_tool("push", {"message": "Bought 5 NVDA."})
        assert result.is_error
        assert text_of(result).startswith("push_failed: sent to no target: pushover: HTTP 400, it says ")
        assert text_of(result).endswith("It is kept as notification 1")
        assert [row.state for row in rows(store)] == ["failed"]

    async def test_the_limit_is_an_error_that_says_when_the_next_is_allowed(
        self, store: Store, capfd: pytest.CaptureFixture[str]
    ) -> None:
        async with Client(build(outbox_of(store)[0])) as client:
            for _ in range(HOURLY):
                assert not (await client.call_tool("push", {"message": "Bought 5 NVDA."})).is_error
            result = await client.call_tool("push", {"message": "One too many."})
        assert result.is_error
        assert text_of(result).startswith("push_limit: operator has sent 20 messages within an hour")
        assert iso(WALL.replace(microsecond=0) + timedelta(hours=1, seconds=1)) in text_of(result)
        assert capfd.readouterr().err == "", "a refusal that has a row needs no line"

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            ({}, "bad_argument: push needs the argument message"),
            ({"message": 5}, "bad_argument: message is 5"),
            ({"message": "x", "titel": "y"}, "bad_argument: push has no argument 'titel'"),
            ({"message": "x", "account": "george"}, "bad_argument: push has no argument 'account'"),
            ({"message": " "}, "bad_message: the message has 1 characters"),
        ],
    )
    async def test_a_call_that_can_be_no_message_is_told_why(
        self, store: Store, arguments: dict[str, Any], code: str
    ) -> None:
        async with Client(build(outbox_of(store)[0])) as client:
            result = await client.call_tool("push", arguments)
        assert result.is_error
        assert text_of(result).startswith(code)

    def test_an_account_that_is_not_there_is_no_new_one(self, store: Store) -> None:
        with refused("unknown_account", "there is no account nobody"):
            build(outbox_of(store)[0], bound="nobody")
        with refused("bad_name"):
            build(outbox_of(store)[0], bound="no body")


async def test_over_stdio_messages_arrive_and_no_secret_shows(
    store: Store, loopback: PushLoopback, tmp_path: Path
) -> None:
    open_session(store)
    seen = {name.upper(): value for name, value in pushover(loopback).items()} | {"PUSH_URLS": ntfy(loopback)}
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "push_server", "--account", "warren", "--floor"], cwd=PROJECT,
        env=environment(store, **seen),
    )  # fmt: skip
    with (tmp_path / "stderr").open("w+") as stderr:
        async with Client(stdio_client(parameters, errlog=stderr)) as client:
            both = await client.call_tool("push", {"message": "Bought 5 NVDA.", "title": "Trade"})
            loopback.faults = {"pushover": "error_500", "ntfy": "html"}
            none = await client.call_tool("push", {"message": "Sold 5 NVDA.", "title": "Trade"})
        stderr.seek(0)
        said = stderr.read()
    assert both.structured_content is not None
    assert (both.structured_content["state"], both.structured_content["targets"]) == ("sent", 2)
    assert none.is_error
    assert text_of(none).startswith("push_failed: sent to no target: pushover: ")
    assert [(row.state, row.account) for row in rows(store)] == [("sent", "warren"), ("failed", "warren")]
    assert {row.session_id for row in rows(store)} == {"trace_warren1"}, "a floor's server knows the open session"
    assert {push.message for push in loopback.taken()} == {"Bought 5 NVDA."}
    shown = f"{said} {text_of(both)} {text_of(none)} {[row.reason for row in rows(store)]}"
    assert [canary for canary in CANARIES if canary.lower() in shown.lower()] == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"PUSHOVER_USER": USER, "PUSH_URLS": ","}, "bad_setting: PUSHOVER_TOKEN is None; allowed: both"),
        ({"PUSH_URLS": f"{PASSWORD}/{TOPIC}"}, "bad_setting: entry 1 of PUSH_URLS is '[secret]'; allowed: a URL"),
    ],
)
def test_a_wrong_setting_ends_the_server_with_a_sentence_that_shows_no_secret(
    store: Store,
    given: dict[str, Any],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["push-server"])
    for name, value in environment(store, **given).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        push_server.main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert shown.err.startswith(sentence)
    assert not any(canary in shown.err for canary in CANARIES)
