"""An MCP server whose errors read `code: sentence`, whatever refused: a rule of ours, the SDK's types, a failure.

A Refused raised by a tool, arguments that the SDK refuses before the tool runs (`bad_argument`) and a store or venue
that can't answer (`unavailable`) all reach the client as `is_error` with that text, and `on_refused` first, which
keeps the row or the line. Anything else is a fault of ours: it is logged in full and told as `internal`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import anyio.to_thread
from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp_types import (
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from pydantic import AnyUrl, ValidationError

from recording.recording import PASSAGE, Recording
from values.errors import Refused, StoreUnusable, VenueUnavailable, shown
from wire.stdio import standard_streams

logger = logging.getLogger("floor.server")

ERROR_CHARS_MAX = 1_000
"""Of an error of the protocol: the SDK's own repeat what was asked for, whole."""

OnRefused = Callable[[str, Mapping[str, Any], Refused], None]

_NAME_CHARS_MAX = 60
_REFUSALS = (Refused, StoreUnusable, VenueUnavailable)

READS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False)
TRADES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False)
REPLACES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


class RefusingServer(MCPServer[Any]):
    """An MCPServer with one way to say no. `on_refused(tool, arguments, refusal)` runs in a worker thread."""

    def __init__(self, name: str, *, instructions: str = "", on_refused: OnRefused | None = None) -> None:
        super().__init__(
            name, instructions=instructions, version="0.1.0", log_level="WARNING", subscriptions=False,
            middleware=[_bounded],
        )  # fmt: skip
        self._on_refused = on_refused
        self.recording: Recording | None = None

    def introduce(self, instructions: str) -> None:
        """What the server says of itself to its clients. Before it runs."""
        self._lowlevel_server.instructions = instructions

    async def run_stdio_async(self) -> None:
        """Serve the process's standard streams, in bounds that the SDK's own transport does not have."""
        server = self._lowlevel_server
        async with standard_streams() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        refusal: Refused
        try:
            self._check_names(name, arguments)
            with self._passage(context):
                return _compact(await super().call_tool(name, arguments, context))
        except Refused as error:
            refusal = error
        except ToolError as error:
            refusal = self._as_refused(name, error)
        if self._on_refused is not None and not refusal.is_on_record:
            tool = name if len(name) <= _NAME_CHARS_MAX and name.isprintable() else shown(name, _NAME_CHARS_MAX)
            await anyio.to_thread.run_sync(self._on_refused, tool, arguments, refusal)
        text = f"{refusal.code}: {refusal.sentence}"
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)

    def _passage(self, context: Context[Any, Any] | None) -> AbstractContextManager[None]:
        """Where on the run's recording this call stands, as the floor that sent it says."""
        if self.recording is None or context is None:
            return nullcontext()
        passage = (context.request_context.meta or {}).get(PASSAGE)
        return self.recording.passage(passage) if isinstance(passage, str) else nullcontext()

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[Any, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        try:
            return await super().read_resource(uri, context)
        except ResourceError as error:
            if isinstance(error.__cause__, _REFUSALS):
                raise
            if not isinstance(error, ResourceNotFoundError):
                logger.error("a resource failed", exc_info=error.__cause__)
                raise ResourceError("internal: the resource failed for a reason that is in the server's log") from error
            known = ", ".join(each.uri_template for each in await self.list_resource_templates()) or "none"
            raise ResourceNotFoundError(
                f"unknown_resource: there is no resource {shown(f'{uri}')}; there are {known}"
            ) from error

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Any, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        raise MCPError(INVALID_PARAMS, f"unknown_prompt: there is no prompt {shown(name)}; this server has none")

    def _check_names(self, tool: str, arguments: Mapping[str, Any]) -> None:
        """Refuse a tool or an argument that does not exist: the SDK would drop a misspelt argument without a word.

        And refuse `true` where a number is wanted: the SDK would take it for 1.
        """
        found = self._tool_manager.get_tool(tool)
        if found is None:
            known = ", ".join(each.name for each in self._tool_manager.list_tools())
            raise Refused("unknown_tool", f"there is no tool {shown(tool)}; there are {known}")
        allowed = found.parameters.get("properties", {})
        if extra := [key for key in arguments if key not in allowed]:
            raise Refused(
                "bad_argument", f"{tool} has no argument {shown(extra[0])}; it takes {', '.join(allowed) or 'none'}"
            )
        for key, value in arguments.items():
            if isinstance(value, bool) and allowed[key].get("type") in ("integer", "number"):
                raise Refused("bad_argument", f"{key} is {value}; expected a number")

    def _as_refused(self, tool: str, error: ToolError) -> Refused:
        cause = error.__cause__
        if isinstance(cause, Refused):
            return cause
        if isinstance(cause, ValidationError):
            return Refused("bad_argument", _first_fault(tool, cause))
        if isinstance(cause, StoreUnusable | VenueUnavailable):
            return Refused("unavailable", f"{cause}")
        logger.error("tool %s failed", tool, exc_info=cause)
        return Refused(
            "internal",
            f"{tool} failed for a reason of its own, which is in the server's log; nothing is known to have changed",
        )

    def refuse_resource(self, error: Exception) -> ResourceError:
        """The SDK's error for a resource that can't be read, with the same text as a tool's."""
        if isinstance(error, Refused):
            if self._on_refused is not None:
                self._on_refused("a resource", {}, error)
            kind = ResourceNotFoundError if error.code.startswith("unknown_") else ResourceError
            return kind(f"{error.code}: {error.sentence}")
        return ResourceError(f"unavailable: {error}")


async def _bounded(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    try:
        return await call_next(ctx)
    except MCPError as error:
        if len(error.message) + len(f"{error.data}") <= ERROR_CHARS_MAX:
            raise
        raise MCPError(error.code, error.message[:ERROR_CHARS_MAX]) from error


def _first_fault(tool: str, error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    where = str(fault["loc"][0]) if fault["loc"] else "arguments"
    if fault["type"] == "missing":
        return f"{tool} needs the argument {where}"
    return f"{where} is {shown(fault['input'])}; {fault['msg'][:1].lower()}{fault['msg'][1:]}"


def _compact(result: CallToolResult | InputRequiredResult) -> CallToolResult | InputRequiredResult:
    """The SDK indents the text form of a result; a model pays for every one of those spaces."""
    if isinstance(result, CallToolResult) and result.structured_content is not None:
        text = json.dumps(result.structured_content, ensure_ascii=False, separators=(",", ":"))
        return result.model_copy(update={"content": [TextContent(type="text", text=text)]})
    return result
