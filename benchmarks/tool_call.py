"""How long a tool call over stdio takes: reads and a durable trade, beside a bare server's call by the same client."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

from mcp_types import CallToolResult

from benchmarks.bare_server import ARGUMENTS, BARE, TOOL
from benchmarks.figure import Figure
from desks.connection import ServerConnection
from tests.floors import small_floor

CALLS = 600
WARM_UP = 20
CALL_S = 20.0
READ_RATIO = 1.5
TRADE_RATIO = 4.0
SYMBOL = "BTC-USD"
ORDER = {"name": "warren", "symbol": SYMBOL, "quantity": "0.001", "rationale": "A thousandth, for a benchmark."}


def measure() -> list[Figure]:
    balance, price, trade, bare = asyncio.run(_medians_ms())
    return [
        Figure("get_balance over stdio, median", balance, "ms", bare, goal=READ_RATIO, goal_of="ratio"),
        Figure("lookup_share_price over stdio, median", price, "ms", bare, goal=READ_RATIO, goal_of="ratio"),
        Figure("buy_shares over stdio, durable, median", trade, "ms", bare, goal=TRADE_RATIO, goal_of="ratio"),
    ]


async def _medians_ms() -> list[float]:
    """Of the read, the lookup, the trade and the bare call, each made once in every round."""
    bare = ServerConnection(BARE)
    await bare.start()
    with tempfile.TemporaryDirectory() as folder:
        async with small_floor(Path(folder)) as floor:
            servers = floor.servers.of("warren")
            accounts, market = servers["accounts"], servers["market"]
            calls: list[Callable[[], Awaitable[CallToolResult]]] = [
                lambda: accounts.call_tool("get_balance", {"name": "warren"}, CALL_S),
                lambda: market.call_tool("lookup_share_price", {"symbol": SYMBOL}, CALL_S),
                lambda: accounts.call_tool("buy_shares", ORDER, CALL_S),
                lambda: bare.call_tool(TOOL, ARGUMENTS, CALL_S),
            ]
            taken: list[list[float]] = [[] for _ in calls]
            for number in range(WARM_UP + CALLS):
                for call, each in zip(calls, taken, strict=True):
                    milliseconds = await _timed_ms(call)
                    if number >= WARM_UP:
                        each.append(milliseconds)
                # an account that only bought would run out of cash
                await _timed_ms(lambda: accounts.call_tool("sell_shares", ORDER, CALL_S))
    await bare.stop()
    return [median(each) for each in taken]


async def _timed_ms(call: Callable[[], Awaitable[CallToolResult]]) -> float:
    began = time.perf_counter()
    answer = await call()
    seconds = time.perf_counter() - began
    assert not answer.is_error, answer.content
    return seconds * 1000
