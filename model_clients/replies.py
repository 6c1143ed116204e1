"""What a chat completions server answers, whole or streamed, as a Reply.

What a model does wrong stays as it is: unknown tools, malformed arguments, an empty text. Only what the next request
could not do without is added: a call's missing or repeated id becomes one of ours. An answer that is no chat completion
raises Unreadable with what was found; whoever knows what must not be shown makes a sentence of it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import FinishReasons, RequestUsage

BEGINNING_BYTES = 1_000
CALLS_MAX = 128
"""In one reply: as many as OpenAI lets a request offer tools."""
REASONING_FIELDS = ("reasoning_content", "reasoning")
"""Where servers put a model's reasoning: DeepSeek and llama.cpp the first, Ollama and OpenRouter the second."""

_FINISH_REASONS: Mapping[str, FinishReasons] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "function_calls",
    "function_call": "function_calls",
    "content_filter": "content_filter",
}


class Unreadable(ValueError):
    """`what` is wrong with an answer, in words that a quotation of `found` can follow; an empty text is not quoted."""

    def __init__(self, what: str, found: object = "") -> None:
        super().__init__(what)
        self.what = what
        self.found = found


@dataclass
class ChatUsage(RequestUsage):
    """Tokens of one call. `cached_tokens` of the prompt's cost less; `is_estimate` when the server counted nothing."""

    cached_tokens: int = 0
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """`said` is what stood beside the calls, by the names that the server gave it."""

    content: str | list[FunctionCall]
    thought: str | None
    finish_reason: FinishReasons
    usage: ChatUsage | None
    said: Mapping[str, str | None]


def read_json(body: bytes) -> dict[str, Any]:
    """The JSON object that an answer is. Raises Unreadable."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        if body.lstrip()[:1] == b"<":
            raise Unreadable("the answer is a web page and no JSON; is the base URL that of an API?") from None
        beginning = body[:BEGINNING_BYTES].decode(errors="replace")
        raise Unreadable(f"the answer is no JSON ({error}); it begins", beginning) from None
    return _object(parsed, "the answer")


def read_reply(body: Mapping[str, Any], taken_ids: Collection[str], turn: int) -> Reply:
    """The Reply that a chat completion object holds.

    `taken_ids` are the ids of the conversation's calls so far; `turn` is any number that grows with the conversation,
    and names the ids that we give. Raises Unreadable.
    """
    choices = body.get("choices")
    if choices is None and body.get("error") is not None:
        raise Unreadable("the answer claims success and holds an error", error_text(body))
    if not _list(choices, "choices"):
        raise Unreadable("the answer has no choices")
    choice = _object(body["choices"][0], "choices[0]")
    message = _object(choice.get("message"), "message")
    reasoning_field, reasoning = _reasoning(message)
    content, refusal = _text(message, "content"), _text(message, "refusal")
    text = None if content is None else _readable(content)
    calls = _calls(message.get("tool_calls"), taken_ids, turn)
    finish_reason = _FINISH_REASONS.get(str(choice.get("finish_reason")), "unknown")
    if not calls:
        return Reply(text or _readable(refusal or ""), reasoning or None, finish_reason, _usage(body), {})
    said = {"content": text} | ({} if reasoning_field is None else {reasoning_field: reasoning})
    thought = "\n\n".join(filter(None, (reasoning, text))) or None
    # some servers say stop here; length stays, because it explains arguments that break off
    reason = "function_calls" if finish_reason == "stop" else finish_reason
    return Reply(calls, thought, reason, _usage(body), said)


def error_text(body: Mapping[str, Any]) -> str:
    """The sentence of an error object, in any of the forms that compatible servers use."""
    error = body.get("error", body)
    found = error.get("message", error) if isinstance(error, Mapping) else error
    return found if isinstance(found, str) else json.dumps(found)


@dataclass(slots=True)
class _Slot:
    """One call of a streamed reply as far as it has come."""

    id: object = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class StreamedReply:
    """Puts the chunks of a stream together to what the server would have answered without streaming."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._slots: list[_Slot] = []
        self._open: dict[object, _Slot] = {}
        self._finish_reason: object = None
        self._usage: object = None
        self._has_choice = False
        self.is_done = False
        """The server has said that nothing more comes."""

    def add(self, data: bytes) -> str:
        """Take the data of one event; the text that it adds to the answer, often none. Raises Unreadable."""
        if data.strip() == b"[DONE]":
            self.is_done = True
            return ""
        chunk = read_json(data)
        if chunk.get("error") is not None:
            raise Unreadable("the stream ends with an error", error_text(chunk))
        self._usage = chunk.get("usage") or self._usage
        choices = _list(chunk.get("choices"), "choices")
        return self._choice(_object(choices[0], "choices[0]")) if choices else ""

    def _choice(self, choice: Mapping[str, Any]) -> str:
        self._has_choice = True
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = _object(choice.get("delta") or {}, "delta")
        said = {name: _text(delta, name) for name in ("content", "refusal")}
        said |= {name: delta[name] for name in REASONING_FIELDS if isinstance(delta.get(name), str)}
        for name, piece in said.items():
            if piece is not None:
                self._texts.setdefault(name, []).append(piece)
        for part in _list(delta.get("tool_calls"), "tool_calls"):
            self._call(_object(part, "a tool call"))
        return _readable(said["content"] or said["refusal"] or "")

    def _call(self, part: Mapping[str, Any]) -> None:
        index, call_id = part.get("index"), part.get("id")
        function = _object(part.get("function") or {}, "function")
        name = _text(function, "name") or ""
        slot = self._open.get(str(index))
        # one index for all calls, or none: then another id, or another name, is another call
        begins = slot is None or (call_id and slot.id and call_id != slot.id) or (index is None and name)
        if slot is None or begins:
            if len(self._slots) == CALLS_MAX:
                raise Unreadable(f"the reply has more than {CALLS_MAX} calls")
            slot = self._open[str(index)] = _Slot()
            self._slots.append(slot)
        slot.id = slot.id or call_id
        slot.name += name
        arguments = function.get("arguments")
        if arguments is not None:
            slot.arguments.append(arguments if isinstance(arguments, str) else json.dumps(arguments))

    def whole(self) -> dict[str, Any]:
        """The chat completion object. Raises Unreadable when the stream broke off before its end."""
        if not self.is_done and self._finish_reason is None:
            raise Unreadable("the stream broke off before the answer ended")
        message: dict[str, Any] = {name: "".join(pieces) for name, pieces in self._texts.items()}
        message["tool_calls"] = [
            {"id": slot.id, "function": {"name": slot.name, "arguments": "".join(slot.arguments)}}
            for slot in self._slots
        ]
        choices = [{"message": message, "finish_reason": self._finish_reason}] if self._has_choice else []
        return {"choices": choices, "usage": self._usage}


