"""The fault matrix over Pushover and ntfy: answered in time, one readable row, and never said to be a success."""

from __future__ import annotations

import time

import pytest

from database import Store
from tests.push.desk import CANARIES, NEVER, ntfy, outbox_of, pushover, rows, targets_of
from tests.push_loopback import Fault, PushLoopback

MATRIX: dict[Fault, str] = {
    "limit_429": "HTTP 429, it says",
    "limit_429_with_a_wait": "HTTP 429, it says",
    "error_401": "error=401",
    "error_403": "error=403",
    "error_404": "error=404",
    "error_500": "error=500",
    "error_502": "error=502",
    "error_503": "error=503",
    "html": "HTTP 200 with text/html that is no answer of",
    "truncated": "HTTP 200 with application/json that is no answer of",
    "empty_object": "HTTP 200 with application/json that is no answer of",
    "wrong_types": "HTTP 200 with application/json that is no answer of",
    "empty_list": "HTTP 200 with application/json that is no answer of",
    "deep": "HTTP 200 with application/json that is no answer of",
    "bomb": "its answer is too long or can't be unpacked",
    "reset": "it may have arrived",
    "hangup": "it may have arrived",
    "silent": "may still arrive",
    "drip": "may still arrive",
    "redirect": "error=307",
}
SHORT_S = 0.3


@pytest.mark.parametrize("fault", MATRIX)
def test_a_fault_is_a_failure_with_one_readable_row_in_time(store: Store, loopback: PushLoopback, fault: Fault) -> None:
    with PushLoopback() as private:
        loopback.elsewhere = f"{private.url}/1/messages.json"
        loopback.faults = {"pushover": fault, "ntfy": fault}
        deadline_s = SHORT_S if fault in NEVER else 10.0
        targets = targets_of(deadline_s=deadline_s, push_urls=ntfy(loopback), **pushover(loopback))
        targets.check()
        begun = time.monotonic()
        sent = outbox_of(store, targets)[0].send("warren", "Trade", "Bought 5 NVDA.")
        assert time.monotonic() - begun < deadline_s + 1
    assert private.received == [], "nobody is led to another address"
    [row] = rows(store)
    assert (row.state, row.reason) == ("failed", sent.note)
    told = row.reason.removeprefix("sent to no target: pushover: ").split("; ntfy: ")
    assert len(told) == 2
    assert all(MATRIX[fault] in each for each in told), row.reason
    assert row.reason.isprintable()
    assert len(row.reason) < 700
    assert not any(canary.lower() in row.reason.lower() for canary in CANARIES)
    assert sorted(push.service for push in loopback.received) == ["ntfy", "pushover"], "each was asked once"


@pytest.mark.parametrize(("fault", "good"), [("pushover", "ntfy"), ("ntfy", "pushover")])
def test_a_target_that_hangs_keeps_no_other_from_its_message(
    store: Store, loopback: PushLoopback, fault: str, good: str
) -> None:
    loopback.faults = {fault: "silent"}  # type: ignore[dict-item]
    targets = targets_of(deadline_s=SHORT_S, push_urls=ntfy(loopback), **pushover(loopback))
    targets.check()
    sent = outbox_of(store, targets)[0].send("warren", "Trade", "Bought 5 NVDA.")
    assert (sent.state, sent.taken_by) == ("partly_sent", (good,))


@pytest.mark.parametrize(("is_silent", "priority", "ntfy_priority"), [(True, "-1", "low"), (False, "0", None)])
def test_a_silent_message_asks_each_service_for_no_sound(
    loopback: PushLoopback, is_silent: bool, priority: str, ntfy_priority: str | None
) -> None:
    targets = targets_of(push_urls=ntfy(loopback), **pushover(loopback))
    assert all(each.is_taken for each in targets.deliver("Trade", "Bought.", is_silent=is_silent))
    [to_pushover], [to_ntfy] = loopback.taken("pushover"), loopback.taken("ntfy")
    assert (to_pushover.fields["priority"], to_ntfy.fields.get("priority") or to_ntfy.headers.get("X-Priority")) == (
        priority, ntfy_priority,
    )  # fmt: skip
