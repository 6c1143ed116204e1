"""A session of AutoGen's agent with its stock OpenAI client and an in-process tool; prints the CPU of each turn.

    python session.py BASE_URL TURNS RESULT

Runs in build/stock, which setup.sh makes, and knows nothing of the floor. RESULT is the text that the tool answers.
Output: one JSON list of CPU seconds of this process, from each model call to the next.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from autogen_agentchat.agents import AssistantAgent  # type: ignore[import-untyped,unused-ignore]
from autogen_ext.models.openai import OpenAIChatCompletionClient  # type: ignore[import-not-found]


class TimedClient(OpenAIChatCompletionClient):  # type: ignore[misc]
    """Notes the process's CPU time at each call."""

    marks: list[float]

    async def create(self, *given: Any, **named: Any) -> Any:
        self.marks.append(time.process_time())
        return await super().create(*given, **named)


async def main(base_url: str, turns: int, result: str) -> None:
    async def lookup_share_price(symbol: str) -> str:
        """The price of one share now."""
        return result

    client = TimedClient(model="gpt-4o", base_url=base_url, api_key="no-key-needed")
    client.marks = []
    agent = AssistantAgent(
        "trader",
        model_client=client,
        tools=[lookup_share_price],
        system_message="You trade.",
        max_tool_iterations=turns,
    )
    await agent.run(task="Begin.")
    await client.close()
    print(json.dumps([later - earlier for earlier, later in zip(client.marks, client.marks[1:], strict=False)]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
