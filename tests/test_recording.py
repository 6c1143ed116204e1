"""A run that is recorded and played back: the same decisions, fills and books, and nobody asked."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from autogen_core import FunctionCall
from autogen_core.models import AssistantMessage, LLMMessage, SystemMessage, UserMessage

from commands.playback import hiding
from model_clients.failures import RateLimited, RequestRefused
from model_clients.recorded import RecordedClient
from recording.recording import Differs, Recording
from recording.session import FillOrder, SessionRecording
from tests.owner import ask
from tests.scripted import ScriptedModel, call
from values.errors import Refused
from values.settings import PROJECT

FLOOR = [sys.executable, str(PROJECT / "trading_floor.py")]
SAME = (
    "SELECT id, account, kind, symbol, quantity, price, amount, cash_after, order_key, session_id, rationale, "
    "quote_price, quote_as_of, source, market_time FROM transactions ORDER BY id",
    "SELECT account, symbol, action, confidence, horizon_days, rationale, session_id, market_time FROM decisions "
    "ORDER BY account, symbol, market_time",
    "SELECT account, value, cash, cycle, market_time FROM portfolio_values ORDER BY account, id",
    "SELECT id, account, cycle, mode, model, outcome, appraisal, turns, tool_calls, input_tokens, output_tokens "
    "FROM sessions ORDER BY id",
    "SELECT * FROM holdings ORDER BY account, symbol",
    "SELECT name, cash, realised, state, strategy FROM accounts ORDER BY name",
)


def environment_of(folder: Path, store: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
    return kept | {"DATABASE_URL": f"sqlite:///{folder}/{store}", "COLUMNS": "160"}


def run(folder: Path, store: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = environment_of(folder, store)
    return subprocess.run([*FLOOR, *arguments], env=environment, text=True, capture_output=True, timeout=120, cwd="/")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was recorded: `run.db`, and the recording `run.rec`."""
    folder = tmp_path_factory.mktemp("recorded")
    done = run(folder, "run.db", "once", "--market", "simulated", "--seed", "7", "--record", str(folder / "run.rec"))
    assert done.returncode == 0, done.stderr
    return folder


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as store:
        return store.execute(query).fetchall()


