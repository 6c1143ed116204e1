"""A model client on a recording: what it is asked and answers is kept, or comes from there and costs nothing.

A request is known by its messages, tools and options. Of each the record keeps the messages that are new in it, so that
a playback that asks something else can say where the two part.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, cast

from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import ChatCompletionClient, CreateResult, LLMMessage, ModelFamily, ModelInfo, RequestUsage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from model_clients.failures import BadReply, ModelDown, ModelFailed, ModelUnavailable, RateLimited, RequestRefused
from model_clients.replies import ChatUsage
from model_clients.routing import Bounded
from recording.recording import Differs
from recording.session import SessionRecording, digest_of

SHOWN_CHARS = 300
_FAILURES: Mapping[str, type[ModelFailed]] = {
    each.__name__: each for each in (ModelFailed, RateLimited, ModelUnavailable, ModelDown, RequestRefused, BadReply)
}
_ANY_MODEL = ModelInfo(
    vision=False, function_calling=True, json_output=True, family=ModelFamily.UNKNOWN, structured_output=True,
    multiple_system_messages=True,
)  # fmt: skip


class RecordedClient(ChatCompletionClient):
    """`client` on a trader's recording, as the model `model`. In a playback `client` is None: nobody is asked."""

    component_type = "model"
    component_config_schema = BaseModel
    component_provider_override = "model_clients.recorded.RecordedClient"

    def __init__(self, model: str, client: ChatCompletionClient | None, recording: SessionRecording) -> None:
        self._model = model
        self._client = client
        self._recording = recording
        self._known: dict[str, None] = {}

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
        """As `client` answers. Raises ModelFailed as it did; a request that was not recorded is one too."""
        hide = self._recording.recording.hide
        texts = [hide(f"{type(each).__name__} {each.model_dump_json()}") for each in messages]
        digests = [digest_of(text) for text in texts]
        schemas = [tool if isinstance(tool, dict) else tool.schema for tool in tools]
        options = [self._model, str(tool_choice), str(json_output), dict(extra_create_args), schemas]
        request = {"options": digest_of(json.dumps(options, default=str)), "messages": digests}
        new = {key: text for key, text in zip(digests, texts, strict=True) if key not in self._known}
        self._known.update(dict.fromkeys(digests))
        question = json.dumps(request | {"new": new})

        async def ask() -> str:
            assert self._client is not None
            try:
                result = await self._client.create(
                    messages,
                    tools=tools,
                    tool_choice=tool_choice,
                    json_output=json_output,
                    extra_create_args=extra_create_args,
                    cancellation_token=cancellation_token,
                )
            except ModelFailed as error:
                used = asdict(error.usage) if isinstance(error, BadReply) and error.usage is not None else None
                return json.dumps({"failed": type(error).__name__, "sentence": str(error), "usage": used})
            return json.dumps(_as_data(result))

        def explain() -> str:
            return self._difference(request["options"], digests, texts)

        try:
            answer = json.loads(
                await self._recording.model_answer(digest_of(json.dumps(request)), question, ask, explain)
            )
        except Differs as error:
            raise RequestRefused(str(error)) from None
        if "failed" in answer:
            failure = _FAILURES.get(answer["failed"], ModelFailed)(answer["sentence"])
            if isinstance(failure, BadReply) and answer.get("usage") is not None:
                failure.usage = ChatUsage(**answer["usage"])
            raise failure
        return _as_result(answer)

    def _difference(self, options: object, digests: Sequence[str], texts: Sequence[str]) -> str:
        """Where this request parts from the recorded one that begins most like it."""
        said: dict[str, str] = {}
        best, alike, is_same_tools = [], -1, False
        for _, question, _ in self._recording.recording.passages(f"model {self._recording.session_id} %"):
            recorded = json.loads(question)
            said.update(recorded["new"])
            pairs = zip(recorded["messages"], digests, strict=False)
            same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(recorded["messages"]), len(digests)))
            if same > alike:
                best, alike, is_same_tools = recorded["messages"], same, recorded["options"] == options
        asked = f"{self._recording.account}'s call of {self._model} in {self._recording.session_id}"
        where = f"{asked} differs from the recording"
        if alike < 0:
            return f"{where}: it has no model call of this session"
        if alike == len(best) == len(digests):
            return f"{where}: {'the same was asked more often' if is_same_tools else 'its tools or options'}"
        now = texts[alike][:SHOWN_CHARS] if alike < len(texts) else "nothing"
        was = said.get(best[alike], "")[:SHOWN_CHARS] if alike < len(best) else "nothing"
        return f"{where} at message {alike + 1}: recorded {was!r}, now {now!r}"

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
        if self._client is not None:
            await self._client.close()

    @property
    def output_tokens_max(self) -> int:
        return cast(Bounded, self._client).output_tokens_max

    def request_bytes(self, messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema] = ()) -> int:
        return cast(Bounded, self._client).request_bytes(messages, tools)

    def actual_usage(self) -> RequestUsage:
        return self.total_usage()

    def total_usage(self) -> RequestUsage:
        return RequestUsage(0, 0) if self._client is None else self._client.total_usage()

    def count_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()) -> int:
        return 0 if self._client is None else self._client.count_tokens(messages, tools=tools)

    def remaining_tokens(self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()) -> int:
        return 0 if self._client is None else self._client.remaining_tokens(messages, tools=tools)

    @property
    def capabilities(self) -> Any:
        return self.model_info

    @property
    def model_info(self) -> ModelInfo:
        return _ANY_MODEL if self._client is None else self._client.model_info


def _as_data(result: CreateResult) -> dict[str, Any]:
    content = result.content
    return {
        "finish_reason": result.finish_reason,
        "content": content if isinstance(content, str) else [[each.id, each.arguments, each.name] for each in content],
        "thought": result.thought,
        "usage": asdict(result.usage),
    }


def _as_result(answer: Mapping[str, Any]) -> CreateResult:
    content, usage = answer["content"], answer["usage"]
    return CreateResult(
        finish_reason=answer["finish_reason"],
        content=content if isinstance(content, str) else [FunctionCall(*each) for each in content],
        thought=answer["thought"],
        usage=RequestUsage(**usage) if len(usage) == 2 else ChatUsage(**usage),
        cached=False,
    )
