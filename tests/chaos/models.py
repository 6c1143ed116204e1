"""Floors whose models do wrong in every way of `tests/model_faults.py`, beside a trader whose model does nothing wrong.

Promised: every faulty session ends in its deadline, as the table of faults says, with a row that adds up; the books
reconcile; and the healthy trader's sessions and trades are those of a floor on which no model is faulty.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from autogen_core.models import CreateResult

from accounts import open_account
from benchmarks.figure import Figure
from commands.seats import FloorRecorder
from database import write_log
from desks.servers import Servers
from market import open_market, open_store
from model_clients.chat_completions import ChatCompletionsClient
from model_clients.patience import Patience
from model_clients.prices import Price
from model_clients.replies import TOKENS_MAX
from model_clients.routing import Route
from tests.chaos.model_plans import (
    PATIENT_S,
    POSITIONS,
    TRADES,
    TURNS,
    FaultyModel,
    Plan,
    every_fault,
    expected,
    mixtures,
)
from tests.floors import SmallFloor
from tests.model_faults import FAULTS, SYMBOL
from tests.model_loopback import ModelLoopback
from tracers import LogTracer
from traders import GRACE_S, SessionBounds, SessionEnd, Trader
from trading_floor import Floor
from values.clock import iso
from values.money import ZERO
from values.schedule import Tape
from values.session import Mode
from values.settings import MarketSettings, load
from values.usage import Rates

HEALTHY, FAULTY = "warren", ("cathie", "george", "ray")
CROWD = tuple(f"trader_{at}" for at in range(12))
"""More faulty traders, for many kinds at once."""
LATE_S = 20.0
"""What a machine that is busy with other things may add to a deadline before a proof calls it broken."""
PRICE = Rates.plain(Decimal("2.5"), Decimal("10"))
SPENT = Decimal("50")
MIXTURES = 100
START = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


class StreamingClient(ChatCompletionsClient):
    """Asks for every answer as a stream, and hands it on whole, which is what the desks take."""

    async def create(self, *given: Any, **more: Any) -> CreateResult:
        stream: AsyncGenerator[str | CreateResult, None] = self.create_stream(*given, **more)
        *_, last = [each async for each in stream]
        assert isinstance(last, CreateResult)
        return last


async def _at_once(_: float) -> None:
    """No wait between tries: how long they are is shown elsewhere."""
    await asyncio.sleep(0)


@dataclass
class Met:
    """What a run of plans came to."""

    sessions: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    noticed: int = 0


class FaultyFloor:
    """A floor of four on a tape of hourly bars: each cycle a healthy session beside those of plans."""

    def __init__(self, small: SmallFloor, faulty: Sequence[str], hours: int) -> None:
        self.small = small
        self._names = (HEALTHY, *faulty)
        self._hours = hours
        self.ends: dict[str, SessionEnd] = {}
        self.broken: list[str] = []
        self.met: Counter[str] = Counter()
        self.too_soon: list[Plan] = []
        """Plans whose session was over before its model was silent, on a machine that has other things to do."""

    async def cycle(self, plans: Mapping[str, Plan]) -> None:
        """One cycle of the floor, in which every trader without a plan does nothing wrong. Checks every faulty row."""
        small = self.small
        models = {name: FaultyModel(name, plans.get(name, Plan())) for name in self._names}
        servers = {name: ModelLoopback(model.answer) for name, model in models.items()}
        clients: list[ChatCompletionsClient] = []
        traders: dict[str, _Kept] = {}
        for name, server in servers.items():
            await server.__aenter__()
            plan = plans.get(name, Plan())
            client = (StreamingClient if plan.streamed else ChatCompletionsClient)(
                "faulty", base_url=server.base_url, api_key=None, patience=Patience(sleep=_at_once, jitter=lambda: 1.0)
            )
            clients.append(client)
            bounds = SessionBounds(TURNS, plan.seconds, SPENT)
            recorder = FloorRecorder(small.store, small.tracer)
            traders[name] = _Kept(
                name, "Scripted", Route.to("openai/faulty", client, Price.flat(PRICE)), prompt="You are a test.",
                servers=small.servers.of(name), recorder=recorder, tracer=small.tracer.tracer, bounds=bounds,
                kept=self.ends,
            )  # fmt: skip
        starts = [START + HOUR * at for at in range(self._hours)]
        floor = Floor(
            small.store, small.market, traders, HOUR, lambda _: None, tape=Tape(starts, starts[-1] + HOUR, 0.0)
        )
        try:
            await floor.run(cycles_max=1)
            assert floor.cycles_run == 1
            for name, plan in plans.items():
                met = models[name].met
                if self.ends[name].outcome == "timed_out" and met < expected(plan).met and plan.hasty_s < PATIENT_S:
                    self.too_soon.append(replace(plan, hasty_s=4 * plan.hasty_s))
                    continue
                self.met.update(fault.name for _, fault in plan.faults[:met])
                try:
                    self._check(self.ends[name], plan, models[name], servers[name])
                    if self.ends[name].outcome == "timed_out":  # and nobody pays for an answer that nobody waits for
                        await asyncio.wait_for(servers[name].left.wait(), LATE_S)
                except (AssertionError, TimeoutError) as error:
                    self.broken.append(f"{plan}: {error}")
        finally:
            for client in clients:
                await client.close()
            for server in servers.values():
                await server.__aexit__(None, None, None)
        assert small.rows("sessions", outcome="open") == []

    def _check(self, end: SessionEnd, plan: Plan, model: FaultyModel, server: ModelLoopback) -> None:
        """The session ended as its plan has to, in time, and its row says so and adds up."""
        wanted = expected(plan)
        (row,) = self.small.rows("sessions", id=end.session_id)
        calls = self.small.rows("model_calls", session_id=end.session_id)
        fills = self.small.rows("transactions", session_id=end.session_id)
        found = (row.outcome, len(fills), model.met)
        assert found == (wanted.outcome, wanted.fills, wanted.met), f"{found} and not {wanted}: {row.reason}"
        assert re.search(wanted.says, row.reason), row.reason
        assert bool(row.reason) is (row.outcome != "completed"), row.reason
        assert len(row.reason) <= 500
        assert not re.match(r"\w+: ", row.reason), f"a Python class in words for an owner: {row.reason}"
        assert len(row.appraisal) <= 4_000
        assert bool(row.appraisal.strip()) is (row.outcome == "completed")
        took_s = (row.ended_wall_time - row.wall_time).total_seconds()
        assert 0 <= took_s <= plan.seconds + GRACE_S + LATE_S, f"took {took_s} s"
        assert len(calls) <= row.turns <= TURNS
        assert all(0 <= call.input_tokens <= TOKENS_MAX and 0 <= call.output_tokens <= TOKENS_MAX for call in calls)
        assert row.input_tokens == sum(call.input_tokens for call in calls)
        assert row.output_tokens == sum(call.output_tokens for call in calls)
        assert row.cost_usd == sum((call.cost_usd for call in calls), ZERO)
        charged = PRICE.input_usd * row.input_tokens + PRICE.output_usd * row.output_tokens
        assert abs(row.cost_usd - charged / 1_000_000) <= Decimal("0.0000005") * len(calls)
        assert len({fill.order_key for fill in fills}) == len(fills)
        told = Counter(each.message.rpartition(" ")[2] for each in self.small.rows("logs", span_id=self._root(end)))
        assert told["started"] == 1, told
        assert server.complaints == [], server.complaints
        assert all("cookie" not in headers for headers in server.headers)

    def _root(self, end: SessionEnd) -> str:
        """The span of the session itself."""
        first = min(self.small.rows("logs", session_id=end.session_id, type="trace"), key=lambda row: row.id)
        return str(first.span_id)

    def of_the_healthy(self) -> list[list[tuple[Any, ...]]]:
        """Its sessions and what they did, in order; without what numbers all accounts' rows in one series."""
        return [
            [
                _SESSION(row),
                *map(_FILL, self.small.rows("transactions", session_id=row.id)),
                *map(_DECISION, self.small.rows("decisions", session_id=row.id)),
                *((call.model, call.finish_reason) for call in self.small.rows("model_calls", session_id=row.id)),
                *((refusal.code,) for refusal in self.small.rows("refusals", session_id=row.id)),
            ]
            for row in sorted(self.small.rows("sessions", account=HEALTHY), key=attrgetter("cycle"))
        ]


