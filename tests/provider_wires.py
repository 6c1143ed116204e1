"""What each provider answers on the wire, and what Anthropic and Gemini would not take of a request.

Fixtures follow the vendors' documentation, named beside each; `test_provider_types.py` parses them with the vendors'
own types. Texts and numbers are ours, so that a test can tell them apart.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

from tests.model_loopback import Raw
from tests.model_requests import complaint_about

SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pki"
"""Of a thought: base64, as both Anthropic and Google write it."""

CHAT_TEXT: dict[str, Any] = {  # platform.openai.com/docs/api-reference/chat/object
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1_741_569_952,
    "model": "gpt-4.1-2025-04-14",
    "choices": [{
        "index": 0, "message": {"role": "assistant", "content": "I hold.", "refusal": None, "annotations": []},
        "logprobs": None, "finish_reason": "stop",
    }],
    "usage": {
        "prompt_tokens": 1_900, "completion_tokens": 10, "total_tokens": 1_910,
        "prompt_tokens_details": {"cached_tokens": 1_024, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
    },
    "service_tier": "default",
}  # fmt: skip
CHAT_CALL: dict[str, Any] = {  # platform.openai.com/docs/guides/function-calling
    "role": "assistant", "content": None,
    "tool_calls": [
        {"id": "call_abc123", "type": "function",
         "function": {"name": "get_price", "arguments": '{"symbol": "NVDA"}'}},
        {"id": "call_abc124", "type": "function",
         "function": {"name": "get_price", "arguments": '{"symbol": "SPY"}'}},
    ],
}  # fmt: skip


def chat(usage: Mapping[str, Any], message: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A chat completion of a dialect."""
    answer = copy.deepcopy(CHAT_TEXT) | {"usage": usage} | more
    answer["choices"][0]["message"] |= message or {}
    if message and message.get("tool_calls"):
        answer["choices"][0]["finish_reason"] = "tool_calls"
    return answer


DEEPSEEK_USAGE = {  # api-docs.deepseek.com/api/create-chat-completion
    "prompt_tokens": 1_900, "completion_tokens": 10, "total_tokens": 1_910, "prompt_cache_hit_tokens": 1_024,
    "prompt_cache_miss_tokens": 876, "completion_tokens_details": {"reasoning_tokens": 4},
}  # fmt: skip
GROK_USAGE = {  # docs.x.ai/docs/guides/reasoning: reasoning is counted beside the completion
    "prompt_tokens": 1_900, "completion_tokens": 6, "total_tokens": 1_910,
    "prompt_tokens_details": {"text_tokens": 1_900, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 1_024},
    "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0}, "num_sources_used": 0,
}  # fmt: skip
OPENROUTER_USAGE = {  # openrouter.ai/docs/use-cases/usage-accounting
    "prompt_tokens": 1_900, "completion_tokens": 10, "total_tokens": 1_910, "cost": 0.0028,
    "prompt_tokens_details": {"cached_tokens": 1_024, "cache_write_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 4},
}  # fmt: skip
GROQ_USAGE = {  # console.groq.com/docs/api-reference
    "queue_time": 0.037, "prompt_tokens": 1_900, "prompt_time": 0.0007, "completion_tokens": 10,
    "completion_time": 0.46, "total_tokens": 1_910, "total_time": 0.46,
    "prompt_tokens_details": {"cached_tokens": 1_024},
}  # fmt: skip
OLLAMA_USAGE = {"prompt_tokens": 1_900, "completion_tokens": 10, "total_tokens": 1_910}
"""github.com/ollama/ollama, openai/openai.go"""

MESSAGE_TEXT: dict[str, Any] = {  # docs.anthropic.com/en/api/messages
    "id": "msg_013Zva2CMHLNnjNjJKqJ2EF", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5",
    "content": [{"type": "text", "text": "I hold.", "citations": None}], "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 776, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 1_024,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0}, "output_tokens": 10,
        "service_tier": "standard",
    },
}  # fmt: skip
MESSAGE_CALL: dict[str, Any] = MESSAGE_TEXT | {  # docs.anthropic.com/en/docs/build-with-claude/extended-thinking
    "content": [
        {"type": "thinking", "thinking": "Prices first.", "signature": SIGNATURE},
        {"type": "redacted_thinking", "data": SIGNATURE},
        {"type": "text", "text": "I look.", "citations": None},
        {"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9", "name": "get_price", "input": {"symbol": "NVDA"}},
        {"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lqa", "name": "get_price", "input": {"symbol": "SPY"}},
    ],
    "stop_reason": "tool_use",
}  # fmt: skip

