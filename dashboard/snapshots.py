"""The newest rendering of each panel: made into bytes once, and what every tab gets, however many there are.

One number counts every change of any panel. A tab says up to which it has seen, and gets what came later: panels whole,
lists that grow at their head (`Lines`) without the rows it has.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows of a list with the ids that order them, newest first."""

    rows: Sequence[tuple[int, str]]


class Snapshots:
    """Written by the reader, read by any thread."""

    def __init__(self) -> None:
        self.run = secrets.token_hex(8)
        """Whose numbers these are: those of a dashboard that ran before mean nothing."""
        self._mutex = threading.Lock()
        self._changes = 0
        self._newest: dict[str, tuple[int, object]] = {}
        self._shown: dict[str, _Whole | _Growing] = {}

    def newest(self, name: str) -> tuple[int, object]:
        """The number of a panel's last change, and its payload; `(0, None)` for one that was never rendered."""
        return self._newest.get(name, (0, None))

    def put(self, name: str, payload: object) -> int:
        """The panel shows this payload, a text, a figure, `Lines` or plain lists; its number, new if it differs."""
        shown = _Whole(_encoded(payload)) if not isinstance(payload, Lines) else None
        with self._mutex:
            known = self._shown.get(name)
            number = self._changes + 1
            if isinstance(payload, Lines):
                growing = known if isinstance(known, _Growing) else _Growing()
                has_changed = growing.take(payload, number) or known is None
                self._shown[name] = growing
            else:
                assert shown is not None
                has_changed = known != shown
                self._shown[name] = shown
            if has_changed:
                self._changes = number
                self._newest[name] = (number, payload)
            return self._newest[name][0]

    def empty(self, name: str) -> None:
        """The panel shows nothing any more."""
        self.put(name, None)

    def names(self) -> list[str]:
        return list(self._newest)

    def since(self, run: str, number: int) -> bytes | None:
        """What has changed since a tab asked last, as JSON; None for nothing.

        Another run's tab, and one that says a number that is still to come, get everything.
        """
        with self._mutex:
            if run != self.run or not 0 <= number <= self._changes:
                number = 0
            elif number == self._changes:
                return None
            told = [
                b"%s:%s" % (_encoded(name), self._shown[name].since(number))
                for name, (changed, _) in self._newest.items()
                if changed > number
            ]
            head = b'{"run":"%s","now":%d,"panels":{' % (self.run.encode(), self._changes)
            return head + b",".join(told) + b"}}"


@dataclass(frozen=True, slots=True)
class _Whole:
    encoded: bytes

    def since(self, _: int) -> bytes:
        return self.encoded


class _Growing:
    """Each row's bytes with the number at which it came in."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[int, str, bytes]] = {}
        self._whole_at = 0

    def take(self, lines: Lines, number: int) -> bool:
        """Whether anything is new. Rows may only come in and, at the old end, leave; else the list is another."""
        rows: dict[int, tuple[int, str, bytes]] = {}
        for each, text in lines.rows:
            known = self._rows.get(each)
            same = known is not None and known[1] == text
            rows[each] = known if known and same else (number, text, _encoded([each, text]))
        if rows == self._rows:
            return False
        oldest = min(rows, default=0)
        if not self._rows or any(rows.get(each) != row for each, row in self._rows.items() if each >= oldest):
            self._whole_at = number
        self._rows = rows
        return True

    def since(self, number: int) -> bytes:
        is_whole = number < self._whole_at
        new = [encoded for at, _, encoded in self._rows.values() if is_whole or at > number]
        return b'{"whole":%s,"kept":%d,"rows":[%s]}' % (
            b"true" if is_whole else b"false", len(self._rows), b",".join(new),
        )  # fmt: skip


def _encoded(payload: object) -> bytes:
    if isinstance(payload, go.Figure):
        return str(payload.to_json(validate=False)).encode()
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
