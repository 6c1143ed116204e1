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
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from desks.launch import LINE_BYTES_MAX, Launch, seen

READY_S = 30.0
EXIT_S = 1.0
_STDERR = 2


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


class _Breeder:
    """A process that forks another at each request, one at a time. `close` ends it, and nothing that it forked."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(False)
        self._control = control
        self._turn = asyncio.Lock()

    async def fork(self, launch: Launch) -> Forked:
        """A server. Raises OSError when nobody is left to fork it."""
        with contextlib.ExitStack() as ours:
            child_in, to_child = os.pipe()
            from_child, child_out = os.pipe()
            errors, child_errors = os.pipe()
            for descriptor in (to_child, from_child, errors):
                ours.callback(os.close, descriptor)
            streams = (child_in, child_out, child_errors)
            try:
                asking, pid = await self._ask(_request(launch, launch.arguments), streams)
            finally:
                for descriptor in streams:
                    os.close(descriptor)
            ours.pop_all()
        reader, writer = await asyncio.open_unix_connection(sock=asking)
        forked = Forked(reader, writer, pid)
        forked.stdin = await _writer_of(to_child)
        forked.stdout = await _reader_of(from_child)
        forked.stderr = await _reader_of(errors)
        return forked

    async def fork_kind(self, request: bytes) -> _Breeder:
        """A process that has become all that servers of one kind have in common. Raises OSError as `fork` does."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            control, _ = await self._ask(request, (nowhere, nowhere, _STDERR))
        finally:
            os.close(nowhere)
        return _Breeder(control)

    async def _ask(self, request: bytes, streams: tuple[int, int, int]) -> tuple[socket.socket, int]:
        """Have a process forked that becomes what the request says: its end of the request's socket, and its id."""
        asking, asked = socket.socketpair()
        with contextlib.ExitStack() as ours:
            ours.callback(asking.close)
            asking.setblocking(False)
            loop = asyncio.get_running_loop()
            async with self._turn:
                with asked:
                    socket.send_fds(self._control, [b"f"], (asked.fileno(), *streams))
                await loop.sock_sendall(asking, request)
                async with asyncio.timeout(READY_S):
                    told = await loop.sock_recv(asking, 32)
            if not told.strip().isdigit():
                raise OSError("the nursery could not fork a server")
            ours.pop_all()
        return asking, int(told)

    def close(self) -> None:
        self._control.close()


class Nursery:
    """Forks servers of the given modules. An async context; what it forked may live on until its input is closed.

    Servers that are one of many come from a process of their kind, which has done all that they have in common.
    """

    def __init__(self, modules: Sequence[str], folder: Path) -> None:
        self._modules = tuple(modules)
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._breeders: dict[bytes, _Breeder] = {}
        self._starting: defaultdict[bytes, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def knows(self, launch: Launch) -> bool:
        return launch.module in self._modules

    async def spawn(self, launch: Launch) -> ServerProcess:
        """A process of `launch`; a nursery that has died is started again once. Raises OSError when there is none."""
        kind = _request(launch, None) if launch.is_one_of_many else _ANY
        breeder = await self._breeder(kind)
        try:
            return await breeder.fork(launch)
        except OSError:
            breeder = await self._breeder(kind, dead=breeder)
            return await breeder.fork(launch)

    async def _breeder(self, kind: bytes, dead: _Breeder | None = None) -> _Breeder:
        """Who forks servers of this kind, and is not `dead`."""
        async with self._starting[kind]:
            found = self._breeders.get(kind)
            if found is not None and found is not dead:
                return found
            if found is not None:
                found.close()
            self._breeders[kind] = await (self._start() if kind == _ANY else self._start_kind(kind))
            return self._breeders[kind]

    async def _start_kind(self, kind: bytes) -> _Breeder:
        parent = await self._breeder(_ANY)
        try:
            return await parent.fork_kind(kind)
        except OSError:
            parent = await self._breeder(_ANY, dead=parent)
            return await parent.fork_kind(kind)

    async def _start(self) -> _Breeder:
        await self._end()
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
        breeder = _Breeder(ours)
        async with asyncio.timeout(READY_S):
            ready = await asyncio.get_running_loop().sock_recv(ours, 1)
        if not ready:
            raise OSError("the nursery of servers did not start")
        return breeder

    async def stop(self) -> None:
        """End the nursery; the servers that it forked are not touched."""
        for breeder in self._breeders.values():
            breeder.close()
        self._breeders.clear()
        await self._end()

    async def _end(self) -> None:
        if self._process is not None:
            try:
                async with asyncio.timeout(EXIT_S):
                    await self._process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                await self._process.wait()


_ANY = b""
"""The kind of the nursery itself, which can become anything."""


def _request(launch: Launch, arguments: Sequence[str] | None) -> bytes:
    """What to become; without arguments, all that servers of this launch have in common."""
    asked = {
        "module": launch.module,
        "arguments": arguments,
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
