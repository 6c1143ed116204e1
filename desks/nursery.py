"""The floor's side of `wire/nursery.py`: server processes forked from one that has imported already.

Third-party servers, and those that other clients launch, are spawned in the ordinary way; both look alike from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from desks.launch import LINE_BYTES_MAX, Launch, seen

READY_S = 30.0
EXIT_S = 1.0


class ServerProcess(Protocol):
    """What a connection needs of a process; asyncio's own has it too."""

    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader | None
    stderr: asyncio.StreamReader | None

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    async def wait(self) -> int: ...


class Forked:
    """A process that the nursery forked. How it ended is not known: `returncode` is 0 once it has."""

    def __init__(self, request: asyncio.StreamReader, request_writer: asyncio.StreamWriter, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._writer = request_writer
        self._ended = asyncio.create_task(self._end(request))

    async def _end(self, request: asyncio.StreamReader) -> int:
        with contextlib.suppress(ConnectionError):
            await request.read()
        self.returncode = 0
        self._writer.close()
        return 0

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)


class Nursery:
    """Forks servers of the given modules. An async context; what it forked may live on until its input is closed."""

    def __init__(self, modules: Sequence[str], folder: Path) -> None:
        self._modules = tuple(modules)
        self._folder = folder
        self._control: socket.socket | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def knows(self, launch: Launch) -> bool:
        return launch.module in self._modules

    async def spawn(self, launch: Launch) -> ServerProcess:
        """A process of `launch`; a nursery that has died is started again once. Raises OSError when there is none."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                await self._start()
            try:
                return await self._fork(launch)
            except OSError:
                await self.stop()
                await self._start()
                return await self._fork(launch)

    async def _fork(self, launch: Launch) -> ServerProcess:
        assert self._control is not None
        with contextlib.ExitStack() as ours:
            asking, asked = socket.socketpair()
            ours.callback(asking.close)
            child_in, to_child = os.pipe()
            from_child, child_out = os.pipe()
            errors, child_errors = os.pipe()
            for descriptor in (to_child, from_child, errors):
                ours.callback(os.close, descriptor)
            given = (asked.fileno(), child_in, child_out, child_errors)
            try:
                await asyncio.to_thread(socket.send_fds, self._control, [b"f"], given)
            finally:
                asked.close()
                for descriptor in given[1:]:
                    os.close(descriptor)
            asking.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(asking, _request(launch))
            async with asyncio.timeout(READY_S):
                told = await loop.sock_recv(asking, 32)
            if not told.strip().isdigit():
                raise OSError(f"the nursery could not fork the {launch.name} server")
            ours.pop_all()
        reader, writer = await asyncio.open_unix_connection(sock=asking)
        forked = Forked(reader, writer, int(told))
        forked.stdin = await _writer_of(to_child)
        forked.stdout = await _reader_of(from_child)
        forked.stderr = await _reader_of(errors)
        return forked

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "wire.nursery",
            str(theirs.fileno()),
            *self._modules,
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            env=seen(None),
            cwd=self._folder,
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._control = ours
        async with asyncio.timeout(READY_S):
            ready = await asyncio.get_running_loop().sock_recv(ours, 1)
        if not ready:
            raise OSError("the nursery of servers did not start")
        ours.setblocking(True)

    async def stop(self) -> None:
        """End the nursery; what it forked is not touched."""
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            try:
                async with asyncio.timeout(EXIT_S):
                    await self._process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                await self._process.wait()


def _request(launch: Launch) -> bytes:
    asked = {
        "module": launch.module,
        "arguments": launch.arguments,
        "environment": seen(launch),
        "folder": str(launch.folder),
    }
    return json.dumps(asked).encode() + b"\n"


async def _reader_of(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader


async def _writer_of(descriptor: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb", buffering=0)
    )
    return asyncio.StreamWriter(transport, protocol, None, loop)
