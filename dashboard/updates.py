"""What an open tab asks twice a second: which panels have changed since. It costs nothing when none has.

The answer is put together from bytes that all tabs share. Nothing is kept of a tab: it says itself what it has seen.
"""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from dashboard.snapshots import Snapshots

PATH = "/updates"
EVERY_S = 0.75
EXPECTED = 'expected {"run": a text, "seen": a whole number}'


class Updates:
    """The route's function. A question is `{"run": "", "seen": 0}` at first, then what the last answer said."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    async def answer(self, request: Request) -> Response:
        """200 with what is new, 204 when nothing is, 400 for another question."""
        try:
            asked = json.loads(await request.body())
            run, seen = asked["run"], asked["seen"]
            if not isinstance(run, str) or type(seen) is not int:
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError):
            return Response(EXPECTED, 400, media_type="text/plain")
        told = self._snapshots.since(run, seen)
        return Response(status_code=204) if told is None else Response(told, media_type="application/json")
