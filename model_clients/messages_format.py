"""Anthropic's Messages API as a wire format, with its prompt cache.

What never changes, tools and then the system prompt, stands first and ends in a cache mark; so does the latest turn, so
that the next request reads all before it from the cache. Declines streaming, images and JSON output: no desk asks.
Source: platform.claude.com/docs, and the types of the `anthropic` package.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import AssistantMessage, FinishReasons, LLMMessage, SystemMessage
from autogen_core.tools import Tool, ToolSchema

from model_clients.replies import (
    ChatUsage,
    Reply,
    Unreadable,
    as_json,
    bounded,
    calls_of,
    count_at,
    error_text,
    expect_list,
    expect_object,
    reply_of,
    text_at,
)
from model_clients.wire_format import (
    TOOLS_ONLY,
    Complaint,
    Request,
    ToolChoice,
    WireFormat,
    as_object,
    checked_word,
    json_bytes,
    named_tool,
    schema_of,
    some_text,
    wire_id,
    wire_name,
)

VERSION = "2023-06-01"
_OURS = frozenset({"model", "max_tokens", "messages", "system", "tools", "tool_choice", "stream"})
_MARK = b',"cache_control":{"type":"ephemeral"}'
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip
_FINISH_REASONS: Mapping[str, FinishReasons] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "function_calls",
    "refusal": "content_filter",
}


class MessagesFormat(WireFormat):
    """Asks for a model."""

    answer_is = "message"
    ours = _OURS
    info = TOOLS_ONLY

    def path(self, *, is_streamed: bool) -> str:
        return "/messages"

    def headers(self, key: str | None) -> dict[str, str]:
        return {"anthropic-version": VERSION, **({} if key is None else {"x-api-key": key})}

    def request(self, request: Request) -> bytes:
        fields: dict[str, Any] = {"model": self._model, **request.extra, "max_tokens": self._output_tokens_max}
        if request.tools:
            fields["tool_choice"] = _choice(request.tool_choice, request.tools)
        parts = [json_bytes(fields)[:-1]]
        if request.tools:
            parts += [b',"tools":[', _marked([self.tool(tool) for tool in request.tools]), b"]"]
        told = [self.message(each) for each in request.messages if isinstance(each, SystemMessage)]
        if told:
            parts += [b',"system":[', _marked(told), b"]"]
        turns = [self.message(each) for each in request.messages if not isinstance(each, SystemMessage)]
        if turns and not isinstance(request.messages[-1], AssistantMessage) and turns[-1].endswith(b"}]}"):
            turns[-1] = turns[-1][:-3] + _MARK + b"}]}"
        return b"".join([*parts, b',"messages":[', b",".join(turns), b"]}"])

    def read(self, answer: Mapping[str, Any], taken_ids: Collection[str], turn: int) -> Reply:
        if answer.get("error") is not None:
            raise Unreadable("the answer claims success and holds an error", error_text(answer))
        if answer.get("content") is None:
            raise Unreadable("the answer has no content")
        blocks = [expect_object(each, "a block of content") for each in expect_list(answer["content"], "content")]
        kinds = [text_at(block, "type") for block in blocks]
        thinking = [text_at(b, "thinking") or "" for b, kind in zip(blocks, kinds, strict=True) if kind == "thinking"]
        texts = [text_at(b, "text") or "" for b, kind in zip(blocks, kinds, strict=True) if kind == "text"]
        used = [block for block, kind in zip(blocks, kinds, strict=True) if kind == "tool_use"]
        written = [(block.get("id"), text_at(block, "name") or "", block.get("input")) for block in used]
        calls, written_chars = calls_of(written, taken_ids, turn)
        written_chars += sum(map(len, [*thinking, *texts]))
        reasoning, text = bounded("\n\n".join(filter(None, thinking))), bounded("".join(texts))
        why = answer.get("stop_reason")
        reason = _FINISH_REASONS.get(why, "unknown") if isinstance(why, str) else "unknown"
        usage = _usage(answer)
        left = iter(calls)
        again = [_again(block, kind, left) for block, kind in zip(blocks, kinds, strict=True)]
        said = as_json({"role": "assistant", "content": [block for block in again if block is not None]})
        return reply_of(calls, reasoning, text, reason, usage, said, written_chars)

    def usage(self, answer: Mapping[str, Any]) -> ChatUsage | None:
        return _usage(answer)

    def complaint(self, answer: Mapping[str, Any]) -> Complaint:
        text = error_text(answer)
        return Complaint(text, is_spent=_kind(answer) == "billing_error" or "credit balance is too low" in text)

    def hidden_failure(self, answer: Mapping[str, Any]) -> int | None:
        return _STATUS.get(_kind(answer))

    def convert(self, message: LLMMessage) -> bytes:
        if isinstance(message, SystemMessage):
            return json_bytes({"type": "text", "text": some_text(message.content)})
        if isinstance(message, AssistantMessage):
            if isinstance(message.content, str):
                return json_bytes({"role": "assistant", "content": [_text(message.content)]})
            said = [_text(message.thought)] if message.thought and message.thought.strip() else []
            calls = [_tool_use(call) for call in message.content]
            return json_bytes({"role": "assistant", "content": [*said, *calls] or [_text("")]})
        content: Any = message.content
        if message.type == "UserMessage":
            parts = [content] if isinstance(content, str) else content
            return json_bytes({"role": "user", "content": [_text(str(part)) for part in parts] or [_text("")]})
        results = [
            {
                "type": "tool_result",
                "tool_use_id": wire_id(each.call_id),
                "content": each.content,
                **({"is_error": True} if each.is_error else {}),
            }
            for each in content
        ]
        return json_bytes({"role": "user", "content": results or [_text("")]})

    def convert_tool(self, tool: Tool | ToolSchema) -> object:
        schema = schema_of(tool)
        return {
            "name": schema["name"],
            "description": schema.get("description", ""),
            "input_schema": schema.get("parameters", {"type": "object", "properties": {}}),
        }


def _marked(blocks: Sequence[bytes]) -> bytes:
    """Blocks with a cache mark in the last of them: all up to there is read from the cache next time."""
    return b",".join([*blocks[:-1], blocks[-1][:-1] + _MARK + b"}"])


def _choice(choice: ToolChoice, tools: Sequence[Tool | ToolSchema]) -> dict[str, str]:
    if isinstance(choice, str):
        return {"type": _CHOICES[checked_word(choice)]}
    return {"type": "tool", "name": named_tool(choice, tools)}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": some_text(text)}


def _tool_use(call: FunctionCall) -> dict[str, Any]:
    arguments = json.loads(as_object(call.arguments))
    return {"type": "tool_use", "id": wire_id(call.id), "name": wire_name(call.name), "input": arguments}


def _again(block: dict[str, Any], kind: str | None, calls: Any) -> dict[str, Any] | None:
    """A block as it goes back: thinking unchanged, because it is signed; calls under the ids that they have now."""
    if kind == "tool_use":
        return _tool_use(next(calls))
    if kind == "text":
        return _text(bounded(block["text"])) if str(block.get("text") or "").strip() else None
    return block if kind in ("thinking", "redacted_thinking") else None


def _kind(answer: Mapping[str, Any]) -> str:
    error = answer.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) else ""


def _usage(answer: Mapping[str, Any]) -> ChatUsage | None:
    """`input_tokens` are only those that are neither read from the cache nor written to it."""
    found = answer.get("usage")
    if found is None:
        return None
    usage = expect_object(found, "usage")
    read, written = count_at(usage, "cache_read_input_tokens"), count_at(usage, "cache_creation_input_tokens")
    return ChatUsage(count_at(usage, "input_tokens") + read + written, count_at(usage, "output_tokens"), read, written)
