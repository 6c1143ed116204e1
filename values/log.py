"""One line of a trader's activity, as the logs table keeps it and a dashboard shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

LogType = Literal["trace", "agent", "function", "generation", "response", "account"]
LOG_TYPES: tuple[LogType, ...] = ("trace", "agent", "function", "generation", "response", "account")


@dataclass(frozen=True, slots=True)
class LogRow:
    """`arguments` and `result` are text with secrets removed and long values cut; `latency_ms` None: an instant."""

    type: LogType
    account: str
    message: str
    wall_time: datetime
    session_id: str | None = None
    tool: str | None = None
    arguments: str | None = None
    result: str | None = None
    is_error: bool = False
    latency_ms: float | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    span_id: str | None = None
