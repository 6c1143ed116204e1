"""What a provider's wire format is to a client, and a conversation's messages as JSON bytes, each converted once.

The same message gives the same bytes wherever it stands, so a conversation's next request converts what is new and
joins the rest. Messages are known by their texts, not by their objects: one that was changed is converted again.
Declines audio and files.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, ClassVar, Literal, Protocol

from autogen_core import FunctionCall, Image
from autogen_core.models import AssistantMessage, LLMMessage, ModelFamily, ModelInfo, UserMessage
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from model_clients.replies import ChatUsage, Reply
from values.errors import Refused

KEPT_BYTES_MAX = 8_000_000
"""Of converted messages; those that were not sent for the longest time go first."""
KEPT_TOOLS_MAX = 512
NAME_CHARS_MAX = 64
NOTHING = "(nothing)"
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")

ToolChoice = Tool | Literal["auto", "required", "none"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks of a model. `extra` are fields of the wire format that the caller adds."""

    messages: Sequence[LLMMessage]
    tools: Sequence[Tool | ToolSchema] = ()
    tool_choice: ToolChoice = "auto"
    json_output: bool | type[BaseModel] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    is_streamed: bool = False


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an error answer says. `text` may be quoted once it is without the key.

    `wait_s` is the wait that the body asks for; `a_minute` the plan's requests a minute. `is_spent`: waiting won't
    help, someone has to pay or another day to come. `is_key`: the key is wrong, whatever the status. `is_chance`: the
    model's own slip, which it may not make again.
    """

    text: object = ""
    wait_s: float | None = None
    a_minute: float | None = None
    is_spent: bool = False
    is_key: bool = False
    is_chance: bool = False


TOOLS_ONLY = ModelInfo(
    vision=False, function_calling=True, json_output=False, family=ModelFamily.UNKNOWN, structured_output=False
)


class StreamedAnswer(Protocol):
    """Puts the events of a stream together to the answer that it is; raises Unreadable."""

    @property
    def is_done(self) -> bool: ...

    def add(self, data: bytes) -> str: ...

    def whole(self) -> dict[str, Any]: ...


class WireFormat(ABC):
    """A provider's wire format for one client, which asks for `model` with answers of at most `output_tokens_max`.

    Bounded in memory: `kept_bytes` is what it holds of messages.
    A tool is converted once for each object that is given: to change a tool, offer another object.
    """

    ours: ClassVar[frozenset[str]]
    """Fields that `extra_create_args` can't set."""
    answer_is: ClassVar[str]
    """What a good answer is called where one is missing."""
    info: ClassVar[ModelInfo]
    """What the format's client can do with any model of it; vision is the caller's to declare."""

    def __init__(
        self, model: str, output_tokens_max: int, *, vision: bool = False, kept_bytes_max: int = KEPT_BYTES_MAX
    ) -> None:
        self._model = model
        self._output_tokens_max = output_tokens_max
        self._vision = vision
        # two generations: when the young one is full it becomes the old one, and what is in use comes back from there
        self._young: dict[Hashable, bytes] = {}
        self._old: dict[Hashable, bytes] = {}
        self._young_bytes = 0
        self._old_bytes = 0
        self._generation_bytes_max = kept_bytes_max // 2
        self._tools: OrderedDict[int, tuple[Tool | ToolSchema, bytes]] = OrderedDict()

    @abstractmethod
    def path(self, *, is_streamed: bool) -> str:
        """Where a request goes, below the base URL."""

    @abstractmethod
    def headers(self, key: str | None) -> dict[str, str]:
        """What a request has besides its type: the key, where there is one, and the version of the format."""

    @abstractmethod
    def request(self, request: Request) -> bytes:
        """A whole request. Raises Refused for what the model can't take, ValueError for what no request can say."""

    @abstractmethod
    def read(self, answer: Mapping[str, Any], taken_ids: Collection[str], turn: int) -> Reply:
        """The Reply that an answer holds; `taken_ids` and `turn` as in `read_reply`. Raises Unreadable."""

    @abstractmethod
    def usage(self, answer: Mapping[str, Any]) -> ChatUsage | None:
        """What an answer says it used, None where it says nothing. Raises Unreadable."""

    @abstractmethod
    def complaint(self, answer: Mapping[str, Any]) -> Complaint:
        """What the JSON object of an error answer says."""

    def hidden_failure(self, answer: Mapping[str, Any]) -> int | None:
        """The status that an answer under 200 should have had, where it holds an error with one."""
        return None

    def streamed(self) -> StreamedAnswer | None:
        """Reads a stream's events; None where the format is never asked to stream."""
        return None

    def amend(self, complaint: str) -> bool:
        """Whether requests are made differently from now on, so that this complaint won't come again."""
        return False

    @property
    def kept_bytes(self) -> int:
        return self._young_bytes + self._old_bytes

    def message(self, message: LLMMessage) -> bytes:
        """JSON of one message; of several with a comma between them for the results of parallel calls."""
        key = _texts(message)
        return self._young.get(key) or self._keep(key, self._old.get(key) or self._converted(message))

    def _converted(self, message: LLMMessage) -> bytes:
        parts = [] if self._vision or isinstance(message.content, str) else message.content
        if any(isinstance(part, Image) for part in parts):
            raise Refused("model_lacks", "the conversation has an image, and the model is declared without vision")
        return self.convert(message)

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
            known = self._tools[id(tool)] = (tool, json_bytes(self.convert_tool(tool)))
            if len(self._tools) > KEPT_TOOLS_MAX:
                self._tools.popitem(last=False)
        return known[1]

    def remember(self, calls: Sequence[FunctionCall], thought: str | None, said: str) -> None:
        """Send the assistant message of these calls back as `said`, the JSON that the server wants back.

        AutoGen has one `thought` for both the text and the reasoning beside calls. A server that wrote reasoning may
        demand it back under the name it gave it, or signed; forgotten, the thought goes as text.
        """
        key = _texts(AssistantMessage(content=list(calls), thought=thought, source="model"))
        if key not in self._young:
            self._keep(key, said.encode("ascii"))

    @abstractmethod
    def convert(self, message: LLMMessage) -> bytes:
        """JSON of one message; of several with a comma between them where the format wants more than one."""

    @abstractmethod
    def convert_tool(self, tool: Tool | ToolSchema) -> object:
        """JSON of a tool on offer, as Python has it."""


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


