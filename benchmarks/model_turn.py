"""What our own work costs in one turn of a language model with tools, at a short and at a long history.

CPU of the client's process alone, for one `create` with eight tools and results of a thousand characters. The model is
a loopback server in a process of its own that calls a tool at once. The baseline is the same turn after one other.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import ToolSchema

from benchmarks.figure import Figure
from model_clients.chat_completions import ChatCompletionsClient
from values.settings import PROJECT

HISTORIES = (1, 50, 200)
CONVERSATIONS = 6
NEIGHBOURS = 2
"""Turns before and after the one that is reported, which count as well."""
GOAL_MS = 2.0
RESULT = "price 187.42 " * 77


def measure() -> list[Figure]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.model_loopback"], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            turns_ms = asyncio.run(_turns_ms(server.stdout.readline().strip()))
        finally:
            server.kill()
    baseline = turns_ms[HISTORIES[0]]
    return [
        Figure(f"client CPU of a tool turn after {history} others", turns_ms[history], "ms", baseline, goal=GOAL_MS)
        for history in HISTORIES
    ]


async def _turns_ms(base_url: str) -> dict[int, float]:
    """The least milliseconds of a turn, by the number of turns before it: what is more is other programs' doing."""
    taken: dict[int, list[float]] = {history: [] for history in HISTORIES}
    client = ChatCompletionsClient("loopback", base_url=base_url, api_key=None)
    for _ in range(CONVERSATIONS):
        for history, seconds in enumerate(await _conversation_s(client)):
            for reported in HISTORIES:
                if abs(history - reported) <= NEIGHBOURS and history > 0:
                    taken[reported].append(seconds * 1000)
    await client.close()
    return {history: min(each) for history, each in taken.items()}


async def _conversation_s(client: ChatCompletionsClient) -> list[float]:
    """CPU seconds of each turn of a conversation in which every turn is a tool call."""
    messages: list[LLMMessage] = [SystemMessage(content="You trade. " * 100), UserMessage(content="Begin.", source="u")]
    tools: list[ToolSchema] = [
        {
            "name": "lookup_share_price" if number == 0 else f"tool_{number}",
            "description": "What it does, in a few sentences that a model can go by. " * 3,
            "parameters": {"type": "object", "properties": {"symbol": {"type": "string"}}, "required": ["symbol"]},
        }
        for number in range(8)
    ]
    seconds = []
    for _ in range(max(HISTORIES) + NEIGHBOURS + 1):
        began = time.process_time()
        result = await client.create(messages, tools=tools)
        seconds.append(time.process_time() - began)
        assert not isinstance(result.content, str)
        messages.append(AssistantMessage(content=result.content, source="trader"))
        messages.append(
            FunctionExecutionResultMessage(
                content=[
                    FunctionExecutionResult(content=RESULT, name=call.name, call_id=call.id) for call in result.content
                ]
            )
        )
    return seconds
