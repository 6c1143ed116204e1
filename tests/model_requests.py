"""What OpenAI would not take in a chat completions request, as a server on this machine refuses it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ROLES = ("system", "developer", "user", "assistant", "tool")


def complaint_about(line: str, headers: Mapping[str, str], request: Mapping[str, Any]) -> str | None:
    """What OpenAI would not take in a request."""
    if line != "POST /v1/chat/completions HTTP/1.1":
        return f"unknown request {line}"
    if headers.get("content-type") != "application/json":
        return f"content-type {headers.get('content-type')}"
    if not isinstance(request.get("model"), str) or not request.get("messages"):
        return "model and messages are required"
    if not request.get("stream") and "stream_options" in request:
        return "stream_options without stream"
    if not request.get("tools") and ("tools" in request or "tool_choice" in request):
        return "tool_choice is only allowed when tools are specified"
    for tool in request.get("tools", ()):
        if tool["type"] != "function" or not NAME.fullmatch(tool["function"]["name"]):
            return f"tools: {tool}"
        if tool["function"]["parameters"]["type"] != "object":
            return f"parameters: {tool}"
    return _messages_complaint(request["messages"])


def _messages_complaint(messages: Sequence[Mapping[str, Any]]) -> str | None:
    unanswered: list[str] = []
    for at, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        where = f"messages[{at}]"
        if role not in ROLES:
            return f"{where}.role is {role}"
        if role == "tool":
            if message["tool_call_id"] not in unanswered:
                return f"{where}: role 'tool' must be a response to a preceding message with 'tool_calls'"
            unanswered.remove(message["tool_call_id"])
        elif unanswered:
            return f"{where}: these tool_call_ids have no response messages: {', '.join(unanswered)}"
        calls = message.get("tool_calls", ())
        if not (isinstance(content, str | list) or (content is None and calls)):
            return f"{where}.content is {content!r}"
        for call in calls:
            if call["type"] != "function" or not NAME.fullmatch(call["function"]["name"]) or not call["id"]:
                return f"{where}: {call}"
            # vLLM and Ollama parse the arguments of a history
            if not isinstance(json.loads(call["function"]["arguments"]), dict):
                return f"{where}: arguments are no object: {call}"
        unanswered += [call["id"] for call in calls]
        if len(set(unanswered)) < len(unanswered):
            return f"{where}: duplicate tool_call_ids"
    return f"no response messages for {', '.join(unanswered)}" if unanswered else None
