"""The meter that every model call of a session passes: turns, tokens, cost, spans and their limits.

Before a call the most that it can cost is held, after it what it did cost is settled; a call whose usage never came
back has cost the most. It also sees what AutoGen answers by itself, before any workbench does: calls of unknown tools
and arguments that are not JSON. Those become tool spans marked as errors, so that the record shows what the model did
wrong.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Protocol, TypeVar, cast

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, ModelInfo, RequestUsage
from autogen_core.tools import Tool, ToolSchema
from opentelemetry.trace import Span, Tracer
from pydantic import BaseModel

from model_clients.bounds import PromptBounds
from model_clients.failures import BadReply, ModelFailed
from model_clients.replies import ChatUsage
from model_clients.routing import Bounded, Candidate, Route
from values.clock import wall_now
from values.errors import Refused
from values.money import ZERO, plain
from values.usage import ModelCall, Rates, Tokens

logger = logging.getLogger("floor.models")

T = TypeVar("T")


class OutOfTurns(RuntimeError):
    """The session has used all the model turns it may."""


class OverBudget(RuntimeError):
    """The next call could cost more than is left of what may be spent."""


class Budget(Protocol):
    """Where calls that cost money are held and settled for a whole floor; `most` is a call at its dearest."""

    async def reserve(self, session_id: str, account: str, most: ModelCall) -> int:
        """The reservation's number. Raises OverBudget where a day's cap could be passed."""

    async def settle(self, reservation: int, call: ModelCall | None) -> None:
        """Put the call on record in the reservation's place; None for one that was not made or costs nothing."""


@dataclass(slots=True)
class Meter:
    """What a session may use and has used. Without a budget only the session's own cap holds."""

    turns_max: int
    usd_max: Decimal
    session_id: str = ""
    account: str = ""
    budget: Budget | None = None
    calls: list[ModelCall] = field(default_factory=list)
    turns: int = 0
    spent_usd: Decimal = ZERO
    held_usd: Decimal = ZERO
    input_tokens: int = 0
    output_tokens: int = 0
    changes: list[str] = field(default_factory=list)
    """Why another model answered than the one before, a sentence each time."""

    def begin(self) -> None:
        """Raises OutOfTurns when there may be no further turn."""
        if self.turns >= self.turns_max:
            raise OutOfTurns(f"all {self.turns_max} turns of the session are used")
        self.turns += 1

    async def hold(self, most: ModelCall) -> int | None:
        """Hold what a call can cost at most; the reservation's number where there is a budget. Raises OverBudget."""
        usd = most.cost_usd
        if self.spent_usd + self.held_usd + usd > self.usd_max:
            raise OverBudget(
                f"the session may cost {plain(self.usd_max)} USD: {plain(self.spent_usd)} is spent, "
                f"{plain(self.held_usd)} held for calls under way, and the next call of {most.model} can cost up to "
                f"{plain(usd)}"
            )
        self.held_usd += usd
        try:
            if self.budget is None:
                return None
            return await self._reserve(self.budget, most)
        except BaseException:
            self.held_usd -= usd
            raise

    async def _reserve(self, budget: Budget, most: ModelCall) -> int:
        reserving = asyncio.ensure_future(budget.reserve(self.session_id, self.account, most))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:  # the call is not made, whatever becomes of its reservation
            await _whole(_give_back(budget, reserving))
            raise

    async def settle(self, most: ModelCall, reservation: int | None, call: ModelCall | None) -> None:
        """Count a call in place of what was held for it; also when the session is being cancelled."""
        self.held_usd -= most.cost_usd
        if self.budget is not None and reservation is not None:
            if call is not None:
                call = replace(call, is_on_record=True)
            settling = self.budget.settle(reservation, call)
        else:
            settling = None
        if call is not None:
            self.count(call)
        if settling is not None:
            await _whole(settling)

    def count(self, call: ModelCall) -> None:
        self.calls.append(call)
        self.spent_usd += call.cost_usd
        self.input_tokens += call.input_tokens
        self.output_tokens += call.output_tokens


async def _give_back(budget: Budget, reserving: asyncio.Future[int]) -> None:
    await budget.settle(await reserving, None)


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """`work` to its end, and only then the cancellation that came meanwhile."""
    doing = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        raise


