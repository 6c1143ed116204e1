"""A stand-in for a language model: what it says follows from a seed, sense and nonsense.

It looks, trades, remembers, decides and closes as a real one would; now and then it invents tools, sends what is no
JSON or no number, says nothing, asks for ever, costs too much, fails or never answers. It keeps every fill that it was
told of, so that a test can ask the books for each.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import CreateResult, FunctionExecutionResultMessage, LLMMessage, RequestUsage, SystemMessage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from desks.researcher import PROMPT as RESEARCHER
from model_clients.failures import ModelUnavailable
from tests.chaos.faults import Faults
from tests.scripted import ScriptedModel

THINKS_S = (0.05, 1.5)
FOR_EVER_S = 1e6
ORDER = "the dice say so, order "
NONSENSE: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), "", "NaN", "1e9", "0x10", "many", "1,000", [1], {"of": 1}, "\u202e1",
    "9" * 400,
)  # fmt: skip


class SeededModel(ScriptedModel):
    """The model of one trader, its researcher included."""

    def __init__(self, name: str, symbols: Sequence[str], seed: str, faults: Faults) -> None:
        super().__init__("")
        self._name = name
        self._symbols = symbols
        self._chance = random.Random(f"{seed} {name}")
        self._faults = faults
        self._turns_left = 0
        self._never_ends = self._is_dear = False
        self._orders = 0
        self.told: list[dict[str, Any]] = []

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        self._listen(messages[-1])
        chance, strikes = self._chance, self._faults.strikes
        await asyncio.sleep(FOR_EVER_S if strikes("model is silent") else chance.uniform(*THINKS_S))
        if strikes("model fails"):
            raise ModelUnavailable("the model answered 500")
        names = [tool["name"] if isinstance(tool, dict) else tool.name for tool in tools]
        if isinstance(messages[0], SystemMessage) and messages[0].content == RESEARCHER:
            is_first = messages[-1].type == "UserMessage"
            content: str | list[FunctionCall] = self._calls(names, 1) if is_first else "It is said to be so."
        else:
            content = self._trade(names, is_task=messages[-1].type == "UserMessage")
        tokens = 10**9 if self._is_dear else chance.randrange(50, 5000)
        reason: Literal["stop", "function_calls"] = "stop" if isinstance(content, str) else "function_calls"
        return CreateResult(finish_reason=reason, content=content, usage=RequestUsage(tokens, 10), cached=False)

    def _listen(self, message: LLMMessage) -> None:
        if isinstance(message, FunctionExecutionResultMessage):
            for result in message.content:
                if not result.is_error and '"transaction_id"' in result.content:
                    fill = json.loads(result.content)
                    if "transaction_id" in fill:
                        self.told.append(fill)

    def _trade(self, names: Sequence[str], *, is_task: bool) -> str | list[FunctionCall]:
        if is_task:
            self._turns_left = self._chance.randrange(1, 3)
            self._never_ends = self._faults.strikes("model never ends")
            self._is_dear = self._faults.strikes("model costs too much")
        self._turns_left -= 1
        if self._turns_left >= 0 or self._never_ends:
            return self._calls(names, self._chance.randrange(1, 3))
        if self._turns_left == -1:
            return [self._call("record_decision")]
        return (
            "" if self._faults.strikes("model says nothing") else "Prices moved. I did what I could, and expect more."
        )

    def _calls(self, names: Sequence[str], count: int) -> list[FunctionCall]:
        wanted = self._chance.choices(
            names, [8 if name in ("buy_shares", "sell_shares") else 1 for name in names], k=count
        )
        return [self._call(name) for name in wanted]

    def _call(self, name: str) -> FunctionCall:
        arguments = self._arguments().get(name, dict)()
        if arguments and self._faults.strikes("model sends nonsense"):
            arguments[self._chance.choice(sorted(arguments))] = self._chance.choice(NONSENSE)
        text = json.dumps(arguments)
        if self._faults.strikes("model sends broken JSON"):
            text = text[: self._chance.randrange(1, len(text))]
        if self._faults.strikes("model invents a tool"):
            name = f"{name}_now"
        return FunctionCall(id=f"call_{self._chance.randrange(100)}", name=name, arguments=text)

    def _arguments(self) -> Mapping[str, Callable[[], dict[str, Any]]]:
        chance = self._chance
        symbol = chance.choice(self._symbols)
        mine = {"name": self._name}
        entity = {"name": symbol, "entityType": "instrument", "observations": [f"seen {chance.randrange(9)} times"]}
        self._orders += 1  # each order says which it is, so that a second fill of it can be seen
        why = f"{ORDER}{self._orders}"
        order = {**mine, "symbol": symbol, "quantity": chance.randrange(1, 8), "rationale": why}
        decision = {
            **mine, "symbol": symbol, "action": chance.choice(["buy", "sell", "hold"]), "confidence": chance.random(),
            "horizon_days": chance.randrange(90), "rationale": "so it was",
        }  # fmt: skip
        return {
            "buy_shares": lambda: order,
            "sell_shares": lambda: order,
            "record_decision": lambda: decision,
            "change_strategy": lambda: {**mine, "strategy": f"Trust the number {chance.randrange(1000)}."},
            "push": lambda: {"message": f"{symbol} is on my mind", "title": "A thought"},
            "research": lambda: {"question": f"What is known of {symbol}?"},
            "lookup_share_price": lambda: {"symbol": symbol},
            "get_price_history": lambda: {"symbol": symbol, "count": chance.randrange(1, 9)},
            "find_symbols": lambda: {"query": symbol[:2]},
            "create_entities": lambda: {"entities": [entity]},
            "search_nodes": lambda: {"query": symbol},
            "open_nodes": lambda: {"names": [symbol]},
            **dict.fromkeys(("get_balance", "get_holdings", "get_account", "get_transactions"), lambda: dict(mine)),
        }