CONTENT_USAGE = {  # ai.google.dev/api/generate-content#UsageMetadata
    "promptTokenCount": 1_900, "cachedContentTokenCount": 1_024, "candidatesTokenCount": 6, "thoughtsTokenCount": 4,
    "totalTokenCount": 1_910, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1_900}],
}  # fmt: skip
CONTENT_TEXT: dict[str, Any] = {  # ai.google.dev/api/generate-content
    "candidates": [
        {"content": {"parts": [{"text": "I hold."}], "role": "model"}, "finishReason": "STOP", "index": 0}
    ],
    "usageMetadata": CONTENT_USAGE, "modelVersion": "gemini-3.8-flash", "responseId": "mYPBaYS",
}  # fmt: skip
CONTENT_CALL: dict[str, Any] = CONTENT_TEXT | {  # ai.google.dev/gemini-api/docs/thought-signatures
    "candidates": [{
        "content": {"role": "model", "parts": [
            {"text": "Prices first.", "thought": True},
            {"functionCall": {"name": "get_price", "args": {"symbol": "NVDA"}, "id": "fc-8f2a"},
             "thoughtSignature": SIGNATURE},
            {"functionCall": {"name": "get_price", "args": {"symbol": "SPY"}, "id": "fc-8f2b"}},
        ]},
        "finishReason": "STOP", "index": 0,
    }],
}  # fmt: skip

TEXTS: Mapping[str, dict[str, Any]] = {
    "openai": CHAT_TEXT,
    "anthropic": MESSAGE_TEXT,
    "google": CONTENT_TEXT,
    "deepseek": chat(DEEPSEEK_USAGE, {"reasoning_content": "Hm."}, model="deepseek-v4-pro"),
    "grok": chat(GROK_USAGE, {"reasoning_content": "Hm."}, model="grok-4.3"),
    "openrouter": chat(OPENROUTER_USAGE, {"reasoning": "Hm."}, provider="OpenAI", model="openai/gpt-5.6-terra"),
    "groq": chat(GROQ_USAGE, x_groq={"id": "req_01jbd6g2qdfw2adyrt2az8hz4w"}, model="openai/gpt-oss-120b"),
    "ollama": chat(OLLAMA_USAGE, system_fingerprint="fp_ollama", model="qwen3:8b"),
    "compatible": chat(OLLAMA_USAGE, {"reasoning_content": None}, model="served"),
}
CALLS: Mapping[str, dict[str, Any]] = {
    "openai": chat(CHAT_TEXT["usage"], CHAT_CALL),
    "anthropic": MESSAGE_CALL,
    "google": CONTENT_CALL,
    "deepseek": chat(DEEPSEEK_USAGE, CHAT_CALL | {"reasoning_content": "Prices first."}),
    "grok": chat(GROK_USAGE, CHAT_CALL | {"content": ""}),
    "openrouter": chat(OPENROUTER_USAGE, CHAT_CALL | {"reasoning": "Prices first."}, provider="OpenAI"),
    "groq": chat(GROQ_USAGE, CHAT_CALL | {"reasoning": "Prices first."}),
    "ollama": chat(OLLAMA_USAGE, CHAT_CALL | {"content": "", "reasoning": "Prices first."}),
    "compatible": chat(OLLAMA_USAGE, CHAT_CALL),
}
NAMES: Mapping[str, str] = {"anthropic": "claude-sonnet-5-5", "google": "gemini-3.8-flash"}


def raw(answer: Mapping[str, Any], status: int = 200, **headers: str) -> Raw:
    """An answer under a status; header names are given with `_` for `-`."""
    return Raw(json.dumps(answer), status, {name.replace("_", "-"): value for name, value in headers.items()})


def error(provider: str, status: int, text: str, kind: str = "") -> dict[str, Any]:
    """An error object as the provider writes it."""
    if provider == "anthropic":  # docs.anthropic.com/en/api/errors
        kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
        named = kind or kinds.get(status, "overloaded_error" if status == 529 else "api_error")
        return {"type": "error", "error": {"type": named, "message": text}, "request_id": "req_011CSHoEeqs5C35K2UUqR"}
    if provider == "google":  # ai.google.dev/gemini-api/docs/troubleshooting
        return {"error": {"code": status, "message": text, "status": kind or "UNAVAILABLE"}}
    if provider == "grok":  # docs.x.ai
        return {"code": kind or "Some resource has been exhausted", "error": text}
    if provider == "openrouter":  # openrouter.ai/docs/api/reference/errors-and-debugging
        return {"error": {"code": status, "message": text, "metadata": {"provider_name": "OpenAI"}}}
    return {"error": {"message": text, "type": "error", "param": None, "code": kind or None}}


