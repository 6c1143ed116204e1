"""CPU and memory of a process and all that it started. Linux."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

_CPU_CLOCK = 2  # CPUCLOCK_SCHED: nanoseconds on a processor, of all threads


def tree() -> list[int]:
    """This process and all below it. What a server's parent left behind is below nobody: name those by their pids."""
    me = psutil.Process()
    return [me.pid, *(each.pid for each in me.children(recursive=True))]


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds of living processes, to the nanosecond, where psutil's are to the hundredth."""
    return sum(time.clock_gettime((~pid << 3) | _CPU_CLOCK) for pid in pids)


def ended_cpu_s() -> float:
    """CPU seconds of all that this process started and has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def shared_once_mb(pids: Sequence[int]) -> float:
    """Memory with each shared page counted once among those who share it (PSS), in MiB."""
    return sum(_rollup_kb(pid, "Pss") for pid in pids) / 1024


def private_mb(pid: int) -> float:
    """Memory that would be free without this process, in MiB."""
    return (_rollup_kb(pid, "Private_Clean") + _rollup_kb(pid, "Private_Dirty")) / 1024


def _rollup_kb(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise ValueError(f"the kernel tells no {field} of process {pid}")
