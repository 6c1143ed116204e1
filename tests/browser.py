"""The system's Chromium before a dashboard that runs as a process of its own: for tests, benchmarks and screenshots.

Every visit keeps what the page said on its console, what failed in it, and what it asked of another host.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import update

from database import Store
from store import tables
from values.settings import PROJECT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
AXE = PROJECT / "build" / "clients" / "inspector" / "node_modules" / "axe-core" / "axe.min.js"
SECRET = "correct horse battery"
START_S = 60.0
END_S = 20.0
_AXE_RUN = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations.map(each =>
  [each.impact, each.id, each.nodes.slice(0, 5).map(node => `${node.target} ${node.failureSummary}`).join("\\n")])"""
# A tab that was closed or left ends its own requests.
_ENDED_BY_US = ("net::ERR_ABORTED",)


def why_not() -> str | None:
    """What is missing for a visit, None when nothing is."""
    if CHROMIUM is None:
        return "there is no chromium on the PATH (Debian: apt-get install chromium)"
    return None if AXE.exists() else "axe-core is not set up: sh clients.sh"


@dataclass
class Visit:
    """A page and what went wrong in it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("requestfailed", self._failed)

    def _failed(self, request: Any) -> None:
        if request.failure not in _ENDED_BY_US:
            self.errors.append(f"{request.url}: {request.failure}")

    def serious_faults(self) -> list[str]:
        """What axe-core finds serious or critical."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE.read_text())
        found = self.page.evaluate(_AXE_RUN)
        return [f"{impact} {name}: {where}" for impact, name, where in found if impact in ("serious", "critical")]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # the sandbox needs rights that a container does not give
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Dashboard:
    """A dashboard process that answers."""

    address: str
    process: subprocess.Popen[str]

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc

    def log_in(self, page: Page) -> None:
        """The password is given in the tab, which then shows the page."""
        page.goto(self.address)
        page.get_by_label("Password").fill(SECRET)
        page.get_by_role("button", name="Open the dashboard").click()
        page.wait_for_url(self.address)


@contextlib.contextmanager
def dashboard(database_url: str, more: Mapping[str, str] | None = None) -> Iterator[Dashboard]:
    """The real process on any free port, with a password and controls, until the block ends; it may not complain."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
    told = {"DATABASE_URL": database_url, "DASHBOARD_PORT": "0", "DASHBOARD_PASSWORD": SECRET}
    environment = kept | told | {"DASHBOARD_CONTROLS": "true"} | dict(more or {})
    command = [sys.executable, str(PROJECT / "app.py")]
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=said, text=True, cwd="/") as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("dashboard http"), f"the dashboard ended with {process.wait(START_S)}: {line}"
            yield Dashboard(line.split()[1], process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(END_S)
            said.seek(0)
            complaints = said.read()
        assert not complaints, complaints


def floor_run(folder: Path, *arguments: str, **settings: str) -> str:
    """Run `trading-floor` to its end on the store in `folder`; the store's address."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
    address = f"sqlite:///{folder}/accounts.db"
    done = subprocess.run(
        [sys.executable, str(PROJECT / "trading_floor.py"), *arguments],
        env=kept | {"DATABASE_URL": address, "MARKET_SEED": "7"} | settings,
        capture_output=True, text=True, timeout=150, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return address


@contextlib.contextmanager
def running_floor(database_url: str) -> Iterator[None]:
    """`trading-floor run` on this store until the block ends."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
    more = {"DATABASE_URL": database_url, "RUN_EVEN_WHEN_MARKET_IS_CLOSED": "true"}
    command = [sys.executable, str(PROJECT / "trading_floor.py"), "run"]
    with subprocess.Popen(command, env=kept | more, stdout=subprocess.DEVNULL, cwd="/") as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(END_S)


def freeze(store: Store) -> None:
    """Market time stands still, so that a price asked for twice is the same price."""
    moment, later = store.clock().now(), datetime.now(UTC) + timedelta(days=3650)
    with store.write() as connection:
        connection.execute(
            update(tables.run).values(anchor_market=moment, anchor_wall=later, factor=1, fast_until=later)
        )


def overflow(page: Page) -> list[str]:
    """What stands beyond the window's edge, none when the page does not scroll sideways."""
    page.locator("#floor [data-chart=equity] .main-svg").first.wait_for()
    found: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
          [...document.querySelectorAll("#floor *")].filter(each => each.getBoundingClientRect().right > innerWidth)
            .map(each => `${each.tagName}.${each.className} ${each.getBoundingClientRect().right}`)"""
    )
    return found
