"""The gate that all requests of one provider and key go through, first come first served, so that no plan is broken.

It learns: from headers how much is left and when it comes back, from refusals how long to wait, and where neither says
a number, how many requests a minute went well. Until it has heard a first answer, and after a refusal, requests go one
at a time. Nobody waits longer than his call may take; who is cancelled frees his place. In process: a floor's traders
are one. Declines to know a plan that its provider never tells before it is broken once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from model_clients.limits import Told
from model_clients.patience import REAL_TIME, Patience

ALONE_S = 5.0
"""How long others wait for the answer of a request that went alone."""
MINUTE_S = 60.0
CLOSED_MAX_S = 120.0
"""A refusal that names a longer wait is asked again after this, by one request: some servers name a year."""


class TooLong(Exception):
    """A request's turn is further away than its call may take: `wait_s` seconds, None where the queue is that long."""

    def __init__(self, wait_s: float | None) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


@dataclass(slots=True)
class _Bucket:
    """One limit: `left` of `limit` at `at`, growing by `rate` a second. All of it is back at `full_at`."""

    limit: float
    left: float
    at: float
    full_at: float
    rate: float

    def now(self, now: float) -> float:
        if now >= self.full_at:
            return self.limit
        return min(self.limit, self.left + self.rate * (now - self.at))

    def take(self, cost: float, now: float) -> None:
        self.left, self.at = self.now(now) - cost, now
        self.full_at = max(self.full_at, now + (self.limit - self.left) / self.rate)

    def wait_s(self, cost: float, now: float) -> float:
        """Until `cost` is there, or all there ever is."""
        missing = min(cost, self.limit) - self.now(now)
        return 0.0 if missing <= 0 else min(missing / self.rate, max(0.0, self.full_at - now))


@dataclass(eq=False, slots=True)
class Passage:
    """One request that went through, until its answer is heard. `costs` are what it takes of each limit."""

    costs: Mapping[str, float]
    gone_at: float = 0.0