def judge_of(provider: str) -> Any:
    return {"anthropic": messages_complaint, "google": content_complaint}.get(provider, complaint_about)


def messages_complaint(line: str, headers: Mapping[str, str], request: Mapping[str, Any]) -> str | None:
    """What Anthropic would not take: docs.anthropic.com/en/api/messages, and the errors that it is known to give."""
    if line != "POST /v1/messages HTTP/1.1" or "authorization" in headers:
        return f"unknown request {line}"
    if headers.get("anthropic-version") != "2023-06-01":
        return "anthropic-version: header is required"
    if not isinstance(request.get("max_tokens"), int) or request["max_tokens"] < 1:
        return "max_tokens: Field required"
    if json.dumps(request).count('"cache_control"') > 4:
        return "A maximum of 4 blocks with cache_control may be provided"
    for tool in request.get("tools", ()):
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]) or tool["input_schema"]["type"] != "object":
            return f"tools: {tool}"
    unanswered: list[str] = []
    for at, message in enumerate(request["messages"]):
        blocks = message["content"]
        if message["role"] not in ("user", "assistant") or (at == 0 and message["role"] != "user"):
            return f"messages.{at}: unexpected role {message['role']}"
        answered = [each["tool_use_id"] for each in blocks if each["type"] == "tool_result"]
        if answered != unanswered:
            return f"messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after"
        if any(each["type"] == "text" and not each["text"].strip() for each in blocks) or not blocks:
            return f"messages.{at}: text content blocks must contain non-whitespace text"
        unanswered = [each["id"] for each in blocks if each["type"] == "tool_use"]
        if any(not re.fullmatch(r"[a-zA-Z0-9_-]+", each) for each in unanswered):
            return f"messages.{at}: id: String should match pattern '^[a-zA-Z0-9_-]+$'"
    if unanswered or request["messages"][-1]["role"] != "user":
        return "the conversation must end with a user message"
    return None


SCHEMA_WORDS = {
    "type", "format", "title", "description", "nullable", "enum", "maxItems", "minItems", "properties", "required",
    "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "anyOf", "items", "minimum", "maximum",
}  # fmt: skip


def content_complaint(line: str, headers: Mapping[str, str], request: Mapping[str, Any]) -> str | None:
    """What Gemini would not take: ai.google.dev/api/generate-content, and the errors that it is known to give."""
    if not re.fullmatch(r"POST /v1/models/[\w.%-]+:generateContent HTTP/1\.1", line) or "authorization" in headers:
        return f"unknown request {line}"
    unknown = request.keys() - {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}
    if unknown or not request.get("contents"):
        return f'Invalid JSON payload received. Unknown name "{unknown}"'
    for tool in request.get("tools", ()):
        for declared in tool["functionDeclarations"]:
            if "parameters" in declared and (complaint := schema_complaint(declared["parameters"])):
                return f"GenerateContentRequest.tools[0].function_declarations: {complaint}"
    unanswered: list[str] = []
    for message in request["contents"]:
        if message["role"] not in ("user", "model") or not message["parts"]:
            return "Please use a valid role: user, model."
        if any("text" in part and not part["text"] for part in message["parts"]):
            return "Unable to submit request because it must have a text parameter."
        answered = [each["functionResponse"]["name"] for each in message["parts"] if "functionResponse" in each]
        if answered != unanswered:
            return "the number of function response parts is not equal to the number of function call parts"
        calls = [each for each in message["parts"] if "functionCall" in each]
        if calls and "gemini-3" in line and not calls[0].get("thoughtSignature"):
            return "Function call is missing a thought_signature in functionCall parts."
        unanswered = [each["functionCall"]["name"] for each in calls]
    return None


def schema_complaint(schema: Mapping[str, Any]) -> str | None:
    if unknown := schema.keys() - SCHEMA_WORDS:
        return f'Unknown name "{unknown}"'
    if schema.get("type") == "object" and not schema.get("properties"):
        return "properties: should be non-empty for OBJECT type"
    if "enum" in schema and schema.get("type") != "string":
        return "enum: only allowed for STRING type"
    if schema.get("type") == "array" and "items" not in schema:
        return "items: missing field."
    inside = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inside += [schema["items"]] if "items" in schema else []
    return next((found for each in inside if (found := schema_complaint(each))), None)
