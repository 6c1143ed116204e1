"""What the dashboard knows of the floor at one moment: plain values, read once for every tab that looks.

USD are exact decimals, shares are fractions (0.25 = 25 %), times are aware UTC. None means not known, and panels say
so. Text comes from models, the web and users: only `dashboard.html` may turn it into HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

COLUMNS_MAX = 40
"""Accounts that have a column of their own; beyond, a page is nothing that a browser or a reader takes in."""

Role = Literal["trader", "client", "baseline"]
Badge = Literal["LIVE", "DELAYED", "END OF DAY", "REPLAY", "SIMULATED", "STALE"]


@dataclass(frozen=True, slots=True)
class Header:
    """The market and the floor. `note` is what the venue says of its hours, `stale_for_s` the age of a stale price."""

    badge: Badge
    stale_for_s: float | None
    is_open: bool
    changes_at: datetime | None
    note: str
    market_time: datetime
    wall_time: datetime
    market_seconds_a_second: int
    floor: str | None  # who holds it, None when no floor runs
    cycle: int
    running: Sequence[str]  # accounts with an open session
    next_run_at: datetime | None  # market time
    next_run_in_s: float | None  # wall seconds from `wall_time`
    spent_today: Decimal
    cap_today: Decimal  # USD a wall day (UTC) for all models of the floor
    has_llm: bool  # some trader is no rule-based one


@dataclass(frozen=True, slots=True)
class Point:
    """An account's recorded value."""

    market_time: datetime
    value: Decimal


@dataclass(frozen=True, slots=True)
class Position:
    symbol: str
    quantity: Decimal
    average_cost: Decimal
    cost: Decimal
    price: Decimal | None
    value: Decimal | None
    weight: float | None
    profit: Decimal | None
    as_of: datetime | None
    source: str | None
    is_stale: bool


@dataclass(frozen=True, slots=True)
class Trade:
    """A transaction; a deposit has no symbol."""

    id: int
    account: str
    kind: str
    symbol: str | None
    quantity: Decimal | None
    price: Decimal | None
    amount: Decimal
    realised: Decimal
    cash_after: Decimal
    quote_price: Decimal | None
    quote_as_of: datetime | None
    source: str | None
    rationale: str
    session_id: str | None
    actor: str
    market_time: datetime
    wall_time: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    id: int
    symbol: str
    action: str
    confidence: float
    horizon_days: int
    rationale: str
    session_id: str | None
    market_time: datetime
    wall_time: datetime


@dataclass(frozen=True, slots=True)
class LogLine:
    id: int
    type: str  # trace, agent, function, generation, response, account
    message: str
    tool: str | None
    is_error: bool
    latency_ms: float | None
    session_id: str | None
    wall_time: datetime


@dataclass(frozen=True, slots=True)
class StrategyChange:
    """When an account got its strategy, and who gave it: floor, client, operator; in a session, the trader itself."""

    actor: str
    session_id: str | None
    market_time: datetime


@dataclass(frozen=True, slots=True)
class AccountView:
    """Everything that is shown of one account. Sequences are newest first, but for `points`, oldest first."""

    name: str
    title: str
    role: Role
    style: str
    model: str
    is_rule_based: bool
    state: str  # active, paused, reducing, halted, running
    state_reason: str
    cash: Decimal
    deposited: Decimal
    value: Decimal | None
    is_stale: bool
    realised: Decimal
    today: Decimal | None  # USD since the trading day's opening
    today_share: float | None
    largest_fall: float
    sharpe: float | None  # a year's, from daily values; None when it is too early
    days: int  # of daily values
    trades: int
    sales: int
    win_rate: float | None
    spread_paid: Decimal
    refusals: int
    model_cost: Decimal
    input_tokens: int
    cached_tokens: int  # of the input tokens, those that a provider had in its cache
    output_tokens: int
    points: Sequence[Point]
    positions: Sequence[Position]
    transactions: Sequence[Trade]
    decisions: Sequence[Decision]
    strategy: str
    strategy_change: StrategyChange | None
    limits: Mapping[str, str | None]

    @property
    def profit(self) -> Decimal | None:
        return None if self.value is None else self.value - self.deposited

    @property
    def return_share(self) -> float | None:
        return None if self.profit is None or not self.deposited else float(self.profit / self.deposited)

    @property
    def return_after_model_cost(self) -> float | None:
        if self.profit is None or not self.deposited:
            return None
        return float((self.profit - self.model_cost) / self.deposited)


@dataclass(frozen=True, slots=True)
class Notification:
    id: int
    account: str
    title: str
    message: str
    state: str  # held, pending, sent, partly_sent, failed, merged, no_target, refused
    reason: str
    wall_time: datetime


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """How a kind of tool server answered lately, from the traders' calls on record."""

    name: str
    calls: int
    errors: int
    median_ms: float | None
    slowest_ms: float | None
    last_answer_at: datetime | None


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that went wrong: an errored call, a refusal, a session that did not complete."""

    account: str
    what: str
    sentence: str
    wall_time: datetime


@dataclass(frozen=True, slots=True)
class Health:
    servers: Sequence[ServerHealth]
    faults: Sequence[Fault]
    slow_calls: Sequence[LogLine]


@dataclass(frozen=True, slots=True)
class PartLine:
    """What of the floor is real, as it was when the floor last started."""

    name: str
    state: str  # real, recorded, simulated, off
    why: str
    change: str


@dataclass(frozen=True, slots=True)
class View:
    """The floor as a whole. `broken` says in a sentence why the store can't be read; the rest is then the last read."""

    header: Header | None
    accounts: Sequence[AccountView]  # by value, best first
    logs: Mapping[str, Sequence[LogLine]]  # account to its newest lines, newest first
    notifications: Sequence[Notification]
    health: Health
    symbols: Sequence[str]  # that some account has traded
    parts: Sequence[PartLine] = ()
    broken: str | None = None

    @property
    def traders(self) -> Sequence[AccountView]:
        """The floor's traders, then clients' accounts, by name."""
        found = (each for each in self.accounts if each.role != "baseline")
        return sorted(found, key=lambda each: (each.role != "trader", each.name))

    @property
    def columns(self) -> Sequence[AccountView]:
        """Those that have a column of their own; the standings have all."""
        return self.traders[:COLUMNS_MAX]
