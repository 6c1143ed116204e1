"""What one session's model does wrong and when, what has to become of it by the rules of the desk, and its server."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.model_faults import FAULTS, SYMBOL, Fault
from tests.model_loopback import Answer, Reply, tool_call
from values.session import Outcome

TURNS, TRADES = 12, 8
ASKS = 3
TRIES = 3
PATIENT_S, HASTY_S = 60.0, 2.0
"""A session's seconds: plenty, and few where its model will never answer."""
POSITIONS = {"the first call": 0, "after a fill": 2, "the closing call": 3}
UNMIXED = "more than it said"
"""Not in mixtures: its connection's next answer is lost, and what stood in it."""
CLOSING = "Bought one share, and expect little of it."


@dataclass(frozen=True)
class Plan:
    """What one session's model does wrong, in order: at which step, and what."""

    faults: tuple[tuple[int, Fault], ...] = ()
    streamed: bool = False
    hasty_s: float = HASTY_S

    @property
    def seconds(self) -> float:
        return self.hasty_s if any(fault.ends == "timed_out" for _, fault in self.faults) else PATIENT_S

    def __str__(self) -> str:
        told = ", ".join(f"{fault.name} at {step}" for step, fault in self.faults)
        return f"{told or 'nothing'} ({'streamed' if self.streamed else 'whole'})"


@dataclass(frozen=True)
class Expected:
    """How the session has to end, with what in its reason, how many fills, and how many of the faults it meets."""

    outcome: Outcome
    says: str
    fills: int
    met: int


def expected(plan: Plan) -> Expected:
    """What the rules of the desk make of a plan, without running it."""
    fills = asks = retries = met = 0
    is_spent = False
    waiting = list(plan.faults)
    for step in range(4):
        while waiting and waiting[0][0] <= step:
            if is_spent:
                return Expected("over_budget", "may cost", min(fills, TRADES), met)
            _, fault = waiting.pop(0)
            met += 1
            fills += fault.fills
            retries = retries + 1 if fault.is_retried else 0
            if retries == TRIES:
                return Expected("failed", f"tried {TRIES} times", min(fills, TRADES), met)
            is_spent |= fault.is_costly
            if fault.ends in ("failed", "timed_out"):
                return Expected(fault.ends, fault.says, min(fills, TRADES), met)
            if fault.ends == "text":
                asks += 1
                if (step == 3 and not fault.is_blank) or asks == ASKS:
                    ends_well = not fault.is_blank
                    says = "" if ends_well else "without an appraisal"
                    return Expected("completed" if ends_well else "failed", says, min(fills, TRADES), met)
        if is_spent:
            return Expected("over_budget", "may cost", min(fills, TRADES), met)
        retries = 0
        fills += step == 1 and fills < TRADES
    return Expected("completed", "", min(fills, TRADES), met)


class FaultyModel:
    """One session's server: it looks, buys, decides and closes, and does what its plan has in store between."""

    def __init__(self, name: str, plan: Plan) -> None:
        decision = {"action": "buy", "confidence": 0.5, "horizon_days": 5, "rationale": "the plan"}
        self.steps: Sequence[Mapping[str, Any]] = (
            tool_call("get_balance", "step_0", name=name),
            tool_call("buy_shares", "step_1", name=name, symbol=SYMBOL, quantity=1, rationale="the plan"),
            tool_call("record_decision", "step_2", name=name, symbol=SYMBOL, **decision),
        )
        self._name = name
        self._faults = plan.faults
        self._next = 0
        self.met = 0

    def answer(self, request: Mapping[str, Any]) -> Reply:
        """By what the conversation has come to, so that a call that is made twice gets the same step."""
        said = [call["function"] for message in request["messages"] for call in message.get("tool_calls", ())]
        step = sum(call["function"] in said for call in self.steps)
        if self._next < len(self._faults) and self._faults[self._next][0] <= step:
            fault = self._faults[self._next][1]
            self.met = self._next + 1
            self._next += not fault.lasts
            return fault.make(self._name, bool(request.get("stream")))
        return CLOSING if step == len(self.steps) else Answer(calls=[self.steps[step]])


def every_fault(positions: Sequence[int], streamed: Sequence[bool]) -> list[Plan]:
    """Every kind at each position."""
    return [Plan(((at, fault),), each) for each in streamed for at in positions for fault in FAULTS]


def each_fault_once() -> list[Plan]:
    """Every kind, two to a session where the first leaves room for another; those that are waited for first.

    At one position after the other, streamed and whole in turn.
    """
    kinds = sorted(FAULTS, key=lambda fault: fault.ends != "timed_out")
    alone = [fault for fault in kinds if fault.name == UNMIXED]
    last = [fault for fault in kinds if fault.ends in ("failed", "timed_out") or fault.is_costly]
    first = [fault for fault in kinds if fault not in last and fault not in alone]
    positions = list(POSITIONS.values())
    plans = []
    for at, fault in enumerate(last):
        position = positions[at % 3]
        plan = Plan(((position, fault),), at % 2 == 0)
        pair = Plan(((0, first[0]), (position, fault)), at % 2 == 0) if first else plan
        if first and expected(pair).met == 2:
            plan = pair
            del first[0]
        plans.append(plan)
    return plans + [Plan(((positions[at % 3], fault),), at % 2 == 0) for at, fault in enumerate([*first, *alone])]


def mixtures(count: int, chance: random.Random) -> list[Plan]:
    """Sessions with one to four kinds, anywhere in them."""
    kinds = [fault for fault in FAULTS if fault.name != UNMIXED]
    made = []
    for _ in range(count):
        found = [(chance.randrange(4), chance.choice(kinds)) for _ in range(chance.randint(1, 4))]
        made.append(Plan(tuple(sorted(found, key=lambda each: each[0])), chance.random() < 0.5))
    return made
