"""Fair turns for SQLite's one writer: a lock file that waiting writers get in the order they asked.

SQLite's own busy handler sleeps and tries again, so that under load some writer starves. Blocking flock(2) queues in
the kernel; it has no time limit of its own, so a writer that has to wait does so in a thread it can leave behind.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from values.errors import StoreBusy

WAIT_S = 10.0
"""How long a write waits for its turn before StoreBusy."""


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class _Waiter:
    """One blocking flock in a thread. Whoever comes second, the lock or the deadline, cleans up."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mutex = threading.Lock()
        self._granted = threading.Event()
        self._left = False
        self._error: OSError | None = None
        threading.Thread(target=self._wait, name="store-turn", daemon=True).start()

    def _wait(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        except OSError as error:
            self._error = error
        with self._mutex:
            self._granted.set()
            if self._left:
                os.close(self._descriptor)

    def wait(self, timeout_s: float) -> bool:
        """Whether the turn came in time; when not, the thread gives it back as soon as it comes."""
        self._granted.wait(timeout_s)
        with self._mutex:
            if self._granted.is_set():
                if self._error is not None:
                    raise self._error
                return True
            self._left = True
            return False


@contextmanager
def turn(path: Path, timeout_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock file at `path`. Raises StoreBusy when it is not free within `timeout_s`."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not _Waiter(descriptor).wait(timeout_s):
            raise StoreBusy(
                f"another process has been writing to {path.name.removesuffix('.lock')} for over {timeout_s:g} s; "
                "nothing was written, try again"
            ) from None
    try:
        yield
    finally:
        os.close(descriptor)  # closing releases the lock


def try_turn(path: Path) -> int | None:
    """An open descriptor that holds the lock file, or None when somebody else does. Close it to release."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_taken(path: Path) -> bool:
    """Whether somebody holds the lock file. Those who ask don't see each other, and are done in microseconds."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
