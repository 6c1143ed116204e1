"""What a faulty model may do to its own session, and may not do to the floor: a row each, and no neighbour notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from autogen_core import FunctionCall
from autogen_core.models import CreateResult

from commands.seats import FloorRecorder, Models, seats
from desks.connection import CallRefused
from model_clients.failures import ModelUnavailable
from personas import load_personas
from tests.chaos.model_plans import each_fault_once
from tests.chaos.models import CROWD, run_plans
from tests.floors import SmallFloor, small_floor
from tests.model_faults import FAULTS, completion
from tests.model_loopback import Answer, ModelLoopback, Raw, Reply, tool_call
from tests.scripted import ScriptedModel, call
from traders import GRACE_S, SessionBounds
from values.settings import PROJECT, FloorSettings, load

pytestmark = pytest.mark.asyncio(loop_scope="module")

DECISION = {"symbol": "AAPL", "action": "hold", "confidence": 0.5, "horizon_days": 5, "rationale": "a test"}
APPRAISAL = "Looked, and held."
NESTED = '{"symbol": ' + "[" * 300 + "]" * 300 + "}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def floor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SmallFloor]:
    folder: Path = tmp_path_factory.mktemp("floor")
    async with small_floor(folder, ("warren", "george")) as opened:
        yield opened


def holds(name: str, *first: list[FunctionCall]) -> ScriptedModel:
    return ScriptedModel(*first, [call("record_decision", name=name, **DECISION)], APPRAISAL)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (r'{"symbol": "AAPL\ud800"}', "bad_symbol"),
        (r'{"\udfff": "AAPL"}', "bad_argument"),
        (r'{"symbol": ["AAPL", {"\ud800": NaN}]}', "bad_symbol"),
        (NESTED, "bad_argument"),
    ],
)
async def test_arguments_that_no_line_of_json_can_say_fail_their_call_and_not_the_server_that_all_share(
    floor: SmallFloor, arguments: str, code: str
) -> None:
    """Half a character once ended the writer of the pipe: every trader's calls of that server hung from then on."""
    faulty = holds("warren", [FunctionCall(id="c", name="lookup_share_price", arguments=arguments)])
    ends = [
        await floor.trader("warren", faulty).run("trade"),
        await floor.trader("george", holds("george", [call("lookup_share_price", symbol="AAPL")])).run("trade"),
    ]
    assert [end.outcome for end in ends] == ["completed", "completed"]
    answers = faulty.heard[1][-1]
    assert answers.type == "FunctionExecutionResultMessage"
    assert answers.content[0].content.startswith(f"{code}: ")
    assert all(connection.restarts == 0 for connection in floor.servers.all())


async def test_a_request_that_can_not_be_written_is_refused_in_the_servers_place(floor: SmallFloor) -> None:
    market = floor.servers.of("warren")["market"]
    with pytest.raises(CallRefused, match="can't be written as JSON"):
        await market.call_tool("lookup_share_price", {"symbol": "\ud800"}, 20.0)
    answer = await market.call_tool("lookup_share_price", {"symbol": "AAPL"}, 20.0)
    assert not answer.is_error
    assert market.restarts == 0


class Clinging(ScriptedModel):
    """A client that does not let go when it is cancelled, until the test releases it."""

    def __init__(self) -> None:
        super().__init__("never heard")
        self.released = asyncio.Event()

    async def create(self, *_: Any, **__: Any) -> CreateResult:
        self.asked.set()
        while not self.released.is_set():
            try:
                await self.released.wait()
            except asyncio.CancelledError:
                continue
        raise RuntimeError("too late")


@pytest.mark.parametrize("how", ["deadline", "stop", "cancel"])
async def test_a_session_ends_though_its_desk_holds_on(floor: SmallFloor, how: str) -> None:
    model = Clinging()
    trader = floor.trader("warren", model, SessionBounds(seconds=0.2 if how == "deadline" else 60))
    running = asyncio.create_task(trader.run("trade"))
    await model.asked.wait()
    if how == "stop":
        trader.stop("halted", "the test said so")
    if how == "cancel":
        running.cancel()
    done, _ = await asyncio.wait({running}, timeout=GRACE_S + 20)
    model.released.set()
    assert done
    end = running.result()
    (row,) = floor.rows("sessions", id=end.session_id)
    assert row.outcome == {"deadline": "timed_out", "stop": "halted", "cancel": "interrupted"}[how]


