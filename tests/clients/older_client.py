# mypy: ignore-errors
"""A client of the older protocol: run by mcp 1.x in build/clients, where nothing of this project is installed.

`older_client.py CONFIG CALLS`: starts every server of a plain configuration file at once; CALLS is JSON, by entry a
list of [tool, arguments] and a list of addresses to read. Prints what each server answered as one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client


async def ask(entry: dict, calls: list, addresses: list) -> dict:
    parameters = StdioServerParameters(command=entry["command"], args=entry["args"], env=entry["env"])
    async with stdio_client(parameters) as (reading, writing), ClientSession(reading, writing) as session:
        begun = await session.initialize()
        return {
            "protocol": begun.protocolVersion,
            "server": begun.serverInfo.name,
            "tools": [tool.model_dump(mode="json") for tool in (await session.list_tools()).tools],
            "templates": [each.uriTemplate for each in (await session.list_resource_templates()).resourceTemplates],
            "calls": [(await session.call_tool(tool, arguments)).model_dump(mode="json") for tool, arguments in calls],
            "resources": [(await session.read_resource(address)).contents[0].text for address in addresses],
        }


async def main(entries: dict, wanted: dict) -> None:
    answers = await asyncio.gather(*(ask(entry, *wanted[name]) for name, entry in entries.items()))
    print(json.dumps(dict(zip(entries, answers, strict=True))))


asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())["mcpServers"], json.loads(sys.argv[2])))
