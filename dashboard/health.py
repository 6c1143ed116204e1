"""How the floor's tool servers answer and what went wrong lately, from the rows that the floor left.

A server is known by its tools' names: the record has the calls that traders made, and no process is asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from statistics import median

from dashboard.view import Fault, Health, LogLine, ServerHealth

CALLS_JUDGED = 200
"""Of each kind of server, the newest."""
CALLS_LOOKED_THROUGH = 1_000
"""Of all, the newest: the slowest are among them."""
SLOW_SHOWN = 10
FAULTS_SHOWN = 20
OTHER = "other"

_TOOLS: Mapping[str, str] = {
    "accounts": "get_balance get_holdings get_account get_transactions buy_shares sell_shares change_strategy "
    "record_decision",
    "market": "lookup_share_price get_price_history get_market_status find_symbols",
    "push": "push",
    "memory": "create_entities create_relations add_observations delete_entities delete_observations delete_relations "
    "read_graph search_nodes open_nodes",
    "search": "web_search news_search",
    "fetch": "fetch",
    "researcher": "research",
}
SERVER_OF: Mapping[str, str] = {tool: server for server, tools in _TOOLS.items() for tool in tools.split()}
"""Each tool's kind of server; the researcher is an agent that a trader calls like one."""


Refused = tuple[str, str, str] | None
"""A refused call as its two records name it: session, tool and code; None outside a session."""


def refused_call(session_id: str | None, tool: str | None, code: str) -> Refused:
    return (session_id, tool, code) if session_id and tool else None


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call on record."""

    account: str
    line: LogLine


class CallRecord:
    """The newest calls and faults; add each row once, oldest first."""

    def __init__(self) -> None:
        self._calls: deque[LogLine] = deque(maxlen=CALLS_LOOKED_THROUGH)
        self._of_server: dict[str, deque[LogLine]] = {}
        self._faults: dict[tuple[str, object], Fault] = {}
        self._calls_refused: dict[tuple[str, object], Refused] = {}

    def add_calls(self, calls: Iterable[Call]) -> None:
        for call in calls:
            line = call.line
            server = SERVER_OF.get(line.tool or "", OTHER)
            self._calls.append(line)
            self._of_server.setdefault(server, deque(maxlen=CALLS_JUDGED)).append(line)
            if line.is_error:
                code = line.message.rpartition("failed: ")[2]
                self._calls_refused["call", line.id] = refused_call(line.session_id, line.tool, code)
                self.add_fault("call", line.id, Fault(call.account, line.tool or OTHER, line.message, line.wall_time))

    def add_fault(self, kind: str, key: object, fault: Fault) -> None:
        """Known by its kind and key: the same one twice counts once."""
        self._faults[kind, key] = fault
        if len(self._faults) > 4 * FAULTS_SHOWN:
            self._faults = dict(nlargest(2 * FAULTS_SHOWN, self._faults.items(), key=_moment_of))
            self._calls_refused = {key: call for key, call in self._calls_refused.items() if key in self._faults}

    def add_refusal(self, key: object, fault: Fault, call: Refused) -> None:
        """What a server refused. The call that it answered so is on record too, and is the same fault."""
        self._calls_refused["refusal", key] = call
        self.add_fault("refusal", key, fault)

    def _distinct(self) -> Iterator[tuple[tuple[str, object], Fault]]:
        refused = {call for (kind, _), call in self._calls_refused.items() if kind == "refusal" and call is not None}
        for key, fault in self._faults.items():
            if key[0] != "call" or self._calls_refused.get(key) not in refused:
                yield key, fault

    def health(self) -> Health:
        return Health(
            servers=tuple(_judged(name, lines) for name, lines in sorted(self._of_server.items())),
            faults=tuple(fault for _, fault in nlargest(FAULTS_SHOWN, self._distinct(), key=_moment_of)),
            slow_calls=tuple(nlargest(SLOW_SHOWN, self._calls, key=lambda line: line.latency_ms or 0.0)),
        )


def _moment_of(item: tuple[tuple[str, object], Fault]) -> datetime:
    return item[1].wall_time


def _judged(name: str, lines: Iterable[LogLine]) -> ServerHealth:
    calls = list(lines)
    latencies = [line.latency_ms for line in calls if line.latency_ms is not None]
    return ServerHealth(
        name=name,
        calls=len(calls),
        errors=sum(line.is_error for line in calls),
        median_ms=median(latencies) if latencies else None,
        slowest_ms=max(latencies, default=None),
        last_answer_at=max((line.wall_time for line in calls if not line.is_error), default=None),
    )
