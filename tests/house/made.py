"""Made markets and accounts for tests of the rules: short histories with a known shape, and one session over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from model_clients.house import HouseModel
from tests.house.paper_floor import PaperBench, PaperBook, PaperFill, run_session, task_text
from tests.house.paper_market import DAY, HOUR, START, PaperMarket, days_of, zigzag
from values.instrument import Kind

RULEBOOKS: tuple[str, ...] = ("value", "macro", "trend", "beta")
every_rulebook = pytest.mark.parametrize("rulebook", RULEBOOKS)
BARS = 100
FLAT = zigzag(100, 100, BARS, 0.01)


def book_of(closes: Mapping[str, Sequence[float]], kinds: Mapping[str, Kind] | None = None) -> PaperBook:
    """A fresh account in a market of daily bars that end now, quoted at the last close."""
    bars = {symbol: days_of(path) for symbol, path in closes.items()}
    quotes = {symbol: path[-1].close for symbol, path in bars.items()}
    return PaperBook(PaperMarket(bars, START, "day", quotes=quotes, kinds=dict(kinds or {})))


def traded_before(book: PaperBook, side: str, symbol: str, price: str, days_ago: float) -> None:
    """Put an earlier fill on the book's record."""
    at = book.market.now - timedelta(days=days_ago)
    book.fills.append(PaperFill("buy" if side == "buy" else "sell", symbol, Decimal(1), Decimal(price), at, "earlier"))


async def session(rulebook: str, book: PaperBook, mode: str = "trade") -> tuple[list[tuple[str, str]], str]:
    """The session's own fills as (side, symbol), and its closing text. Nothing may be refused."""
    before = len(book.fills)
    closing = await run_session(HouseModel(rulebook), PaperBench(book), task_text(book, mode))
    assert book.refusals == []
    return [(fill.side, fill.symbol) for fill in book.fills[before:]], closing


def dipped(depth: float, swing: float = 0.01, level: float = 100) -> list[float]:
    """Steady, then down by `depth` over the last twenty bars."""
    return [*zigzag(level, level, BARS - 20, swing), *zigzag(level, level * (1 - depth), 20, swing)]


RISING_INDEX = zigzag(100, 120, BARS, 0.002)
FALLING_INDEX = zigzag(120, 100, BARS, 0.002)


def climb(rise: float, level: float = 50) -> list[float]:
    """Flat, then up by `rise` over the last twenty bars."""
    return [*zigzag(level, level, BARS - 20, 0.004), *zigzag(level, level * (1 + rise), 20, 0.004)]


def lively(bars: int = 60, until: datetime = START, step: timedelta = DAY) -> dict[str, Any]:
    """A market in which every rulebook finds something to do: an index, trends, discounts, coins."""
    dip = [*zigzag(100, 185, bars - 3, 0.015), 184, 180, 174] if bars > 3 else [100.0] * bars
    paths = {
        "SPY": zigzag(100, 120, bars, 0.004), "TLT": zigzag(90, 90, bars, 0.004), "AAPL": zigzag(100, 130, bars, 0.01),
        "KO": [*zigzag(60, 60, bars - bars // 5, 0.004), *zigzag(60, 55, bars // 5, 0.004)],
        "MSFT": zigzag(400, 410, bars, 0.008), "NVDA": zigzag(100, 160, bars, 0.02), "SOL-USD": dip,
        "BTC-USD": zigzag(80_000, 99_000, bars, 0.01), "ETH-USD": zigzag(3000, 3200, bars, 0.01), "IBIT": dip,
    }  # fmt: skip
    return {symbol: days_of(path, until, step) for symbol, path in paths.items() if path}


def floor(bars: int = 60, interval: str = "day") -> PaperBook:
    made = lively(max(bars, 1), step=DAY if interval == "day" else HOUR)
    quotes = {symbol: path[-1].close for symbol, path in made.items()}
    shown = {symbol: path if bars else [] for symbol, path in made.items()}
    return PaperBook(PaperMarket(shown, START, interval, quotes=quotes))


async def count_replies(model: HouseModel, bench: PaperBench, task: str) -> int:
    """How many replies a session takes, its closing text included."""
    before = model.total_usage().prompt_tokens
    counted = 0
    create = model.create

    async def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal counted
        counted += 1
        return await create(*args, **kwargs)

    model.create = counting  # type: ignore[method-assign]
    await run_session(model, bench, task)
    assert model.total_usage().prompt_tokens > before
    return counted
