"""The four personas on the first stretch of real price files: they wait, begin, fit their limits and differ.

The files are not part of the project; without HISTORY_DIR these tests are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path

import pytest

from model_clients.house import HouseModel
from personas import Persona, load_personas
from tests.house.paper_floor import PaperBench, PaperBook, run_session, task_text
from tests.house.paper_market import DAY, HOUR, PaperBar, PaperMarket, read_bars

HISTORY_DIR = os.environ.get("HISTORY_DIR")
pytestmark = pytest.mark.skipif(not HISTORY_DIR, reason="HISTORY_DIR is not set: no real price files to run on")
PERSONAS = load_personas(Path(__file__).resolve().parents[2] / "personas")


def history(name: str, step: timedelta) -> tuple[dict[str, list[PaperBar]], list[datetime]]:
    """The file's bars and the times at which one starts."""
    assert HISTORY_DIR is not None
    bars = read_bars(Path(HISTORY_DIR) / name, step)
    return bars, sorted({bar.start for path in bars.values() for bar in path})


async def run(
    persona: Persona, bars: Mapping[str, Sequence[PaperBar]], interval: str, cycles: Sequence[datetime]
) -> PaperBook:
    """One session a cycle, trading and rebalancing by turns, under the persona's own limits."""
    book = PaperBook(PaperMarket(bars, cycles[0], interval), dict(persona.limits))
    bench, model = PaperBench(book), HouseModel(persona.rulebook)
    for at, cycle in enumerate(cycles):
        book.market.now = cycle
        await run_session(model, bench, task_text(book, "rebalance" if at % 2 else "trade"))
        assert not (at == 0 and book.fills), "the first cycle has no history to trade on"
    return book


@pytest.mark.parametrize(
    ("name", "step", "cycles"), [("nasdaq100_hourly.csv.gz", HOUR, 32), ("crypto_daily.csv.gz", DAY, 24)]
)
async def test_each_persona_begins_within_its_limits_and_trades_as_no_other(
    name: str, step: timedelta, cycles: int
) -> None:
    bars, starts = history(name, step)
    interval = "hour" if step == HOUR else "day"
    books = {persona.name: await run(persona, bars, interval, starts[:cycles]) for persona in PERSONAS}
    for trader, book in books.items():
        assert book.refusals == [], trader
        assert 1 <= len(book.fills) <= cycles * 2, trader
    for left, right in combinations(books, 2):
        mine, other = (
            {(fill.symbol, fill.side, fill.time) for fill in books[trader].fills} for trader in (left, right)
        )
        assert 2 * len(mine & other) <= min(len(mine), len(other)), (left, right)