class MeteredClient(ChatCompletionClient):
    """The model client of one session, over its trader's route. It shares the clients underneath and closes none."""

    component_type = "model"
    component_config_schema = BaseModel
    component_provider_override = "model_clients.meter.MeteredClient"

    def __init__(self, route: Route, meter: Meter, tracer: Tracer) -> None:
        self._route = route
        self._meter = meter
        self._tracer = tracer
        self._bounds = PromptBounds()
        self._last = next(route.in_turn())

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
        """The answer of the first model of the route that gives one. Raises OutOfTurns, OverBudget, and ModelFailed."""
        self._meter.begin()
        asked: dict[str, Any] = {
            "tool_choice": tool_choice,
            "json_output": json_output,
            "extra_create_args": extra_create_args,
            "cancellation_token": cancellation_token,
        }
        why: ModelFailed | None = None
        for candidate in self._route.in_turn():
            self._note_change(candidate, why)
            try:
                result = await self._ask(candidate, messages, tools, asked)
            except ModelFailed as failure:
                if not self._route.failed(candidate, failure):
                    raise
                logger.warning("%s", failure)
                why = failure
            else:
                self._route.answered(candidate)
                self._note_mistakes(result, tools)
                return result
        assert why is not None  # a route has candidates
        raise why

    async def _ask(
        self,
        candidate: Candidate,
        messages: Sequence[LLMMessage],
        tools: Sequence[Tool | ToolSchema],
        asked: Mapping[str, Any],
    ) -> CreateResult:
        """One model's answer, held before and settled after, however it ends."""
        began, wall = time.monotonic(), wall_now()
        price = candidate.price(wall)
        prompt, most, reservation = None, None, None
        if not price.is_nothing:
            prompt = self._bounds.of(candidate, messages, tools)
            rates, tokens = price.most(prompt.most, cast(Bounded, candidate.client).output_tokens_max)
            most = ModelCall(candidate.model, tokens, rates, True, 0.0, "unknown", wall)
            reservation = await self._meter.hold(most)
        call = most
        try:
            with self._tracer.start_as_current_span(f"chat {candidate.model}") as span:
                span.set_attribute("gen_ai.operation.name", "chat")
                span.set_attribute("gen_ai.provider.name", candidate.model.partition("/")[0])
                span.set_attribute("gen_ai.request.model", candidate.model)
                result = await candidate.client.create(messages, tools=tools, **asked)
                call = _call(candidate, price.rates, most, result.usage, result.finish_reason, wall, began)
                _describe(span, call, result)
            if prompt is not None:
                self._bounds.learn(prompt, result.usage)
        except ModelFailed as failure:
            if not failure.may_cost:
                call = None
            elif isinstance(failure, BadReply) and failure.usage is not None:
                call = _call(candidate, price.rates, most, failure.usage, "unknown", wall, began)
            raise
        except Refused:  # the model can't take such a request, so none was made
            call = None
            raise
        finally:
            if most is not None:
                await self._meter.settle(most, reservation, call)
            elif call is not None:
                self._meter.count(call)
        return result

    def _note_change(self, candidate: Candidate, why: ModelFailed | None) -> None:
        if candidate.model != self._last.model:
            because = "its rest is over" if why is None else str(why)
            self._meter.changes.append(
                f"from turn {self._meter.turns} on {candidate.model} instead of {self._last.model}: {because}"
            )
        self._last = candidate

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
        return self._last.client.count_tokens(messages, tools=tools)

    def remaining_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = []) -> int:
        return self._last.client.remaining_tokens(messages, tools=tools)

    @property
    def capabilities(self) -> Any:
        return self._last.client.capabilities

    @property
    def model_info(self) -> ModelInfo:
        return self._last.client.model_info


def _call(
    candidate: Candidate,
    rates: Callable[[int], Rates],
    most: ModelCall | None,
    usage: RequestUsage,
    finish_reason: str,
    wall: datetime,
    began: float,
) -> ModelCall:
    """What was used, as the provider counted it; where it did not count a call that costs money, the most."""
    latency_ms = (time.monotonic() - began) * 1000
    is_estimate = isinstance(usage, ChatUsage) and usage.is_estimate
    if is_estimate and most is not None:
        return replace(most, latency_ms=latency_ms, finish_reason=finish_reason)
    cached = usage.cached_tokens if isinstance(usage, ChatUsage) else 0
    written = usage.cache_write_tokens if isinstance(usage, ChatUsage) else 0
    tokens = Tokens(usage.prompt_tokens, usage.completion_tokens, cached, written)
    return ModelCall(candidate.model, tokens, rates(tokens.read), is_estimate, latency_ms, finish_reason, wall)


def _describe(span: Span, call: ModelCall, result: CreateResult) -> None:
    span.set_attribute("gen_ai.response.model", call.model)
    span.set_attribute("gen_ai.response.finish_reasons", [call.finish_reason])
    span.set_attribute("gen_ai.usage.input_tokens", call.input_tokens)
    span.set_attribute("gen_ai.usage.output_tokens", call.output_tokens)
    span.set_attribute("gen_ai.usage.cache_read.input_tokens", call.tokens.cached)
    span.set_attribute("gen_ai.output.messages", _as_message(result.content))


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