_SESSION = attrgetter("cycle", "mode", "outcome", "reason", "appraisal", "turns", "tool_calls")
_FILL = attrgetter("kind", "symbol", "quantity", "price", "amount", "market_time", "rationale")
_DECISION = attrgetter("symbol", "action", "rationale", "market_time")


class _Kept(Trader):
    """A trader whose sessions' ends are kept."""

    def __init__(self, *given: Any, kept: dict[str, SessionEnd], **more: Any) -> None:
        super().__init__(*given, **more)
        self._kept = kept

    async def run(self, mode: Mode) -> SessionEnd:
        self._kept[self.name] = end = await super().run(mode)
        return end


@asynccontextmanager
async def faulty_floor(folder: Path, faulty: Sequence[str], hours: int) -> AsyncIterator[FaultyFloor]:
    """A floor of the healthy trader and these, on a tape of that many bars.

    At its end no server has died, no log row is lost and the books reconcile.
    """
    prices = folder / "prices.csv"
    bars = (f"{SYMBOL},{iso(START + HOUR * at)},{1 + at % 7 / 10},2,0.5,1.1,100" for at in range(hours))
    prices.write_text("\n".join(("symbol,time,open,high,low,close,volume", *bars)) + "\n")
    told = {"DATABASE_URL": f"sqlite:///{folder}/accounts.db", "MARKET": "replay", "REPLAY_HISTORY": str(prices)}
    settings = load(MarketSettings, **{key.lower(): value for key, value in told.items()})
    store = open_store(settings)
    market = open_market(store, settings)
    names = (HEALTHY, *faulty)
    for name in names:
        limits = {"max_trades_per_session": str(TRADES)}
        open_account(store, market, name, kind="trader", limits=limits, actor="floor", balance=Decimal(10**6))
    try:
        with LogTracer(partial(write_log, store)) as tracer:
            async with Servers(names, told, without=("push", "memory", "search", "fetch")) as servers:
                small = SmallFloor(store, market, servers, tracer)
                yield FaultyFloor(small, faulty, hours)
                assert small.differences() == []
                assert [each.name for each in servers.all() if each.restarts] == []
        assert not [row for row in small.rows("logs", type="trace") if "log rows lost" in row.message]
    finally:
        store.close()


