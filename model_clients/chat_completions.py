"""A language model behind the OpenAI chat completions format, at any base URL: OpenAI, Ollama, vLLM, a gateway.

AutoGen's face of it. A call ends within its deadline in an answer or a ModelFailed; what a turn costs here does not
grow with the turns before it; what the model does wrong is passed on. Declines more than one choice an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    LLMMessage,
    ModelFamily,
    ModelInfo,
    RequestUsage,
)
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel, SecretStr

from model_clients.endpoint import Endpoint
from model_clients.patience import REAL_TIME, Patience
from model_clients.replies import ChatUsage, Reply, Unreadable, read_reply, usage_of
from model_clients.wire_format import WireFormat, tool_choice_field
from values.errors import Refused

CHARS_PER_TOKEN = 4
OURS = frozenset({"model", "messages", "tools", "tool_choice", "stream", "stream_options", "response_format", "n"})
"""Fields that `extra_create_args` can't set."""
TEXT_ONLY = ModelInfo(
    vision=False, function_calling=True, json_output=True, family=ModelFamily.UNKNOWN, structured_output=False
)

ToolChoice = Tool | Literal["auto", "required", "none"]


class ChatCompletionsClient(ChatCompletionClient):
    """AutoGen's client for `model` at `base_url` (`https://host/v1`; /chat/completions is added).

    `api_key` None sends no key. `timeout_s` bounds a whole call. `model_info` and `context_tokens` are what the caller
    knows of the model: nobody is asked. `patience` is how time passes. Close it when done, in the loop that used it.
    Raises BadSetting for a base URL, key or timeout that can't be used.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: SecretStr | None,
        timeout_s: float = 55.0,
        model_info: ModelInfo = TEXT_ONLY,
        context_tokens: int = 128_000,
        patience: Patience = REAL_TIME,
        output_tokens_max: int = 8_192,
    ) -> None:
        self.output_tokens_max = output_tokens_max
        self._endpoint = Endpoint(model, base_url, api_key, timeout_s, patience)
        self._model = model
        self._info = model_info
        self._context_tokens = context_tokens
        self._wire = WireFormat(vision=model_info["vision"])
        self._used = RequestUsage(0, 0)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.where})"

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
        body = self._body(messages, tools, tool_choice, json_output, extra_create_args, {})
        asking = asyncio.ensure_future(self._endpoint.ask(body, None))
        if cancellation_token is not None:
            cancellation_token.link_future(asking)
        return self._result(messages, body, await asking)

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
        """The texts of the answer as they come, then what `create` would have returned. Raises as `create` does."""
        streaming = {"stream": True, "stream_options": {"include_usage": True}}
        body = self._body(messages, tools, tool_choice, json_output, extra_create_args, streaming)
        texts: asyncio.Queue[str | None] = asyncio.Queue()
        asking = asyncio.ensure_future(self._endpoint.ask(body, texts.put_nowait))
        asking.add_done_callback(lambda _: texts.put_nowait(None))
        if cancellation_token is not None:
            cancellation_token.link_future(asking)
        try:
            while (text := await texts.get()) is not None:
                yield text
            yield self._result(messages, body, await asking)
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

    def request_bytes(self, messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema] = ()) -> int:
        """The length of the request that `create` would send."""
        return len(self._body(messages, tools, "auto", None, {}, {}))

    def count_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()) -> int:
        """An estimate: the characters of the request's JSON by four, rounded up. No tokenizer is used."""
        return _tokens(len(self._wire.body({"model": self._model}, messages, tools)))

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

    def _body(
        self,
        messages: Sequence[LLMMessage],
        tools: Sequence[Tool | ToolSchema],
        tool_choice: ToolChoice,
        json_output: bool | type[BaseModel] | None,
        extra: Mapping[str, Any],
        streaming: Mapping[str, Any],
    ) -> bytes:
        self._refuse_what_the_model_lacks(tools, json_output)
        if taken := OURS & extra.keys():
            raise ValueError(f"extra_create_args sets {', '.join(sorted(taken))}, which the client sets itself")
        fields = {"model": self._model, "max_completion_tokens": self.output_tokens_max, **extra, **streaming}
        if tools:
            fields["tool_choice"] = tool_choice_field(tool_choice, tools)
        if json_output is True:
            fields["response_format"] = {"type": "json_object"}
        elif isinstance(json_output, type):
            schema = {"name": json_output.__name__, "schema": json_output.model_json_schema()}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        return self._wire.body(fields, messages, tools)

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
            reply = read_reply(answer, frozenset(calls_so_far), len(messages))
        except Unreadable as wrong:
            failure = self._endpoint.bad_reply(wrong)
            failure.usage = usage_of(answer)
            raise failure from None
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
        said = {name: None if text is None else hide(text) for name, text in reply.said.items()}
        return replace(reply, content=content, thought=thought, said=said)


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)
