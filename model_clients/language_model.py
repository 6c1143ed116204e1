"""A language model as AutoGen asks it, whatever wire format its provider speaks.

A call ends within its deadline in an answer or a ModelFailed; what a turn costs here does not grow with the turns
before it; what the model does wrong is passed on. Declines more than one choice an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    LLMMessage,
    ModelInfo,
    RequestUsage,
)
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel, SecretStr

from model_clients.endpoint import Endpoint
from model_clients.failures import RequestRefused
from model_clients.gate import Gate
from model_clients.patience import REAL_TIME, Patience
from model_clients.replies import Blocked, ChatUsage, Reply, Unreadable
from model_clients.wire_format import Request, ToolChoice, WireFormat
from values.errors import Refused

CHARS_PER_TOKEN = 4
CONTEXT_TOKENS = 128_000


class LanguageModel(ChatCompletionClient):
    """AutoGen's client for `model`, asked in the format of `wire` at `base_url`, the part before the format's paths.

    `api_key` None sends no key. `timeout_s` bounds a whole call. `output_tokens_max` is what `wire` caps answers at.
    `patience` is how time passes; `gate` is shared by the clients of a provider and key.
    Close it when done, in the loop that used it. Raises BadSetting for a base URL, key or timeout that can't be used.
    """

    def __init__(
        self,
        model: str,
        wire: WireFormat,
        *,
        base_url: str,
        api_key: SecretStr | None,
        output_tokens_max: int,
        timeout_s: float = 55.0,
        model_info: ModelInfo | None = None,
        context_tokens: int = CONTEXT_TOKENS,
        patience: Patience = REAL_TIME,
        gate: Gate | None = None,
    ) -> None:
        self._endpoint = Endpoint(model, wire, base_url, api_key, timeout_s, patience, gate or Gate(patience))
        self._model = model
        self._wire = wire
        self._info = model_info or wire.info
        self._context_tokens = context_tokens
        self._used = RequestUsage(0, 0)
        self.output_tokens_max = output_tokens_max

    def __repr__(self) -> str:
        return f"LanguageModel({self._endpoint.where})"

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """The model's answer: a text, or calls with ids that are unique in the conversation.

        `usage` is a ChatUsage. `thought` is the model's reasoning, and with calls the text beside them too.
        Raises ModelFailed, CancelledError when the token says so, and Refused for what the model can't take.
        """
        asked = Request(messages, tools, tool_choice, json_output, extra_create_args)
        return self._result(messages, *await self._linked(asked, cancellation_token))

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: ToolChoice = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """The texts of the answer as they come, then what `create` would have returned. Raises as `create` does.

        Where the wire format is never asked to stream, the whole text comes at once.
        """
        asked = Request(messages, tools, tool_choice, json_output, extra_create_args, is_streamed=True)
        if self._wire.streamed() is None:
            result = self._result(messages, *await self._linked(asked, cancellation_token))
            if isinstance(result.content, str) and result.content:
                yield result.content
            yield result
            return
        texts: asyncio.Queue[str | None] = asyncio.Queue()
        asking = asyncio.ensure_future(self._ask(asked, texts.put_nowait))
        asking.add_done_callback(lambda _: texts.put_nowait(None))
        if cancellation_token is not None:
            cancellation_token.link_future(asking)
        try:
            while (text := await texts.get()) is not None:
                yield text
            yield self._result(messages, *await asking)
        finally:
            asking.cancel()  # where nobody reads on, hang up
            await asyncio.wait({asking})
            if not asking.cancelled():
                asking.exception()  # seen, though nobody waits for it

    async def close(self) -> None:
        """Close the connections. Later calls raise RuntimeError."""
        await self._endpoint.close()

    def actual_usage(self) -> RequestUsage:
        """Tokens of all answered calls: nothing is answered from a cache of ours."""
        return self._used

    def total_usage(self) -> RequestUsage:
        """Tokens of all answered calls."""
        return self._used

    def count_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()) -> int:
        """An estimate: the characters of the request's JSON by four, rounded up. No tokenizer is used."""
        return _tokens(self.request_bytes(messages, tools))

    def request_bytes(self, messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema] = ()) -> int:
        """The bytes of the request's JSON."""
        return len(self._wire.request(Request(messages, tools)))

    def remaining_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()) -> int:
        """What the declared context has left after `count_tokens`, never below 0."""
        return max(0, self._context_tokens - self.count_tokens(messages, tools=tools))

    @property
    def capabilities(self) -> ModelInfo:
        """The older name of `model_info`."""
        return self._info

    @property
    def model_info(self) -> ModelInfo:
        return self._info

    async def _ask(self, asked: Request, on_text: Callable[[str], None] | None) -> tuple[bytes, dict[str, Any]]:
        """The request as it went out, and its answer."""
        self._refuse_what_the_model_lacks(asked.tools, asked.json_output)
        if taken := self._wire.ours & asked.extra.keys():
            raise ValueError(f"extra_create_args sets {', '.join(sorted(taken))}, which the client sets itself")
        while True:
            body = self._wire.request(asked)
            read = _tokens(len(body))
            costs = {"requests": 1, "tokens": read + self.output_tokens_max, "input-tokens": read, "output-tokens": 1}
            try:
                return body, await self._endpoint.ask(body, costs, on_text)
            except RequestRefused as refused:
                if not self._wire.amend(str(refused)):
                    raise

    async def _linked(self, asked: Request, token: CancellationToken | None) -> tuple[bytes, dict[str, Any]]:
        asking = asyncio.ensure_future(self._ask(asked, None))
        if token is not None:
            token.link_future(asking)
        return await asking

    def _refuse_what_the_model_lacks(
        self, tools: Sequence[Tool | ToolSchema], json_output: bool | type[BaseModel] | None
    ) -> None:
        asked = {
            "function_calling": bool(tools),
            "json_output": json_output is True,
            "structured_output": isinstance(json_output, type),
        }
        for ability, is_asked in asked.items():
            if is_asked and not self._info.get(ability):
                raise Refused("model_lacks", f"the call needs {ability}, and {self._model} is declared without it")

    def _result(self, messages: Sequence[LLMMessage], body: bytes, answer: Mapping[str, Any]) -> CreateResult:
        calls_so_far = (
            call.id
            for message in messages
            if isinstance(message, AssistantMessage) and not isinstance(message.content, str)
            for call in message.content
        )
        try:
            reply = self._wire.read(answer, frozenset(calls_so_far), len(messages))
        except Unreadable as wrong:
            failure = self._endpoint.bad_reply(wrong)
            with contextlib.suppress(Unreadable):
                failure.usage = self._wire.usage(answer)
            raise failure from None
        except Blocked as blocked:
            raise self._endpoint.blocked(str(blocked)) from None
        reply = self._without_key(reply)
        usage = reply.usage
        if usage is None:
            usage = ChatUsage(_tokens(len(body)), _tokens(reply.written_chars), is_estimate=True)
        self._used = RequestUsage(
            self._used.prompt_tokens + usage.prompt_tokens, self._used.completion_tokens + usage.completion_tokens
        )
        if not isinstance(reply.content, str):
            self._wire.remember(reply.content, reply.thought, reply.said)
        return CreateResult(
            finish_reason=reply.finish_reason,
            content=reply.content,
            usage=usage,
            cached=False,
            thought=reply.thought,
        )

    def _without_key(self, reply: Reply) -> Reply:
        """A gateway may show what it was asked with, and what a model says goes on record, into prompts and pushes."""
        hide = self._endpoint.hidden
        content: str | list[FunctionCall]
        if isinstance(reply.content, str):
            content = hide(reply.content)
        else:
            content = [FunctionCall(hide(each.id), hide(each.arguments), hide(each.name)) for each in reply.content]
        thought = None if reply.thought is None else hide(reply.thought)
        return replace(reply, content=content, thought=thought, said=hide(reply.said))


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)