async def run_plans(cycles: Sequence[Sequence[Plan]], faulty: Sequence[str] = FAULTY) -> Met:
    """A cycle for each group of plans, at most one for each faulty trader; then as many with nobody at fault."""
    met = Met()
    waiting = list(cycles)
    hours = 2 * len(waiting) + 20
    cycles_run = 0
    with tempfile.TemporaryDirectory() as folder:
        async with faulty_floor(Path(folder), faulty, hours) as floor:
            while waiting:
                plans = waiting.pop(0)
                await floor.cycle(dict(zip(faulty, plans, strict=False)))
                cycles_run += 1
                met.sessions += len(plans) - len(floor.too_soon)
                met.outcomes.update(floor.ends[name].outcome for name in faulty[: len(plans)])
                waiting += [[plan] for plan in floor.too_soon]
                floor.too_soon.clear()
            met.faults, met.broken, beside = floor.met, floor.broken, floor.of_the_healthy()
    with tempfile.TemporaryDirectory() as folder:
        async with faulty_floor(Path(folder), FAULTY[:1], hours) as floor:
            for _ in range(cycles_run):
                await floor.cycle({})
            alone = floor.of_the_healthy()
    assert len(alone) == cycles_run
    assert all(session[0][2] == "completed" and session[1][0] == "buy" for session in alone)
    met.noticed = sum(one != other for one, other in zip(beside, alone, strict=True))
    return met


def in_cycles(plans: Sequence[Plan], chance: random.Random) -> Iterator[Sequence[Plan]]:
    """Three faulty traders at a time, or by chance one; those that are waited for stand together."""
    left = sorted(plans, key=lambda plan: plan.seconds)
    while left:
        many = chance.choice((1, len(FAULTY), len(FAULTY)))
        yield left[:many]
        left = left[many:]


def prove(scale: int, seed: int) -> list[Figure]:
    chance = random.Random(seed)
    each = every_fault(list(POSITIONS.values()), (False, True))
    mixed = mixtures(MIXTURES * scale, chance)
    logging.disable(logging.WARNING)  # thousands of tries that failed, as they have to
    try:
        met = asyncio.run(run_plans(list(in_cycles([*each, *mixed], chance))))
    finally:
        logging.disable(logging.NOTSET)
    assert met.sessions == len(each) + len(mixed)
    assert set(met.faults) == {fault.name for fault in FAULTS}
    assert set(met.outcomes) == {"completed", "failed", "timed_out", "over_budget"}
    print("\n".join(met.broken))
    return [
        Figure("kinds of model fault", len(met.faults), "", goal=40, at_least=True),
        Figure("sessions with a faulty model that did not end as they have to", len(met.broken), "", goal=0),
        Figure("sessions with a faulty model", met.sessions, ""),
        *(Figure(f"of them {outcome}", count, "") for outcome, count in sorted(met.outcomes.items())),
        Figure("sessions in which a healthy trader noticed", met.noticed, "", goal=0),
    ]
