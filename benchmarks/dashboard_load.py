"""The dashboard under fifty tabs: one in a real Chromium, and 49 clients that make a tab's calls, over a long record.

The store has a million log rows and 100,000 transactions, and is written to all the while: five log lines twice a
second, a trade every five seconds. The baseline of an update is the same with one client alone. Clients, the browser,
the writer and the dashboard share the machine's cores. `make soak` goes on for minutes and looks at the memory.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import linear_regression, quantiles
from typing import Any

import httpx2
import psutil
from playwright.async_api import Page, async_playwright

from accounts import Account
from benchmarks.dashboard_reader import LOGS, TRANSACTIONS, Watched, filled_store
from benchmarks.figure import Figure, publish
from dashboard.updates import EVERY_S, PATH
from database import write_log
from tests.browser import CHROMIUM, SECRET, Dashboard, dashboard
from values.clock import wall_now
from values.log import LogRow

CLIENTS = 49
MEASURED_S = 30.0
ALONE_S = 15.0
WRITE_EVERY_S, TRADE_EVERY = 0.5, 10
FIRST_PAGES = 3
SAMPLE_S = 5.0
WARM_UP_SHARE = 0.2
GROWTH_MB_AN_HOUR = 20.0


def measure() -> list[Figure]:
    with _shown() as (long, page):
        return asyncio.run(_measure(long, page))


@contextmanager
def _shown() -> Iterator[tuple[Watched, Dashboard]]:
    """A long record, and the dashboard over it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        filled_store(Path(folder), 1) as long,
        dashboard(f"sqlite:///{long.store.path}") as page,
    ):
        yield long, page


async def _measure(long: Watched, page: Dashboard) -> list[Figure]:
    what = f"{LOGS:,} log rows and {TRANSACTIONS:,} transactions"
    async with _writing(long):
        first = await _first_pages(page)
        alone = await _clients(page, 1, ALONE_S)
        async with _tab(page) as tab:
            together = await _clients(page, CLIENTS, MEASURED_S)
            await _is_alive(tab)
    return [
        Figure(f"dashboard: first page in Chromium, {what}", min(first), "s", goal=2.0),
        Figure(
            f"dashboard: update with {CLIENTS + 1} tabs, 95th percentile", _p95(together), "ms", _p95(alone), goal=100
        ),
        Figure(f"dashboard: updates a second with {CLIENTS + 1} tabs", len(together) / MEASURED_S, "1/s"),
    ]


async def _soak(minutes: float) -> list[Figure]:
    samples: list[tuple[float, float]] = []
    with _shown() as (long, page):
        async with _writing(long):
            await _first_pages(page)
            sampling = asyncio.create_task(_sample(page, samples))
            async with _tab(page) as tab:
                updates = await _clients(page, CLIENTS, minutes * 60)
                await _is_alive(tab)
            sampling.cancel()
    warm = samples[int(len(samples) * WARM_UP_SHARE) :]
    slope, _ = linear_regression([at / 3600 for at, _ in warm], [mb for _, mb in warm])
    return [
        Figure(f"dashboard: memory, growth over {minutes:g} min", slope, "MiB/h", goal=GROWTH_MB_AN_HOUR),
        Figure("dashboard: memory at the end", warm[-1][1], "MiB", warm[0][1]),
        Figure(f"dashboard: update over {minutes:g} min, 95th percentile", _p95(updates), "ms", goal=100),
    ]


async def _sample(page: Dashboard, samples: list[tuple[float, float]]) -> None:
    process, began = psutil.Process(page.process.pid), time.monotonic()
    while True:
        samples.append((time.monotonic() - began, process.memory_info().rss / 2**20))
        await asyncio.sleep(SAMPLE_S)


@asynccontextmanager
async def _writing(long: Watched) -> AsyncIterator[None]:
    """Something happens on the floor all the while."""
    account = Account(long.store, long.market, "warren", "floor")

    def happen(number: int) -> None:
        write_log(long.store, [LogRow("agent", "warren", f"line {number}", wall_now()) for _ in range(5)])
        if number % TRADE_EVERY == 0:
            side = account.buy_shares if number // TRADE_EVERY % 2 else account.sell_shares
            side("BTC-USD", "0.00001", "one more")

    async def go_on() -> None:
        number = TRADE_EVERY  # a purchase comes first
        while True:
            await asyncio.to_thread(happen, number)
            number += 1
            await asyncio.sleep(WRITE_EVERY_S)

    task = asyncio.create_task(go_on())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _tab(page: Dashboard) -> AsyncIterator[Page]:
    """A real tab that shows the page."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = await browser.new_page(base_url=page.address)
        await tab.goto("/")
        await tab.get_by_label("Password").fill(SECRET)
        await tab.get_by_role("button").click()
        await tab.locator("#floor .strip").wait_for()
        yield tab
        await browser.close()


async def _is_alive(tab: Page) -> None:
    """The tab still gets what is new."""
    first = tab.locator(".card.trader-warren .log li .message").first
    before = await first.text_content()
    await tab.wait_for_function(
        "(before) => document.querySelector('.card.trader-warren .log li .message').textContent !== before", arg=before
    )


async def _first_pages(page: Dashboard) -> list[float]:
    """Seconds from a request for the page until its standings can be read."""
    taken = []
    async with _tab(page) as tab:
        for _ in range(FIRST_PAGES):
            began = time.perf_counter()
            await tab.goto("/")
            await tab.locator('table[data-table="leaderboard"] tr.trader-warren td.value').wait_for()
            taken.append(time.perf_counter() - began)
    return taken


async def _clients(page: Dashboard, count: int, for_s: float) -> list[float]:
    """Milliseconds of each update that so many clients get."""
    cookie = await _log_in(page)
    taken: list[float] = []
    end = time.perf_counter() + for_s
    await asyncio.gather(*(_client(page, cookie, number, count, end, taken) for number in range(count)))
    return taken


async def _log_in(page: Dashboard) -> str:
    async with httpx2.AsyncClient(base_url=page.address) as client:
        answer = await client.post("login", data={"password": SECRET}, headers={"Origin": page.address.rstrip("/")})
        assert answer.status_code == 303, answer.text
        return str(answer.headers["set-cookie"]).partition(";")[0]


async def _client(page: Dashboard, cookie: str, number: int, count: int, end: float, taken: list[float]) -> None:
    """A tab's calls: the page, the stream that says it is there, and the question of its script again and again."""
    headers = {"Origin": page.address.rstrip("/"), "Cookie": cookie}
    known: dict[str, Any] = {"run": "", "seen": 0}
    await asyncio.sleep(EVERY_S * number / count)  # people do not open their tabs at one moment
    async with httpx2.AsyncClient(base_url=page.address, headers=headers, timeout=30) as client:
        assert (await client.get("")).status_code == 200
        async with client.stream("GET", f"gradio_api/heartbeat/client{number}x{count}"):
            is_first = True  # it brings the whole page, as a tab's load does
            while (began := time.perf_counter()) < end:
                answer = await client.post(PATH.lstrip("/"), json=known)
                assert answer.status_code in (200, 204), answer.text
                if not is_first:
                    taken.append((time.perf_counter() - began) * 1000)
                is_first = False
                if answer.status_code == 200:
                    told = answer.json()
                    known = {"run": told["run"], "seen": told["now"]}
                await asyncio.sleep(max(0.0, began + EVERY_S - time.perf_counter()))


def _p95(taken: Sequence[float]) -> float:
    return quantiles(taken, n=20)[-1]


def main() -> None:
    publish(asyncio.run(_soak(float(sys.argv[1]))), "soak.json")


if __name__ == "__main__":
    main()
