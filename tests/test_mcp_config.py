"""`trading-floor mcp-config`: what it prints starts every server, in any folder, and holds no secret."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, TextContent

from accounts import open_account
from commands import clients
from commands.clients import CLIENTS, print_config
from desks.servers import SERVERS, ServerRow
from market import open_market, open_store
from tests.shelf import refused, simulated_settings
from values.errors import StoreUnusable
from values.settings import PROJECT, SETTINGS_CLASSES, MarketSettings, load

OURS = {f"trading-floor-{row.name}": row for row in SERVERS if row.is_ours}
CANARY = "canary-71c0"


@pytest.fixture
def store_of_me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulated run's store with the account `me`; the settings name it."""
    for name, value in simulated_settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    settings = load(MarketSettings)
    with closing(open_store(settings)) as store:
        open_account(store, open_market(store, settings), "me")


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[dict[str, Any], str]]:
    def run(client: str = "plain", account: str | None = None, server: str | None = None) -> tuple[dict[str, Any], str]:
        print_config(client, account, server)
        said = capsys.readouterr()
        return json.loads(said.out), said.err

    return run


async def test_an_entry_starts_from_another_folder_with_its_own_environment_alone(
    store_of_me: None, tmp_path: Path
) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(PROJECT / "trading_floor.py"), "mcp-config", "vscode", "--account", "Me"],
        capture_output=True, text=True, check=True, timeout=60, cwd="/",
    )  # fmt: skip
    entries = json.loads(done.stdout)["servers"]
    assert entries.keys() == OURS.keys()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    entry = entries["trading-floor-accounts"]  # tests/test_other_clients.py starts them all
    parameters = StdioServerParameters(
        command=entry["command"], args=entry["args"], env=entry["env"], cwd=str(elsewhere)
    )
    async with Client(parameters) as client:
        assert (await client.list_tools()).tools
        result = await client.call_tool("get_balance", {"name": "warren"})
    assert isinstance(result, CallToolResult)
    assert isinstance(result.content[0], TextContent)
    assert result.content[0].text == "other_account: this server serves me only, not warren"
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_gets_the_form_that_it_reads_and_the_place_for_it(
    printed: Callable[..., tuple[dict[str, Any], str]], client: str
) -> None:
    said, place = printed(client.upper())
    key = "servers" if client == "vscode" else "mcpServers"
    assert list(said) == [key]
    assert said[key].keys() == OURS.keys()
    for entry in said[key].values():
        assert entry.keys() == {"command", "args", "env"} | ({"type"} if client == "vscode" else set())
        assert entry.get("type", "stdio") == "stdio"
        assert Path(entry["command"]).is_absolute()
        assert os.access(entry["command"], os.X_OK)
        assert all(isinstance(each, str) for each in (*entry["args"], *entry["env"].values()))
    assert place.count("\n") == 1
    assert key in place or f"its {key}" in place


def test_only_bound_servers_get_the_account(
    store_of_me: None, printed: Callable[..., tuple[dict[str, Any], str]]
) -> None:
    bound, operators = printed(account="me")[0]["mcpServers"], printed()[0]["mcpServers"]
    for name, row in OURS.items():
        assert bound[name]["args"][-2:] == (["--account", "me"] if row.scope == "trader" else operators[name]["args"])
        assert "--account" not in operators[name]["args"]
    assert list(printed(server="market")[0]["mcpServers"]) == ["trading-floor-market"]


def test_an_entry_has_what_the_owner_set_and_its_server_may_see_with_absolute_paths(
    printed: Callable[..., tuple[dict[str, Any], str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("market=replay\nRUN_EVERY_N_MINUTES=5\nMARKET_SEED=\n")
    for settings in SETTINGS_CLASSES:
        monkeypatch.setitem(settings.model_config, "env_file", tmp_path / ".env")
    monkeypatch.setenv("REPLAY_HISTORY", "prices.csv")
    assert printed(server="market")[0]["mcpServers"]["trading-floor-market"]["env"] == {
        "DATABASE_URL": f"sqlite:///{PROJECT}/accounts.db",
        "MARKET": "replay",
        "REPLAY_HISTORY": f"{PROJECT}/prices.csv",
    }


def test_a_secret_is_left_to_the_env_file_and_missed_there_by_name(
    printed: Callable[..., tuple[dict[str, Any], str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = frozenset({"BRAVE_API_KEY", "MASSIVE_API_KEY", "BRAVE_BASE_URL"})
    row = ServerRow("search", "research.server", "floor", names, trusted=False)
    monkeypatch.setattr(clients, "SERVERS", (row,))
    (tmp_path / ".env").write_text(f"MASSIVE_API_KEY={CANARY}\n")
    for settings in SETTINGS_CLASSES:
        monkeypatch.setitem(settings.model_config, "env_file", tmp_path / ".env")
    for name in names:
        monkeypatch.setenv(name, CANARY)
    monkeypatch.setenv("BRAVE_BASE_URL", f"http://me:{CANARY}@127.0.0.1:8080")
    said, told = printed()
    assert said["mcpServers"]["trading-floor-search"]["env"] == {}
    assert CANARY not in told
    for name in ("BRAVE_API_KEY", "BRAVE_BASE_URL"):
        assert f"{name} is set in this shell alone" in told
    assert "MASSIVE_API_KEY" not in told


def test_what_there_is_none_of_is_refused_with_what_there_is(
    store_of_me: None, printed: Callable[..., tuple[dict[str, Any], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with refused("unknown_client", "claude-desktop, vscode, cursor, plain"):
        printed("emacs")
    with refused("unknown_server", "accounts"):
        printed(server="bank")
    with refused("unknown_account", "there is no account nobody"):
        printed(account="nobody")
    with refused("bad_name"):
        printed(account="no one")
    monkeypatch.setenv("DATABASE_URL", "sqlite:///nowhere/accounts.db")
    with pytest.raises(StoreUnusable, match="accounts open NAME"):
        printed(account="me")
