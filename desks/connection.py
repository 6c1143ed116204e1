"""One long-lived MCP server over stdio: started, watched, killed when it hangs, started again.

The only module that knows the MCP client. It owns the server's process, so that it can end a hung one at once, keep
its last words on stderr, and leave none behind. Restarts are bounded: five a minute, then calls fail with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp.shared.message import SessionMessage
from mcp_types import CONNECTION_CLOSED, CallToolResult, TextResourceContents, Tool
from pydantic import ValidationError

from desks.launch import LINE_BYTES_MAX, Launch, seen
from desks.nursery import Nursery, ServerProcess

logger = logging.getLogger("floor.servers")

T = TypeVar("T")

START_S = 30.0
EXIT_S = 1.0
WORDS_S = 0.5
STDERR_LINES = 20
STDERR_CHARS_MAX = 500
RESTARTS_MAX = 5
RESTARTS_WINDOW_S = 60.0


class ServerGone(RuntimeError):
    """The server's process or its pipe ended; a call that was under way may or may not have been carried out."""


class ServerDown(ServerGone):
    """The server is not there and did not come up: the call was never sent."""


class ServerSilent(RuntimeError):
    """The server did not answer within the call's deadline; it has been killed."""


class CallRefused(RuntimeError):
    """The server answered with a protocol error."""


