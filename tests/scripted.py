"""A model that says what the test wrote down, mistakes included."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, ModelFamily, ModelInfo, RequestUsage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from model_clients.replies import ChatUsage

Reply = str | list[FunctionCall] | Exception | asyncio.Event


def call(tool: str, call_id: str = "c", /, **arguments: Any) -> FunctionCall:
    return FunctionCall(id=call_id, name=tool, arguments=json.dumps(arguments))


class ScriptedModel(ChatCompletionClient):
    """Gives its replies in order, the last one again and again; an Event is waited for, which is a model that hangs.

    `heard` holds, for each call, the messages that the model was sent. Each call is of 100 tokens and 10 more.
    """

    output_tokens_max = 10

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.heard: list[list[LLMMessage]] = []
        self.asked = asyncio.Event()

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
        self.heard.append(list(messages))
        self.asked.set()
        reply = self.replies[min(len(self.heard), len(self.replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, asyncio.Event):
            await reply.wait()
            reply = "It is over."
        reason: Literal["stop", "function_calls"] = "stop" if isinstance(reply, str) else "function_calls"
        return CreateResult(finish_reason=reason, content=reply, usage=ChatUsage(100, 10), cached=False)

    def last_results(self) -> list[str]:
        """What the tools of the turn before answered, as the model saw it."""
        message = self.heard[-1][-1]
        assert message.type == "FunctionExecutionResultMessage"
        return [result.content for result in message.content]

    def request_bytes(self, messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema] = ()) -> int:
        return 100

    async def create_stream(self, *_: Any, **__: Any) -> AsyncGenerator[str | CreateResult, None]:
        raise AssertionError("the desks do not stream")
        yield ""

    async def close(self) -> None: ...

    def actual_usage(self) -> RequestUsage:
        return RequestUsage(0, 0)

    def total_usage(self) -> RequestUsage:
        return RequestUsage(0, 0)

    def count_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()) -> int:
        return 0

    def remaining_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()) -> int:
        return 1_000_000

    @property
    def capabilities(self) -> Any:
        return self.model_info

    @property
    def model_info(self) -> ModelInfo:
        return ModelInfo(
            vision=False, function_calling=True, json_output=False, family=ModelFamily.UNKNOWN, structured_output=False
        )