def json_bytes(value: object) -> bytes:
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
        return "results", result.call_id, result.name, result.content, result.is_error
    return "results", *[
        each for result in content for each in (result.call_id, result.name, result.content, result.is_error)
    ]


def wire_name(name: str) -> str:
    """A tool's name as providers take it: they refuse a history with one that its model made up against their rule."""
    return _NOT_IN_NAMES.sub("_", name)[:NAME_CHARS_MAX] or "_"


def wire_id(call_id: str) -> str:
    """A call's id as every provider takes it, though another made it up; two that differ stay two."""
    if call_id and not _NOT_IN_NAMES.search(call_id):
        return call_id
    return f"{_NOT_IN_NAMES.sub('_', call_id)}_{sha256(call_id.encode('utf-8', 'replace')).hexdigest()[:12]}"


def some_text(text: str) -> str:
    """`text`, or a word where there is nothing to read: providers refuse a history with an empty part."""
    return text if text.strip() else NOTHING


def schema_of(tool: Tool | ToolSchema) -> ToolSchema:
    return tool if isinstance(tool, dict) else tool.schema


def named_tool(choice: Tool, tools: Sequence[Tool | ToolSchema]) -> str:
    """The name of a tool that has to be called. Raises ValueError for one that is not on offer."""
    offered = [schema_of(tool)["name"] for tool in tools]
    if choice.name not in offered:
        raise ValueError(f"tool_choice is {choice.name}, which is not among the tools on offer: {', '.join(offered)}")
    return choice.name


def checked_word(choice: str) -> str:
    """A choice in a word. Raises ValueError for any other word."""
    if choice not in ("auto", "required", "none"):
        raise ValueError(f"tool_choice is {choice!r}; expected auto, required, none or a tool")
    return choice
