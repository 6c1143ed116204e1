"""The wall clock steps back and forward by hours, the machine sleeps for a night, floors end and start in between.

Whatever the clock did, no slot runs twice, a night's missed hours are one cycle, the floor is back on its grid at once,
no record stands before one that is older, and no process sees market time go back. The days on which the exchange's
hours move are in `calendars.py`.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from benchmarks.figure import Figure
from tests.chaos.calendars import CALENDARS, NIGHTS, by_the_clock, on_a_tape, through_the_night
from tests.chaos.faketime import FakeTime, faked, run_virtually
from tests.chaos.machine import EVERY, FACTOR, START, Machine, machine, make_template, out_of_order
from tests.shelf import ShelfVenue
from trading_floor import HEARTBEAT_S, TICK_S

SETTLE_S = EVERY.total_seconds() / FACTOR + HEARTBEAT_S + 3 * TICK_S
"""Wall seconds within which a floor that runs must begin a cycle, whatever happened."""
RUNS, EVENTS = 100, 6

Trouble = Literal["step", "sleep", "sleep_counted", "stop", "kill"]
TROUBLES: tuple[Trouble, ...] = ("step", "sleep", "sleep_counted", "stop", "kill")


@dataclass(frozen=True, slots=True)
class Event:
    """After `after_s` quiet seconds, `trouble`: a step of the clock by `hours` (also back), a night of `hours`, or the
    end of the floor, by `stop` or by `kill`, and a new one after `hours` with the clock set by a further `hours`."""

    after_s: float
    trouble: Trouble
    hours: float


async def live(on: Machine, events: Sequence[Event]) -> None:
    """Run a floor through the events; where one ends it, start another."""
    async with on.observed():
        running = asyncio.create_task(on.floor().run())
        for event in events:
            await asyncio.sleep(event.after_s)
            if event.trouble in ("stop", "kill"):
                await (on.stop(running) if event.trouble == "stop" else on.kill(running))
                on.fake.sleep(timedelta(hours=abs(event.hours)), monotonic_goes_on=True)
                on.fake.step(timedelta(hours=event.hours))
                running = asyncio.create_task(on.floor().run())
            elif event.trouble == "step":
                on.fake.step(timedelta(hours=event.hours))
            else:
                night = timedelta(hours=abs(event.hours))
                on.fake.sleep(night, monotonic_goes_on=event.trouble == "sleep_counted")
        before = len(on.witness.begun)
        await asyncio.sleep(SETTLE_S)
        if len(on.witness.begun) == before:
            on.witness.late.append(f"{SETTLE_S:g} s after the last trouble no cycle had begun")
        await on.stop(running)


def random_events(chance: random.Random, count: int) -> list[Event]:
    """Troubles at random moments, steps back and forward by minutes to days; half of them in the middle of a cycle."""
    events = []
    for _ in range(count):
        after_s = chance.choice((chance.uniform(0, 2.5), chance.uniform(0, SETTLE_S)))
        hours = chance.choice((-1, 1)) * chance.choice((0.01, 0.25, 1, 3, 9, 30))
        events.append(Event(after_s, chance.choice(TROUBLES), hours))
    return events


def disturbed(template: Path, folder: Path, events: Sequence[Event]) -> tuple[list[str], int]:
    """A sentence for each promise that a run through `events` broke, and the cycles that it began."""
    fake = FakeTime(START + timedelta(minutes=7))
    with faked(fake), machine(template, folder, fake, ShelfVenue()) as on:
        run_virtually(fake, lambda: live(on, events))
        return [*on.witness.faults(), *out_of_order(on.process()[0])], len(on.witness.begun)


def prove(scale: int, seed: int) -> list[Figure]:
    """Random troubles of one run after another, and every day on which an exchange's hours move."""
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    broken: list[str] = []
    cycles = 0
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        template = make_template(folder)
        for number in range(RUNS * scale):
            events = random_events(chance, EVENTS)
            done.update(_kind(event) for event in events)
            (run := folder / str(number)).mkdir()
            faults, begun = disturbed(template, run, events)
            broken += [f"{fault} ({events})" for fault in faults]
            cycles += begun
        for name, days in CALENDARS.items():
            (run := folder / name).mkdir()
            broken += [f"{name}: {fault}" for fault in (*by_the_clock(template, run, days), *on_a_tape(run, days))]
        for name, jump in NIGHTS.items():
            (run := folder / f"{name}, the night").mkdir()
            broken += [f"{name}: {fault}" for fault in through_the_night(template, run, jump)]
    assert not broken, broken[:5]
    assert min(done[kind] for kind in KINDS) > 0, done
    return [
        Figure("clock faults: double runs, bursts and records out of order", len(broken), "", goal=0),
        *(Figure(f"clock faults: {kind}", done[kind], "") for kind in KINDS),
        Figure("clock faults: cycles that ran between them", cycles, ""),
        Figure("clock faults: calendars with moved hours, by the clock and on a tape", len(CALENDARS), ""),
        Figure("clock faults: nights in which local time jumps", len(NIGHTS), ""),
    ]


KINDS = ("steps back", "steps forward", "nights asleep", "floors stopped", "floors killed")


def _kind(event: Event) -> str:
    if event.trouble == "step":
        return "steps back" if event.hours < 0 else "steps forward"
    return {"stop": "floors stopped", "kill": "floors killed"}.get(event.trouble, "nights asleep")
