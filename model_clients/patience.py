"""How long a call of a model waits before it tries again: as the server says, else longer each time and by chance.

Holds the functions of time, so that a test brings its own and never sleeps. Sets no limit: the caller's deadline does.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from values.clock import wall_now

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
_SECONDS = re.compile(r"\d{1,9}(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Patience:
    """`sleep` and `monotonic` in seconds; `jitter` gives 0 to 1; `wall` is what HTTP dates are held against."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    monotonic: Callable[[], float] = time.monotonic
    jitter: Callable[[], float] = random.random
    wall: Callable[[], datetime] = wall_now

    def wait_s(self, tries: int, retry_after: str | None = None) -> float:
        """Seconds to wait after `tries` failed tries, given the server's Retry-After header.

        The header counts, as seconds or as an HTTP date, when it can be read. Otherwise half to all of
        FIRST_WAIT_S doubled with each try, at most LONGEST_WAIT_S.
        """
        asked = None if retry_after is None else self._asked_s(retry_after.strip())
        if asked is not None:
            return asked
        full: float = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (tries - 1))
        return full * (0.5 + self.jitter() / 2)

    def _asked_s(self, header: str) -> float | None:
        if _SECONDS.fullmatch(header):
            return float(header)
        try:
            moment = parsedate_to_datetime(header)
        except ValueError:
            return None
        if moment.tzinfo is None:  # the date ends in -0000, which says UTC
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - self.wall()).total_seconds())


REAL_TIME = Patience()
