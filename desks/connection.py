"""One long-lived MCP server: started, watched, killed when it hangs, started again.

The only module that knows the MCP client. How the server is reached is a link: a process of ours (`desks/process.py`),
or an address (`desks/remote.py`). Restarts are bounded: five a minute, then calls fail with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

import anyio
import mcp_types as types
from mcp import Client, MCPError
from mcp_types import CONNECTION_CLOSED, CallToolResult, TextContent, TextResourceContents, Tool
from pydantic import ValidationError

from desks.launch import Launch, Remote, without_secrets
from desks.nursery import Nursery
from desks.process import EXIT_S, ProcessLink

logger = logging.getLogger("floor.servers")

T = TypeVar("T")

START_S = 30.0
LOOK_S = 10.0
LIST_PAGES_MAX = 20
ERROR_CHARS_MAX = 300
TOOLS_MAX = 256
RESTARTS_MAX = 5
RESTARTS_WINDOW_S = 60.0


class ServerGone(RuntimeError):
    """The server's process or its pipe ended; a call that was under way may or may not have been carried out."""


class ServerDown(ServerGone):
    """The server is not there and did not come up: the call was never sent."""


class ToolsRefused(ServerDown):
    """The server's tools are not those that may be used: it is not used until they are."""


class ServerSilent(RuntimeError):
    """The server did not answer within the call's deadline; it has been killed."""


class CallRefused(RuntimeError):
    """The server answered with a protocol error."""


class Link(Protocol):
    """How a server is reached. `connect` is one life: what the MCP client takes, for as long as it is entered."""

    @property
    def pid(self) -> int | None: ...

    @property
    def is_up(self) -> bool: ...

    def connect(self, launch: Any) -> AbstractAsyncContextManager[Any]: ...

    def kill(self) -> None: ...

    def last_words(self) -> str: ...


Judge = Callable[[Sequence[Tool]], Sequence[Tool]]
"""What of a server's tools may be used. Raises ToolsRefused where it is none of them."""


