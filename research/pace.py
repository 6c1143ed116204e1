"""How fast a search key may ask, as its engine's headers tell: one pace for all traders, since one process asks.

Headers follow the vendor's reference, documentation/web-search/response-headers: `X-RateLimit-Policy: 1;w=1,
15000;w=2592000`, and `-Limit`, `-Remaining` and `-Reset` with a number for each of these windows (seconds).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from research.provider import SearchUnavailable

WAIT_MAX_S = 5.0
UNKNOWN_S = 1.0
"""Between two requests before the first answer: what the smallest plan allows."""
BLOCKED_MAX_S = 3_600.0
"""After a used-up month the engine is asked again each hour: its owner may have bought more."""

_WINDOW = re.compile(r"(\d{1,9});w=(\d{1,9})")


class Pace:
    """Lets requests through one after another; times are seconds of `monotonic`."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]], monotonic: Callable[[], float]) -> None:
        self._sleep = sleep
        self._monotonic = monotonic
        self._apart_s = UNKNOWN_S
        self._next = self._blocked = 0.0

    async def turn(self) -> None:
        """Wait until a request may be sent. Raises SearchUnavailable where that is later than WAIT_MAX_S from now."""
        now = self._monotonic()
        at = max(now, self._next, self._blocked)
        if at - now > WAIT_MAX_S:
            raise SearchUnavailable(
                f"Brave Search takes no request from this key for {at - now:,.0f} s more, as it said; nothing was sent"
            )
        self._next = at + self._apart_s
        if at > now:
            await self._sleep(at - now)

    def learn(self, headers: Mapping[str, str], wait_s: float | None) -> None:
        """From an answer: how far apart requests stand, and until when none may be sent."""
        windows = [(int(limit), int(width)) for limit, width in _WINDOW.findall(headers.get("x-ratelimit-policy", ""))]
        self._apart_s = max((width / limit for limit, width in windows[:1] if limit), default=0.0)
        now = self._monotonic()
        until = max([wait_s or 0.0, *map(float, used_up(headers))])
        self._blocked = now + min(until, BLOCKED_MAX_S)
        if wait_s is not None and wait_s <= WAIT_MAX_S:
            self._next = max(self._next, self._blocked + self._apart_s)  # whoever was refused asks again first
        elif not windows:
            self._next = now


def used_up(headers: Mapping[str, str]) -> list[int]:
    """The seconds until each window that has nothing left begins anew. A window whose limit is 0 has none."""
    told = (numbers(headers.get(f"x-ratelimit-{name}", "")) for name in ("reset", "remaining", "limit"))
    resets, left, limits = told
    limits = limits or [1] * len(left)
    return [reset for reset, rest, limit in zip(resets, left, limits, strict=False) if rest == 0 and limit > 0]


def numbers(header: str) -> list[int]:
    """The whole numbers of a header such as `1, 1419704`; none if it has anything else."""
    parts = [part.strip() for part in header.split(",")]
    return [int(part) for part in parts] if all(re.fullmatch(r"\d{1,9}", part) for part in parts) else []
