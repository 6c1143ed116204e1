"""A whole floor for the tests that kill it: `python -m tests.order_stream TURNS` trades without end.

All of it is the product's own - `run_floor`, its settings, nursery, servers, sessions and screen - but for what sits in
the place of the house model: it buys and sells in every turn. It prints `acknowledged ID` for each trade when, and
only when, the trader has been told of it, and `refused TEXT` for one that was not made.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import CreateResult, FunctionExecutionResultMessage, LLMMessage, RequestUsage

import commands.run
import commands.seats
from tests.scripted import ScriptedModel, call

SYMBOLS = ("AAPL", "BTC-USD")
CLOSING_TURNS = 2


class Churner(ScriptedModel):
    """Buys one of each symbol, sells them in the next turn, and so on until the session's turns are nearly used."""

    turns = 0

    def __init__(self, rulebook: str) -> None:
        super().__init__("")
        self.name = f"scripted/{rulebook}"

    async def create(
        self, messages: Sequence[LLMMessage], *, cancellation_token: CancellationToken | None = None, **_: Any
    ) -> CreateResult:
        last = messages[-1]
        if isinstance(last, FunctionExecutionResultMessage):
            for result in last.content:
                _acknowledge(result.content, result.is_error)
        content = self._next(str(messages[1].content), sum(each.type == "AssistantMessage" for each in messages))
        reason = "stop" if isinstance(content, str) else "function_calls"
        return CreateResult(finish_reason=reason, content=content, usage=RequestUsage(100, 10), cached=False)

    def _next(self, task: str, turn: int) -> str | list[FunctionCall]:
        (name,) = re.findall(r"the account `(\w+)`", task)
        because = {"name": name, "rationale": "a test"}
        if turn < self.turns - CLOSING_TURNS:
            tool = "sell_shares" if turn % 2 else "buy_shares"
            return [call(tool, symbol, symbol=symbol, quantity=1, **because) for symbol in SYMBOLS]
        if turn == self.turns - CLOSING_TURNS:
            return [call("record_decision", symbol="AAPL", action="hold", confidence=0.5, horizon_days=1, **because)]
        return "Bought and sold."


def _acknowledge(text: str, is_error: bool | None) -> None:
    if is_error:
        print("refused", text.replace("\n", " "), flush=True)
    elif (trade := json.loads(text)).get("transaction_id") is not None:
        print("acknowledged", trade["transaction_id"], flush=True)


def main() -> int:
    Churner.turns = int(sys.argv[1])
    commands.seats.HouseModel = Churner  # type: ignore[attr-defined,assignment]
    return commands.run.run_floor("simulated", None, 7)


if __name__ == "__main__":
    sys.exit(main())
