"""Server processes that are tasks of this process: what `desks/` takes for a nursery and its forks.

All of the floor's side is the product's - connection, deadlines, restarts, protocol - and so is the server behind the
pipe. Only the process between them is made up, so that it can die, hang or answer nonsense when a seed says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from mcp.server.stdio import stdio_server

from desks.launch import LINE_BYTES_MAX, Launch
from tests.chaos.faults import HOST, Faults, Host
from tests.chaos.machine import Died
from values.errors import StoreUnusable
from wire.server import RefusingServer

Make = Callable[[contextlib.ExitStack, Launch], RefusingServer]
FIRST_PID = 1 << 28
"""Beyond any process of a real machine: a kill that went astray would find nobody."""


class Process:
    """One server. It ends with its input, when it is killed, and when its fate comes."""

    def __init__(
        self, pid: int, launch: Launch, make: Make, faults: Faults, crashed: list[str], *, is_first: bool
    ) -> None:
        self.pid = pid
        self._crashed = crashed
        self.returncode: int | None = None
        self.host = Host(launch.name)
        self.stdin: Any = self
        self.stdout = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        self.stderr = asyncio.StreamReader()
        self._launch, self._make, self._faults, self._is_first = launch, make, faults, is_first
        self._input: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._called: set[object] = set()
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._live())

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        self.host.is_dead = True
        self._end(-9)
        self._task.cancel()

    def write(self, line: bytes) -> None:
        """What the floor's side writes to standard input."""
        if b'"tools/call"' in line:
            if self._faults.strikes("server dies between calls"):
                self.kill()
            self._called.add(json.loads(line).get("id"))
        self._input.put_nowait(line)

    async def drain(self) -> None:
        if self.returncode is not None:
            raise BrokenPipeError

    def close(self) -> None:
        self._input.put_nowait(None)

    async def _lines(self) -> AsyncIterator[bytes]:
        while (line := await self._input.get()) is not None:
            yield line

    async def _live(self) -> None:
        HOST.set(self.host)
        with contextlib.ExitStack() as stack:
            stack.callback(self._end, 0)
            try:
                await self._serve(stack)
            except BaseExceptionGroup as ends:  # the SDK's task groups end with one, whatever ended them
                if ends.subgroup(Died) is None and not self.host.is_dead:
                    self._crashed.append(f"the {self.host.name} server crashed: {ends!r}")
                self.host.is_dead = True
                if self.host.fate is not None and "hangs" in self.host.fate:
                    await asyncio.Event().wait()  # until somebody kills it

    async def _serve(self, stack: contextlib.ExitStack) -> None:
        try:
            if not self._is_first and self._faults.strikes("server does not start"):
                raise StoreUnusable("the store can't be opened")
            server = self._make(stack, self._launch)
        except StoreUnusable as error:
            self.stderr.feed_data(f"{error}\n".encode())
            return
        async with stdio_server(self._lines(), _Output(self)) as (reading, writing):  # type: ignore[arg-type]
            inner = server._lowlevel_server
            await inner.run(reading, writing, inner.create_initialization_options())

    def _end(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            self.stdout.feed_eof()
            self.stderr.feed_eof()
            self._ended.set()

    def answer(self, text: str) -> None:
        """What the server writes to standard output."""
        if self.returncode is not None or self.host.is_dead:
            return
        number = json.loads(text).get("id")
        if number in self._called and self._faults.strikes("server answers with an error"):
            error = {"code": -32603, "message": "the server lost its mind"}
            text = json.dumps({"jsonrpc": "2.0", "id": number, "error": error})
        self.stdout.feed_data(text.rstrip().encode() + b"\n")


class _Output:
    """Standard output as the SDK writes to it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def write(self, text: str) -> None:
        self._process.answer(text)

    async def flush(self) -> None:
        """A line is out when it is written."""


class InProcessNursery:
    """Stands where `desks.nursery.Nursery` does. `makers` has a server's maker by its module."""

    def __init__(self, makers: dict[str, Make], faults: Faults, crashed: list[str]) -> None:
        self._crashed = crashed
        self._makers = makers
        self._faults = faults
        self.processes: dict[int, Process] = {}
        self._started: set[str] = set()

    def knows(self, launch: Launch) -> bool:
        return launch.module in self._makers

    async def spawn(self, launch: Launch) -> Process:
        assert launch.module is not None
        pid = FIRST_PID + len(self.processes)
        is_first = launch.name not in self._started
        self._started.add(launch.name)
        process = Process(pid, launch, self._makers[launch.module], self._faults, self._crashed, is_first=is_first)
        self.processes[pid] = process
        return process

    async def stop(self) -> None:
        """Each server has ended with its input."""

    def killpg(self, pid: int, _signal: int) -> None:
        """Stands where `os.killpg` does."""
        if pid not in self.processes or self.processes[pid].returncode is not None:
            raise ProcessLookupError(pid)
        self.processes[pid].kill()

    def __call__(self, _modules: Sequence[str], _folder: Path) -> InProcessNursery:
        return self
