"""The `house` model: rules in the place of a language model, with no key, no network and no cost.

A real AutoGen client: it answers a conversation with tool calls or a closing text, from the messages and the tools on
offer alone. Labelled rule-based wherever it speaks. Tokens are estimated from characters; declines structured output.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    ChatCompletionClient,
    CreateResult,
    LLMMessage,
    ModelFamily,
    ModelInfo,
    RequestUsage,
)
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from model_clients.rulebooks.beta import Beta
from model_clients.rulebooks.conversation import Call, read_conversation, text_of
from model_clients.rulebooks.macro import Macro
from model_clients.rulebooks.rulebook import Rulebook
from model_clients.rulebooks.steps import next_reply
from model_clients.rulebooks.trend import Trend
from model_clients.rulebooks.value import Value
from values.errors import BadSetting

RULEBOOKS: Mapping[str, Rulebook] = {rules.name: rules for rules in (Value(), Macro(), Trend(), Beta())}

CHARS_PER_TOKEN = 4
CONTEXT_TOKENS = 1_000_000
"""What `remaining_tokens` counts down from; rules have no context window of their own."""


class HouseModel(ChatCompletionClient):
    """Rule-based chat completions by one of RULEBOOKS. Holds counts of tokens and nothing of any conversation.

    Raises BadSetting for a rulebook that does not exist.
    """

    def __init__(self, rulebook: str) -> None:
        if rulebook not in RULEBOOKS:
            raise BadSetting("rulebook", rulebook, ", ".join(RULEBOOKS))
        self._rules = RULEBOOKS[rulebook]
        self._last = RequestUsage(0, 0)
        self._total = RequestUsage(0, 0)

    @property
    def name(self) -> str:
        """The model's name in records: `house/value`."""
        return f"house/{self._rules.name}"

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
        """The next tool calls, or the closing text. With `tool_choice` none, the closing text at once.

        `json_output` and `extra_create_args` have nothing to act on. Raises CancelledError when already cancelled.
        """
        if cancellation_token is not None and cancellation_token.is_cancelled():
            raise asyncio.CancelledError
        usable = () if tool_choice == "none" else tools
        reply = next_reply(self._rules, read_conversation(messages, usable))
        content = reply if isinstance(reply, str) else _function_calls(messages, reply)
        written = content if isinstance(content, str) else "".join(call.name + call.arguments for call in content)
        usage = RequestUsage(self.count_tokens(messages, tools=tools), _tokens(len(written)))
        self._last = usage
        self._total = RequestUsage(
            self._total.prompt_tokens + usage.prompt_tokens, self._total.completion_tokens + usage.completion_tokens
        )
        finish: Literal["stop", "function_calls"] = "stop" if isinstance(content, str) else "function_calls"
        return CreateResult(finish_reason=finish, content=content, usage=usage, cached=False)

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """`create` as a stream: a closing text comes as one chunk before the result."""
        result = await self.create(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            json_output=json_output,
            extra_create_args=extra_create_args,
            cancellation_token=cancellation_token,
        )
        if isinstance(result.content, str):
            yield result.content
        yield result

    async def close(self) -> None:
        """Nothing is held open."""

    def actual_usage(self) -> RequestUsage:
        """Estimated tokens of the last call."""
        return self._last

    def total_usage(self) -> RequestUsage:
        """Estimated tokens of all calls."""
        return self._total

    def count_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()) -> int:
        """An estimate: the characters of messages and tool schemas by four, rounded up. No tokenizer is used."""
        schemas = [tool if isinstance(tool, dict) else tool.schema for tool in tools]
        offered = sum(len(json.dumps(schema, default=str)) for schema in schemas)
        return _tokens(offered + sum(len(text_of(message)) for message in messages))

    def remaining_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()) -> int:
        return max(0, CONTEXT_TOKENS - self.count_tokens(messages, tools=tools))

    @property
    def capabilities(self) -> ModelInfo:
        """The older name of `model_info`."""
        return self.model_info

    @property
    def model_info(self) -> ModelInfo:
        return ModelInfo(
            vision=False,
            function_calling=True,
            json_output=False,
            family=ModelFamily.UNKNOWN,
            structured_output=False,
            multiple_system_messages=True,
        )


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)


def _function_calls(messages: Sequence[LLMMessage], calls: Sequence[Call]) -> list[FunctionCall]:
    """The calls with ids that no other call of the conversation has."""
    return [
        FunctionCall(id=f"house_{len(messages)}_{at}", arguments=json.dumps(dict(call.arguments)), name=call.tool)
        for at, call in enumerate(calls)
    ]