@pytest.mark.xdist_group("recording")
def test_a_run_plays_back_to_the_same_decisions_fills_and_books(recorded: Path) -> None:
    done = run(recorded, "played.db", "run", "--playback", str(recorded / "run.rec"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "all 1 cycles went as they were recorded" in done.stdout
    for query in SAME:
        found = rows(recorded / "played.db", query)
        assert found, query
        assert found == rows(recorded / "run.db", query)
    assert rows(recorded / "played.db", "SELECT count(*) FROM notifications") == [(0,)], "a playback pushes nothing"
    looked = ask(environment_of(recorded, "played.db"), "status")
    assert looked.returncode == 0, looked.stderr
    again = ask(environment_of(recorded, "played.db"), "run", "--playback", str(recorded / "run.rec"))  # refused
    assert again.returncode == 2
    assert "wants a store of its own" in again.stderr


@pytest.mark.xdist_group("recording")
def test_a_playback_ends_at_the_first_call_that_differs(recorded: Path) -> None:
    changed = recorded / "changed.rec"
    with closing(sqlite3.connect(recorded / "run.rec")) as source, closing(sqlite3.connect(changed)) as copy:
        source.backup(copy)
        query = "SELECT passage, attempt, n, answer FROM recording_entries WHERE passage LIKE 'buy_shares trace_%' AND question LIKE 'quote %' LIMIT 1"  # noqa: E501
        passage, attempt, n, answer = copy.execute(query).fetchone()
        quote = json.loads(answer)
        quote["answer"]["price"] = "1.23"
        update = "UPDATE recording_entries SET answer = ? WHERE passage = ? AND attempt = ? AND n = ?"
        copy.execute(update, (json.dumps(quote), passage, attempt, n))
        copy.commit()
    done = run(recorded, "other.db", "run", "--playback", str(changed))
    assert done.returncode == 1
    assert "the playback ended where it differs" in done.stderr
    assert "buy_shares" in done.stderr
    assert "1.23" in done.stderr


def test_what_can_not_be_played_is_said(tmp_path: Path, recorded: Path) -> None:
    for given, sentence in (("none.rec", "there is no recording"), ("text.rec", "is no recording of this floor's")):
        if given == "text.rec":
            (tmp_path / given).write_text("not a recording " * 100)
        with pytest.raises(Refused, match=sentence):
            Recording(tmp_path / given, "play")
    with pytest.raises(Refused, match="is no recording of this floor's"):
        Recording(recorded / "run.db", "play")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "run.rec"
    sqlite3.connect(path).close()
    Recording.begin(path)
    return path


def test_questions_are_answered_in_the_order_of_their_passage_and_another_is_a_difference(path: Path) -> None:
    with closing(Recording(path, "record")) as recording:
        for passage in ("one", "two"):
            with recording.passage(passage):
                for n in range(3):
                    recording.answer(f"quote {n}", lambda n=n, passage=passage: f"{passage} {n}")  # type: ignore[misc]
    heard: list[str] = []
    with closing(Recording(path, "play")) as recording:
        recording.on_difference = lambda: heard.append("differs")
        assert recording.answer("outside", lambda: "asked") == "asked"
        with recording.passage("two"):
            answers = [recording.answer(f"quote {n}", pytest.fail) for n in range(3)]
            assert answers == ["two 0", "two 1", "two 2"]
            with pytest.raises(Differs, match="question 4 is not in the recording: quote 3"):
                recording.answer("quote 3", pytest.fail)
        with recording.passage("one"), pytest.raises(Differs, match="now …'quote 9'"):
            recording.answer("quote 9", pytest.fail)
        assert recording.difference is not None
        assert "two, question 4" in recording.difference, "the first difference is the one that counts"
        assert heard == ["differs"]


def test_of_several_attempts_the_one_that_asked_most_is_played(path: Path) -> None:
    """A server that died after it had booked: the second attempt finds the fill, and asks for no price."""
    with closing(Recording(path, "record")) as recording:
        for prices in (["100", "101"], []):
            with recording.passage("buy"):
                for price in prices:
                    recording.answer("quote", lambda price=price: price)  # type: ignore[misc]
    with closing(Recording(path, "play")) as recording, recording.passage("buy"):
        assert [recording.answer("quote", pytest.fail) for _ in range(2)] == ["100", "101"]


async def test_models_answer_from_the_recording_and_their_failures_too(path: Path) -> None:
    messages: list[LLMMessage] = [SystemMessage(content="You trade."), UserMessage(content="Begin.", source="user")]
    model = ScriptedModel([call("buy_shares", symbol="AAPL")], RateLimited("too many requests"))
    with closing(Recording(path, "record")) as recording:
        session = SessionRecording(recording, "warren", FillOrder(recording))
        assert session.begin("trace_warren1") == "trace_warren1"
        client = RecordedClient("openai/gpt", model, session)
        first = await client.create(messages)
        with pytest.raises(RateLimited):
            await client.create(messages)
        session.end("failed", "too many requests")
    with closing(Recording(path, "play")) as recording:
        session = SessionRecording(recording, "warren", FillOrder(recording))
        assert session.begin("another id") == "trace_warren1"
        client = RecordedClient("openai/gpt", None, session)
        assert await client.create(messages) == first
        with pytest.raises(RateLimited, match="too many requests"):
            await client.create(messages)
        assert isinstance(first.content[0], FunctionCall)
        answered = AssistantMessage(content="No.", source="trader")
        with pytest.raises(RequestRefused, match=r"at message 3: recorded 'nothing', now 'AssistantMessage .*No\."):
            await client.create([*messages, answered])
        with pytest.raises(RequestRefused, match=r"at message 2: recorded 'UserMessage .*Begin"):
            await client.create([messages[0], UserMessage(content="Start.", source="user")])
        assert "warren's call of openai/gpt in trace_warren1" in (recording.difference or "")


async def test_a_session_that_was_cut_off_ends_so_again(path: Path) -> None:
    with closing(Recording(path, "record")) as recording:
        session = SessionRecording(recording, "warren", FillOrder(recording))
        session.begin("trace_warren1")
        session.end("halted", "the owner halted it")
    ended: list[tuple[str, str]] = []
    with closing(Recording(path, "play")) as recording:
        session = SessionRecording(recording, "warren", FillOrder(recording))
        session.begin("")
        session.on_cut = lambda outcome, reason: ended.append((outcome, reason))
        client = RecordedClient("house/value", None, session)
        asking = asyncio.ensure_future(client.create([UserMessage(content="Begin.", source="user")]))
        while not ended:
            await asyncio.sleep(0)
        asking.cancel()
        assert ended == [("halted", "the owner halted it")]
        assert recording.difference is None


def test_no_secret_enters_a_recording(path: Path) -> None:
    secret = 'sk-canary"\\key'
    with closing(Recording(path, "record", hiding([secret]))) as recording:
        recording.note("said", {"key": secret})
        with recording.passage("one"):
            recording.answer(f"with {secret}", lambda: json.dumps([f"you sent {secret}"]))
    with closing(sqlite3.connect(path)) as file:
        everything = "\n".join(file.iterdump())
    assert "canary" not in everything
    assert "[secret]" in everything
