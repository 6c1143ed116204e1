"""When the floor's cycles are due: on multiples of N market minutes, counted from 1970, or on a replay's tape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tape:
    """A replay's times: the bars' starts in order and the last bar's end; `pause_s` wall seconds between cycles.

    `has_end`: values are recorded at the end too; not where a run is played back that did not reach it.
    """

    starts: Sequence[datetime]
    end: datetime
    pause_s: float
    has_end: bool = True


def slot_at(moment: datetime, every: timedelta) -> datetime:
    """The newest multiple of `every` that is not after `moment`."""
    return moment - (moment - _EPOCH) % every


def due_at(last_slot: datetime | None, now: datetime, every: timedelta) -> datetime:
    """When the next cycle is due: at once on a new store, else at the first multiple after the last cycle's."""
    return now if last_slot is None else slot_at(last_slot, every) + every


def next_run_at(last_slot: datetime | None, now: datetime, every: timedelta, opens_at: datetime | None) -> datetime:
    """When a running floor will be seen to begin its next cycle; `opens_at` is when a closed market opens.

    A floor does not make up for what was due while the market was closed: it goes on at the next multiple. What is
    overdue by less than a tenth of `every` is about to begin.
    """
    due = due_at(last_slot, now, every)
    if now - due > every / 10:
        due = slot_at(now, every) + every
    if opens_at is None or opens_at <= due:
        return due
    slot = slot_at(opens_at, every)
    return slot if slot == opens_at else slot + every
