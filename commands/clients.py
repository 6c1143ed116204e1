"""`mcp-config`: the servers as the JSON that another MCP client reads, ready to paste.

Commands are absolute paths and start in any folder. An entry has those variables that its server may see and the owner
has set, and where the store is. Secrets are never printed: the servers read the project's `.env` themselves.
"""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accounts import Account
from commands.status import existing
from commands.variables import Given, given_variables
from desks.servers import SERVERS, ServerRow
from values.errors import Refused, shown
from values.names import normalise_name
from values.settings import PROJECT, MarketSettings, load

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Client:
    """A program that starts MCP servers. `key` is where its file has them, `place` the sentence on that file."""

    key: str
    place: str
    extra: Mapping[str, str]


CLIENTS = {
    "claude-desktop": Client(
        "mcpServers",
        "put this into claude_desktop_config.json, which Settings > Developer > Edit Config opens, beside what is in "
        "its mcpServers already, then quit and restart Claude Desktop",
        {},
    ),
    "vscode": Client(
        "servers",
        "put this into .vscode/mcp.json of a workspace, or into the file that the command "
        "`MCP: Open User Configuration` opens, beside what is in its servers already",
        {"type": "stdio"},
    ),
    "cursor": Client(
        "mcpServers",
        "put this into .cursor/mcp.json of a project, or into ~/.cursor/mcp.json, beside what is in its mcpServers "
        "already",
        {},
    ),
    "plain": Client(
        "mcpServers", "this is the form that most MCP clients read: put it where yours keeps its mcpServers", {}
    ),
}


def print_config(client: str, account: str | None, server: str | None) -> None:
    """JSON on standard output; where it goes, and which secrets its servers will not find, on standard error.

    Raises Refused for a client, an account or a server that there is none of.
    """
    wanted = CLIENTS.get(client.strip().lower())
    if wanted is None:
        raise Refused("unknown_client", f"there is no client {shown(client)}; there are {', '.join(CLIENTS)}")
    rows = _rows(server)
    name = None if account is None else _open_account(account)
    given = given_variables()
    variables = _printable(given)
    servers = {f"trading-floor-{row.name}": {**wanted.extra, **_entry(row, name, variables)} for row in rows}
    print(json.dumps({wanted.key: servers}, indent=2))
    print(wanted.place, file=sys.stderr)
    for secret in sorted({secret for row in rows for secret in _out_of_reach(row, given)}):
        print(
            f"{secret} is set in this shell alone, where your client's servers don't see it: write it into "
            f"{PROJECT / '.env'}",
            file=sys.stderr,
        )


def _rows(server: str | None) -> Sequence[ServerRow]:
    """Our own servers, in the order of their names; a third party's is its maker's to explain."""
    ours = {row.name: row for row in sorted(SERVERS, key=lambda row: row.name) if row.is_ours}
    if server is None:
        return list(ours.values())
    if server not in ours:
        raise Refused("unknown_server", f"there is no server {shown(server)}; there are {', '.join(ours)}")
    return [ours[server]]


def _open_account(name: str) -> str:
    """The account's name, if it is open. Raises Refused `unknown_account`."""
    store, market = existing()
    with closing(store):
        return Account(store, market, normalise_name(name)).record().name


def _entry(row: ServerRow, account: str | None, variables: Mapping[str, str]) -> Entry:
    script = Path(sysconfig.get_path("scripts")) / f"{row.name}-server"
    command = [str(script)] if script.exists() else [sys.executable, "-m", row.module]
    bound = [] if account is None or row.scope != "trader" else ["--account", account]
    environment = {name: value for name, value in variables.items() if name in row.environment}
    return {"command": command[0], "args": [*command[1:], *bound], "env": environment}


def _printable(given: Given) -> dict[str, str]:
    """Every variable that is set and no secret; the paths absolute, and the store's there unless it has a password."""
    settings = load(MarketSettings)
    values = given.public_values()
    if settings.store_address.password is None:
        values["DATABASE_URL"] = settings.store_address.url
    if settings.history_path is not None:
        values["REPLAY_HISTORY"] = str(settings.history_path)
    return values


def _out_of_reach(row: ServerRow, given: Given) -> list[str]:
    """The secrets of a server that stand in the environment and not in `.env`."""
    secret = row.environment - given.public_values().keys()
    return [name for name in secret if name in given.environment and name not in given.file]
