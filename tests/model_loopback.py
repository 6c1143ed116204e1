"""A chat completions server on this machine that answers from a script, as OpenAI does on the wire, and keeps count.

It judges each request as strictly as OpenAI (`complaints`), streams on demand in the same chunks, charges tokens for
what it answered, and can fail in the ways that servers fail. `python -m tests.model_loopback` serves one endless call.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from autogen_core import FunctionCall

from tests.model_requests import complaint_about

CHARS_PER_TOKEN = 4
TEXT_PIECE = 7
ARGUMENTS_PIECE = 5


def tool_call(name: str, call_id: str | None = "call_1", /, **arguments: Any) -> dict[str, Any]:
    """A call as it is on the wire. `call_id` None leaves the id out."""
    call: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return call if call_id is None else {"id": call_id, **call}


@dataclass(frozen=True)
class Answer:
    """A good answer. `calls` are in wire form, mistakes included; `fields` are further ones of the message."""

    text: str | None = None
    calls: Sequence[Mapping[str, Any]] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str | None = "by content"
    cached_tokens: int = 0
    counts: bool = True
    """Whether the answer has `usage`."""


@dataclass(frozen=True)
class Raw:
    """Any answer at all, of Content-Length or of as many bytes as are claimed."""

    body: bytes | str = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    claimed_bytes: int | None = None
    stays_open: bool = False
    """Whether the connection is kept though the claim was wrong."""


@dataclass(frozen=True)
class Hang:
    """Sends `first` and then nothing, until the client hangs up."""

    first: bytes = b""


@dataclass(frozen=True)
class Reset:
    """Sends `first` and then resets the connection."""

    first: bytes = b""


@dataclass(frozen=True)
class Cut:
    """Sends `first` and closes the connection, as if that were all."""

    first: bytes


@dataclass(frozen=True)
class Drip:
    """Sends `first` and then `piece` every `pause_s`, until the client hangs up."""

    first: bytes
    piece: bytes
    pause_s: float = 0.02


@dataclass(frozen=True)
class Gone:
    """Resets the connection and takes no further one."""

    first: bytes = b""


Broken = Hang | Reset | Cut | Drip | Gone
Reply = str | Sequence[FunctionCall] | Answer | Raw | Broken
Script = Sequence[Reply] | Callable[[dict[str, Any]], Reply | Awaitable[Reply]]


def too_many(retry_after: str | None = None) -> Raw:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Raw(_error("Rate limit reached for requests", "rate_limit_exceeded"), 429, headers)


@dataclass
class Charged:
    """What the server would put on a bill."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class ModelLoopback:
    """`script` is replies in order, the last one again and again, or a function of the request.

    `requests` are the bodies and `headers` the headers so far; `usage` what was charged; `complaints` what OpenAI
    would have refused, and was; `open_now` and `open_most` count requests under way, `hung_up` clients that left a
    request unanswered. `key` makes it refuse all others. `judge` finds what another wire format would not take, for a
    script of Raw. `line_end`, `comments` and `write_bytes` shape the streams.
    """

    def __init__(
        self,
        script: Script = ("Hello.",),
        *,
        key: str | None = None,
        line_end: str = "\n",
        comments: bool = False,
        write_bytes: int | None = None,
        judge: Callable[[str, Mapping[str, str], Mapping[str, Any]], str | None] = complaint_about,
    ) -> None:
        self._judge = judge
        self.script = script
        self.key = key
        self.requests: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.complaints: list[str] = []
        self.usage = Charged()
        self.open_now = 0
        self.open_most = 0
        self.connections = 0
        self.hung_up = 0
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.base_url = ""
        self._line_end = line_end
        self._comments = comments
        self._write_bytes = write_bytes
        self._running: set[asyncio.Task[None]] = set()
        self._broken: list[BaseException] = []

    async def __aenter__(self) -> ModelLoopback:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}/v1"
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await self._server.wait_closed()
        if self._broken:
            raise AssertionError("the script or the server failed") from self._broken[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken.append(error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.open_now += 1
                self.open_most = max(self.open_most, self.open_now)
                try:
                    await self._respond(head[0], headers, body, reader, writer)
                finally:
                    self.open_now -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is done with this connection
        finally:
            writer.close()

    async def _respond(
        self,
        line: str,
        headers: dict[str, str],
        body: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.bodies.append(body)
        self.headers.append(headers)
        request = json.loads(body)
        self.requests.append(request)
        self.asked.set()
        reply = self._refusal(line, headers, request) or await self._next(request)
        if isinstance(reply, Broken):
            await self._break(reply, reader, writer)
            raise ConnectionResetError
        if isinstance(reply, Raw):
            await self._write(writer, _http(reply))
            if reply.claimed_bytes is not None and not reply.stays_open:
                writer.write_eof()
                raise ConnectionResetError
        else:
            await self._answer(request, body, _answer(reply), writer)

    async def _break(self, reply: Broken, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply.first)
        await writer.drain()
        if isinstance(reply, Gone):
            self._server.close()
        if isinstance(reply, Reset | Gone):
            _reset(writer)
        elif not isinstance(reply, Cut):
            left = asyncio.ensure_future(reader.read())
            while isinstance(reply, Drip) and not left.done():
                writer.write(reply.piece)
                await asyncio.wait({left}, timeout=reply.pause_s)
            try:
                await left
            finally:
                left.cancel()
                self.hung_up += 1
                self.left.set()

    async def _next(self, request: dict[str, Any]) -> Reply:
        if callable(self.script):
            made = self.script(request)
            return await made if inspect.isawaitable(made) else made
        return self.script[min(len(self.requests), len(self.script)) - 1]

    def _refusal(self, line: str, headers: Mapping[str, str], request: Mapping[str, Any]) -> Raw | None:
        if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
            given = headers.get("authorization", "none")
            return Raw(_error(f"Incorrect API key provided: {given}.", "invalid_api_key"), 401)
        complaint = self._judge(line, headers, request)
        if complaint is None:
            return None
        self.complaints.append(complaint)
        return Raw(_error(complaint, None), 400)

    async def _answer(
        self, request: Mapping[str, Any], body: bytes, answer: Answer, writer: asyncio.StreamWriter
    ) -> None:
        message = {"role": "assistant", "content": answer.text, "refusal": None, **answer.fields}
        if answer.calls:
            message["tool_calls"] = list(answer.calls)
        finish_reason = answer.finish_reason
        if finish_reason == "by content":
            finish_reason = "tool_calls" if answer.calls else "stop"
        written = sum(len(value) for value in message.values() if isinstance(value, str)) + len(str(answer.calls))
        usage = self._charge(len(body), written, answer.cached_tokens)
        head = {"id": f"chatcmpl-{self.usage.calls}", "created": 1_772_463_600, "model": request["model"]}
        if not request.get("stream"):
            choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
            whole = {**head, "object": "chat.completion", "choices": [choice]}
            await self._write(writer, _http(Raw(json.dumps(whole | ({"usage": usage} if answer.counts else {})))))
            return
        wants_usage = answer.counts and request.get("stream_options", {}).get("include_usage")
        head["object"] = "chat.completion.chunk"
        events = [": keep-alive"] if self._comments else []
        for delta, reason in [*((each, None) for each in _deltas(message)), ({}, finish_reason)]:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            chunk = {**head, "choices": [choice], **({"usage": None} if wants_usage else {})}
            events.append(f"data: {json.dumps(chunk, ensure_ascii=False)}")
            events += [": keep-alive"] if self._comments else []
        if wants_usage:
            events.append(f"data: {json.dumps({**head, 'choices': [], 'usage': usage})}")
        events.append("data: [DONE]")
        stream = "".join(event + self._line_end * 2 for event in events).encode("utf-8", "surrogatepass")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        step = self._write_bytes or len(stream)
        for at in range(0, len(stream), step):
            part = stream[at : at + step]
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            if self._write_bytes is not None:
                await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    def _charge(self, request_chars: int, written_chars: int, cached_tokens: int) -> dict[str, Any]:
        prompt, completion = -(-request_chars // CHARS_PER_TOKEN), -(-written_chars // CHARS_PER_TOKEN)
        self.usage.calls += 1
        self.usage.prompt_tokens += prompt
        self.usage.cached_tokens += cached_tokens
        self.usage.completion_tokens += completion
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()


def _answer(reply: str | Sequence[FunctionCall] | Answer) -> Answer:
    if isinstance(reply, Answer):
        return reply
    if isinstance(reply, str):
        return Answer(reply)
    return Answer(
        calls=[
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply
        ]
    )


def _deltas(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A message as OpenAI cuts it: the role, the texts in pieces, each call's head and then its arguments in pieces."""
    yield {"role": "assistant", "content": None if message.get("tool_calls") else "", "refusal": None}
    for name, value in message.items():
        if name in ("role", "tool_calls") or not isinstance(value, str):
            continue
        for at in range(0, len(value), TEXT_PIECE):
            yield {name: value[at : at + TEXT_PIECE]}
    for index, call in enumerate(message.get("tool_calls", ())):
        function = dict(call["function"])
        arguments = function.pop("arguments", None)
        is_text = isinstance(arguments, str)
        yield {"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]}
        pieces = (
            [arguments[at : at + ARGUMENTS_PIECE] for at in range(0, len(arguments), ARGUMENTS_PIECE)]
            if is_text
            else [arguments]
        )
        for piece in pieces:
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _http(raw: Raw) -> bytes:
    body = raw.body.encode() if isinstance(raw.body, str) else raw.body
    length = len(body) if raw.claimed_bytes is None else raw.claimed_bytes
    headers = {"content-type": "application/json", "content-length": str(length), **raw.headers}
    lines = [f"HTTP/1.1 {raw.status} As scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _error(message: str, code: str | None) -> str:
    kind = "invalid_request_error"
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def main() -> None:
    """Serve a model that calls one tool for ever, and write the base URL on a line."""
    turns = 0

    def call(_: dict[str, Any]) -> Reply:
        nonlocal turns
        turns += 1
        return Answer(calls=[tool_call("lookup_share_price", f"call_{turns}", symbol="NVDA")])

    async with ModelLoopback(call) as server:
        print(server.base_url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