class EventData:
    """Cuts a stream of bytes into the data of its server-sent events, whatever the cuts it comes in."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        first, *others = chunk.split(b"\n")
        self._rest.append(first)
        for other in others:
            yield from self._line(b"".join(self._rest))
            self._rest = [other]

    def end(self) -> Iterator[bytes]:
        """What stands without its closing empty line, which some servers leave out at the end."""
        yield from self._line(b"".join(self._rest))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[bytes]:
        line = line.removesuffix(b"\r")
        if line.startswith(b"data:"):
            self._data.append(line.removeprefix(b"data:").removeprefix(b" "))
        elif not line and self._data:
            yield b"\n".join(self._data)
            self._data = []


def _calls(found: object, taken_ids: Collection[str], turn: int) -> list[FunctionCall]:
    parts = _list(found, "tool_calls")
    if len(parts) > CALLS_MAX:
        raise Unreadable(f"the reply has {len(parts)} calls; at most {CALLS_MAX} are taken")
    calls: list[FunctionCall] = []
    new_ids: set[str] = set()
    for at, part in enumerate(parts):
        call = _object(part, "a tool call")
        function = _object(call.get("function") or {}, "a tool call's function")
        ids = _ids(call.get("id"), f"call_{turn}_{at}")
        call_id = next(each for each in ids if each not in taken_ids and each not in new_ids)
        new_ids.add(call_id)
        name = _readable(_text(function, "name") or "")
        calls.append(FunctionCall(id=call_id, name=name, arguments=_arguments(function.get("arguments"))))
    return calls


def _ids(given: object, ours: str) -> Iterator[str]:
    """The id that a call came with, if there is one, and then those that it may have from us."""
    if isinstance(given, str) and given:
        yield _readable(given)
    yield ours
    for again in count(2):
        yield f"{ours}_{again}"


def _arguments(given: object) -> str:
    """As the model wrote them. Servers write an empty text, or nothing, for a call without arguments."""
    if given is None or given == "":
        return "{}"
    return _readable(given) if isinstance(given, str) else json.dumps(given)


def _reasoning(message: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The field that holds the reasoning, and the reasoning. What is no text there is not ours to read."""
    for name in REASONING_FIELDS:
        reasoning = message.get(name)
        if isinstance(reasoning, str):
            return name, _readable(reasoning)
    return None, None


def _usage(body: Mapping[str, Any]) -> ChatUsage | None:
    found = body.get("usage")
    if found is None:
        return None
    usage = _object(found, "usage")
    details = _object(usage.get("prompt_tokens_details") or {}, "prompt_tokens_details")
    return ChatUsage(
        _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"), _count(details, "cached_tokens")
    )


def _count(holder: Mapping[str, Any], name: str) -> int:
    value = holder.get(name) or 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Unreadable(f"{name} should be a whole number of tokens and is", value)
    return value


def _object(value: object, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unreadable(f"{name} should be an object and is", value)
    return value


def _list(value: object, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise Unreadable(f"{name} should be a list and is", value)
    return value


def _text(holder: Mapping[str, Any], name: str) -> str | None:
    value = holder.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unreadable(f"{name} should be a text and is", value)
    return value


def _readable(text: str) -> str:
    """`text` that every store and screen can take: halves of a character are joined, and a lone one is replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
