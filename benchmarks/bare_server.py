"""The baseline of every figure about servers: an MCP server of the SDK with one tool and nothing else, spawned."""

from __future__ import annotations

import sys

from desks.launch import Launch
from values.settings import PROJECT

TOOL = "echo"
ARGUMENTS = {"text": "hello"}
_SOURCE = """
from mcp.server import MCPServer
server = MCPServer("bare")
@server.tool()
def echo(text: str) -> str:
    return text
server.run("stdio")
"""
BARE = Launch("bare", (sys.executable, "-c", _SOURCE), {}, PROJECT)
