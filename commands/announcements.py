"""The floor's messages to its owner, as a task of their own: what is new is told, what is due is sent.

A send runs in a thread that no session and no end of the floor waits for: a floor that is told to stop leaves what is
held to the next one, and one that ends by itself gives it END_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any

from database import Store
from push.bundle import Bundle, take_due
from push.digest import Digest
from push.events import BURST, Announcer
from push.outbox import Carrier, Outbox, outcome
from push.targets import Delivery
from push.watch import Watch
from values.clock import Clock
from values.errors import StoreUnusable
from values.settings import PushSettings

LOOK_S = 1.0
END_S = 5.0
"""Wall seconds that a floor which ends by itself waits for its last message."""


class Announcements:
    """An async context around a floor's run. `stopped` returns once the floor was told to stop."""

    def __init__(
        self, store: Store, carrier: Carrier, clock: Clock, settings: PushSettings, say: Callable[[str], None],
        stopped: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:  # fmt: skip
        self.announcer = Announcer.of(store, clock, settings)
        self._store = store
        self._clock = clock
        self._carrier = carrier
        self._outbox = Outbox(store, carrier, clock)
        self._watch = Watch(store, clock, self.announcer)
        self._digest = Digest(store, clock, self.announcer, settings)
        self._say = say
        self._stopped = stopped
        self._task: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._is_failing = False

    async def __aenter__(self) -> Announcements:
        self._task = asyncio.create_task(self._keep_looking())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
        stopped = asyncio.create_task(self._stopped())
        rest = asyncio.create_task(self._send_the_rest())
        await asyncio.wait({rest, stopped}, timeout=END_S, return_when=asyncio.FIRST_COMPLETED)
        rest.cancel()
        await asyncio.wait({rest})
        stopped.cancel()
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})

    async def tell_error(self, title: str, text: str) -> None:
        """Something went wrong with the floor itself."""
        try:
            await asyncio.to_thread(self.announcer.announce, "error", None, title, text)
        except StoreUnusable as error:
            self._say(f"the owner is not told of that: {error}")

    async def look(self, ahead: timedelta = timedelta(0)) -> None:
        """Tell what is new, and begin to send what is due unless something is on its way still."""
        try:
            await asyncio.to_thread(self._watch.look)
            await asyncio.to_thread(self._digest.look)
            if self._sending is None or self._sending.done():
                bundle = await asyncio.to_thread(take_due, self._store, self._clock, self.announcer.levels, ahead)
                self._sending = None if bundle is None else asyncio.create_task(self._send(bundle))
            self._is_failing = False
        except StoreUnusable as error:
            if not self._is_failing:
                self._say(f"messages to the owner wait for the store: {error}")
            self._is_failing = True

    async def _keep_looking(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def _send_the_rest(self) -> None:
        """What is held for a burst's end, but nothing that waits for a night's."""
        if self._sending is not None:
            await asyncio.wait({self._sending})
        await self.look(ahead=BURST)
        if self._sending is not None:
            await asyncio.wait({self._sending})

    async def _send(self, bundle: Bundle) -> None:
        deliveries = await self._delivered(bundle)
        await asyncio.to_thread(self._outbox.settle, outcome(bundle.number, bundle.account, bundle.message, deliveries))

    async def _delivered(self, bundle: Bundle) -> Sequence[Delivery]:
        """What the targets made of it. The thread is left behind when this is cancelled: its network may hang."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Sequence[Delivery]] = loop.create_future()

        def tell(deliveries: Sequence[Delivery]) -> None:
            if not told.done():
                told.set_result(deliveries)

        def send() -> None:
            deliveries = self._carrier.deliver(bundle.title, bundle.message, is_silent=bundle.is_silent)
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(tell, deliveries)

        threading.Thread(target=send, name="announcements", daemon=True).start()
        return await told
