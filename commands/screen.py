"""What a running floor shows: a live table in a terminal, plain lines elsewhere.

Everything shown is escaped: names, rationales and appraisals come from models.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from commands.standings import Standing, standings
from commands.tables import one_line
from database import Store
from market import Market
from trading_floor import Floor
from values.clock import wall_now
from values.errors import StoreUnusable
from values.money import usd

LINES_KEPT = 8
FRAMES_A_SECOND = 2


class Screen(Protocol):
    def say(self, line: str) -> None: ...

    def showing(self, floor: Floor) -> contextlib.AbstractContextManager[None]: ...


class PlainScreen:
    """Lines with their wall time, for pipes and logs."""

    def say(self, line: str) -> None:
        print(f"{wall_now():%H:%M:%S} {one_line(line)}", flush=True)

    @contextlib.contextmanager
    def showing(self, floor: Floor) -> Iterator[None]:
        yield


class TableScreen:
    """A row per trader, a countdown, and the last lines under it."""

    def __init__(self, store: Store, market: Market) -> None:
        self._store = store
        self._market = market
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._console = Console()
        self._floor: Floor | None = None

    def say(self, line: str) -> None:
        text = f"{wall_now():%H:%M:%S} {one_line(line)}"
        self._lines.append(text)
        if self._floor is None:
            self._console.print(escape(text), highlight=False)

    @contextlib.contextmanager
    def showing(self, floor: Floor) -> Iterator[None]:
        self._floor = floor
        live = Live(get_renderable=self._frame, console=self._console, refresh_per_second=FRAMES_A_SECOND)
        try:
            with live:
                yield
        finally:
            self._floor = None

    def _frame(self) -> Group:
        try:
            rows = standings(self._store, self._market)
            now = self._market.clock.now()
        except StoreUnusable as error:
            return Group(Text(f"the store does not answer: {error}", style="red"))
        floor = self._floor
        assert floor is not None
        title = f"{self._market.name.upper()} market, {now:%a %Y-%m-%d %H:%M} UTC; house models are rule-based"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, expand=True)
        for heading, width in (("trader", 21), ("model", 12), ("state", 8)):
            table.add_column(heading, no_wrap=True, min_width=width)
        for heading, width in (("value USD", 10), ("profit USD", 10), ("cost USD", 8)):
            table.add_column(heading, justify="right", no_wrap=True, min_width=width)
        table.add_column("last action", ratio=1, no_wrap=True, overflow="ellipsis")
        for row in rows:
            table.add_row(*_cells(row, row.name in floor.running))
        lines = [Text(line, no_wrap=True, overflow="ellipsis", style="dim") for line in self._lines]
        return Group(table, Text(self._countdown(floor), style="bold"), *lines)

    def _countdown(self, floor: Floor) -> str:
        if floor.running:
            return f"running: {', '.join(sorted(floor.running))} - Ctrl-C ends the floor"
        if floor.next_at is None:
            return "starting - Ctrl-C ends the floor"
        left = max(timedelta(0), floor.next_at - self._market.clock.now()) / floor.factor
        minutes, seconds = divmod(int(left.total_seconds()), 60)
        return f"next run in {minutes:02}:{seconds:02} - Ctrl-C ends the floor"


def _cells(row: Standing, is_running: bool) -> tuple[str | Text, ...]:
    if row.profit is None or row.value is None:
        value, profit = "no price", Text("no price", style="yellow")
    else:
        value = usd(row.value)
        style = "green" if row.profit > 0 else "red" if row.profit < 0 else ""
        profit = Text(f"{row.profit:+,.2f}", style=style)
    state = "running" if is_running else row.state
    style = "dim" if row.kind == "baseline" else ""
    return (
        Text(row.name, style=style or "bold"),
        Text(row.model, style=style),
        Text(state, style=style),
        Text(value, style=style),
        profit,
        Text("" if row.kind == "baseline" else f"{row.session_cost:.4f}", style=style),
        Text(one_line(row.last_action), style=style),
    )
