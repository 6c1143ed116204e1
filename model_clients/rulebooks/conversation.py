"""A conversation as the rules read it: the task, the tools on offer, and every call made so far with its answer.

This is all a rulebook ever knows, as with a language model. Only the newest task and what came after it count. A result
that is no JSON object is an error with its text; nothing in a conversation makes this module raise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    UserMessage,
)
from autogen_core.tools import Tool, ToolSchema

from model_clients.rulebooks.task import Task, json_object, mapping, read_task

_ERROR_CHARS_MAX = 200
_REFUSAL = re.compile(r"([a-z][a-z0-9_]*): (.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call to make."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Exchange:
    """A call that was made and the text of its result."""

    tool: str
    arguments: Mapping[str, Any]
    text: str
    failed: bool

    @cached_property
    def answer(self) -> Mapping[str, Any] | None:
        """The result as an object; None for an error and for anything else than an object with something in it."""
        return None if self.failed else json_object(self.text) or None

    @property
    def error(self) -> str | None:
        """Why there is no answer, on one line; None where there is one."""
        if self.answer is not None:
            return None
        return " ".join(self.text.split())[:_ERROR_CHARS_MAX] or "the result is empty"

    @property
    def code(self) -> str | None:
        """The refusal's code, None where the error is not of the form `code: sentence`."""
        found = _REFUSAL.fullmatch(self.error) if self.error else None
        return found[1] if found else None


@dataclass(frozen=True, slots=True)
class Conversation:
    """What was said since the newest task.

    `offered` maps a tool's name to the names of its parameters, `turns_used` counts the replies given, and `reminders`
    the messages that the floor added.
    """

    task: Task | None
    offered: Mapping[str, frozenset[str]]
    exchanges: tuple[Exchange, ...] = ()
    turns_used: int = 0
    reminders: int = 0

    def made(self, *tools: str) -> list[Exchange]:
        """The exchanges with those tools, oldest first."""
        return [exchange for exchange in self.exchanges if exchange.tool in tools]

    def call(self, tool: str, /, **arguments: object) -> Call:
        """A call with the arguments that the offered tool knows: a bound server has no `name`."""
        known = self.offered.get(tool, frozenset())
        return Call(tool, {key: value for key, value in arguments.items() if key in known})


def read_conversation(messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema]) -> Conversation:
    """What the messages say since their newest task; without one, `task` is None and nothing else is read."""
    offered = dict(_offer(tool) for tool in tools)
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        task = read_task(text_of(message)) if isinstance(message, UserMessage) else None
        if task is not None:
            since = messages[at + 1 :]
            turns = sum(isinstance(later, AssistantMessage) for later in since)
            reminders = sum(isinstance(later, UserMessage) for later in since)
            return Conversation(task, offered, tuple(_exchanges(since)), turns, reminders)
    return Conversation(None, offered)


def text_of(message: LLMMessage) -> str:
    """A message's own text; tool calls and results as they stand, images left out."""
    content = message.content
    if isinstance(content, str):
        return content
    parts: list[str] = []
    for part in content:
        if isinstance(part, str):
            parts.append(part)
        elif isinstance(part, FunctionCall):
            parts.append(f"{part.name} {part.arguments}")
        elif isinstance(part, FunctionExecutionResult):
            parts.append(part.content)
    return "\n".join(parts)


def _offer(tool: Tool | ToolSchema) -> tuple[str, frozenset[str]]:
    schema: Mapping[str, Any] = mapping(tool if isinstance(tool, dict) else tool.schema)
    properties = mapping(mapping(schema.get("parameters")).get("properties"))
    return str(schema.get("name", "")), frozenset(properties)


def _exchanges(messages: Sequence[LLMMessage]) -> list[Exchange]:
    made: list[Exchange] = []
    asked: list[FunctionCall] = []
    for message in messages:
        if isinstance(message, AssistantMessage) and not isinstance(message.content, str):
            asked = list(message.content)
        elif isinstance(message, FunctionExecutionResultMessage):
            by_id = {result.call_id: result for result in message.content if result.call_id}
            for at, call in enumerate(asked):
                result = by_id.get(call.id) or (message.content[at] if at < len(message.content) else None)
                made.append(_exchange(call, result))
            asked = []
    return made


def _exchange(call: FunctionCall, result: FunctionExecutionResult | None) -> Exchange:
    arguments = json_object(call.arguments)
    if result is None:
        return Exchange(call.name, arguments, "the call has no result", True)
    return Exchange(call.name, arguments, result.content, bool(result.is_error))
