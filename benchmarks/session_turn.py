"""What the floor's own work costs in one tool turn of a session: CPU of the floor's process, at three histories.

The model is a loopback server in a process of its own that calls one tool at once. On our side it is a whole session of
`Trader.run`: AutoGen's agent, our model client, the workbench and the market's server over stdio. The baseline is
AutoGen's agent with its stock OpenAI client and a tool in its own process that answers the same text.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from autogen_core.models import CreateResult

from benchmarks.figure import Figure
from model_clients.chat_completions import ChatCompletionsClient
from tests.floors import SmallFloor, small_floor
from traders import SessionBounds
from values.settings import PROJECT

HISTORIES = (1, 50, 200)
NEIGHBOURS = 2
"""Turns after the one that is reported, which count as well."""
TURNS = max(HISTORIES) + NEIGHBOURS + 2
ROUNDS = 3
RATIO_AT_1 = 1.5
GOAL_MS = 6.0
STOCK = PROJECT / "build" / "stock" / "bin" / "python"
WARM_UP_TURNS = 20


class TimedClient(ChatCompletionsClient):
    """Notes the process's CPU time at each call."""

    def __init__(self, base_url: str) -> None:
        super().__init__("loopback", base_url=base_url, api_key=None)
        self.marks: list[float] = []

    async def create(self, *given: Any, **named: Any) -> CreateResult:
        self.marks.append(time.process_time())
        return await super().create(*given, **named)


def measure() -> list[Figure]:
    subprocess.run(["sh", "benchmarks/stock/setup.sh"], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.model_loopback"], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as model:
        try:
            assert model.stdout is not None
            ours_ms, stock_ms = asyncio.run(_rounds(model.stdout.readline().strip()))
        finally:
            model.kill()
    goals: dict[int, dict[str, Any]] = {1: {"goal": RATIO_AT_1, "goal_of": "ratio"}, 200: {"goal": GOAL_MS}}
    return [
        Figure(
            f"CPU per tool turn of a session at a history of {history} turn{'s' if history > 1 else ''}",
            median(ours_ms[history]), "ms", median(stock_ms[history]), **goals.get(history, {}),
        )
        for history in HISTORIES
    ]  # fmt: skip


async def _rounds(base_url: str) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Milliseconds of the reported turns: ours, and the stock client's, in turn."""
    ours: dict[int, list[float]] = {history: [] for history in HISTORIES}
    stock: dict[int, list[float]] = {history: [] for history in HISTORIES}
    with tempfile.TemporaryDirectory() as folder:
        async with small_floor(Path(folder)) as floor:
            answer = await floor.servers.of("warren")["market"].call_tool("lookup_share_price", {"symbol": "NVDA"}, 20)
            text = json.dumps(answer.structured_content)
            await _session_s(floor, base_url, WARM_UP_TURNS)
            for _ in range(ROUNDS):
                _report(ours, await _session_s(floor, base_url, TURNS))
                _report(stock, await _stock_session_s(base_url, text))
    return ours, stock


async def _session_s(floor: SmallFloor, base_url: str, turns: int) -> list[float]:
    """CPU seconds of each turn of one session of the floor's own."""
    client = TimedClient(base_url)
    bounds = SessionBounds(turns=turns, seconds=600.0)
    end = await floor.trader("warren", client, bounds).run("trade")
    await client.close()
    assert (end.turns, end.tool_calls) >= (turns, turns - 1), f"the session ended early: {end.outcome}, {end.reason}"
    return _between(client.marks)


async def _stock_session_s(base_url: str, text: str) -> list[float]:
    process = await asyncio.create_subprocess_exec(
        STOCK, PROJECT / "benchmarks" / "stock" / "session.py", base_url, str(TURNS), text,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    printed, _ = await process.communicate()
    assert process.returncode == 0, "the stock session failed: sh benchmarks/stock/setup.sh"
    return [float(each) for each in json.loads(printed)]


def _between(marks: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(marks)]


def _report(taken_ms: dict[int, list[float]], turns_s: list[float]) -> None:
    """`turns_s[n]` is the turn that has n turns behind it."""
    for history, each in taken_ms.items():
        each += [seconds * 1000 for seconds in turns_s[history : history + NEIGHBOURS + 1]]
