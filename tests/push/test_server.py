"""The push MCP server: its tool, its refusals, over stdio and with wrong settings."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp_types import CallToolResult, TextContent

import push_server
from database import Store
from push.events import NOWHERE
from push.outbox import HOURLY
from push_server import build
from tests.push.desk import (
    CANARIES,
    PASSWORD,
    PROJECT,
    SNAPSHOT,
    TOPIC,
    USER,
    WALL,
    Postman,
    environment,
    ntfy,
    open_session,
    outbox_of,
    pushover,
    rows,
    targets_of,
)
from tests.push_loopback import PushLoopback
from tests.shelf import refused
from values.clock import iso


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
