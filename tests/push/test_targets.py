"""What services get, what is told when they fail, and what no failure shows."""

from __future__ import annotations

import re
from base64 import b64decode
from io import StringIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from database import Store
from push.texts import MARK
from tests.chaos.upstreams import Indiscreet
from tests.push.desk import (
    CANARIES,
    HOOK,
    LOGIN,
    NEVER,
    PASSWORD,
    SHORT_S,
    TOKEN,
    TOPIC,
    USER,
    mattermost,
    ntfy,
    outbox_of,
    pushover,
    rows,
    send,
    targets_of,
)
from tests.push_loopback import PushLoopback, Service
from values.errors import BadSetting
from values.settings import PushSettings, load


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
