"""What a rulebook is: it says which symbols to read, and then what it would buy, sell and leave alone, and why.

A rulebook is judged on what it is shown and holds no state. It wishes in fractions; what fits cash, limits and whole
shares is `sizing`'s matter, so no rulebook can spend what is not there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from statistics import fmean
from typing import Protocol

from model_clients.rulebooks.history import History
from model_clients.rulebooks.task import Task
from values.instrument import Kind
from values.money import Side

WINDOW_SYMBOLS = 16
"""Symbols that a session reads beyond those it holds and those its rulebook always reads."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An instrument as `find_symbols` shows it."""

    symbol: str
    kind: Kind
    sector: str
    step: Decimal
    open: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """Symbols to read. `always` in every session, `rotating` a window at a time; `note` says what the field lacks."""

    always: tuple[str, ...] = ()
    rotating: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Wish:
    """A trade that the rules ask for. `share`: of the account's value to spend on a buy, of the holding to sell."""

    side: Side
    symbol: str
    share: float
    confidence: float
    horizon_days: int
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A symbol that was looked at and left alone, with the figures that say why."""

    symbol: str
    confidence: float
    horizon_days: int
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Wishes in the order of their urgency, and one sentence on what was seen."""

    wishes: tuple[Wish, ...]
    holds: tuple[Hold, ...]
    outlook: str


@dataclass(frozen=True, slots=True)
class View:
    """All that a rulebook sees. `histories` have at least its `bars_needed` bars, all of the same interval."""

    task: Task
    listed: Mapping[str, Listed]
    histories: Mapping[str, History]

    def held(self) -> list[str]:
        """Symbols held whose history is long enough, heaviest first."""
        return sorted(
            (symbol for symbol in self.task.positions if symbol in self.histories),
            key=lambda symbol: (-self.task.weight(symbol), symbol),
        )

    def others(self) -> list[str]:
        """Symbols not held whose history is long enough, in symbol order."""
        return sorted(set(self.histories) - set(self.task.positions))

    def kind(self, symbol: str) -> Kind | None:
        listed = self.listed.get(symbol)
        return listed.kind if listed else None


class Rulebook(Protocol):
    """`bars_needed` is the shortest history that it judges, `day_bars` and `hour_bars` the longest that it uses."""

    @property
    def name(self) -> str: ...

    @property
    def bars_needed(self) -> int: ...

    @property
    def day_bars(self) -> int: ...

    @property
    def hour_bars(self) -> int: ...

    def reading(self, listed: Mapping[str, Listed]) -> Reading:
        """What to read of the instruments that are listed."""

    def plan(self, view: View) -> Plan:
        """What to do. Only asked when at least one history is long enough."""


def window(symbols: Sequence[str], time: datetime, size: int = WINDOW_SYMBOLS) -> tuple[str, ...]:
    """The part of `symbols` whose turn it is: the next window each hour, each about as wide.

    As many hours as there are windows read them all. A day moves the start by five more, so that sessions at the same
    hour of each day come to all of them too.
    """
    if len(symbols) <= size:
        return tuple(symbols)
    moment = time.astimezone(UTC)
    hours = int(moment.timestamp()) // 3600
    windows = -(-len(symbols) // size)
    at = (hours + 5 * moment.toordinal()) % windows
    return tuple(symbols[at * len(symbols) // windows : (at + 1) * len(symbols) // windows])


def of_kind(listed: Mapping[str, Listed], *kinds: Kind) -> tuple[str, ...]:
    """Listed symbols of those kinds, in symbol order."""
    return tuple(sorted(symbol for symbol, one in listed.items() if one.kind in kinds))


def open_first(listed: Mapping[str, Listed], symbols: Sequence[str]) -> tuple[str, ...]:
    """Those that trade now, or all of them when none does."""
    return tuple(symbol for symbol in symbols if listed[symbol].open) or tuple(symbols)


def coin_base(symbol: str) -> str:
    """`BTC` of `BTC-USD`; empty for what is no coin."""
    base, dash, _ = symbol.partition("-")
    return base if dash else ""


def index_of(listed: Mapping[str, Listed]) -> str | None:
    """The symbol that stands for the market: SPY, else QQQ, else bitcoin, else None."""
    for name in ("SPY", "QQQ"):
        if name in listed:
            return name
    return next((symbol for symbol in sorted(listed) if coin_base(symbol) == "BTC"), None)


def average_history(histories: Mapping[str, History]) -> History | None:
    """An equally weighted index of the histories over the bars that all have, from 100 on; None without two bars."""
    shared = sorted(set.intersection(*(set(one.starts) for one in histories.values()))) if histories else []
    if len(shared) < 2:
        return None
    paths = []
    for one in histories.values():
        closes = dict(zip(one.starts, one.closes, strict=True))
        paths.append([100 * closes[start] / closes[shared[0]] for start in shared])
    levels = tuple(fmean(level) for level in zip(*paths, strict=True))
    interval = next(iter(histories.values())).interval
    return History("universe", interval, tuple(shared), levels, levels, levels)


def trims(task: Task, horizon_days: int, filled_to: float = 0.9) -> list[Wish]:
    """Sales that bring holdings above the account's position limit back to `filled_to` of it."""
    limit = task.limits.max_position_share
    if limit is None or limit <= 0:
        return []
    found = []
    for symbol in sorted(task.positions):
        weight = task.weight(symbol)
        if weight > float(limit):
            share = 1 - float(limit) * filled_to / weight
            reason = f"{weight:.1%} of the account is more than its limit of {float(limit):.0%}; trimmed"
            found.append(Wish("sell", symbol, share, 0.7, horizon_days, reason))
    return found


def clamp(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))
