"""OpenAI's chat completions format, and the dialects of it that other servers speak."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from autogen_core import FunctionCall, Image
from autogen_core.models import AssistantMessage, LLMMessage, ModelFamily, ModelInfo, SystemMessage, UserMessage
from autogen_core.tools import Tool, ToolSchema

from model_clients.replies import ChatUsage, Reply, error_text, read_reply, status_in, usage_in
from model_clients.streams import StreamedReply
from model_clients.wire_format import (
    KEPT_BYTES_MAX,
    Complaint,
    Request,
    ToolChoice,
    WireFormat,
    as_object,
    checked_word,
    json_bytes,
    named_tool,
    schema_of,
    wire_name,
)

_OURS = frozenset(
    {
        "model", "messages", "tools", "tool_choice", "stream", "stream_options", "response_format", "n",
        "max_tokens", "max_completion_tokens",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server of the format does its own way.

    `cap` is its field for the most tokens of an answer. `said_always` are fields that it demands of an assistant's
    message with calls even where they are not known. `headers` go with every request.
    """

    cap: str = "max_tokens"
    said_always: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None


class ChatFormat(WireFormat):
    """Asks for a model in a server's dialect of the format."""

    answer_is = "chat completion"
    ours = _OURS
    info: ClassVar[ModelInfo] = ModelInfo(
        vision=False, function_calling=True, json_output=True, family=ModelFamily.UNKNOWN, structured_output=False
    )

    def __init__(
        self,
        model: str = "",
        output_tokens_max: int = 0,
        dialect: Dialect = Dialect(),
        *,
        vision: bool = False,
        kept_bytes_max: int = KEPT_BYTES_MAX,
    ) -> None:
        super().__init__(model, output_tokens_max, vision=vision, kept_bytes_max=kept_bytes_max)
        self._dialect = dialect
        self._with_tools: dict[str, Any] = {}

    def path(self, *, is_streamed: bool) -> str:
        return "/chat/completions"

    def headers(self, key: str | None) -> dict[str, str]:
        return {**(self._dialect.headers or {}), **({} if key is None else {"authorization": f"Bearer {key}"})}

    def request(self, request: Request) -> bytes:
        fields: dict[str, Any] = {"model": self._model, **request.extra, self._dialect.cap: self._output_tokens_max}
        if request.is_streamed:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        if request.tools:
            fields |= self._with_tools
            fields["tool_choice"] = tool_choice_field(request.tool_choice, request.tools)
        if request.json_output is True:
            fields["response_format"] = {"type": "json_object"}
        elif isinstance(request.json_output, type):
            schema = {"name": request.json_output.__name__, "schema": request.json_output.model_json_schema()}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        return self.body(fields, request.messages, request.tools)

    def body(
        self, fields: Mapping[str, Any], messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema]
    ) -> bytes:
        """A whole request: `fields` (at least one), then messages, then tools where there are any.

        Raises Refused for an image when the model has no vision.
        """
        parts = [json_bytes(fields)[:-1], b',"messages":[', b",".join(filter(None, map(self.message, messages))), b"]"]
        if tools:
            parts += [b',"tools":[', b",".join(map(self.tool, tools)), b"]"]
        return b"".join([*parts, b"}"])

    def read(self, answer: Mapping[str, Any], taken_ids: Collection[str], turn: int) -> Reply:
        return read_reply(answer, taken_ids, turn, self.say_again)

    def usage(self, answer: Mapping[str, Any]) -> ChatUsage | None:
        return usage_in(answer)

    def complaint(self, answer: Mapping[str, Any]) -> Complaint:
        error = _error_in(answer)
        code = error.get("code") if isinstance(error, dict) else None
        # Groq: the model's own call could not be read; asked again it may write a better one
        return Complaint(
            error_text({"error": error} if error is not None else answer),
            is_spent=code == "insufficient_quota",
            is_chance=code == "tool_use_failed",
        )

    def hidden_failure(self, answer: Mapping[str, Any]) -> int | None:
        """OpenRouter answers 200 before the model behind it does, and tells that one's failure inside."""
        return status_in(_error_in(answer))

    def streamed(self) -> StreamedReply:
        return StreamedReply()

    def amend(self, complaint: str) -> bool:
        """OpenAI's models since gpt-5.4 take tools here only without reasoning, and say so; older don't know it."""
        if self._with_tools or "reasoning_effort" not in complaint or "'none'" not in complaint:
            return False
        self._with_tools = {"reasoning_effort": "none"}
        return True

    def convert(self, message: LLMMessage) -> bytes:
        if isinstance(message, SystemMessage):
            return json_bytes({"role": "system", "content": message.content})
        if isinstance(message, UserMessage):
            content: Any = message.content
            parts = content if isinstance(content, str) else [_part(part) for part in content]
            return json_bytes({"role": "user", "content": parts})
        if isinstance(message, AssistantMessage):
            if isinstance(message.content, str):
                return json_bytes({"role": "assistant", "content": message.content})
            return self.say_again(message.content, {"content": message.thought}).encode("ascii")
        return b",".join(
            json_bytes({"role": "tool", "tool_call_id": result.call_id, "content": result.content})
            for result in message.content
        )

    def convert_tool(self, tool: Tool | ToolSchema) -> object:
        schema = schema_of(tool)
        function: dict[str, Any] = {
            "name": schema["name"],
            "description": schema.get("description", ""),
            "parameters": schema.get("parameters", {"type": "object", "properties": {}}),
        }
        if schema.get("strict"):
            function["strict"] = True
        return {"type": "function", "function": function}

    def say_again(self, calls: Sequence[FunctionCall], said: Mapping[str, str | None]) -> str:
        """JSON of the assistant's message with these calls, and what it `said` beside them."""
        message: dict[str, Any] = {"role": "assistant", **(self._dialect.said_always or {}), **said}
        if calls:
            message["tool_calls"] = [_call(call) for call in calls]
        else:
            message["content"] = said.get("content") or ""
        return json_bytes(message).decode("ascii")


def tool_choice_field(choice: ToolChoice, tools: Sequence[Tool | ToolSchema]) -> str | dict[str, Any]:
    """The field `tool_choice`. Raises ValueError for a tool that is not on offer, and for any other word."""
    if isinstance(choice, str):
        return checked_word(choice)
    return {"type": "function", "function": {"name": named_tool(choice, tools)}}


def _error_in(answer: Mapping[str, Any]) -> object:
    """The error that an answer is or holds, where servers put it: alone, or in the place of a choice's message."""
    error = answer.get("error")
    choices = answer.get("choices")
    if error is None and isinstance(choices, list) and choices and isinstance(choices[0], dict):
        error = choices[0].get("error")
    return error


def _part(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": part.data_uri}}


def _call(call: FunctionCall) -> dict[str, Any]:
    function = {"name": wire_name(call.name), "arguments": as_object(call.arguments)}
    return {"id": call.id, "type": "function", "function": function}