async def test_a_stop_that_comes_while_a_session_opens_ends_it(floor: SmallFloor) -> None:
    trader = floor.trader("warren", ScriptedModel(asyncio.Event()))
    running = asyncio.create_task(trader.run("trade"))
    await asyncio.sleep(0)
    trader.stop("interrupted", "the floor was stopped")
    end = await asyncio.wait_for(running, 20)
    assert (end.outcome, end.turns) == ("interrupted", 0)


RESEARCH = [call("research", "r", question="What is new?")]


async def test_a_researcher_whose_model_fails_costs_the_trader_an_answer_and_not_its_session(
    floor: SmallFloor, caplog: pytest.LogCaptureFixture
) -> None:
    model = ScriptedModel(
        RESEARCH, ModelUnavailable("it did not answer"), [call("record_decision", name="warren", **DECISION)], APPRAISAL
    )
    end = await floor.trader("warren", model).run("trade")
    assert (end.outcome, end.turns) == ("completed", 4)
    (told,) = floor.rows("logs", session_id=end.session_id, tool="research")
    assert told.result == "unavailable: the researcher came to no answer: it did not answer"
    assert caplog.records == []  # no traceback for what is nobody's fault here


async def test_nothing_of_a_session_is_left_running_after_it_hung_in_its_researcher(floor: SmallFloor) -> None:
    before = asyncio.all_tasks()
    model = ScriptedModel(RESEARCH, asyncio.Event())
    end = await floor.trader("warren", model, SessionBounds(seconds=1)).run("trade")
    assert (end.outcome, len(model.heard)) == ("timed_out", 2)
    left = asyncio.all_tasks() - before
    assert not left or (await asyncio.wait(left, timeout=GRACE_S))[1] == set()


async def test_what_a_server_writes_to_one_trader_is_never_another_ones_answer(floor: SmallFloor) -> None:
    """Bytes after an answer's end stay in its connection, and whoever has that connection next reads them first."""

    def speak(request: dict[str, Any]) -> Reply:
        task = next(message["content"] for message in request["messages"] if message["role"] == "user")
        name = "warren" if "account `warren`" in task else "george"
        turn = sum(message["role"] == "assistant" for message in request["messages"])
        if turn == 0:
            return Answer(calls=[tool_call("record_decision", name=name, **DECISION)])
        answer = completion({"content": f"{name} held."})
        if name == "george":
            return Raw(answer)
        after = completion({"content": "Warren's word."}).encode()
        stray = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(after)
        return Raw(answer.encode() + stray + after, claimed_bytes=len(answer), stays_open=True)

    personas = [persona for persona in load_personas(PROJECT / "personas") if persona.name in ("warren", "george")]
    async with ModelLoopback(speak) as server:
        settings = load(FloorSettings, model="openai/loopback", openai_base_url=server.base_url)
        recorder = FloorRecorder(floor.store, floor.tracer)
        async with seats(personas, floor.servers, recorder, settings, Models(personas, settings)) as traders:
            ends = [await traders[name].run("trade") for name in ("warren", "george")]
        assert server.complaints == []
    # had george heard warren's word first, he would have been asked for his decision
    assert [(end.outcome, end.appraisal, end.turns) for end in ends] == [
        ("completed", "warren held.", 2),
        ("completed", "george held.", 2),
    ]


async def test_every_faulty_session_ends_as_it_has_to_with_its_row_and_the_healthy_trader_does_not_notice() -> None:
    """Every kind of fault, two to a session; alone, at every position and in larger mixtures in the large form."""
    plans = each_fault_once()
    met = await run_plans([plans[at : at + len(CROWD)] for at in range(0, len(plans), len(CROWD))], CROWD)
    assert met.broken == []
    assert met.noticed == 0
    assert met.sessions == len(plans)
    assert len(met.faults) == len(FAULTS) >= 40
    assert set(met.outcomes) == {"completed", "failed", "timed_out", "over_budget"}
