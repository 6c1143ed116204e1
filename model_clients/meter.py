"""The meter that every model call of a session passes: turns, tokens, cost, spans and their limits.

It also sees what AutoGen answers by itself, before any workbench does: calls of unknown tools and arguments that are
not JSON. Those become tool spans marked as errors, so that the record shows what the model did wrong.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, ModelInfo, RequestUsage
from autogen_core.tools import Tool, ToolSchema
from opentelemetry.trace import Span, Tracer
from pydantic import BaseModel

from values.clock import wall_now
from values.money import CASH_DECIMALS, ZERO


class OutOfTurns(RuntimeError):
    """The session has used all the model turns it may."""


class OverBudget(RuntimeError):
    """The session has spent all the money it may."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One answered call. `cost_usd` is what the provider charges for it, 0 for the house model."""

    model: str
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    latency_ms: float
    finish_reason: str
    wall_time: datetime


@dataclass(frozen=True, slots=True)
class Price:
    """USD for a million tokens that a model reads and writes."""

    input_usd: Decimal = ZERO
    output_usd: Decimal = ZERO

    def of(self, usage: RequestUsage) -> Decimal:
        """What a call cost, to 1e-6 USD half-even, as the store keeps it."""
        cost = self.input_usd * usage.prompt_tokens + self.output_usd * usage.completion_tokens
        return (cost / 1_000_000).quantize(Decimal(1).scaleb(-CASH_DECIMALS))


FREE = Price()


@dataclass(slots=True)
class Meter:
    """What a session may use and has used."""

    turns_max: int
    usd_max: Decimal
    price: Price = FREE
    calls: list[ModelCall] = field(default_factory=list)
    turns: int = 0

    @property
    def input_tokens(self) -> int:
        return sum(call.input_tokens for call in self.calls)

    @property
    def output_tokens(self) -> int:
        return sum(call.output_tokens for call in self.calls)

    @property
    def cost_usd(self) -> Decimal:
        return sum((call.cost_usd for call in self.calls), ZERO)

    def begin(self) -> None:
        """Raises OutOfTurns or OverBudget when there may be no further call."""
        if self.turns >= self.turns_max:
            raise OutOfTurns(f"all {self.turns_max} turns of the session are used")
        if self.cost_usd > self.usd_max:
            raise OverBudget(f"the session has cost {self.cost_usd} USD and may cost {self.usd_max}")
        self.turns += 1


class MeteredClient(ChatCompletionClient):
    """A model client for one session. It shares the client underneath and does not close it."""

    component_type = "model"
    component_config_schema = BaseModel
    component_provider_override = "model_clients.meter.MeteredClient"

    def __init__(self, client: ChatCompletionClient, model: str, meter: Meter, tracer: Tracer) -> None:
        self._client = client
        self._model = model
        self._meter = meter
        self._tracer = tracer

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = [],
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        self._meter.begin()
        began = time.monotonic()
        with self._tracer.start_as_current_span(f"chat {self._model}") as span:
            span.set_attribute("gen_ai.operation.name", "chat")
            span.set_attribute("gen_ai.provider.name", self._model.partition("/")[0])
            span.set_attribute("gen_ai.request.model", self._model)
            result = await self._client.create(
                messages,
                tools=tools,
                tool_choice=tool_choice,
                json_output=json_output,
                extra_create_args=extra_create_args,
                cancellation_token=cancellation_token,
            )
            self._settle(result, (time.monotonic() - began) * 1000, span)
        self._note_mistakes(result, tools)
        return result

    def _settle(self, result: CreateResult, latency_ms: float, span: Span) -> None:
        call = ModelCall(
            model=self._model,
            input_tokens=result.usage.prompt_tokens,
            output_tokens=result.usage.completion_tokens,
            cost_usd=self._meter.price.of(result.usage),
            latency_ms=latency_ms,
            finish_reason=result.finish_reason,
            wall_time=wall_now(),
        )
        self._meter.calls.append(call)
        span.set_attribute("gen_ai.response.model", self._model)
        span.set_attribute("gen_ai.response.finish_reasons", [result.finish_reason])
        span.set_attribute("gen_ai.usage.input_tokens", call.input_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", call.output_tokens)
        span.set_attribute("gen_ai.output.messages", _as_message(result.content))

    def _note_mistakes(self, result: CreateResult, tools: Sequence[Tool | ToolSchema]) -> None:
        if isinstance(result.content, str):
            return
        offered = {tool["name"] if isinstance(tool, dict) else tool.name for tool in tools}
        for call in result.content:
            mistake = _mistake(call, offered)
            if mistake is not None:
                with self._tracer.start_as_current_span(f"execute_tool {call.name}") as span:
                    span.set_attribute("gen_ai.operation.name", "execute_tool")
                    span.set_attribute("gen_ai.tool.name", call.name)
                    span.set_attribute("gen_ai.tool.call.id", call.id)
                    span.set_attribute("gen_ai.tool.call.arguments", call.arguments)
                    span.set_attribute("gen_ai.tool.call.result", mistake)
                    span.set_attribute("error.type", mistake.partition(":")[0])

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = [],
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """The whole answer as one item: the desks do not stream."""
        yield await self.create(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            json_output=json_output,
            extra_create_args=extra_create_args,
            cancellation_token=cancellation_token,
        )

    async def close(self) -> None:
        """The client underneath belongs to the floor."""

    def actual_usage(self) -> RequestUsage:
        return self.total_usage()

    def total_usage(self) -> RequestUsage:
        return RequestUsage(self._meter.input_tokens, self._meter.output_tokens)

    def count_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = []) -> int:
        return self._client.count_tokens(messages, tools=tools)

    def remaining_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = []) -> int:
        return self._client.remaining_tokens(messages, tools=tools)

    @property
    def capabilities(self) -> Any:
        return self._client.capabilities

    @property
    def model_info(self) -> ModelInfo:
        return self._client.model_info


def _as_message(content: str | Sequence[FunctionCall]) -> str:
    """A reply in the form that the GenAI semantic conventions give `gen_ai.output.messages`."""
    parts: list[dict[str, str]] = (
        [{"type": "text", "content": content}]
        if isinstance(content, str)
        else [{"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments} for call in content]
    )
    return json.dumps([{"role": "assistant", "parts": parts}])


def _mistake(call: FunctionCall, offered: set[str]) -> str | None:
    """What AutoGen will answer to this call without asking a workbench."""
    try:
        json.loads(call.arguments)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of thousands of digits
        return f"bad_json: the arguments are no JSON ({error})"
    if call.name not in offered:
        return f"unknown_tool: there is no tool {call.name[:60]!r}"
    return None
