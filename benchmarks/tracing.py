"""The tracer at a thousand spans a second: how late the event loop is, and whether every row is in the store, in order.

The loop has the same work, with and without the tracer, in turns of a few seconds each. Other programs make it late as
well, so what is judged is less the time for which the loop's thread, or one that it waited for, was ready and had no
core, which the kernel counts; the whole is shown beside it. Linux.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from io import FileIO
from itertools import pairwise
from pathlib import Path

from opentelemetry import trace
from sqlalchemy import select

from benchmarks.books import Books, open_books
from benchmarks.figure import Figure
from database import write_log
from store import tables
from tracers import LogTracer, record_result, session_span, tool_span
from trading_floor import settle

SPANS_A_SECOND = 1_000
BURST = 10
"""Spans that are opened and closed at once, as by a cycle's sessions."""
TURNS = 5
TURN_S = 4.0
BEAT_S = 0.002
LATE_GOAL_MS = 20.0
ARGUMENTS = {"symbol": "NVDA", "quantity": "3", "rationale": "It fell below its own average of fifty days. " * 4}
RESULT = '{"symbol":"NVDA","price":"187.42","source":"simulated","as_of":"2026-03-02T15:00:00Z"}' * 4


@dataclass(slots=True)
class Lateness:
    """By how many milliseconds each heartbeat was late: in all, and for reasons of this process."""

    whole: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)


def measure() -> list[Figure]:
    import commands.run  # noqa: F401 - all that a floor's process holds, and its collector would walk

    settle()
    with tempfile.TemporaryDirectory() as folder, open_books(Path(folder), []) as books:
        with LogTracer(lambda rows: write_log(books.store, rows)) as tracer:
            traced, bare, made = asyncio.run(_turns(tracer))
            assert tracer.flush(30.0), "the tracer did not write all within 30 s"
        lost, misplaced = _judge(books, made)
    rate = made / (TURNS * TURN_S)
    at = f"at {SPANS_A_SECOND:,} spans a second"
    return [
        Figure("spans a second through the tracer", rate, "1/s", goal=SPANS_A_SECOND * 0.95, at_least=True),
        Figure(f"event loop blocked at most {at}", max(traced.own), "ms", max(bare.own), LATE_GOAL_MS),
        Figure(f"event loop late at most {at}, other programs included", max(traced.whole), "ms", max(bare.whole)),
        Figure(f"log rows lost of {made:,}", lost, "", goal=0),
        Figure(f"log rows out of order of {made:,}", misplaced, "", goal=0),
    ]


async def _turns(tracer: LogTracer) -> tuple[Lateness, Lateness, int]:
    """With the tracer, without it, and how many tool spans were made."""
    traced, bare = Lateness(), Lateness()
    made = 0
    for _ in range(TURNS):
        async with _heartbeat(bare):
            await _work(trace.NoOpTracer(), 0)
        async with _heartbeat(traced):
            made = await _work(tracer.tracer, made)
    return traced, bare, made


async def _work(tracer: trace.Tracer, numbered_from: int) -> int:
    """Tool spans at the rate that is asked for, for TURN_S; the number of the next."""
    number, began = numbered_from, time.monotonic()
    with session_span(tracer, "warren", f"trace_warren{numbered_from}", "trade"):
        while (elapsed := time.monotonic() - began) < TURN_S:
            due = numbered_from + int(elapsed * SPANS_A_SECOND)
            for _ in range(min(BURST, due - number)):
                with tool_span(tracer, "lookup_share_price", f"call_{number}", ARGUMENTS) as span:
                    record_result(span, f"{number} {RESULT}")
                number += 1
            await asyncio.sleep(0 if due - number > BURST else BURST / SPANS_A_SECOND / 2)
    return number


@contextlib.asynccontextmanager
async def _heartbeat(late: Lateness) -> AsyncIterator[None]:
    """Notes, every BEAT_S, how much later than asked for the loop came round."""
    with contextlib.ExitStack() as files:
        loop = files.enter_context(FileIO(f"/proc/self/task/{threading.get_native_id()}/schedstat"))
        others = [files.enter_context(each) for each in _other_threads()]

        async def beat() -> None:
            while True:
                began, ran, waited, others_waited = _times(loop, others)
                await asyncio.sleep(BEAT_S)
                now, ran_now, waited_now, others_waited_now = _times(loop, others)
                late.whole.append((now - began - BEAT_S) * 1000)
                waiting = waited_now - waited
                stood_still = max(0.0, now - began - (ran_now - ran) - waiting)
                # while the loop neither ran nor waited for a core, another thread that did may have held it up
                excused = waiting + min(stood_still, others_waited_now - others_waited)
                late.own.append(max(0.0, now - began - BEAT_S - excused) * 1000)

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            await asyncio.wait({beating})


def _times(loop: FileIO, others: Sequence[FileIO]) -> tuple[float, float, float, float]:
    """Seconds: now, for which the loop's thread ran, for which it waited for a core, for which the others did."""
    return time.perf_counter(), time.thread_time(), _waited_s(loop), sum(map(_waited_s, others))


def _other_threads() -> list[FileIO]:
    """What the scheduler says of each thread of this process but this one."""
    own = str(threading.get_native_id())
    return [FileIO(each / "schedstat") for each in Path("/proc/self/task").iterdir() if each.name != own]


def _waited_s(thread: FileIO) -> float:
    """Seconds for which a thread was ready to run and had no core."""
    return int(os.pread(thread.fileno(), 100, 0).split()[1]) / 1e9


def _judge(books: Books, made: int) -> tuple[int, int]:
    """Of the tool spans: how many have no row, and how many rows stand before one of an earlier span."""
    logs = tables.logs.c
    with books.store.read() as connection:
        found = connection.execute(select(logs.result).where(logs.tool.is_not(None)).order_by(logs.id)).scalars()
        numbers = [int(result.split(" ", 1)[0]) for result in found]
    misplaced = sum(earlier > later for earlier, later in pairwise(numbers))
    return made - len(set(numbers)), misplaced
