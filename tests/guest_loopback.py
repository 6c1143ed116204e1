"""An MCP server of the SDK at an address of this machine, and what goes wrong between it and a client."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp.server import MCPServer

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Fault = Callable[["GuestLoopback", Send], Awaitable[None]]


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """`body` in place of the server's answer. Underscores in header names stand for hyphens."""

    async def send_it(_loopback: GuestLoopback, send: Send) -> None:
        usual = {"Content_Type": "application/json"} | headers
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in usual.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    return send_it


def redirect(location: str) -> Fault:
    return answer(307, Location=location)


BOMB = answer(200, gzip.compress(b" " * 20_000_000), Content_Encoding="gzip")
HUGE = answer(200, b" " * 5_000_000)


async def silence(loopback: GuestLoopback, _send: Send) -> None:
    while not loopback.is_over:
        await loopback.tick()


async def drip(loopback: GuestLoopback, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    while not loopback.is_over:
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        await loopback.tick()


@dataclass
class GuestLoopback:
    """`fault` stands before the server while it is set; `seen` has each request's headers, by path."""

    address: str = ""
    fault: Fault | None = None
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    is_over: bool = False

    async def tick(self) -> None:
        await asyncio.sleep(0.02)


def _server() -> MCPServer:
    server = MCPServer("loopback")

    @server.tool(structured_output=False)
    def look(at: str) -> str:
        """Looks."""
        return json.dumps({"at": at})

    return server


@contextmanager
def guest_loopback() -> Iterator[GuestLoopback]:
    loopback = GuestLoopback()
    app = _server().streamable_http_app()

    async def faulty(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            loopback.seen.append((scope["path"], headers))
            if loopback.fault is not None:
                await loopback.fault(loopback, send)
                return
        await app(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        loopback.address = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        server = uvicorn.Server(uvicorn.Config(faulty, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="guest-loopback")
        thread.start()
        try:
            yield loopback
        finally:
            loopback.is_over = True
            server.should_exit = True
            thread.join()
