"""A run's recording: what the world answered, in a file that plays it again, beside a copy of the store as it was.

It is one SQLite file that several processes write. An entry stands under a passage - a model's call, one tool call,
one look of the floor - and has a question and its answer, as JSON. A playback asks the same questions in the same
order within each passage; the first that differs is kept as the reason why the playback ends. Nothing secret is asked
or answered here: `hide` takes out what must not stay.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from values.clock import parse_time
from values.errors import Refused

FORMAT = "trading-floor recording 1"
WAIT_S = 30.0
SHOWN_CHARS = 160
PASSAGE = "trading-floor/passage"
"""In a call's `_meta`: the passage under which its server puts, or finds, what it asks of the market."""

_TABLES = (
    "CREATE TABLE recording_facts (name TEXT PRIMARY KEY, fact TEXT NOT NULL)",
    "CREATE TABLE recording_entries (passage TEXT NOT NULL, attempt INTEGER NOT NULL, n INTEGER NOT NULL, "
    "question TEXT NOT NULL, answer TEXT NOT NULL, PRIMARY KEY (passage, attempt, n))",
)
_current: ContextVar[_Passage | None] = ContextVar("passage", default=None)


class Differs(Exception):
    """A playback came to something that the recording does not have."""


@dataclass(slots=True)
class _Passage:
    name: str
    attempt: int = 0
    n: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Recording:
    """An open recording: `record` writes to it, `play` reads from it."""

    def __init__(self, path: Path, mode: Literal["record", "play"], hide: Callable[[str], str] = str) -> None:
        self.path = path
        self.is_playing = mode == "play"
        self.hide = hide
        self._lock = threading.Lock()
        self._difference: str | None = None
        self.on_difference: Callable[[], object] | None = None
        if not path.is_file():
            raise Refused("no_recording", f"there is no recording {path}: make one with `trading-floor run --record`")
        uri = f"{path.absolute().as_uri()}{'?mode=ro' if self.is_playing else '?mode=rw'}"
        self._file = sqlite3.connect(uri, uri=True, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
        try:
            self._check()
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def begin(cls, path: Path) -> None:
        """Make the recording's tables in the file at `path`, which is a copy of the store."""
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
            for statement in _TABLES:
                file.execute(statement)
            file.execute("CREATE INDEX recording_questions ON recording_entries (question) WHERE length(question) < 60")
            file.execute("INSERT INTO recording_facts VALUES ('format', ?)", (json.dumps(FORMAT),))
            file.execute("PRAGMA journal_mode = WAL")
            file.execute("PRAGMA synchronous = NORMAL")

    def _check(self) -> None:
        try:
            found = self._fact("format")
        except sqlite3.DatabaseError:
            found = None
        if found != FORMAT:
            raise Refused("no_recording", f"{self.path} is no recording of this floor's: expected a file of --record")

    @property
    def difference(self) -> str | None:
        """The first difference of a playback, as a sentence; None while there is none."""
        return self._difference

    def differ(self, sentence: str) -> Differs:
        """Keep the first difference; the error to raise where work can't go on."""
        with self._lock:
            is_first = self._difference is None
            self._difference = self._difference or sentence
        if is_first and self.on_difference is not None:
            self.on_difference()
        return Differs(sentence)

    def note(self, name: str, fact: object) -> None:
        """Keep a fact of the whole run, as JSON; a later one of the same name replaces it."""
        self._run("INSERT OR REPLACE INTO recording_facts VALUES (?, ?)", (name, self.hide(json.dumps(fact))))

    def fact(self, name: str) -> object:
        """A fact of the run. Raises Refused `no_recording` where there is none."""
        found = self._fact(name)
        if found is None:
            raise Refused("no_recording", f"the recording {self.path} has no {name}: it broke off before it began")
        return found

    def _fact(self, name: str) -> object:
        with self._lock:
            row = self._file.execute("SELECT fact FROM recording_facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    @contextlib.contextmanager
    def passage(self, name: str) -> Iterator[None]:
        """What is asked inside, in this task and in threads that it waits for, stands under `name`.

        A passage that is entered again while recording is another attempt at the same.
        """
        with self._lock:
            query = (
                "SELECT attempt, count(*) FROM recording_entries WHERE passage = ? GROUP BY attempt ORDER BY attempt"
            )
            attempts: list[tuple[int, int]] = self._file.execute(query, (name,)).fetchall()
        if self.is_playing:  # an attempt that was cut off asked less, and one that only found the first's work too
            attempt = max(attempts, key=lambda each: (each[1], each[0]))[0] if attempts else 0
        else:
            attempt = attempts[-1][0] + 1 if attempts else 0
        token = _current.set(_Passage(name, attempt))
        try:
            yield
        finally:
            _current.reset(token)

    def answer(self, question: str, ask: Callable[[], str]) -> str:
        """What `question` was answered: `ask` is called while recording, or outside of any passage.

        Raises Differs when a playback's question is not the recorded one.
        """
        passage = _current.get()
        if passage is None:
            return ask()
        question = self.hide(question)
        with passage.lock:
            at, passage.n = passage.n, passage.n + 1
        if not self.is_playing:
            answer = ask()
            self.write(passage.name, question, answer, attempt=passage.attempt, n=at)
            return answer
        return self.read(passage.name, question, attempt=passage.attempt, n=at)

    def write(self, passage: str, question: str, answer: str, *, attempt: int = 0, n: int = 0) -> None:
        row = (passage, attempt, n, self.hide(question), self.hide(answer))
        self._run("INSERT OR REPLACE INTO recording_entries VALUES (?, ?, ?, ?, ?)", row)

    def find(self, passage: str, *, attempt: int = 0, n: int = 0) -> tuple[str, str] | None:
        """The recorded question and answer, None where there are none."""
        with self._lock:
            query = "SELECT question, answer FROM recording_entries WHERE passage = ? AND attempt = ? AND n = ?"
            row = self._file.execute(query, (passage, attempt, n)).fetchone()
        return None if row is None else (str(row[0]), str(row[1]))

    def read(self, passage: str, question: str, *, attempt: int = 0, n: int = 0) -> str:
        """The recorded answer to `question`. Raises Differs."""
        found = self.find(passage, attempt=attempt, n=n)
        if found is None:
            raise self.differ(f"{passage}, question {n + 1} is not in the recording: {question[:SHOWN_CHARS]}")
        if self.hide(question) != found[0]:
            parts = first_difference(found[0], self.hide(question))
            raise self.differ(f"{passage}, question {n + 1} differs: {parts}")
        return found[1]

    def newest(self, question: str) -> str | None:
        """The last recorded answer to `question`, whatever its passage."""
        with self._lock:
            query = "SELECT answer FROM recording_entries WHERE question = ? ORDER BY rowid DESC LIMIT 1"
            row = self._file.execute(query, (question,)).fetchone()
        return None if row is None else str(row[0])

    def latest_time(self) -> datetime:
        """The latest market time that was told."""
        with self._lock:
            row = self._file.execute("SELECT max(answer) FROM recording_entries WHERE question = 'now'").fetchone()
        return parse_time(row[0])

    def passages(self, pattern: str) -> list[tuple[str, str, str]]:
        """Passage, question and answer of every entry whose passage is LIKE `pattern`, in the order of recording."""
        query = "SELECT passage, question, answer FROM recording_entries WHERE passage LIKE ? ORDER BY rowid"
        with self._lock:
            return list(self._file.execute(query, (pattern,)))

    def _run(self, statement: str, values: tuple[object, ...]) -> None:
        with self._lock:
            self._file.execute(statement, values)

    def close(self) -> None:
        self._file.close()


def first_difference(recorded: str, now: str) -> str:
    """Where two texts part, in a sentence."""
    at = next((i for i, (a, b) in enumerate(zip(recorded, now, strict=False)) if a != b), min(len(recorded), len(now)))
    begin = max(0, at - 40)
    end = begin + SHOWN_CHARS
    return f"recorded …{recorded[begin:end]!r}, now …{now[begin:end]!r}"
