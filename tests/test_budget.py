"""What models may cost: held before a call, settled after it, and never more than a cap, whoever asks at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from autogen_core.models import CreateResult, LLMMessage, SystemMessage, UserMessage
from opentelemetry.trace import NoOpTracer
from sqlalchemy import Row, select, update

from commands.seats import FloorRecorder
from database import Store, write_account
from ledger.reconcile import reconcile
from ledger.sessions import end_session_row, open_session_row
from model_clients.bounds import UNSEEN_TOKENS
from model_clients.budget import Budget, CapNear
from model_clients.failures import BadReply, ModelDown, ModelFailed, ModelUnavailable, RateLimited, RequestRefused
from model_clients.meter import Meter, MeteredClient, OutOfTurns, OverBudget
from model_clients.prices import FREE, Price
from model_clients.replies import ChatUsage
from model_clients.routing import Route
from push.events import Announcer
from store import tables
from store.model_calls import FLOOR
from tests.scripted import Reply, ScriptedModel
from tests.side_by_side import at_once, one_call
from tracers import LogTracer
from values.errors import Refused
from values.settings import PushSettings, load
from values.usage import ModelCall, Rates, Tokens

pytestmark = pytest.mark.both_databases

RATES = Rates(Decimal(2), Decimal("0.5"), Decimal("2.5"), Decimal(10))
PRICE = Price.flat(RATES)
DAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
MOST = ModelCall("test/dear", Tokens(9_000, 1_000), Rates.plain(Decimal(1), Decimal(1)), True, 0.0, "unknown", DAY)
CENT = Decimal("0.01")
SAID: list[LLMMessage] = [SystemMessage(content="You are a test."), UserMessage(content="Begin.", source="user")]


def rows(store: Store, table: Any) -> Sequence[Row[Any]]:
    with store.read() as connection:
        return connection.execute(select(table)).all()


def spent(store: Store) -> dict[str, Decimal]:
    return {row.account: row.cost_usd for row in rows(store, tables.spending)}


def differences(store: Store) -> list[str]:
    with store.read() as connection:
        return [str(each) for each in reconcile(connection)]


def opened(store: Store) -> None:
    """The session in which calls are made."""
    write_account(store, "warren", strategy="wait", actor="floor")
    open_session_row(store, "trace_1", "warren", 1, "trade", "test/dear")


def budget_of(store: Store, cents: int = 1_000, tell: Any = lambda _: None) -> Budget:
    return Budget(store, Decimal(cents) / 100, Decimal(cents) / 100, tell)


def seat(budget: Budget | None, *replies: Reply, price: Price = PRICE) -> tuple[MeteredClient, Meter, ScriptedModel]:
    model = ScriptedModel(*replies)
    meter = Meter(30, Decimal(1), "trace_1", "warren", budget)
    return MeteredClient(Route.to("test/dear", model, price), meter, NoOpTracer()), meter, model


async def test_fifty_calls_at_once_never_pass_a_cap_of_ten_calls(store: Store) -> None:
    budget = budget_of(store, 10)
    calls = (one_call(budget, ("warren", "george")[at % 2], f"trace_{at}") for at in range(50))
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in ends].count(OverBudget) == 40
    assert spent(store) == {FLOOR: 10 * CENT} | {name: spent(store)[name] for name in ("warren", "george")}
    assert sum(row.cost_usd for row in rows(store, tables.model_calls)) == 10 * CENT
    assert rows(store, tables.reservations) == []


def test_four_processes_at_once_never_pass_a_cap_of_ten_calls(store: Store) -> None:
    where = [(store.address.url, name, "0.10", "13") for name in ("warren", "george", "ray", "cathie")]
    assert sum(at_once("spend", where)) == 4 * 13 - 10
    assert sum(row.cost_usd for row in rows(store, tables.model_calls)) == spent(store)[FLOOR] == 10 * CENT


async def test_a_trader_at_its_cap_leaves_the_floors_room_to_the_others(store: Store) -> None:
    budget = Budget(store, CENT, 2 * CENT)
    await budget.reserve("trace_1", "warren", MOST)
    with pytest.raises(OverBudget, match=r"warren may cost 0.01 USD a day: 0.01.* is spent or held on 2026-03-02"):
        await budget.reserve("trace_1", "warren", MOST)
    await budget.reserve("trace_2", "george", MOST)
    with pytest.raises(OverBudget, match=r"the floor may cost 0\.02 USD a day"):
        await budget.reserve("trace_3", "ray", MOST)
    await budget.reserve("trace_3", "ray", replace(MOST, wall_time=DAY + timedelta(days=1)))


async def test_the_owner_is_told_once_a_day_and_cap_when_it_is_near(store: Store) -> None:
    told: list[CapNear] = []
    budget = Budget(store, 10 * CENT, 20 * CENT, told.append)
    for _ in range(9):
        await budget.settle(await budget.reserve("trace_1", "warren", MOST), MOST)
    assert [(each.account, each.cost_usd, each.by) for each in told] == [("warren", 8 * CENT, "warren")]
    for _ in range(9):
        await budget.settle(await budget.reserve("trace_2", "george", MOST), MOST)
    assert [each.account for each in told] == ["warren", FLOOR, "george"]
    assert "of the floor's cap of $0.20" in told[1].sentence


async def test_the_floors_word_that_a_cap_is_near_is_a_message_to_the_owner(store: Store) -> None:
    announcer = Announcer.of(store, store.clock(), load(PushSettings))
    recorder = FloorRecorder(store, cast(LogTracer, None), announcer)
    budget = Budget(store, CENT, CENT * 100, recorder.tell_cap_near)
    await budget.settle(await budget.reserve("trace_1", "warren", MOST), MOST)
    [message] = rows(store, tables.notifications)
    assert (message.account, message.title) == ("warren", "budget: warren")
    assert message.message.startswith("models have cost $0.01 today, of warren's cap of $0.01")


async def test_what_a_process_left_behind_has_cost_the_most(store: Store) -> None:
    opened(store)
    dead, alive = budget_of(store), budget_of(store)
    forgotten = await dead.reserve("trace_1", "warren", MOST)
    assert alive.settle_abandoned() == 1  # it is of another day, longer ago than any call takes
    fresh = replace(MOST, wall_time=datetime.now(UTC))
    await alive.reserve("trace_1", "warren", fresh)
    assert alive.settle_abandoned(of_others=True) == 0
    await dead.reserve("trace_1", "warren", fresh)
    assert alive.settle_abandoned() == 0
    assert alive.settle_abandoned(of_others=True) == 1
    await dead.settle(forgotten, None)  # too late: it is on record
    first, second = rows(store, tables.model_calls)
    assert (first.cost_usd, second.cost_usd, first.is_estimate, first.model) == (CENT, CENT, True, "test/dear")
    assert rows(store, tables.sessions)[0].cost_usd == 2 * CENT


@pytest.mark.parametrize(
    ("failure", "cents"),
    [
        (RateLimited("429"), 0),
        (RequestRefused("401"), 0),
        (ModelDown("503"), 0),
        (Refused("model_lacks", "no tools"), 0),
        (ModelUnavailable("no answer in time"), "most"),
        (BadReply("a web page"), "most"),
        (RuntimeError("a fault of ours"), "most"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
async def test_a_call_without_an_answer_costs_the_most_unless_nothing_can_be_charged(
    failure: Exception, cents: object, store: Store
) -> None:
    client, meter, _ = seat(budget_of(store), failure)
    with pytest.raises(type(failure)):
        await client.create(SAID)
    most = RATES.cost(Tokens(100 + UNSEEN_TOKENS, 10, written=100 + UNSEEN_TOKENS))
    assert meter.spent_usd == (most if cents == "most" else 0)
    assert meter.held_usd == 0
    assert spent(store) == {FLOOR: meter.spent_usd, "warren": meter.spent_usd}
    assert [row.cost_usd for row in rows(store, tables.model_calls)] == [most] * (cents == "most")
    assert rows(store, tables.reservations) == []


async def test_an_unreadable_answer_that_says_what_it_used_costs_that(store: Store) -> None:
    failure = BadReply("choices is a text")
    failure.usage = ChatUsage(100, 10, cached_tokens=60)
    client, meter, _ = seat(budget_of(store), failure)
    with pytest.raises(ModelFailed):
        await client.create(SAID)
    assert meter.spent_usd == RATES.cost(Tokens(100, 10, 60)) == Decimal("0.00021")
    [row] = rows(store, tables.model_calls)
    assert (row.cached_tokens, row.is_estimate, row.cost_usd) == (60, False, meter.spent_usd)


async def test_a_model_that_hangs_is_charged_when_its_session_is_cancelled(store: Store) -> None:
    client, meter, model = seat(budget_of(store), asyncio.Event())
    asking = asyncio.create_task(client.create(SAID))
    await model.asked.wait()
    assert meter.held_usd > 0
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert meter.held_usd == 0
    assert rows(store, tables.reservations) == []
    assert spent(store)["warren"] == meter.spent_usd > 0


class Slow(Budget):
    """Holds at once, and says so late."""

    is_held: asyncio.Event
    may_say: asyncio.Event

    async def reserve(self, session_id: str, account: str, most: ModelCall) -> int:
        number = await super().reserve(session_id, account, most)
        self.is_held.set()
        await self.may_say.wait()
        return number


async def test_a_session_that_is_cancelled_while_it_reserves_gives_the_money_back(store: Store) -> None:
    budget = Slow(store, Decimal(1), Decimal(1))
    budget.is_held, budget.may_say = asyncio.Event(), asyncio.Event()
    client, meter, model = seat(budget, "Hello.")
    asking = asyncio.create_task(client.create(SAID))
    await budget.is_held.wait()
    assert len(rows(store, tables.reservations)) == 1
    asking.cancel()
    budget.may_say.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert model.heard == []
    assert meter.held_usd == meter.spent_usd == 0
    assert rows(store, tables.reservations) == []
    assert set(spent(store).values()) == {Decimal(0)}


class Uncounted(ScriptedModel):
    """Answers without saying what it used, as some servers do."""

    async def create(self, *given: Any, **more: Any) -> CreateResult:
        result = await super().create(*given, **more)
        return result.model_copy(update={"usage": ChatUsage(25, 2, is_estimate=True)})


async def test_an_answer_that_nobody_counted_has_cost_the_most(store: Store) -> None:
    meter = Meter(30, Decimal(1), "trace_1", "warren", budget_of(store))
    client = MeteredClient(Route.to("test/dear", Uncounted("Hello."), PRICE), meter, NoOpTracer())
    await client.create(SAID)
    [row] = rows(store, tables.model_calls)
    assert (row.input_tokens, row.output_tokens, row.is_estimate, row.finish_reason) == (1_100, 10, True, "stop")
    assert row.cost_usd == spent(store)["warren"] == RATES.cost(Tokens(1_100, 10, written=1_100))


async def test_a_free_model_leaves_no_row_of_the_budget(store: Store) -> None:
    client, meter, _ = seat(budget_of(store, 0), "Hello.", price=FREE)
    await client.create(SAID)
    assert (spent(store), rows(store, tables.model_calls), len(meter.calls)) == ({}, [], 1)


async def test_a_session_ends_before_the_call_that_could_pass_its_cap(store: Store) -> None:
    client, meter, model = seat(budget_of(store), "Hello.")
    most = RATES.cost(Tokens(1_100, 10, written=1_100))
    meter.usd_max = most - Decimal("0.000001")
    with pytest.raises(OverBudget, match="the session may cost"):
        await client.create(SAID)
    assert (model.heard, spent(store)) == ([], {})
    meter.usd_max = most
    await client.create(SAID)


async def test_turns_are_counted_whatever_they_cost(store: Store) -> None:
    client, meter, _ = seat(None, "Hello.")
    meter.turns_max = 1
    await client.create(SAID)
    with pytest.raises(OutOfTurns, match="all 1 turns"):
        await client.create(SAID)


async def test_each_cent_and_token_follows_from_the_record_and_a_changed_figure_is_named(store: Store) -> None:
    opened(store)
    client, meter, _ = seat(budget_of(store), "Hello.", ModelUnavailable("silent"), "Hello.")
    await client.create(SAID)
    with pytest.raises(ModelUnavailable):
        await client.create(SAID)
    free, free_meter, _ = seat(None, "Hello.", price=FREE)
    await free.create(SAID)
    calls = [*meter.calls, *free_meter.calls]
    ends = {"outcome": "completed", "reason": "", "appraisal": "Done.", "turns": 3, "tool_calls": 0}
    end_session_row(store, "trace_1", calls=calls, **ends)  # type: ignore[arg-type]
    [session] = rows(store, tables.sessions)
    assert (session.cost_usd, session.input_tokens) == (meter.spent_usd, sum(call.input_tokens for call in calls))
    assert len(rows(store, tables.model_calls)) == 3
    assert differences(store) == []
    first = tables.model_calls.c.id == rows(store, tables.model_calls)[0].id
    with store.write() as connection:
        connection.execute(update(tables.model_calls).where(first).values(cost_usd=Decimal("0.5")))
    found = "\n".join(differences(store))
    for what in (
        "the cost of model call",
        "the floor: model spending on",
        "warren: model spending",
        "cost_usd of session",
    ):
        assert what in found


def test_an_older_stores_calls_without_rates_are_left_as_they_are(store: Store) -> None:
    with closing(store), store.write() as connection:
        old = dict.fromkeys(("input_usd", "cached_usd", "cache_write_usd", "output_usd"))
        connection.execute(
            tables.model_calls.insert().values(
                session_id="x", account="warren", model="openai/old", input_tokens=1, output_tokens=1,
                cost_usd=Decimal(5), latency_ms=1.0, finish_reason="stop", wall_time=DAY, **old,
            )
        )  # fmt: skip
        assert [str(each) for each in reconcile(connection)] == []
