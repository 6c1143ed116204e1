"""Google's generateContent as a wire format, for Gemini models.

Thought signatures go back with the calls that they came with: since Gemini 3 a history without them is refused.
Declines streaming, images and JSON output: no desk asks for them.
Source: ai.google.dev/gemini-api/docs, and the types of the `google-genai` package.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from autogen_core import FunctionCall
from autogen_core.models import AssistantMessage, FinishReasons, LLMMessage, SystemMessage
from autogen_core.tools import Tool, ToolSchema

from model_clients.content_schema import parameters_of
from model_clients.limits import duration_s
from model_clients.replies import (
    Blocked,
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
    status_in,
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

_OURS = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"})
UNSIGNED = "skip_thought_signature_validator"
"""For the signature of a call that another model made. Source: ai.google.dev/gemini-api/docs/thought-signatures"""
_WITHOUT_SIGNATURES = ("gemini-1", "gemini-2", "gemma")
_OUR_ID = re.compile(r"call_\d+_\d+(_\d+)?")
_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
_FINISH_REASONS: Mapping[str, FinishReasons] = {"STOP": "stop", "MAX_TOKENS": "length"} | dict.fromkeys(
    ("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"), "content_filter"
)  # type: ignore[assignment]


class ContentFormat(WireFormat):
    """Asks for a model; its thoughts count as a part of its answer's length."""

    answer_is = "content"
    ours = _OURS
    info = TOOLS_ONLY

    def path(self, *, is_streamed: bool) -> str:
        return f"/models/{quote(self._model, safe='')}:generateContent"

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"x-goog-api-key": key}

    def request(self, request: Request) -> bytes:
        fields: dict[str, Any] = {**request.extra, "generationConfig": {"maxOutputTokens": self._output_tokens_max}}
        if request.tools:
            fields["toolConfig"] = {"functionCallingConfig": _choice(request.tool_choice, request.tools)}
        parts = [json_bytes(fields)[:-1]]
        told = [self.message(each) for each in request.messages if isinstance(each, SystemMessage)]
        if told:
            parts += [b',"systemInstruction":{"parts":[', b",".join(told), b"]}"]
        if request.tools:
            offered = b",".join(map(self.tool, request.tools))
            parts += [b',"tools":[{"functionDeclarations":[', offered, b"]}]"]
        turns = [self.message(each) for each in request.messages if not isinstance(each, SystemMessage)]
        return b"".join([*parts, b',"contents":[', b",".join(turns), b"]}"])

    def read(self, answer: Mapping[str, Any], taken_ids: Collection[str], turn: int) -> Reply:
        if answer.get("error") is not None:
            raise Unreadable("the answer claims success and holds an error", error_text(answer))
        candidates = expect_list(answer.get("candidates"), "candidates")
        if not candidates:
            feedback = expect_object(answer.get("promptFeedback") or {}, "promptFeedback")
            if why := text_at(feedback, "blockReason"):
                raise Blocked(f"the prompt is blocked ({bounded(why, 100)})")
            raise Unreadable("the answer has no candidates")
        candidate = expect_object(candidates[0], "candidates[0]")
        why = text_at(candidate, "finishReason")
        content = expect_object(candidate.get("content") or {}, "content")
        if not content and why is None:
            raise Unreadable("the candidate has no content")
        parts = [expect_object(each, "a part") for each in expect_list(content.get("parts"), "parts")]
        texts = [(text_at(part, "text") or "", bool(part.get("thought"))) for part in parts]
        asked = [expect_object(each["functionCall"], "functionCall") for each in parts if "functionCall" in each]
        written = [(call.get("id"), text_at(call, "name") or "", call.get("args")) for call in asked]
        calls, written_chars = calls_of(written, taken_ids, turn)
        written_chars += sum(len(text) for text, _ in texts)
        reasoning = bounded("".join(text for text, is_thought in texts if is_thought))
        text = bounded("".join(text for text, is_thought in texts if not is_thought))
        # MALFORMED_FUNCTION_CALL and its like have no content: a blank answer, which desks ask for again
        reason = _FINISH_REASONS.get(why or "", "unknown")
        usage = _usage(answer)
        left = iter(calls)
        said = as_json({"role": "model", "parts": [_again(part, left) for part in parts]})
        return reply_of(calls, reasoning, text, reason, usage, said, written_chars)

    def usage(self, answer: Mapping[str, Any]) -> ChatUsage | None:
        return _usage(answer)

    def complaint(self, answer: Mapping[str, Any]) -> Complaint:
        details = list(_details(answer))
        waits = [duration_s(d["retryDelay"]) for d in details if isinstance(d.get("retryDelay"), str)]
        violations = [each for detail in details for each in _objects(detail.get("violations"))]
        quotas = [(str(each.get("quotaId", "")), str(each.get("quotaValue", ""))) for each in violations]
        a_minute = [
            float(value) for name, value in quotas if "RequestsPerMinute" in name and re.fullmatch(r"\d{1,9}", value)
        ]
        return Complaint(
            error_text(answer),
            wait_s=next((each for each in waits if each is not None), None),
            a_minute=min(a_minute, default=None),
            is_spent=any("PerDay" in name for name, _ in quotas),
            is_key=any(each.get("reason") == "API_KEY_INVALID" for each in details),
        )

    def hidden_failure(self, answer: Mapping[str, Any]) -> int | None:
        return status_in(answer.get("error"))

    def convert(self, message: LLMMessage) -> bytes:
        if isinstance(message, SystemMessage):
            return json_bytes({"text": some_text(message.content)})
        content: Any = message.content
        if isinstance(message, AssistantMessage):
            if isinstance(content, str):
                return json_bytes({"role": "model", "parts": [{"text": some_text(content)}]})
            said = [{"text": message.thought}] if message.thought and message.thought.strip() else []
            calls: list[dict[str, Any]] = [{"functionCall": _function_call(call)} for call in content]
            if calls and not self._model.startswith(_WITHOUT_SIGNATURES):
                calls[0]["thoughtSignature"] = UNSIGNED
            return json_bytes({"role": "model", "parts": [*said, *calls] or [{"text": some_text("")}]})
        if message.type == "UserMessage":
            texts = [content] if isinstance(content, str) else content
            parts: list[dict[str, Any]] = [{"text": some_text(str(text))} for text in texts]
        else:
            parts = [
                {
                    "functionResponse": {
                        **_id(each.call_id),
                        "name": wire_name(each.name),
                        "response": {"error" if each.is_error else "result": each.content},
                    }
                }
                for each in content
            ]
        return json_bytes({"role": "user", "parts": parts or [{"text": some_text("")}]})

    def convert_tool(self, tool: Tool | ToolSchema) -> object:
        schema = schema_of(tool)
        parameters = parameters_of(schema.get("parameters", {}))
        declared = {"name": schema["name"], "description": schema.get("description", "")}
        return declared if parameters is None else {**declared, "parameters": parameters}


