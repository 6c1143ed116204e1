"""The product's faces, called as a client or an owner would; a store that can't be used is heard as its sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from mcp import Client
from mcp_types import TextContent
from typer.testing import CliRunner

import accounts_server
from commands.main import app
from database import Store
from tests.chaos.state import Activity
from values.errors import StoreUnusable


def order_over_mcp(store: Store, activity: Activity) -> Callable[[int], Callable[[], object]]:
    """A maker of orders that go through the accounts server; its `unavailable: sentence` is raised as the sentence."""
    server = accounts_server.build(store, activity.market, bound="warren", actor="floor")

    async def call(key: str) -> None:
        arguments = {"name": "warren", "symbol": "AAPL", "quantity": "1", "rationale": "why " * 900}
        async with Client(server) as client:
            answer = await client.call_tool("buy_shares", {**arguments, "client_order_id": key})
        if answer.is_error:
            [content] = answer.content
            assert isinstance(content, TextContent)
            code, _, sentence = content.text.partition(": ")
            assert code == "unavailable", content.text
            raise StoreUnusable(sentence)
        assert answer.structured_content is not None
        activity.filled[key] = answer.structured_content["transaction_id"]

    return lambda number: lambda: asyncio.run(call(f"order:{number}"))


def told_by_command(path: Path, *arguments: str) -> str:
    """What `trading-floor` prints; with exit code 2 the one line that it says instead is raised; so is a traceback."""
    environment = {"DATABASE_URL": f"sqlite:///{path}", "MARKET": "simulated", "MARKET_SEED": "7"}
    done = CliRunner().invoke(app, arguments, env=environment)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if done.exit_code == 2:
        [line] = done.stderr.splitlines()
        raise StoreUnusable(line)
    assert done.exit_code == 0, done.output
    return done.stdout


def open_by_command(path: Path, number: int) -> Callable[[], object]:
    """`trading-floor accounts open`."""
    return lambda: told_by_command(path, "accounts", "open", f"own-{number}")
