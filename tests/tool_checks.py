"""What every MCP server of ours promises about its tools and results, checked on each call that a test makes.

Snapshots of `tools/list` are in `tests/snapshots`. A changed tool is a decision: after one, renew them with
`UPDATE_SNAPSHOTS=1 python -m pytest tests/test_accounts_server.py tests/test_market_server.py` and review the diff.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from mcp import Client
from mcp.server import MCPServer
from mcp_types import CallToolResult, TextContent, TextResourceContents, Tool

from values.clock import parse_time

SNAPSHOTS = Path(__file__).parent / "snapshots"
AMOUNTS = {
    "balance", "price", "amount", "realised_profit", "quote_price", "holding", "quantity", "average_cost", "cost",
    "value", "weight", "step", "unrealised_profit", "cash_after", "total_portfolio_value", "total_profit_loss", "open",
    "high", "low", "close", "volume",
}  # fmt: skip
TIMES = {"quote_as_of", "market_time", "wall_time", "as_of", "seen_at", "time", "start", "end", "next_change"}
PLAIN = re.compile(r"-?(0|[1-9]\d*)(\.\d*[1-9])?")
ERROR = re.compile(r"(?s)[a-z]+(_[a-z]+)*: .+")


class Caller:
    """A client of one server that checks the promises on the way."""

    def __init__(self, client: Client, tools: list[Tool]) -> None:
        self.client = client
        self.tools = {tool.name: tool for tool in tools}

    async def ok(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The object that a call returns, which meets the tool's schema and is the text's too."""
        result = await self.client.call_tool(tool, arguments)
        assert isinstance(result, CallToolResult)
        assert not result.is_error, text_of(result)
        found = result.structured_content
        assert isinstance(found, dict)
        schema = self.tools[tool].output_schema
        assert schema is not None
        Draft202012Validator(schema).validate(found)
        assert json.loads(text_of(result)) == found
        for key, value in leaves(found):
            assert not isinstance(value, float), (key, value)
            if isinstance(value, str) and key in AMOUNTS:
                assert PLAIN.fullmatch(value), (key, value)
            if isinstance(value, str) and key in TIMES:
                assert value.endswith("Z"), (key, value)
                parse_time(value)
        return found

    async def refused(self, tool: str, **arguments: Any) -> str:
        """The text of a refused call, which is `code: sentence` and is marked an error."""
        result = await self.client.call_tool(tool, arguments)
        assert isinstance(result, CallToolResult)
        text = text_of(result)
        assert result.is_error, text
        assert result.structured_content is None
        assert ERROR.fullmatch(text), text
        assert len(text) < 600
        assert "Traceback" not in text
        return text

    async def read(self, uri: str) -> tuple[str, str]:
        """A resource's media type and text."""
        result = await self.client.read_resource(uri)
        (content,) = result.contents
        assert isinstance(content, TextResourceContents)
        return content.mime_type or "", content.text


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar in a JSON value with the name it stands under."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from leaves(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from leaves(each, key)
    else:
        yield key, value


@asynccontextmanager
async def calling(server: MCPServer[Any]) -> AsyncIterator[Caller]:
    """A client in memory."""
    async with Client(server) as client:
        yield Caller(client, (await client.list_tools()).tools)


def check_tools(tools: list[Tool]) -> None:
    """What every tool says of itself, whatever it does."""
    for tool in tools:
        assert tool.description, tool.name
        Draft202012Validator.check_schema(tool.input_schema)
        assert tool.output_schema is not None, tool.name
        Draft202012Validator.check_schema(tool.output_schema)
        assert tool.output_schema["type"] == "object"
        for name, argument in tool.input_schema.get("properties", {}).items():
            assert argument.get("description"), f"{tool.name}.{name}"
        said = tool.annotations
        assert said is not None
        hints = (said.read_only_hint, said.destructive_hint, said.idempotent_hint, said.open_world_hint)
        assert None not in hints, f"{tool.name}: {hints}"


async def check_snapshot(name: str, client: Client) -> None:
    """Compare what the server lists with the snapshot `name`, or write it with UPDATE_SNAPSHOTS=1."""
    tools = (await client.list_tools()).tools
    templates = (await client.list_resource_templates()).resource_templates
    listed = {
        "tools": [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in tools],
        "resource_templates": [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in templates],
    }
    file = SNAPSHOTS / f"{name}.json"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        SNAPSHOTS.mkdir(exist_ok=True)
        file.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert listed == json.loads(file.read_text("utf-8")), f"{name} lists other tools: see {__name__} on how to renew it"


@dataclass(frozen=True)
class Talk:
    """What a server's process answered, by request; what it said on stderr; and its exit code."""

    answers: dict[int, dict[str, Any]]
    stderr: str
    exit_code: int


def talk(module: str, *arguments: str, environment: Mapping[str, str], calls: Sequence[Mapping[str, Any]]) -> Talk:
    """Start a server on stdio, call its tools one by one, and close its input; every line of stdout must be protocol.

    `calls` are the params of `tools/call`; their answers are 1, 2 ...
    """
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    requests = [("initialize", client), *(("tools/call", call) for call in calls)]
    answers: dict[int, dict[str, Any]] = {}
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=SNAPSHOTS.parent.parent,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for number, (method, params) in enumerate(requests):
                _send(process.stdin, {"id": number, "method": method, "params": params})
                line = process.stdout.readline()
                if not line:
                    break
                answer = json.loads(line)
                assert answer["jsonrpc"] == "2.0"
                answers[answer["id"]] = answer["result"]
                if method == "initialize":
                    _send(process.stdin, {"method": "notifications/initialized"})
            process.stdin.close()
            assert process.stdout.read() == ""
            stderr = process.stderr.read()
            return Talk(answers, stderr, process.wait(30))
        finally:
            process.kill()


def _send(stream: IO[str], message: Mapping[str, Any]) -> None:
    with suppress(BrokenPipeError):
        stream.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        stream.flush()
