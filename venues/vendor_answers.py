"""What a vendor said, kept in the store for every process of the run: asked once, told to all, refusals included.

A good answer stays until a newer one; a failure is told again for some seconds beside it, so that a vendor that is down
costs one wait and not one for each holding. Times here are wall times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

from database import Store, forget_market, read_market, write_market
from values.errors import VenueUnavailable
from venues.polygon_client import VendorFault
from venues.vendor_queue import Flight, VendorQueue

PATIENCE_S = 9.0
LITTLE_PATIENCE_S = 4.0
"""The longest wait for a turn, and for a question that is not urgent; with the answer's own deadline it stays below the
20 s that a tool call may take, and a session that wants many histories hears "try again" before it is over."""
FAILURE_S = 10.0
REFUSAL_S = 60.0
"""How long a failure, and a refusal of the key or the plan, is told again without asking."""
_EVERYWHERE = frozenset({"down", "key", "rate"})
"""Kinds of failure that the next question would meet too."""

Request = Callable[[str, Mapping[str, str]], Mapping[str, Any]]
Ask = Callable[[Request], str]


class AsksVendor(Protocol):
    def ask(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Raises VendorFault."""


class VendorAnswers:
    """`name` begins every key. Safe to use from several threads and processes."""

    def __init__(self, name: str, client: AsksVendor, queue: VendorQueue) -> None:
        self._name = name
        self._client = client
        self._queue = queue

    @property
    def store(self) -> Store:
        return self._queue.store

    def kept(self, key: str) -> tuple[str, datetime] | None:
        """The last good answer, however old, and the wall time at which it came."""
        return read_market(self.store, f"{self._name} {key}")

    def get(
        self, key: str, ask: Ask, max_age: timedelta | None, *, urgent: bool = False, patience_s: float | None = None
    ) -> str:
        """The answer of that key, not older than `max_age` (None: however old), else asked for anew.

        `ask` gets a function that makes one request in its turn, and gives the text to keep. Raises VenueUnavailable.
        """
        if patience_s is None:
            patience_s = PATIENCE_S if urgent else LITTLE_PATIENCE_S
        ends = self._queue.monotonic() + patience_s
        while True:
            if (text := self._fresh(key, max_age)) is not None:
                return text
            with self._queue.flight(f"{self._name} {key}", urgent, ends) as flight:
                if flight is not None:
                    # who had asked before may have been answered between our look and our turn
                    text = self._fresh(key, max_age)
                    return self._asked(key, ask, flight) if text is None else text
            if self._queue.monotonic() >= ends:
                raise VenueUnavailable(f"what another process asks is not answered after {patience_s:g} s; try again")
            self._queue.wait()

    def forget(self, first: str, last: str) -> None:
        """Drop the good answers with keys in [first, last)."""
        forget_market(self.store, f"{self._name} {first}", f"{self._name} {last}")

    def _asked(self, key: str, ask: Ask, flight: Flight) -> str:
        try:
            text = ask(partial(self._request, flight))
        except VendorFault as fault:
            self._fail("fault" if fault.kind in _EVERYWHERE else key, f"{fault.kind} {fault}")
            raise
        except VenueUnavailable as error:
            self._fail(key, f"rate {error}")
            raise
        write_market(self.store, f"{self._name} {key}", text, self._queue.wall())
        return text

    def _request(self, flight: Flight, path: str, params: Mapping[str, str]) -> Mapping[str, Any]:
        with flight.turn():
            try:
                return self._client.ask(path, params)
            except VendorFault as fault:
                if fault.kind == "rate":
                    flight.pause(fault.wait_s)
                raise

    def _fresh(self, key: str, max_age: timedelta | None) -> str | None:
        """Raises VendorFault while a failure of this key, or of all, is young."""
        found = self.kept(key)
        now = self._queue.wall()
        if found is not None and (max_age is None or timedelta(0) <= now - found[1] <= max_age):
            return found[0]
        for name in (key, "fault"):
            failed = read_market(self.store, f"{self._name}! {name}")
            if failed is None or (found is not None and found[1] > failed[1]):
                continue
            kind, _, sentence = failed[0].partition(" ")
            lasts = REFUSAL_S if kind in ("key", "plan") else FAILURE_S
            if timedelta(0) <= now - failed[1] < timedelta(seconds=lasts):
                raise VendorFault(kind, sentence.removeprefix("Polygon "))  # type: ignore[arg-type]
        return None

    def _fail(self, name: str, text: str) -> None:
        write_market(self.store, f"{self._name}! {name}", text, self._queue.wall())
