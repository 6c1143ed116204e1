"""The newest rendering of each panel, with a version: what every tab gets, however many there are."""

from __future__ import annotations

import threading


class Snapshots:
    """Written by the reader, read by any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._newest: dict[str, tuple[int, object]] = {}

    def newest(self, name: str) -> tuple[int, object]:
        """Version and payload of a panel; `(0, None)` for one that was never rendered."""
        return self._newest.get(name, (0, None))

    def put(self, name: str, payload: object) -> int:
        """The panel's version with this payload: a new one, the next higher, only when it differs."""
        with self._mutex:
            version, known = self._newest.get(name, (0, None))
            if version == 0 or known != payload:
                version += 1
                self._newest[name] = (version, payload)
            return version

    def empty(self, name: str) -> None:
        """The panel shows nothing any more."""
        self.put(name, None)

    def names(self) -> list[str]:
        return list(self._newest)