def _choice(choice: ToolChoice, tools: Sequence[Tool | ToolSchema]) -> dict[str, Any]:
    if isinstance(choice, str):
        return {"mode": _MODES[checked_word(choice)]}
    return {"mode": "ANY", "allowedFunctionNames": [named_tool(choice, tools)]}


def _id(call_id: str) -> dict[str, str]:
    """Older models give no ids: what we made up for them stays here."""
    return {} if _OUR_ID.fullmatch(call_id) else {"id": wire_id(call_id)}


def _function_call(call: FunctionCall) -> dict[str, Any]:
    return {**_id(call.id), "name": wire_name(call.name), "args": json.loads(as_object(call.arguments))}


def _again(part: dict[str, Any], calls: Iterator[FunctionCall]) -> dict[str, Any]:
    """A part as it goes back: all as it came, signature included, with the call under the id that it has now."""
    return {**part, "functionCall": _function_call(next(calls))} if "functionCall" in part else part


def _objects(found: object) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _details(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    error = answer.get("error")
    return _objects(error.get("details")) if isinstance(error, dict) else []


def _usage(answer: Mapping[str, Any]) -> ChatUsage | None:
    """Thoughts are written, and paid as such; what was cached is a part of the prompt."""
    found = answer.get("usageMetadata")
    if found is None:
        return None
    usage = expect_object(found, "usageMetadata")
    prompt = count_at(usage, "promptTokenCount") + count_at(usage, "toolUsePromptTokenCount")
    written = count_at(usage, "candidatesTokenCount") + count_at(usage, "thoughtsTokenCount")
    return ChatUsage(prompt, written, min(prompt, count_at(usage, "cachedContentTokenCount")))
