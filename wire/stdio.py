"""MCP over a process's standard streams: a line is a message, in and out, and no line is longer than MESSAGE_BYTES_MAX.

What can't be read as a message is ignored when it is nobody's request, and refused with JSON-RPC's error when it is
one, so that its sender does not wait: the SDK's own transport reads lines of any length and drops such a request in
silence. Requests are not read faster than they are answered once those waiting hold WAITING_BYTES_MAX.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

import anyio
import anyio.to_thread
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from values.errors import shown

logger = logging.getLogger("floor.server")

MESSAGE_BYTES_MAX = 6 * 1024 * 1024
"""More than the longest call that a tool of ours takes, with every character escaped."""
WAITING_BYTES_MAX = 2 * MESSAGE_BYTES_MAX
REQUEST_BYTES = 4 * 1024
"""What a waiting request costs beside its own length."""
_END_BYTES = 4096
_PART_BYTES = 64 * 1024

_ID = rb'"id"\s*:\s*(-?\d{1,18}|"[^"\\\x00-\x1f]{1,200}")'
_PLAIN = rb'"(?:jsonrpc|method)"\s*:\s*"[^"\\]*"'
# Where the clients' libraries write it: before anything nested, or as one of the last members
_ID_FIRST = re.compile(rb"\s*\{\s*(?:" + _PLAIN + rb"\s*,\s*)*" + _ID + rb"\s*,")
_ID_LAST = re.compile(rb",\s*" + _ID + rb"\s*(?:,\s*" + _PLAIN + rb"\s*)*\}\s*\Z")

Incoming = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]


@asynccontextmanager
async def standard_streams() -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """The streams that a server runs on. While it does, stray reads of input find its end and stray prints stderr."""
    source, sink = _taken(0, os.open(os.devnull, os.O_RDONLY)), _taken(1, os.dup(2))
    to_server, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    waiting = Waiting()
    async with anyio.create_task_group() as group:
        group.start_soon(read_messages, os.fdopen(source, "rb"), to_server, outgoing.clone(), waiting)
        group.start_soon(_write, sink, from_server, waiting)
        yield incoming, outgoing


def _taken(descriptor: int, stand_in: int) -> int:
    """A duplicate of a standard stream, whose number leads to `stand_in` from now on."""
    own: int = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    os.dup2(stand_in, descriptor)
    os.close(stand_in)
    return own


class Waiting:
    """What the requests that are not answered yet hold in bytes, by id; an id may stand for several."""

    def __init__(self) -> None:
        self._sizes: dict[types.RequestId, deque[int]] = defaultdict(deque)
        self._bytes = 0
        self._fewer = anyio.Event()

    def see(self, message: types.JSONRPCMessage, size: int) -> None:
        """Count a request that came; one that is cancelled is not answered any more."""
        if isinstance(message, types.JSONRPCRequest):
            self._sizes[message.id].append(size + REQUEST_BYTES)
            self._bytes += size + REQUEST_BYTES
        elif isinstance(message, types.JSONRPCNotification) and message.method == "notifications/cancelled":
            self.drop((message.params or {}).get("requestId"))

    def drop(self, request_id: object) -> None:
        sizes = self._sizes.get(request_id) if isinstance(request_id, int | str) else None
        if not sizes:
            return
        self._bytes -= sizes.popleft()
        if not sizes:
            del self._sizes[request_id]  # type: ignore[arg-type]
        self._fewer.set()

    @property
    def is_full(self) -> bool:
        return self._bytes > WAITING_BYTES_MAX

    async def room(self) -> None:
        while self.is_full:
            self._fewer = anyio.Event()
            await self._fewer.wait()


async def read_messages(
    source: BinaryIO,
    to_server: MemoryObjectSendStream[SessionMessage | Exception],
    answers: Outgoing,
    waiting: Waiting,
) -> None:
    ignored = 0
    one = anyio.CapacityLimiter(1)  # of its own: busy tools must not keep the server from hearing
    async with to_server, answers:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the server ended first
            while line := await anyio.to_thread.run_sync(_line, source, abandon_on_cancel=True, limiter=one):
                try:
                    message = _message(line)
                except ValueError as error:
                    if (refusal := _refusal(line, error)) is not None:
                        await answers.send(SessionMessage(refusal))
                        continue
                    ignored += 1
                    if ignored.bit_count() == 1:  # the 1st, 2nd, 4th, 8th ...: garbage must not flood the log
                        logger.warning("ignored what is no message: %s (%d so far)", shown(line[:100]), ignored)
                    continue
                waiting.see(message, len(line))
                await to_server.send(SessionMessage(message))
                await waiting.room()


def _message(line: bytes) -> types.JSONRPCMessage:
    if len(line) > MESSAGE_BYTES_MAX:
        raise ValueError(f"it is longer than {MESSAGE_BYTES_MAX:,} bytes")
    return types.jsonrpc_message_adapter.validate_json(line, by_name=False)


def _line(source: BinaryIO) -> bytes:
    """The next line; of one that is too long, MESSAGE_BYTES_MAX + 1 bytes, the last of them its own last."""
    line = source.readline(MESSAGE_BYTES_MAX + 1)
    if len(line) <= MESSAGE_BYTES_MAX or line.endswith(b"\n"):
        return line
    last = b""
    while part := source.readline(_PART_BYTES):
        last = (last + part)[-_END_BYTES:]
        if part.endswith(b"\n"):
            break
    return line[: len(line) - len(last)] + last


def _refusal(line: bytes, error: ValueError) -> types.JSONRPCError | None:
    """The answer to a request that can't be read; None for what is none, or has its id where nobody looks."""
    if b'"method"' not in line[:_END_BYTES] + line[-_END_BYTES:]:
        return None
    found = _ID_FIRST.match(line, 0, _END_BYTES) or _ID_LAST.search(line, max(0, len(line) - _END_BYTES))
    if found is None:
        return None
    given = found[1].decode("utf-8", "replace")
    code, why = types.INVALID_REQUEST, f"{error}"
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False, include_input=False)[0]
        is_json = fault["type"] != "json_invalid"
        code = types.INVALID_REQUEST if is_json else types.PARSE_ERROR
        why = "it is no request of JSON-RPC 2.0" if is_json else fault["msg"][:200]
    return types.JSONRPCError(
        jsonrpc="2.0",
        id=given[1:-1] if given.startswith('"') else int(given),
        error=types.ErrorData(code=code, message=f"bad_message: the message can't be read; {why}"),
    )


async def _write(sink: int, from_server: MemoryObjectReceiveStream[SessionMessage], waiting: Waiting) -> None:
    one = anyio.CapacityLimiter(1)
    async with from_server:
        async for each in from_server:
            text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                await anyio.to_thread.run_sync(_put, sink, text.encode() + b"\n", limiter=one)
            except BrokenPipeError:  # nobody hears an answer any more
                return
            if isinstance(each.message, types.JSONRPCResponse | types.JSONRPCError):
                waiting.drop(each.message.id)


def _put(sink: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sink, rest) :]