class Gate:
    """See the module. Used in one event loop."""

    def __init__(self, patience: Patience = REAL_TIME) -> None:
        self._patience = patience
        # asyncio's locks are first come first served: who was refused keeps his place at the door, before the line
        self._line = asyncio.Lock()
        self._door = asyncio.Lock()
        self._heard = asyncio.Event()
        self._buckets: dict[str, _Bucket] = {}
        self._under_way: set[Passage] = set()
        self._went_well: deque[float] = deque(maxlen=10_000)
        self._a_minute: float | None = None
        self._a_minute_since = 0.0
        self._is_a_minute_told = False
        self._closed_until = 0.0
        self._one_at_a_time = True
        self._refused_in_a_row = 0

    @asynccontextmanager
    async def passage(
        self, costs: Mapping[str, float], deadline: float, *, is_again: bool = False
    ) -> AsyncIterator[Passage]:
        """Wait for the turn of a request that costs so much of each limit; inside, it is under way.

        `is_again`: it was refused, and comes before those that have not been asked. Raises TooLong when its turn would
        be after `deadline` (of the patience's clock).
        """
        passage = Passage(costs)
        try:
            async with asyncio.timeout(max(0.0, deadline - self._patience.monotonic())):
                async with contextlib.nullcontext() if is_again else self._line, self._door:
                    await self._wait(passage, deadline, is_again)
        except TimeoutError:
            raise TooLong(None) from None
        try:
            yield passage
        finally:
            self._over(passage)

    def wait_s(self, costs: Mapping[str, float], *, is_again: bool) -> float:
        """Seconds until a request may go, as far as is known now. A plan that is only guessed binds no second try."""
        now = self._patience.monotonic()
        waits = [bucket.wait_s(costs.get(name, 0.0), now) for name, bucket in self._buckets.items()]
        if self._is_a_minute_told or not is_again:
            waits.append(self._minute_wait_s(now))
        return max(0.0, self._closed_until - now, *waits)

    def _sent(self, passage: Passage) -> None:
        now = passage.gone_at = self._patience.monotonic()
        for name, bucket in self._buckets.items():
            bucket.take(passage.costs.get(name, 0.0), now)
        self._under_way.add(passage)

    def answered(self, passage: Passage, told: Mapping[str, Told]) -> None:
        """The server took it, and says this of its limits."""
        self._tell(passage, told)
        now = self._patience.monotonic()
        self._went_well.append(passage.gone_at)
        self._refused_in_a_row, self._one_at_a_time = 0, False
        is_guess = self._a_minute is not None and not self._is_a_minute_told
        if self._a_minute is not None and is_guess and now - self._a_minute_since >= MINUTE_S:
            self._a_minute, self._a_minute_since = self._a_minute * 1.1 + 1, now

    def refused(
        self, passage: Passage, told: Mapping[str, Told], wait_s: float, *, is_told: bool, a_minute: float | None
    ) -> None:
        """The server takes no more for now: nobody goes for `wait_s`, at most CLOSED_MAX_S,
        and then one at a time.

        `is_told` says whether the wait is the server's own. `a_minute` is the plan's requests a minute, if it said so.
        """
        now = self._patience.monotonic()
        self._tell(passage, told)
        self._closed_until = max(self._closed_until, now + min(wait_s, CLOSED_MAX_S))
        self._one_at_a_time = True
        self._refused_in_a_row += 1
        if a_minute is not None:
            self._a_minute, self._is_a_minute_told = max(1.0, a_minute), True
        elif not is_told and not told and not self._is_a_minute_told and self._refused_in_a_row > 1:
            # short waits did not help: the plan counts by the minute, and this is what it bore
            bore = float(sum(now - MINUTE_S < each for each in self._went_well))
            if bore > 1:  # fewer tell nothing of a plan
                self._a_minute, self._a_minute_since = min(bore, self._a_minute or bore), now

    async def _wait(self, passage: Passage, deadline: float, is_again: bool) -> None:
        while True:
            if self._one_at_a_time and self._under_way:
                self._heard.clear()
                try:
                    async with asyncio.timeout(ALONE_S):
                        await self._heard.wait()
                    continue
                except TimeoutError:
                    pass  # it hangs; that is no reason for all others to
            wait_s = self.wait_s(passage.costs, is_again=is_again)
            if wait_s <= 0:
                self._sent(passage)
                return
            if wait_s >= deadline - self._patience.monotonic():
                raise TooLong(wait_s)
            await self._patience.sleep(wait_s)

    def _over(self, passage: Passage) -> None:
        self._under_way.discard(passage)
        self._heard.set()

    def _minute_wait_s(self, now: float) -> float:
        if self._a_minute is None:
            return 0.0
        while self._went_well and self._went_well[0] <= now - MINUTE_S:
            self._went_well.popleft()
        gone = sorted([*self._went_well, *(each.gone_at for each in self._under_way)])
        room = int(self._a_minute)
        return 0.0 if len(gone) < room else gone[len(gone) - room] + MINUTE_S - now

    def _tell(self, passage: Passage, told: Mapping[str, Told]) -> None:
        now = self._patience.monotonic()
        for name, each in told.items():
            # what is under way may not have been counted yet; if it was, its own answer will say so
            unheard = sum(other.costs.get(name, 0.0) for other in self._under_way if other is not passage)
            known = self._buckets.get(name)
            used = each.limit - each.left
            rate = used / each.reset_s if used > 0 and each.reset_s > 0 else each.limit / MINUTE_S
            if known is not None and known.limit == each.limit:
                # a bucket that refills gives the same rate each time, a window that ends the lowest at its beginning
                rate = min(rate, known.rate)
            left = each.left - unheard
            full_at = now + max(each.reset_s, 0.0)
            self._buckets[name] = _Bucket(each.limit, left, now, full_at, max(rate, 1e-9))
            if unheard:
                self._buckets[name].full_at = max(full_at, now + (each.limit - left) / max(rate, 1e-9))
