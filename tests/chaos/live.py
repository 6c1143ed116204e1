"""The live market at its vendor's worst: every fault for every plan and question, and four traders on a free plan.

Four processes, each with its own connection to the store, ask for prices and histories over the plan's own minute,
counted where the requests arrive.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any, get_args

from benchmarks.figure import Figure
from database import NewRun, Store
from market import open_market, open_store
from tests.live import live_store, polygon
from tests.polygon_faults import FAULTS
from tests.polygon_loopback import CORE, KEY, PolygonLoopback, Told, aware
from values.clock import wall_now
from values.errors import VenueUnavailable
from values.market_settings import PolygonPlan
from values.quote import Quote
from values.settings import PROJECT, MarketSettings, load
from venues.polygon import PolygonVenue
from venues.polygon_news import newest_news

OPEN = aware("2026-03-03 11:00")
TRADERS = 4
WINDOW_S = 60.0
DEADLINE_S = 0.3
QUESTIONS: dict[str, Callable[[PolygonVenue], Any]] = {
    "quote": lambda venue: venue.quote("AAPL", OPEN),
    "quote of another share": lambda venue: venue.quote("ZZZZ", OPEN),
    "bars": lambda venue: venue.bars("AAPL", "day", 5, OPEN),
    "closes": lambda venue: venue.closes(OPEN),
    "search": lambda venue: venue.search("apple"),
    "news": lambda venue: newest_news(venue.answers, "AAPL", None, OPEN),
    "hours": lambda venue: venue.hours_note(OPEN),
    "actions": lambda venue: venue.corporate_actions({"AAPL"}, date(2026, 2, 2), date(2026, 3, 2)),
}


def prove(scale: int, seed: int) -> list[Figure]:
    return [*_matrix(), *_traders(scale)]


def _matrix() -> list[Figure]:
    """Each question is asked with nothing known; only the first request meets the fault."""
    happened: Counter[str] = Counter()
    slowest, slowest_of = 0.0, ""
    with tempfile.TemporaryDirectory(prefix="chaos-live-") as folder:
        empty = Path(folder) / "empty.db"
        live_store(empty).close()
        for plan in get_args(PolygonPlan):
            for fault, (reply, _) in FAULTS.items():
                for name, ask in QUESTIONS.items():
                    path = Path(folder) / f"{sum(happened.values())}.db"
                    path.write_bytes(empty.read_bytes())
                    with PolygonLoopback(Told(OPEN, plan=plan)) as vendor, closing(Store(path)) as store:
                        vendor.script.append(reply)
                        venue = polygon(store, vendor, plan, deadline_s=DEADLINE_S)
                        began = time.monotonic()
                        happened[_outcome(ask, venue, name, fault)] += 1
                        spent = time.monotonic() - began - DEADLINE_S * max(0, len(vendor.requests) - 1)
                        if spent > slowest:
                            slowest, slowest_of = spent, f"{name}, {plan}, {fault}"
                    for each in path.parent.glob(f"{path.name}*"):
                        each.unlink()
    print(f"slowest: {slowest_of}", file=sys.stderr)
    wrong = {what: count for what, count in happened.items() if what.startswith("wrong")}
    for what, count in wrong.items():
        print(f"{what}: {count}", file=sys.stderr)
    return [
        Figure("live market: faults asked of every plan and question", sum(happened.values()), ""),
        Figure("live market: answers that were neither right nor a sentence", sum(wrong.values()), "", goal=0),
        Figure("live market: slowest answer beyond a request's deadline", slowest - DEADLINE_S, "s", goal=1.0),
    ]


def _outcome(ask: Callable[[PolygonVenue], Any], venue: PolygonVenue, name: str, fault: str) -> str:
    try:
        found = ask(venue)
    except VenueUnavailable as error:
        sentence = str(error)
        is_readable = sentence and "\n" not in sentence and KEY not in sentence and len(sentence) < 400
        return "a sentence" if is_readable else f"wrong: {name}, {fault}: {sentence!r}"
    except ValueError as error:  # a refusal of ours: no such symbol
        return "a refusal" if name == "quote of another share" else f"wrong: {name}, {fault}: {error!r}"
    except Exception as error:  # noqa: BLE001 - any other is what this looks for
        return f"wrong: {name}, {fault}: {error!r}"
    if isinstance(found, Quote) and not found.stale:
        return f"wrong: {name}, {fault}: {found}"
    return "an answer"


def _traders(scale: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="chaos-live-") as folder, PolygonLoopback(Told(wall_now())) as vendor:
        url = f"sqlite:///{folder}/live.db"
        Store(Path(folder) / "live.db", NewRun("live")).close()
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.live", url, vendor.base_url, str(n), str(2 * scale)],
                cwd=PROJECT, stdout=subprocess.PIPE, text=True,
            )
            for n in range(TRADERS)
        ]  # fmt: skip
        done = [child.communicate(timeout=600 * scale)[0].strip() for child in children]
        arrived = sorted(asked.at for asked in vendor.requests)
    busiest = max(sum(first <= at < first + WINDOW_S for at in arrived) for first in arrived)
    return [
        Figure("free plan: traders that got every price and history", done.count("all"), "", goal=4, at_least=True),
        Figure("free plan: requests that arrived", len(arrived), ""),
        Figure("free plan: most requests in any 60 s", busiest, "", goal=5),
    ]


def _trade(url: str, base_url: str, number: int, histories: int) -> str:
    """One trader: every price at once, then histories that nobody else asks for, each tried until it is given."""
    settings = load(MarketSettings, database_url=url, polygon_api_key=KEY, polygon_base_url=base_url, market="live")
    with closing(open_store(settings)) as store:
        market = open_market(store, settings)
        if any(market.quote(symbol).source != "end_of_day" for symbol in CORE):
            return "a price of another kind"
        for symbol in CORE[number * histories : (number + 1) * histories]:
            while True:
                try:
                    market.bars(symbol, "day", 60)
                    break
                except VenueUnavailable:
                    time.sleep(2.0)
    return "all"


if __name__ == "__main__":
    print(_trade(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
