"""`mcp.json`: what it may say, the sentence for what it may not, and what doctor and a floor make of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import servers as command
from commands.seats import FloorRecorder, Models, seats
from database import Store, read_log
from desks.launch import Launch, Remote
from desks.server_file import SERVERS_MAX, read_server_file
from desks.servers import SERVERS, Servers
from desks.tool_record import ToolRecord
from personas import FOLDER, load_personas
from tests.shelf import refused
from tracers import LogTracer
from values.environment import PROJECT
from values.errors import Refused
from values.settings import FloorSettings, load

KEY = "canary-of-mcp-json-88"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("desks.server_file.FILE", tmp_path / "mcp.json")
    monkeypatch.setattr("desks.tool_record.FILE", tmp_path / "mcp.lock.json")
    return tmp_path


def write(folder: Path, **servers: Any) -> None:
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))


def test_the_forms_that_other_clients_take_are_read(folder: Path) -> None:
    write(
        folder,
        brave={
            "command": "npx", "args": ["-y", "@brave/brave-search-mcp-server", "--cost=$5", "${REGION:-us}"],
            "env": {"BRAVE_API_KEY": "${BRAVE_API_KEY}"}, "type": "stdio",
        },
        remote={"type": "http", "url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
        local={"url": "http://127.0.0.1:9/mcp"},
    )  # fmt: skip
    file = read_server_file()
    assert file.problems == ()
    told: dict[str, str] = {"BRAVE_API_KEY": KEY, "TOKEN": KEY}
    nothing: dict[str, str] = {}
    assert file.servers["brave"].launch(told.get) == Launch(
        "brave", ("npx", "-y", "@brave/brave-search-mcp-server", "--cost=$5", "us"), {"BRAVE_API_KEY": KEY}, PROJECT,
        is_guest=True, secrets=(KEY,),
    )  # fmt: skip
    assert file.servers["remote"].launch(told.get) == Remote(
        "remote", "https://example.com/mcp", {"Authorization": f"Bearer {KEY}"}, (f"Bearer {KEY}", KEY)
    )
    for server in file.servers.values():
        assert KEY not in repr(server.launch(told.get)), "not even a traceback shows it"
    assert file.servers["brave"].unset(nothing.get) == ["BRAVE_API_KEY"]
    with refused("bad_setting", "the server brave of mcp.json needs BRAVE_API_KEY, which is not set"):
        file.servers["brave"].launch(nothing.get)
    with pytest.raises(Refused) as refusal:
        file.servers["remote"].launch({"TOKEN": f"{KEY}\nX: 1"}.get)
    assert KEY not in str(refusal.value)


BAD: dict[str, tuple[str, Any, str]] = {
    "our own name": ("accounts", {"command": "a"}, "another: the floor's own are accounts, fetch"),
    "our own name in capitals": ("Search", {"command": "a"}, "another"),
    "two underscores": ("a__b", {"command": "a"}, "no two _ in a row"),
    "an end in two": ("a_", {"command": "a"}, ""),
    "an escape": ("a\x1b[2J", {"command": "a"}, "'a\\x1b[2J'"),
    "a long name": ("a" * 21, {"command": "a"}, "1 to 20 letters"),
    "no object": ("a", "npx", 'an object with "command" or with "url"'),
    "nothing": ("a", {}, "a program's name or path"),
    "both": ("a", {"command": "a", "url": "https://a.example/"}, "has 'command'"),
    "sse": ("a", {"type": "sse", "url": "https://a.example/"}, "the older SSE is not spoken"),
    "an unknown key": ("a", {"command": "a", "enviroment": {}}, "has 'enviroment'; allowed: for stdio command"),
    "args of a wrong type": ("a", {"command": "a", "args": "-y"}, "a list of texts"),
    "env of a wrong type": ("a", {"command": "a", "env": {"A": 1}}, "an object of texts"),
    "a variable's name": ("a", {"command": "a", "env": {"A B": KEY}}, "letters, digits and _"),
    "a variable as the command": ("a", {"command": "${SHELL}"}, "without variables"),
    "a folder that is not there": ("a", {"command": "a", "cwd": "nowhere"}, "a folder that is there"),
    "no TLS": ("a", {"url": "http://example.com/mcp"}, "https; http reaches this machine alone"),
    "no TLS at home": ("a", {"url": "http://192.168.1.2/mcp"}, "https"),
    "a password in the address": ("a", {"url": f"https://me:{KEY}@a.example/"}, "its secrets in headers"),
    "a variable in the address": ("a", {"url": "https://a.example/?key=${KEY}"}, "its secrets in headers"),
    "a file": ("a", {"url": "file:///etc/passwd"}, "the url of the server a of mcp.json is none"),
    "has a header's name": ("a", {"url": "https://a.example/", "headers": {"A\nB": KEY}}, "has a header's name"),
}  # fmt: skip


@pytest.mark.parametrize("case", [name for name in BAD if BAD[name][2]])
def test_what_can_not_be_used_is_a_sentence_and_takes_nothing_else_away(folder: Path, case: str) -> None:
    name, entry, expected = BAD[case]
    write(folder, **{name: entry, "good": {"command": "a"}})
    file = read_server_file()
    assert list(file.servers) == ["good"]
    [problem] = file.problems
    assert expected in problem
    assert KEY not in problem


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is no JSON, line 1"), (b'{"mcpServers": {\n"a": }}', "is no JSON, line 2"), (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"), (b"[]", 'has no "mcpServers"'), (b'{"servers": {}}', 'has no "mcpServers"'),
        (b" " * 1_000_001, "at most 1,000,000"),
        (json.dumps({"mcpServers": {f"s{n}": {} for n in range(SERVERS_MAX + 1)}}).encode(), "33 servers; at most 32"),
    ],
    ids=range(8),
)  # fmt: skip
def test_a_file_that_is_none_is_one_sentence(folder: Path, content: bytes, expected: str) -> None:
    (folder / "mcp.json").write_bytes(content)
    file = read_server_file()
    assert file.servers == {}
    [problem] = file.problems
    assert problem.startswith("mcp.json ")
    assert expected in problem


def test_no_added_server_can_have_the_name_of_one_of_ours() -> None:
    from desks.server_file import OURS

    assert {row.name for row in SERVERS} | {"research"} == OURS


def personas(tmp_path: Path, added: str) -> Path:
    folder = tmp_path / "personas"
    folder.mkdir()
    (folder / "warren.toml").write_text((FOLDER / "warren.toml").read_text() + added)
    return folder


def test_a_persona_names_the_servers_and_tools_of_each_role(tmp_path: Path) -> None:
    [warren] = load_personas(personas(tmp_path, '\n[servers.trader]\npolygon = ["get_*"]\n'))
    assert warren.servers == {"trader": {"polygon": ["get_*"]}}
    assert command.wanted_by([warren]) == {"polygon": ["warren"]}
    assert command.wanted_by(load_personas()) == {}, "by default nobody uses an added server"


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ('\n[servers.broker]\na = ["*"]\n', "takes the roles trader and researcher"),
        ('\n[servers.trader]\na = "*"\n', "takes a list of tools"),
        ('\n[servers]\ntrader = ["a"]\n', "takes lines such as"),
    ],
)
def test_a_persona_that_grants_what_there_is_not_is_refused(tmp_path: Path, added: str, expected: str) -> None:
    with refused("bad_setting", expected):
        load_personas(personas(tmp_path, added))


def test_doctor_says_of_each_added_server_what_is_missing_and_starts_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [warren] = load_personas(personas(folder, '\n[servers.trader]\ngood = ["*"]\ngone = ["*"]\n'))
    monkeypatch.setattr(command, "load_personas", lambda: [warren])
    marker = folder / "started"
    touch = {"command": "touch", "args": [str(marker)]}
    write(
        folder, good=touch, idle=touch, bad={"command": 1}, absent={"command": "no-such-program"},
        keyless={"command": "touch", "env": {"A": "${NOT_SET}"}},
        shown={"command": "touch", "args": ["--key=${PATH}"]},
    )  # fmt: skip
    found = list(command.server_findings())
    said = {f"{each.state} {each.found}" for each in found}
    assert all(each.mend for each in found if each.state in ("warn", "FAIL"))
    assert said >= {
        "ok good (stdio) for warren; not started here",
        "note idle is used by no persona",
        "warn absent starts with no-such-program, which is not there",
        "warn keyless needs NOT_SET",
        "warn warren names the server gone, which is not there",
        "warn shown gets a variable in its arguments, which every program here can read",
    }
    assert any(each.state == "FAIL" and "the command of the server bad" in each.found for each in found)
    assert not marker.exists()
    (folder / "mcp.json").unlink()
    assert [each.state for each in command.server_findings()][:1] == ["ok"]


def test_the_command_says_what_is_true_of_each_server(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.list_servers()
    assert "mcp.json adds no server" in capsys.readouterr().out
    write(
        folder,
        new={"command": "a"},
        keyless={"command": "a", "env": {"A": "${NOT_SET}"}},
        other={"url": "https://a.example/"},
    )
    tools = [{"name": "look", "description": "Looks.", "input_schema": {}}]
    record = ToolRecord()
    assert record.judge("other", tools, "2026-03-02T15:00:00Z")
    assert not record.judge("other", [*tools, tools[0] | {"name": "pay"}], "2026-03-03T15:00:00Z")
    command.list_servers()
    printed = capsys.readouterr().out
    assert "not used yet: its tools are noted at the first use" in printed
    assert "not used: NOT_SET is not set" in printed
    assert "trading-floor servers show other" in printed
    with refused("not_seen"):
        command.accept_server("other")
    command.show_server("other")
    assert 'added: "pay"' in capsys.readouterr().out
    command.accept_server("other")
    command.show_server("other")
    assert "2 tools, accepted" in capsys.readouterr().out
    with refused("unknown_server", "there are: new, keyless, other"):
        command.show_server("absent")


def grants(servers: Sequence[str]) -> list[Any]:
    return [replace(load_personas()[0], servers={"trader": {name: ["*"] for name in servers}})]


def test_a_market_of_another_time_gets_no_added_server_without_the_owners_word_and_a_row_says_so(
    folder: Path, store: Store
) -> None:
    write(folder, good={"command": "touch", "env": {"KEY": KEY}}, bad=1)
    said: list[str] = []
    guests, secrets = command.floor_guests(store, load(FloorSettings), grants(["good"]), said.append)
    assert (guests.connections, secrets) == ({}, [])
    assert "only with ALLOW_LIVE_RESEARCH=true" in said[0]
    assert [row.message for _, row in read_log(store)] == said

    allowed = load(FloorSettings, allow_live_research="true")
    guests, secrets = command.floor_guests(store, allowed, grants(["good", "gone"]), said.append)
    assert (list(guests.connections), secrets) == (["good"], [KEY])
    assert "names the server gone, which mcp.json does not have" in said[-1]
    assert "the server bad of mcp.json is no object" in said[-2]


async def test_each_trader_gets_the_servers_of_its_own_persona(folder: Path, store: Store) -> None:
    write(folder, good={"command": "touch"})
    allowed = load(FloorSettings, allow_live_research="true")
    first, second, *_ = load_personas()
    granted = [replace(first, servers={"trader": {"good": ["a"]}}), second]
    guests, _ = command.floor_guests(store, allowed, granted, lambda _: None)
    with LogTracer(lambda _: None) as tracer:
        servers = Servers([first.name, second.name], {}, ())
        async with seats(
            granted, servers, FloorRecorder(store, tracer), allowed, Models(granted, allowed), guests=guests
        ) as traders:
            assert list(traders[first.name]._invited.shelves("trader")) == ["good__"]
            assert traders[second.name]._invited.shelves("trader") == {}


def test_the_readmes_example_is_read(folder: Path, tmp_path: Path) -> None:
    text = (PROJECT / "README.md").read_text("utf-8").partition("## More servers")[2]
    (folder / "mcp.json").write_text(text.partition("```json\n")[2].partition("```")[0])
    file = read_server_file()
    assert (list(file.servers), file.problems) == (["brave", "notes", "polygon", "remote"], ())
    [warren] = load_personas(personas(tmp_path, "\n" + text.partition("```toml\n")[2].partition("```")[0]))
    assert command.wanted_by([warren]).keys() <= file.servers.keys()
