"""The dashboard beside a floor: a child process whose address and end are said, and that never disturbs the floor.

It ends when its standard input does, so also when the floor is killed; it sees the settings that it needs alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping

from desks.launch import Launch, seen
from values.settings import PROJECT

END_S = 1.0
"""Wall seconds that it has to end by itself, before it is killed: it writes nothing that could be cut."""
LAST_WORDS_BYTES = 4096


class DashboardProcess:
    """An async context: started inside it, gone after it. `settings` are the variables that it sees."""

    def __init__(self, settings: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._launch = Launch("dashboard", ("--with-floor",), settings, PROJECT, "app")
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._is_ending = False

    @property
    def pid(self) -> int | None:
        """The process, which leads a group of its own; None when there is none."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def __aenter__(self) -> None:
        pipe = asyncio.subprocess.PIPE
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._launch.command,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                cwd=self._launch.folder,
                env=seen(self._launch),
                start_new_session=True,
            )
        except OSError as error:
            self._say(f"the dashboard can't start, the floor goes on: {error}")
            return
        self._watching = asyncio.create_task(self._watch(self._process))

    async def __aexit__(self, *_: object) -> None:
        self._is_ending = True
        process = self._process
        if process is None or self._watching is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await self._watching

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Say what it prints, its address, and if it ends before the floor, why."""
        assert process.stdout is not None
        assert process.stderr is not None
        last_words = asyncio.create_task(_last_words(process.stderr))
        with contextlib.suppress(ValueError):  # a line without end
            async for line in process.stdout:
                self._say(line.decode("utf-8", "replace").rstrip())
        code = await process.wait()
        words = await last_words
        if not self._is_ending:
            self._say(f"the dashboard ended (exit code {code}), the floor goes on{': ' + words if words else ''}")


async def _last_words(stream: asyncio.StreamReader) -> str:
    """The last line of what it said on stderr."""
    kept = b""
    while part := await stream.read(LAST_WORDS_BYTES):
        kept = (kept + part)[-LAST_WORDS_BYTES:]
    lines = kept.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def run_dashboard() -> None:
    """Become the dashboard, on the store that the settings name."""
    os.execv(sys.executable, [sys.executable, str(PROJECT / "app.py")])  # noqa: S606 - our own file, no shell