class ServerConnection:
    """A server that is there when it is called. Use from one event loop."""

    def __init__(self, launch: Launch, nursery: Nursery | None = None) -> None:
        self.launch = launch
        self._nursery = nursery
        self.tools: tuple[Tool, ...] = ()
        self.restarts = 0
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._process: ServerProcess | None = None
        self._client: Client | None = None
        self._life: asyncio.Task[None] | None = None
        self._quit = asyncio.Event()
        self._starting = asyncio.Lock()
        self._restarted_at: deque[float] = deque(maxlen=RESTARTS_MAX)
        self._stopped = False

    @property
    def name(self) -> str:
        return self.launch.name

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def last_words(self) -> str:
        """The server's last lines on stderr."""
        return "\n".join(self._stderr)

    async def start(self) -> None:
        """Start the server and list its tools. Raises ServerGone with its last words when it does not come up."""
        async with self._starting:
            if self._client is None:
                await self._begin()

    async def stop(self) -> None:
        """End the server: its input is closed, and after EXIT_S it is killed."""
        self._stopped = True
        async with self._starting:
            await self._end()

    async def revive(self) -> None:
        """Start the server where it has ended, one that is left alone too: a new session is a new chance.

        Who waits while another tries is content with that try. A failure is told by the call that needs the server.
        """
        tries = self.restarts
        async with self._starting:
            if self._stopped or self._is_up or self.restarts != tries:
                return
            with contextlib.suppress(ServerGone):
                await self._restart()
                self._restarted_at.clear()

    async def call_tool(
        self, tool: str, arguments: dict[str, Any], timeout_s: float, meta: Mapping[str, Any] | None = None
    ) -> CallToolResult:
        """Raises ServerGone, ServerSilent or CallRefused; when cancelled, the server is told to stop.

        `timeout_s` is for all of it: starting again a server that has ended is part of the call.
        """

        async def call(client: Client) -> CallToolResult:
            try:
                return await client.session.send_request(_request(tool, arguments, meta), CallToolResult)
            except ValidationError as error:
                said = f"the {self.name} server's answer to {tool} is none that the protocol knows"
                raise CallRefused(said) from error

        return await self._within(timeout_s, call, f" {tool}")

    async def read_resource(self, uri: str, timeout_s: float) -> str:
        """The text of a resource. Raises ServerGone, ServerSilent or CallRefused."""

        async def read(client: Client) -> str:
            result = await client.read_resource(uri, cache_mode="bypass")
            return "\n".join(each.text for each in result.contents if isinstance(each, TextResourceContents))

        return await self._within(timeout_s, read)

    async def _within(self, timeout_s: float, ask: Callable[[Client], Awaitable[T]], what: str = "") -> T:
        """What `ask` gets from a server that is there; at the deadline the server is given up."""
        client: Client | None = None
        try:
            async with asyncio.timeout(timeout_s):
                client = await self._alive()
                return await ask(client)
        except TimeoutError:
            if client is None:
                raise ServerDown(f"the {self.name} server did not start within {timeout_s:g} s") from None
            await self._drop(client)
            raise ServerSilent(f"the {self.name} server did not answer{what} within {timeout_s:g} s") from None
        except (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            assert client is not None
            raise await self._explained(error, client) from error

    async def _explained(self, error: Exception, client: Client) -> RuntimeError:
        if isinstance(error, MCPError) and error.code != CONNECTION_CLOSED:
            return CallRefused(error.message)
        await self._drop(client)
        words = self.last_words()
        return ServerGone(f"the {self.name} server ended" + (f"; its last words: {words}" if words else ""))

    async def _alive(self) -> Client:
        async with self._starting:
            if self._stopped:
                raise ServerDown(f"the {self.name} server was stopped with the floor")
            if not self._is_up:
                now = time.monotonic()
                if len(self._restarted_at) == RESTARTS_MAX and now - self._restarted_at[0] < RESTARTS_WINDOW_S:
                    raise ServerDown(
                        f"the {self.name} server ended {RESTARTS_MAX} times within {RESTARTS_WINDOW_S:g} s and is left "
                        f"alone for now; its last words: {self.last_words() or 'none'}"
                    )
                self._restarted_at.append(now)
                await self._restart()
            assert self._client is not None
            return self._client

    @property
    def _is_up(self) -> bool:
        return self._client is not None and self._process is not None and self._process.returncode is None

    async def _restart(self) -> None:
        if self._client is not None:
            await self._end()  # it ended between two calls: nothing was under way
        self.restarts += 1
        logger.warning("starting the %s server again", self.name)
        await self._begin()

    async def _drop(self, client: Client) -> None:
        """Kill the process behind `client`, unless somebody has already replaced it."""
        async with self._starting:
            if self._client is client:
                self._kill()
                await self._end()

    async def _begin(self) -> None:
        self._quit = asyncio.Event()
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(ready), name=f"server-{self.name}")
        try:
            async with asyncio.timeout(START_S):
                client = await asyncio.shield(ready)
                listed = await client.list_tools(cache_mode="bypass")
        except (TimeoutError, MCPError, OSError, ServerGone, ExceptionGroup) as error:
            self._kill()
            await self._end()
            raise ServerDown(
                f"the {self.name} server did not start ({error or 'no answer'}); its last words: {self.last_words()}"
            ) from error
        except BaseException:
            self._kill()
            await self._end()
            raise
        self.tools = tuple(listed.tools)
        self._client = client

    async def _end(self) -> None:
        self._client = None
        self._quit.set()
        if self._life is not None:
            _, hanging = await asyncio.wait({self._life}, timeout=2 * EXIT_S)
            for each in hanging:
                self._kill()
                each.cancel()
                await asyncio.wait({each})
            self._life = None

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _live(self, ready: asyncio.Future[Client]) -> None:
        """One life of the server. The client must be entered and left in one task: this one."""
        try:
            async with self._spawned() as process, Client(_Stdio(process), client_info=_US) as client:
                ready.set_result(client)
                await self._quit.wait()
        except Exception as error:  # noqa: BLE001 - the SDK's task groups raise groups of anything; told to the caller
            if ready.done():
                logger.warning("the %s server's connection failed: %s", self.name, error)
            else:
                ready.set_exception(ServerGone(_cause(error)))
                ready.exception()  # whoever waited may have left at its deadline

    @asynccontextmanager
    async def _spawned(self) -> AsyncIterator[ServerProcess]:
        process = await self._spawn()
        self._process = process
        self._stderr.clear()  # the last words are those of the last life
        listening = asyncio.create_task(self._listen(process))
        try:
            yield process
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
            # what it said last may still be in the pipe; a grandchild could keep that open
            await asyncio.wait({listening}, timeout=WORDS_S)
            listening.cancel()
            await asyncio.wait({listening})

    async def _spawn(self) -> ServerProcess:
        if self._nursery is not None and self._nursery.knows(self.launch):
            return await self._nursery.spawn(self.launch)
        return await asyncio.create_subprocess_exec(
            *self.launch.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=seen(self.launch),
            cwd=self.launch.folder,
            limit=LINE_BYTES_MAX,
            start_new_session=True,
        )

    async def _listen(self, process: ServerProcess) -> None:
        assert process.stderr is not None
        with contextlib.suppress(ValueError):  # a line beyond LINE_BYTES_MAX ends the listening, not the server
            async for line in process.stderr:
                text = line.decode("utf-8", "replace").rstrip()[:STDERR_CHARS_MAX]
                self._stderr.append(text)
                logger.info("%s: %s", self.name, text)


def _cause(error: BaseException) -> str:
    """What went wrong first, out of the groups in which task groups wrap it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{error}"


def _request(tool: str, arguments: dict[str, Any], meta: Mapping[str, Any] | None) -> types.CallToolRequest:
    """A tool call without `Client.call_tool`: that checks structured content, which nobody here reads, against its
    schema in Python, and took two fifths of the floor's time."""
    parameters: dict[str, Any] = {"name": tool, "arguments": arguments}
    if meta:
        parameters["_meta"] = dict(meta)
    return types.CallToolRequest(params=types.CallToolRequestParams.model_validate(parameters))


def _unsendable(message: types.JSONRPCMessage, error: ValueError) -> SessionMessage | Exception:
    """What the client is told, in the server's place, of a request that no line of JSON can say."""
    logger.warning("a message to a server can't be written: %s", error)
    if not isinstance(message, types.JSONRPCRequest):
        return error
    told = types.ErrorData(code=types.INVALID_PARAMS, message=f"the request can't be written as JSON: {error}")
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=message.id, error=told))


_US = types.Implementation(name="trading-floor", version="0.1.0")


class _Stdio:
    """The MCP transport over a process that somebody else owns."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process
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
