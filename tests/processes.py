"""Which processes are still there: an ended one counts as gone, whether or not anybody has asked how it ended."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence

import psutil


def still_running(processes: Sequence[psutil.Process], timeout_s: float = 20.0) -> list[psutil.Process]:
    """Those that have not ended within `timeout_s`."""
    if not hasattr(os, "pidfd_open"):
        return psutil.wait_procs(processes, timeout=timeout_s)[1]
    deadline = time.monotonic() + timeout_s
    return [each for each in processes if not _ends(each.pid, deadline)]


def _ends(pid: int, deadline: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))
    finally:
        os.close(descriptor)
