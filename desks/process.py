"""A server that is a process of ours, and the messages over its standard streams.

It owns the process, so that it can end a hung one at once, keep its last words on stderr, and leave none behind. A
guest that writes without end is ended; what it says loses the secrets that it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.shared.message import SessionMessage

from desks.launch import Launch, seen, without_secrets
from desks.nursery import Nursery, ServerProcess

logger = logging.getLogger("floor.servers")

KEEPER = Path(__file__).with_name("keeper.py")
EXIT_S = 1.0
WORDS_S = 0.5
STDERR_LINES = 20
STDERR_CHARS_MAX = 500
FLOOD_LINES = 10_000
FLOOD_BYTES = 64 * 1024 * 1024
FLOOD_WINDOW_S = 60.0


class Flood:
    """What a guest has written to both streams, in windows of FLOOD_WINDOW_S of `monotonic` time."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lines = self._bytes = 0

    def takes(self, line: bytes) -> bool:
        """Count a line; False once it is one too many."""
        now = time.monotonic()
        if now - self._began > FLOOD_WINDOW_S:
            self._began, self._lines, self._bytes = now, 0, 0
        self._lines += 1
        self._bytes += len(line)
        return self._lines <= FLOOD_LINES and self._bytes <= FLOOD_BYTES


class ProcessLink:
    """Starts the process, one life after another."""

    def __init__(self, nursery: Nursery | None) -> None:
        self._launch: Launch
        self._nursery = nursery
        self._process: ServerProcess | None = None
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._flood: Flood | None = None
        self._pipe: int | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def is_up(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def last_words(self) -> str:
        """The server's last lines on stderr."""
        return "\n".join(self._stderr)

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    @asynccontextmanager
    async def connect(self, launch: Launch) -> AsyncIterator[Any]:
        """One life of the process, as the transport that the MCP client takes. Raises OSError."""
        self._launch = launch
        process = await self._spawn()
        self._process = process
        self._flood = Flood() if self._launch.is_guest else None
        self._stderr.clear()  # the last words are those of the last life
        listening = asyncio.create_task(self._listen(process))
        try:
            yield _Stdio(process, self._takes)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(EXIT_S):
                    await process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
            if launch.is_guest:
                self._end_group(process.pid)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WORDS_S):
                        await asyncio.gather(_drained(process.stdout), _drained(process.stderr, listening))
            # what it said last may still be in the pipe; a grandchild could keep that open
            await asyncio.wait({listening}, timeout=WORDS_S)
            listening.cancel()
            await asyncio.wait({listening})

    def _end_group(self, pid: int) -> None:
        """What a guest started and left behind ends with it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    async def _spawn(self) -> ServerProcess:
        if self._nursery is not None and self._nursery.knows(self._launch):
            return await self._nursery.spawn(self._launch)
        if self._launch.is_guest:
            return await self._spawn_kept()
        return await self._execute(self._launch.command)

    async def _spawn_kept(self) -> ServerProcess:
        """A guest's process behind its keeper, which sees it off when this one is gone."""
        kept, ours = os.pipe()
        if self._pipe is not None:
            os.close(self._pipe)
        self._pipe = ours
        keeper = (sys.executable, "-I", "-S", str(KEEPER), str(kept))
        try:
            return await self._execute((*keeper, *self._launch.command), (kept,))
        finally:
            os.close(kept)

    async def _execute(self, command: Sequence[str], passed: Sequence[int] = ()) -> ServerProcess:
        return await asyncio.create_subprocess_exec(
            *command,
            pass_fds=passed,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=seen(self._launch),
            cwd=self._launch.folder,
            limit=self._launch.line_bytes_max,
            start_new_session=True,
        )

    async def _listen(self, process: ServerProcess) -> None:
        assert process.stderr is not None
        with contextlib.suppress(ValueError):  # a line beyond LINE_BYTES_MAX ends the listening, not the server
            async for line in process.stderr:
                if not self._takes(line):
                    return
                text = line.decode("utf-8", "replace").rstrip()
                text = without_secrets(text, self._launch.secrets)[:STDERR_CHARS_MAX]
                self._stderr.append(text)
                logger.info("%s: %s", self._launch.name, text)

    def _takes(self, line: bytes) -> bool:
        """Count what the server wrote; one that floods is killed."""
        if self._flood is None or self._flood.takes(line):
            return True
        self._stderr.append(f"[ended by the floor: more than {FLOOD_LINES:,} lines or {FLOOD_BYTES:,} bytes a minute]")
        self.kill()
        return False


async def _drained(stream: asyncio.StreamReader | None, reader: asyncio.Task[None] | None = None) -> None:
    """Read what nobody wants, after `reader`: a pipe that is not read to its end is never closed."""
    if reader is not None:
        await asyncio.wait({reader})
    while stream is not None and await stream.read(65_536):
        pass


def _unsendable(message: types.JSONRPCMessage, error: ValueError) -> SessionMessage | Exception:
    """What the client is told, in the server's place, of a request that no line of JSON can say."""
    logger.warning("a message to a server can't be written: %s", error)
    if not isinstance(message, types.JSONRPCRequest):
        return error
    told = types.ErrorData(code=types.INVALID_PARAMS, message=f"the request can't be written as JSON: {error}")
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=message.id, error=told))


class _Stdio:
    """The MCP transport over a process that somebody else owns."""

    def __init__(self, process: ServerProcess, takes: Callable[[bytes], bool]) -> None:
        self._process = process
        self._takes = takes
        self._pumps: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Any:
        to_client, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        to_server, from_client = anyio.create_memory_object_stream[SessionMessage](0)
        self._streams = (to_client, from_server, to_server, from_client)
        self._pumps = [
            asyncio.create_task(self._read(to_client)),
            asyncio.create_task(self._write(from_client, to_client)),
        ]
        return from_server, to_server

    async def __aexit__(self, *_: object) -> None:
        for pump in self._pumps:
            pump.cancel()
        await asyncio.wait(self._pumps)
        for stream in self._streams:
            stream.close()

    async def _read(self, to_client: Any) -> None:
        assert self._process.stdout is not None
        async with to_client:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, ValueError):
                async for line in self._process.stdout:
                    if not self._takes(line):
                        return
                    message: SessionMessage | Exception
                    try:
                        message = SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
                    except ValueError as error:
                        logger.warning("a server wrote what is no message: %r", line[:200])
                        message = error
                    await to_client.send(message)

    async def _write(self, from_client: Any, to_client: Any) -> None:
        assert self._process.stdin is not None
        try:
            async for message in from_client:
                try:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                except ValueError as error:  # half a character, brackets too deep: one call fails, not the pipe of all
                    await to_client.send(_unsendable(message.message, error))
                    continue
                self._process.stdin.write(text.encode() + b"\n")
                await self._process.stdin.drain()
        except (ConnectionError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            await to_client.aclose()  # the session sees its end instead of a request that hangs
