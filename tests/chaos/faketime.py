"""Time that passes only when nobody has anything to do: one thread, an event loop and a wall clock that a test moves.

`FakeTime` is the machine's monotonic and wall clock; `VirtualLoop` lets it pass and runs what would go to a worker
thread at once, so that one seed gives one order of events. Inside `faked` the product sees no other time.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from typing import Any, TypeVar
from unittest import mock

import anyio.to_thread
from anyio._backends._asyncio import CancelScope
from sqlalchemy import event
from sqlalchemy.pool import Pool

T = TypeVar("T")


class FakeTime:
    """A machine's two clocks. `delay` gives the seconds that the next piece of a worker's work takes."""

    def __init__(self, wall: datetime, delay: Callable[[], float] = lambda: 0.0) -> None:
        self._began = wall
        self._shifted = timedelta(0)
        self.monotonic = 0.0
        self.delay = delay

    def wall(self) -> datetime:
        return self._began + timedelta(seconds=self.monotonic) + self._shifted

    def seconds(self) -> float:
        return self.monotonic

    def nanoseconds(self) -> int:
        return (self.wall() - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000

    def step(self, by: timedelta) -> None:
        """Somebody sets the wall clock."""
        self._shifted += by

    def sleep(self, how_long: timedelta, *, monotonic_goes_on: bool) -> None:
        """The machine is suspended; whether its monotonic clock goes on meanwhile depends on the system."""
        if monotonic_goes_on:
            self.monotonic += how_long.total_seconds()
        else:
            self._shifted += how_long


class _Idle(selectors.DefaultSelector):
    """Instead of waiting for a timer, lets the time pass."""

    def __init__(self, fake: FakeTime) -> None:
        super().__init__()
        self._fake = fake

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing runs and nothing waits for a time: this floor would hang for ever")
        if not ready and timeout is not None and timeout > 0:
            self._fake.monotonic += timeout
        return ready


class _NumberedTask(asyncio.Task[T]):
    """Tasks live in sets, whose order would follow their addresses in memory; this one's follows their making."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, T], **options: Any) -> None:
        self._number = number  # before the set of all tasks asks for it
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class _OrderedSet(dict[T, None]):
    """As much of a set as anyio asks for."""

    def add(self, item: T) -> None:
        self[item] = None

    def remove(self, item: T) -> None:
        del self[item]


class VirtualLoop(asyncio.SelectorEventLoop):
    """Every wait is over at once, in the order of its time; a worker's work is done when it is handed over."""

    def __init__(self, fake: FakeTime) -> None:
        super().__init__(_Idle(fake))
        self._fake = fake
        numbers = count(1)
        self.set_task_factory(lambda loop, coro, **options: _NumberedTask(next(numbers), coro, loop=loop, **options))

    def time(self) -> float:
        return self._fake.monotonic

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Done now, told after the delay: a caller that is cancelled meanwhile does not undo it, as with a thread."""
        future: asyncio.Future[T] = self.create_future()
        try:
            value = func(*args)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            self.call_later(self._fake.delay(), _fail, future, error)
        else:
            self.call_later(self._fake.delay(), lambda: None if future.cancelled() else future.set_result(value))
        return future


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.cancelled():
        future.set_exception(error)
        future.exception()  # a caller that has left meanwhile is no mistake


def run_virtually(fake: FakeTime, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """`asyncio.run` on a virtual loop."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(fake)) as runner:
        return runner.run(main())


@contextlib.contextmanager
def faked(fake: FakeTime) -> Iterator[None]:
    """Everything in this process asks `fake` what time it is; nothing goes to a worker thread or waits for a disk."""

    class Wall(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            told = fake.wall()
            return told.astimezone(tz) if tz is not None else told.astimezone().replace(tzinfo=None)

    async def in_line(func: Callable[..., T], *args: Any, **_: Any) -> T:
        # anyio waits for its thread even when it is cancelled
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, func, *args))

    make_scope = CancelScope.__init__

    def in_order(scope: Any, *args: Any, **options: Any) -> None:
        make_scope(scope, *args, **options)
        scope._child_scopes = _OrderedSet()

    with contextlib.ExitStack() as patches:
        for where, name, instead in (
            ("values.clock", "datetime", Wall),
            ("opentelemetry.sdk.trace", "time_ns", fake.nanoseconds),
        ):
            patches.enter_context(mock.patch(f"{where}.{name}", instead))
        patches.enter_context(mock.patch.object(time, "monotonic", fake.seconds))
        patches.enter_context(mock.patch.object(anyio.to_thread, "run_sync", in_line))
        patches.enter_context(mock.patch.object(CancelScope, "__init__", in_order))
        event.listen(Pool, "checkout", _no_fsync)
        patches.callback(event.remove, Pool, "checkout", _no_fsync)
        yield


def _no_fsync(connection: Any, record: Any, _proxy: Any) -> None:
    if not record.info.get("no_fsync"):
        connection.execute("PRAGMA synchronous=OFF")
        record.info["no_fsync"] = True
