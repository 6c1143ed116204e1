"""A server's process spoken to in bytes, spawned or forked: what is sent need be no protocol, what comes back must."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from desks.launch import LINE_BYTES_MAX, Launch, seen
from desks.nursery import Nursery, ServerProcess

DEADLINE_S = 60.0
"""How long a test waits for what must come; never what it expects to wait."""
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}

Message = dict[str, Any]


def request(request_id: object, method: str, params: object = None) -> Message:
    return {"jsonrpc": "2.0", "id": request_id, "method": method} | ({} if params is None else {"params": params})


def call(request_id: object, tool: str, **arguments: object) -> Message:
    return request(request_id, "tools/call", {"name": tool, "arguments": arguments})


def encoded(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


@dataclass
class RawServer:
    process: ServerProcess
    _words: list[str] = field(default_factory=list)
    _probes: int = 0

    async def send(self, *lines: bytes | Message) -> None:
        assert self.process.stdin is not None
        for line in lines:
            self.process.stdin.write((line if isinstance(line, bytes) else encoded(line)) + b"\n")
        async with asyncio.timeout(DEADLINE_S):
            await self.process.stdin.drain()

    async def received(self) -> Message:
        """The next line of its output. Raises AssertionError for what is no message, EOFError at the end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            line = await self.process.stdout.readline()
        if not line:
            raise EOFError(self.words())
        message = json.loads(line)
        assert isinstance(message, dict), line[:200]
        assert message["jsonrpc"] == "2.0", line[:200]
        assert ("result" in message) != ("error" in message), line[:200]
        return message

    async def answers(self, wanted: Sequence[object]) -> list[Message]:
        """Every message until those of these ids and of a ping sent now have come."""
        self._probes += 1
        probe = f"probe {self._probes}"
        await self.send(request(probe, "ping"))
        missing = [probe, *wanted]
        got: list[Message] = []
        while missing:
            message = await self.received()
            if message["id"] in missing:
                missing.remove(message["id"])
            if message["id"] != probe:
                got.append(message)
        return got

    async def answers_to(self, line: bytes, wanted: Sequence[object]) -> list[Message]:
        await self.send(line)
        return await self.answers(wanted)

    async def answer(self, message: Message) -> Message:
        await self.send(message)
        return next(each for each in await self.answers([message["id"]]) if each["id"] == message["id"])

    async def greet(self) -> None:
        answer = await self.answer(request("hello", "initialize", HELLO))
        assert "serverInfo" in answer["result"]
        await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def rest(self) -> list[Message]:
        """Close its input; what it still says, until it has ended."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        got = []
        with contextlib.suppress(EOFError):
            while True:
                got.append(await self.received())
        async with asyncio.timeout(DEADLINE_S):
            await self.process.wait()
        return got

    def words(self) -> str:
        """What it said on stderr so far."""
        return "".join(self._words)

    async def listen(self) -> None:
        assert self.process.stderr is not None
        while part := await self.process.stderr.read(65536):
            self._words.append(part.decode("utf-8", "replace"))


async def spawn(launch: Launch, nursery: Nursery | None = None) -> ServerProcess:
    """A process of `launch`: forked by the nursery, or, without one, started in the ordinary way."""
    if nursery is not None:
        return await nursery.spawn(launch)
    return await asyncio.create_subprocess_exec(
        *launch.command, stdin=-1, stdout=-1, stderr=-1, env=seen(launch), cwd=launch.folder, limit=LINE_BYTES_MAX
    )


@asynccontextmanager
async def raw_server(launch: Launch, nursery: Nursery | None = None) -> AsyncIterator[RawServer]:
    server = RawServer(await spawn(launch, nursery))
    listening = asyncio.create_task(server.listen())
    try:
        yield server
    finally:
        assert server.process.stdin is not None
        server.process.stdin.close()
        async with asyncio.timeout(DEADLINE_S):
            await server.process.wait()
            await listening


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held at once (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
