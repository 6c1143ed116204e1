"""A streamed answer: its server-sent events, cut out of bytes, and the whole answer, put together from their chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from model_clients.replies import (
    CALLS_MAX,
    REASONING_FIELDS,
    Unreadable,
    as_json,
    error_text,
    expect_list,
    expect_object,
    read_json,
    readable,
    text_at,
)


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
        choices = expect_list(chunk.get("choices"), "choices")
        return self._choice(expect_object(choices[0], "choices[0]")) if choices else ""

    def _choice(self, choice: Mapping[str, Any]) -> str:
        self._has_choice = True
        self._finish_reason = choice.get("finish_reason") or self._finish_reason
        delta = expect_object(choice.get("delta") or {}, "delta")
        said = {name: text_at(delta, name) for name in ("content", "refusal")}
        said |= {name: delta[name] for name in REASONING_FIELDS if isinstance(delta.get(name), str)}
        for name, piece in said.items():
            if piece is not None:
                self._texts.setdefault(name, []).append(piece)
        for part in expect_list(delta.get("tool_calls"), "tool_calls"):
            self._call(expect_object(part, "a tool call"))
        return readable(said["content"] or said["refusal"] or "")

    def _call(self, part: Mapping[str, Any]) -> None:
        index, call_id = (each if isinstance(each, int | str) else None for each in (part.get("index"), part.get("id")))
        function = expect_object(part.get("function") or {}, "function")
        name = text_at(function, "name") or ""
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
            slot.arguments.append(arguments if isinstance(arguments, str) else as_json(arguments))

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
