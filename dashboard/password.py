"""The owner's password: compared in constant time, and guessed at only so often.

Who guessed wrong too often is not compared at all until a minute has passed, so that trying does not help.
"""

from __future__ import annotations

import hmac
import threading
import time
from collections import deque
from collections.abc import Callable
from hashlib import sha256
from typing import Literal

WRONG_PER_CLIENT_MAX = 5
WRONG_MAX = 20
WINDOW_S = 60.0

Verdict = Literal["right", "wrong", "wait"]


class Password:
    """Safe to ask from several threads. It keeps the password's digest alone, and at most WRONG_MAX wrong tries."""

    def __init__(self, password: str, now: Callable[[], float] = time.monotonic) -> None:
        self._digest = _digest(password)
        self._now = now
        self._wrong: deque[tuple[float, str]] = deque()
        self._turn = threading.Lock()

    def check(self, given: str, client: str) -> Verdict:
        """`wait` when `client`, or all together, were wrong too often within a minute: then nothing is compared."""
        with self._turn:
            now = self._now()
            while self._wrong and self._wrong[0][0] <= now - WINDOW_S:
                self._wrong.popleft()
            of_client = sum(who == client for _, who in self._wrong)
            if of_client >= WRONG_PER_CLIENT_MAX or len(self._wrong) >= WRONG_MAX:
                return "wait"
            if hmac.compare_digest(_digest(given), self._digest):
                return "right"
            self._wrong.append((now, client))
            return "wrong"


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
