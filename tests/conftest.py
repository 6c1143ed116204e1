"""Fixtures that many tests share: a store on a tape that the test moves, a shelf of prices, an open account."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import NewRun, Store
from market import Market
from tests.shelf import ShelfVenue

START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
SETTINGS = (
    "DATABASE_URL", "MARKET", "REPLAY_HISTORY", "MARKET_SEED", "RUN_EVEN_WHEN_MARKET_IS_CLOSED", "RUN_EVERY_N_MINUTES",
    "MODEL", "SESSION_TURNS", "SESSION_SECONDS", "SESSION_CENTS", "POLYGON_API_KEY", "MASSIVE_API_KEY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a developer's .env decides what a test sees."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    from values import settings

    monkeypatch.setitem(settings.StoreSettings.model_config, "env_file", None)
    monkeypatch.setitem(settings.MarketSettings.model_config, "env_file", None)
    monkeypatch.setitem(settings.FloorSettings.model_config, "env_file", None)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A replay's store: its market time is START until the test moves it with `store.anchor`."""
    opened = Store(tmp_path / "accounts.db", NewRun("replay", 1, "0" * 64, "a tape of the test", START))
    yield opened
    opened.close()


@pytest.fixture
def venue() -> ShelfVenue:
    return ShelfVenue()


@pytest.fixture
def market(store: Store, venue: ShelfVenue) -> Market:
    return Market(venue, store.clock())


@pytest.fixture
def history_dir() -> Path:
    """The folder of real price files; `.ci/run` sets HISTORY_DIR."""
    folder = os.environ.get("HISTORY_DIR")
    if not folder:
        pytest.skip("HISTORY_DIR is not set: it names the folder of real price files")
    return Path(folder)