class ServerConnection:
    """A server that is there when it is called. Use from one event loop.

    `judge` sees the tools at each start, before anybody else does.
    """

    def __init__(
        self,
        launch: Launch | Remote,
        nursery: Nursery | None = None,
        *,
        judge: Judge = tuple,
        start_s: float = START_S,
    ) -> None:
        self.launch = launch
        self._link: Link = _link(launch, nursery)
        self._judge = judge
        self._start_s = start_s
        self.tools: tuple[Tool, ...] = ()
        self.restarts = 0
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
        return self._link.pid

    def last_words(self) -> str:
        """The server's last lines on stderr."""
        return self._link.last_words()

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
        with contextlib.suppress(ServerGone):
            await self.be_there()

    async def be_there(self) -> None:
        """As `revive`. Raises ServerGone with the server's last words where it does not come up."""
        tries = self.restarts
        async with self._starting:
            if self._stopped or self._is_up or self.restarts != tries:
                return
            await self._restart()
            self._restarted_at.clear()

    async def look_again(self) -> None:
        """Have the tools judged anew. Raises ServerGone (ToolsRefused among it), ServerSilent or CallRefused."""
        client = self._client
        if client is None:
            return
        listed = await self._within(LOOK_S, _listed)
        try:
            self.tools = tuple(self._judge(listed))
        except ToolsRefused:
            self.tools = ()
            await self._drop(client)
            raise

    async def call_tool(
        self, tool: str, arguments: dict[str, Any], timeout_s: float, meta: Mapping[str, Any] | None = None
    ) -> CallToolResult:
        """Raises ServerGone, ServerSilent or CallRefused; when cancelled, the server is told to stop.

        `timeout_s` is for all of it: starting again a server that has ended is part of the call.
        """

        async def call(client: Client) -> CallToolResult:
            try:
                result = await client.session.send_request(_request(tool, arguments, meta), CallToolResult)
                return _without_secrets(result, self.launch.secrets)
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
            return CallRefused(without_secrets(error.message, self.launch.secrets))
        await self._drop(client)
        return ServerGone(f"the {self.name} server ended{self._words()}")

    def _words(self) -> str:
        """A guest's last words may be made to be read by a model: they are for the owner's eyes alone."""
        words = "" if self.launch.is_guest else self.last_words()
        return f"; its last words: {words}" if words else ""

    async def _alive(self) -> Client:
        async with self._starting:
            if self._stopped:
                raise ServerDown(f"the {self.name} server was stopped with the floor")
            if not self._is_up:
                now = time.monotonic()
                if len(self._restarted_at) == RESTARTS_MAX and now - self._restarted_at[0] < RESTARTS_WINDOW_S:
                    raise ServerDown(
                        f"the {self.name} server ended {RESTARTS_MAX} times within {RESTARTS_WINDOW_S:g} s and is left "
                        f"alone for now{self._words()}"
                    )
                self._restarted_at.append(now)
                await self._restart()
            assert self._client is not None
            return self._client

    @property
    def _is_up(self) -> bool:
        is_connected = self._client is not None and self._life is not None and not self._life.done()
        return is_connected and self._link.is_up

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
                self._link.kill()
                await self._end()

    async def _begin(self) -> None:
        self._quit = asyncio.Event()
        ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(ready), name=f"server-{self.name}")
        try:
            async with asyncio.timeout(self._start_s):
                client = await asyncio.shield(ready)
                self.tools = tuple(self._judge(await _listed(client)))
        except BaseException as error:
            self._link.kill()
            await self._end()
            if isinstance(error, ToolsRefused):
                self.tools = ()
            if isinstance(error, ToolsRefused) or not isinstance(error, _NO_START):
                raise
            why = "" if self.launch.is_guest else f" ({error or 'no answer'}){self._words()}"
            raise ServerDown(f"the {self.name} server did not start{why}") from error
        self._client = client

    async def _end(self) -> None:
        self._client = None
        self._quit.set()
        if self._life is not None:
            _, hanging = await asyncio.wait({self._life}, timeout=2 * EXIT_S)
            for each in hanging:
                self._link.kill()
                each.cancel()
                await asyncio.wait({each})
            self._life = None

    async def _live(self, ready: asyncio.Future[Client]) -> None:
        """One life of the server. The client must be entered and left in one task: this one."""
        try:
            async with self._link.connect(self.launch) as transport, Client(transport, client_info=_US) as client:
                ready.set_result(client)
                await self._quit.wait()
        except Exception as error:  # noqa: BLE001 - the SDK's task groups raise groups of anything; told to the caller
            if ready.done():
                logger.warning("the %s server's connection failed: %s", self.name, ascii(str(error))[:ERROR_CHARS_MAX])
            else:
                ready.set_exception(ServerGone(_cause(error)))
                ready.exception()  # whoever waited may have left at its deadline


_NO_START = (TimeoutError, MCPError, OSError, ServerGone, ValidationError, ExceptionGroup)


def _link(launch: Launch | Remote, nursery: Nursery | None) -> Link:
    if isinstance(launch, Launch):
        return ProcessLink(nursery)
    from desks.remote import HttpLink  # with the HTTP transport, which few floors need

    return HttpLink()


async def _listed(client: Client) -> list[Tool]:
    """All tools, page by page. Raises ToolsRefused for more than TOOLS_MAX, or more than LIST_PAGES_MAX pages."""
    tools: list[Tool] = []
    cursor: str | None = None
    for _ in range(LIST_PAGES_MAX):
        page = await client.list_tools(cursor=cursor, cache_mode="bypass")
        tools += page.tools
        if len(tools) > TOOLS_MAX:
            raise ToolsRefused(f"it has {len(tools):,} tools or more; a server may have {TOOLS_MAX}")
        cursor = page.next_cursor
        if cursor is None:
            return tools
    raise ToolsRefused(f"its list of tools has more than {LIST_PAGES_MAX} pages")


def _without_secrets(result: CallToolResult, secrets: Sequence[str]) -> CallToolResult:
    """A server may show in its answer what it was given."""
    if secrets:
        for each in result.content:
            if isinstance(each, TextContent):
                each.text = without_secrets(each.text, secrets)
    return result


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


_US = types.Implementation(name="trading-floor", version="0.1.0")
