"""`make screenshots`: a floor on a fixed seed that runs, and its page in light, in dark and on a phone.

The pictures stand in docs/screenshots; each is taken while the owner's "run now" is being done.

`python -m tests.screenshots CYCLES` runs another number of cycles.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from ledger.controls import ask
from market import open_market, open_store
from tests.browser import Visit, chromium, dashboard, floor_run, running_floor
from values.settings import PROJECT, MarketSettings, load

FOLDER = PROJECT / "docs" / "screenshots"
CYCLES = 16
BETWEEN = timedelta(hours=7)
BYTES_MAX = 350_000
SHOTS = {"light": ("light", 1440, 1500), "dark": ("dark", 1440, 1500), "phone": ("light", 390, 1300)}


def run_cycles(folder: Path, cycles: int) -> str:
    """One cycle after the other, with hours of the market between them; the store's address."""
    for number in range(cycles):
        address = floor_run(folder, "once", RUN_EVEN_WHEN_MARKET_IS_CLOSED="true")
        if number < cycles - 1:
            with closing(open_store(load(MarketSettings, database_url=address))) as store:
                store.anchor(store.clock().now() + BETWEEN, 1, timedelta(0))
    return address


def main() -> None:
    cycles = int(sys.argv[1]) if sys.argv[1:] else CYCLES
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        address = run_cycles(Path(folder), cycles)
        settings = load(MarketSettings, database_url=address)
        with (
            running_floor(address),
            dashboard(address) as page,
            chromium() as browser,
            closing(open_store(settings)) as store,
        ):
            market = open_market(store, settings)
            with browser.new_context() as first:
                page.log_in(first.new_page())
                state = first.storage_state()
            for name, (scheme, width, height) in SHOTS.items():
                context = browser.new_context(
                    storage_state=state,
                    color_scheme=scheme,  # type: ignore[arg-type]
                    viewport={"width": width, "height": height},
                    reduced_motion="reduce",
                    timezone_id="UTC",
                    locale="en-GB",
                )
                visit = Visit(context.new_page())
                visit.page.goto(page.address)
                visit.page.locator('[data-chart="drawdown"] .scatterlayer .trace').first.wait_for(state="attached")
                visit.page.wait_for_load_state("load")
                visit.page.locator(".strip .open", has_text="waiting").wait_for()
                ask(store, market, "run", None)
                visit.page.locator(".strip .open", has_text="running:").wait_for()
                target = FOLDER / f"{name}.png"
                visit.page.screenshot(path=target, animations="disabled")
                context.close()
                size = target.stat().st_size
                assert size <= BYTES_MAX, f"{target.name} has {size:,} bytes; expected at most {BYTES_MAX:,}"
                print(f"{target.relative_to(PROJECT)}: {size:,} bytes")


if __name__ == "__main__":
    main()
