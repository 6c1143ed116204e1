"""Messages and tools as the JSON bytes of a chat completions request, each converted once.

The same message gives the same bytes wherever it stands, so a conversation's next request converts what is new and
joins the rest. Messages are known by their texts, not by their objects: one that was changed is converted again.
Declines audio and files.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

from autogen_core import FunctionCall, Image
from autogen_core.models import AssistantMessage, LLMMessage, SystemMessage, UserMessage
from autogen_core.tools import Tool, ToolSchema

from values.errors import Refused

KEPT_BYTES_MAX = 8_000_000
"""Of converted messages; those that were not sent for the longest time go first."""
KEPT_TOOLS_MAX = 512
NAME_CHARS_MAX = 64
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")

Content = str | Sequence[FunctionCall]


class WireFormat:
    """Converts for one client. Bounded in memory: `kept_bytes` is what it holds of messages.

    A tool is converted once for each object that is given: to change a tool, offer another object.
    """

    def __init__(self, *, vision: bool = False, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._vision = vision
        # two generations: when the young one is full it becomes the old one, and what is in use comes back from there
        self._young: dict[Hashable, bytes] = {}
        self._old: dict[Hashable, bytes] = {}
        self._young_bytes = 0
        self._old_bytes = 0
        self._generation_bytes_max = kept_bytes_max // 2
        self._tools: OrderedDict[int, tuple[Tool | ToolSchema, bytes]] = OrderedDict()

    @property
    def kept_bytes(self) -> int:
        return self._young_bytes + self._old_bytes

    def body(
        self, fields: Mapping[str, Any], messages: Sequence[LLMMessage], tools: Sequence[Tool | ToolSchema]
    ) -> bytes:
        """A whole request: `fields` (at least one), then messages, then tools where there are any.

        Raises Refused for an image when the model has no vision.
        """
        parts = [_json(fields)[:-1], b',"messages":[', b",".join(filter(None, map(self.message, messages))), b"]"]
        if tools:
            parts += [b',"tools":[', b",".join(map(self.tool, tools)), b"]"]
        return b"".join([*parts, b"}"])

    def message(self, message: LLMMessage) -> bytes:
        """JSON of one message; of several with a comma between them for the results of parallel calls."""
        key = _texts(message)
        return self._young.get(key) or self._keep(key, self._old.get(key) or self._converted(message))

    def _converted(self, message: LLMMessage) -> bytes:
        parts = [] if self._vision or isinstance(message.content, str) else message.content
        if any(isinstance(part, Image) for part in parts):
            raise Refused("model_lacks", "the conversation has an image, and the model is declared without vision")
        return _json_of(message)

    def _keep(self, key: Hashable, converted: bytes) -> bytes:
        if len(converted) > self._generation_bytes_max:
            return converted
        if self._young_bytes + len(converted) > self._generation_bytes_max:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young[key] = converted
        self._young_bytes += len(converted)
        return converted

    def tool(self, tool: Tool | ToolSchema) -> bytes:
        known = self._tools.get(id(tool))
        if known is None:
            # the object is kept beside its bytes, so that no other object can get its id
            known = self._tools[id(tool)] = (tool, _json(_function(tool)))
            if len(self._tools) > KEPT_TOOLS_MAX:
                self._tools.popitem(last=False)
        return known[1]

    def remember(self, calls: Sequence[FunctionCall], thought: str | None, said: Mapping[str, str | None]) -> None:
        """Send the assistant message of these calls back with the fields that it came with.

        AutoGen has one `thought` for both the text and the reasoning beside calls. A server that wrote reasoning may
        demand it back under the name it gave it; forgotten, the thought goes as text.
        """
        key = _texts(AssistantMessage(content=list(calls), thought=thought, source="model"))
        if key not in self._young:
            self._keep(key, _json(_assistant(calls, said)))


def tool_choice_field(
    choice: Tool | Literal["auto", "required", "none"], tools: Sequence[Tool | ToolSchema]
) -> str | dict[str, Any]:
    """The field `tool_choice`. Raises ValueError for a tool that is not on offer, and for any other word."""
    if isinstance(choice, str):
        if choice not in ("auto", "required", "none"):
            raise ValueError(f"tool_choice is {choice!r}; expected auto, required, none or a tool")
        return choice
    offered = [tool["name"] if isinstance(tool, dict) else tool.name for tool in tools]
    if choice.name not in offered:
        raise ValueError(f"tool_choice is {choice.name}, which is not among the tools on offer: {', '.join(offered)}")
    return {"type": "function", "function": {"name": choice.name}}


def as_object(arguments: str) -> str:
    """A call's arguments as servers demand them in a history: themselves where they are a JSON object, else quoted.

    vLLM and Ollama parse them, and would refuse every later request of a conversation with one malformed call.
    """
    try:
        parsed = json.loads(arguments, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        parsed = None
    return arguments if isinstance(parsed, dict) else json.dumps({"not_a_json_object": arguments})


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _json(value: object) -> bytes:
    # ASCII: a lone surrogate, which models do write, has no UTF-8
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _texts(message: LLMMessage) -> Hashable:
    """All that `_json_of` looks at. An image counts as itself, and is kept with the key.

    This is what an old message costs in every later turn: one call or result goes the short way.
    """
    content: Any = message.content
    if isinstance(content, str):
        return message.type, content
    if isinstance(message, AssistantMessage):
        if len(content) == 1:
            [call] = content
            return "calls", message.thought, call.id, call.name, call.arguments
        return "calls", message.thought, *[text for call in content for text in (call.id, call.name, call.arguments)]
    if isinstance(message, UserMessage):
        return "parts", *content
    if len(content) == 1:
        [result] = content
        return "results", result.call_id, result.content
    return "results", *[text for result in content for text in (result.call_id, result.content)]


def _json_of(message: LLMMessage) -> bytes:
    if isinstance(message, SystemMessage):
        return _json({"role": "system", "content": message.content})
    if isinstance(message, UserMessage):
        content: Any = message.content
        parts = content if isinstance(content, str) else [_part(part) for part in content]
        return _json({"role": "user", "content": parts})
    if isinstance(message, AssistantMessage):
        if isinstance(message.content, str):
            return _json({"role": "assistant", "content": message.content})
        return _json(_assistant(message.content, {"content": message.thought}))
    return b",".join(
        _json({"role": "tool", "tool_call_id": result.call_id, "content": result.content}) for result in message.content
    )


def _part(part: str | Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": part.data_uri}}


def _assistant(calls: Sequence[FunctionCall], said: Mapping[str, str | None]) -> dict[str, Any]:
    if not calls:
        return {"role": "assistant", **said, "content": said.get("content") or ""}
    return {"role": "assistant", **said, "tool_calls": [_call(call) for call in calls]}


def _call(call: FunctionCall) -> dict[str, Any]:
    # OpenAI refuses a history with a name that its model made up against its own rule for names
    name = _NOT_IN_NAMES.sub("_", call.name)[:NAME_CHARS_MAX] or "_"
    return {"id": call.id, "type": "function", "function": {"name": name, "arguments": as_object(call.arguments)}}


def _function(tool: Tool | ToolSchema) -> dict[str, Any]:
    schema = tool if isinstance(tool, dict) else tool.schema
    function: dict[str, Any] = {
        "name": schema["name"],
        "description": schema.get("description", ""),
        "parameters": schema.get("parameters", {"type": "object", "properties": {}}),
    }
    if schema.get("strict"):
        function["strict"] = True
    return {"type": "function", "function": function}
