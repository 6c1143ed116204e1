"""The table of servers: how each starts, what it may see of the environment, whose it is, whether it is trusted.

A floor starts them once, in parallel: those shared by the floor, and those bound to one trader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from desks.connection import ServerConnection
from desks.launch import Launch
from desks.nursery import Nursery
from desks.workbench import Shelf

PROJECT = Path(__file__).resolve().parent.parent
STARTS_AT_ONCE = 16
"""More are no faster, and each would wait longer than its deadline allows."""


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server of the house. `environment`: the only settings it gets. `trusted`: its results are not wrapped.

    `is_ours`: its module is of this house, so that it can be forked from the nursery.
    """

    name: str
    module: str
    scope: Literal["floor", "trader"]
    environment: frozenset[str]
    trusted: bool
    is_ours: bool = True


_STORE = frozenset({"DATABASE_URL", "MARKET", "MARKET_SEED", "REPLAY_HISTORY", "RUN_EVEN_WHEN_MARKET_IS_CLOSED"})
_PRICES = frozenset({"POLYGON_API_KEY", "POLYGON_PLAN", "POLYGON_BASE_URL"})
_SEARCH = frozenset({"SEARCH_PROVIDER", "BRAVE_API_KEY", "BRAVE_BASE_URL", "ALLOW_LIVE_RESEARCH"})
_PUSH = frozenset({
    "DATABASE_URL", "PUSHOVER_USER", "PUSHOVER_TOKEN", "PUSHOVER_BASE_URL", "PUSH_URLS", "PUSH_QUIET_HOURS",
    "PUSH_TIME_ZONE",
})  # fmt: skip

SERVERS = (
    ServerRow("market", "market_server", "floor", _STORE | _PRICES, trusted=True),
    ServerRow("accounts", "accounts_server", "trader", _STORE | _PRICES, trusted=True),
    ServerRow("push", "push_server", "trader", _PUSH, trusted=False),
    ServerRow("memory", "memory.server", "trader", frozenset({"DATABASE_URL"}), trusted=False),
    ServerRow("search", "research.server", "floor", _STORE | _PRICES | _SEARCH, trusted=False),
    ServerRow("fetch", "mcp_server_fetch", "floor", frozenset(), trusted=False, is_ours=False),
)


GRANTED = frozenset[str]().union(*(row.environment for row in SERVERS))
"""Every setting that some server may see."""

ROLES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "trader": {"accounts": ("*",), "market": ("*",), "push": ("push",)},
    "researcher": {"search": ("*",), "fetch": ("fetch",), "memory": ("*",)},
}
"""Which servers a role may use, and the globs of their tools. A researcher has none that trades."""


def shelves(role: str, connections: Mapping[str, ServerConnection]) -> dict[str, Shelf]:
    """The connections that `role` may use, each with its tools and its trust."""
    rows = {row.name: row for row in SERVERS}
    return {
        name: Shelf(connections[name], globs, rows[name].trusted)
        for name, globs in ROLES[role].items()
        if name in connections
    }


def launch_of(
    row: ServerRow, account: str | None, settings: Mapping[str, str], recording: Sequence[str] = ()
) -> Launch:
    """How to start `row`, bound to `account`, with those of `settings` that it may see.

    `recording` are the arguments by which an accounts server joins the run's recording.
    """
    arguments: tuple[str, ...] = ()
    if row.scope == "trader":
        assert account is not None
        arguments = ("--account", account, "--floor", *(recording if row.name == "accounts" else ()))
    label = row.name if account is None else f"{row.name} ({account})"
    environment = {key: value for key, value in settings.items() if key in row.environment}
    return Launch(label, arguments, environment, PROJECT, row.module, row.scope == "trader")


class Servers:
    """The floor's running servers. An async context: all are up inside it and none is left after it.

    `without` names rows of the table that this floor does not use. Entering raises the first server's ServerGone when
    one does not come up.
    """

    def __init__(
        self,
        accounts: Sequence[str],
        settings: Mapping[str, str],
        without: Collection[str] = (),
        recording: Sequence[str] = (),
    ) -> None:
        rows = [row for row in SERVERS if row.name not in without]
        self._nursery = Nursery([row.module for row in rows if row.is_ours], PROJECT)
        self._shared = {
            row.name: ServerConnection(launch_of(row, None, settings), self._nursery)
            for row in rows
            if row.scope == "floor"
        }
        self._bound = {
            account: {
                row.name: ServerConnection(launch_of(row, account, settings, recording), self._nursery)
                for row in rows
                if row.scope == "trader"
            }
            for account in accounts
        }

    def of(self, account: str) -> dict[str, ServerConnection]:
        """The connections that a trader may use, by the server's name."""
        return {**self._shared, **self._bound[account]}

    def all(self) -> list[ServerConnection]:
        return [*self._shared.values(), *(each for bound in self._bound.values() for each in bound.values())]

    async def __aenter__(self) -> Servers:
        at_once = asyncio.Semaphore(STARTS_AT_ONCE)

        async def start(connection: ServerConnection) -> None:
            async with at_once:
                await connection.start()

        try:
            started = await asyncio.gather(*(start(each) for each in self.all()), return_exceptions=True)
        except BaseException:
            await self._stop()
            raise
        for outcome in started:
            if isinstance(outcome, BaseException):
                await self._stop()
                raise outcome
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await asyncio.gather(*(connection.stop() for connection in self.all()))
        await self._nursery.stop()
