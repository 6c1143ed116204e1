"""A trader's sessions on a recording: their ids, what models and tools answered in each, and how each ended.

A recorded session that was cut off - halted, out of time or money, interrupted - has answers up to some moment. A
playback that gets there ends the session in the same way.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from recording.recording import Recording

_CUT = ("timed_out", "over_budget", "halted", "interrupted")


class FillOrder:
    """The fills of a recorded run, all traders', in the order of the books: a playback books them in the same order."""

    def __init__(self, recording: Recording) -> None:
        entries = recording.passages("tool %") if recording.is_playing else []
        self._waiting = sorted({fill for *_, answer in entries if (fill := _fill_id(answer)) is not None})
        self._moved = asyncio.Condition()

    @asynccontextmanager
    async def turn(self, fill: int | None) -> AsyncIterator[None]:
        """Wait until every fill before `fill` is booked; None waits for nothing."""
        if fill is None:
            yield
            return
        async with self._moved:
            await self._moved.wait_for(lambda: fill not in self._waiting or self._waiting[0] == fill)
        try:
            yield
        finally:
            async with self._moved:
                if fill in self._waiting:
                    self._waiting.remove(fill)
                self._moved.notify_all()


class SessionRecording:
    """One trader's part of a recording. `on_cut(outcome, reason)` ends the running session of a playback."""

    def __init__(self, recording: Recording, account: str, fills: FillOrder) -> None:
        self.recording = recording
        self._fills = fills
        self.account = account
        self.session_id = ""
        self.on_cut: Callable[[Any, str], None] = lambda outcome, reason: None
        self._sessions = -1
        self._asked: Counter[str] = Counter()

    @property
    def is_playing(self) -> bool:
        return self.recording.is_playing

    def begin(self, session_id: str) -> str:
        """The id of the session that begins now: `session_id` while recording, the recorded one in a playback."""
        self._sessions += 1
        self._asked.clear()
        passage = f"sessions of {self.account}"
        if self.is_playing:
            self.session_id = json.loads(self.recording.read(passage, "begins", n=self._sessions))
        else:
            self.session_id = session_id
            self.recording.write(passage, "begins", json.dumps(session_id), n=self._sessions)
        return self.session_id

    def end(self, outcome: str, reason: str) -> None:
        if not self.is_playing:
            self.recording.write(f"end of {self.session_id}", "ended", json.dumps([outcome, reason]))

    async def model_answer(
        self, digest: str, question: str, ask: Callable[[], Awaitable[str]], explain: Callable[[], str]
    ) -> str:
        """The answer to the model request that `digest` names: the same request may be made again."""
        passage = f"model {self.session_id} {digest}"
        n = self._asked[passage]
        self._asked[passage] += 1
        if not self.is_playing:
            answer = await ask()
            self.recording.write(passage, question, answer, n=n)
            return answer
        found = self.recording.find(passage, n=n)
        if found is None:
            await self._cut()
            raise self.recording.differ(explain())
        return found[1]

    async def tool_answer(
        self, bench: str, tool: str, question: str, ask: Callable[[str], Awaitable[str]], *, acts: bool = False
    ) -> str:
        """What a tool call answered. `ask` gets the passage under which the server asks what it has to ask.

        With `acts` a playback carries the call out too, and what comes of it has to be what was recorded.
        """
        n = self._asked[bench]
        self._asked[bench] += 1
        passage = f"tool {self.session_id} {bench}"
        inner = f"{tool} {self.session_id} {bench} {n}"
        if not self.is_playing:
            answer = await ask(inner)
            self.recording.write(passage, question, answer, n=n)
            return answer
        if self.recording.find(passage, n=n) is None:
            if acts and self.recording.find(inner) is not None:
                await ask(inner)  # the server had it in hand, and nobody was left to hear the answer
            await self._cut()
        recorded = self.recording.read(passage, question, n=n)
        if acts:
            async with self._fills.turn(_fill_id(recorded)):
                answer = await ask(inner)
            if _lasting(answer) != _lasting(recorded):
                where = f"{self.account}'s {tool} in {self.session_id}"
                raise self.recording.differ(f"{where} now answers {answer[:400]}, recorded: {recorded[:400]}")
        return recorded

    def tools(self, bench: str, listed: str) -> str:
        """The tools that `bench` offers, as JSON: `listed` while recording, the recorded ones in a playback."""
        passage = f"tools {self.session_id} {bench}"
        n = self._asked[passage]
        self._asked[passage] += 1
        if not self.is_playing:
            self.recording.write(passage, "listed", listed, n=n)
            return listed
        while n and self.recording.find(passage, n=n) is None:
            n -= 1  # a server was started again in the playback alone
        return self.recording.read(passage, "listed", n=n)

    async def _cut(self) -> None:
        """End the session where the recording of it ends; return where it was not cut off."""
        found = self.recording.find(f"end of {self.session_id}")
        outcome, reason = ("interrupted", "the recording ends here") if found is None else json.loads(found[1])
        if outcome in _CUT:
            self.on_cut(outcome, reason)
            await asyncio.get_running_loop().create_future()  # until the session is ended


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


_PASSING = frozenset({"decision_id", "repeated"})
"""What depends on who was first, and on a server that had died."""


def _fill_id(answer: str) -> int | None:
    """The number of the transaction that a tool's answer tells of."""
    said = json.loads(answer)
    try:
        found = json.loads(said[0]) if isinstance(said, list) and said[1:] == [False] else None
    except ValueError:
        return None
    fill = found.get("transaction_id") if isinstance(found, dict) else None
    return fill if isinstance(fill, int) else None


def _lasting(answer: str) -> object:
    text, is_error = json.loads(answer)
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    if isinstance(found, dict):
        found = {key: value for key, value in found.items() if key not in _PASSING}
    return found, is_error
