"""Fixtures that many tests share: a store on a tape that the test moves, a shelf of prices, an open account."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import AliasChoices

from database import NewRun, Store
from market import Market
from tests.shelf import ShelfVenue
from values.settings import SETTINGS_CLASSES, FloorSettings

START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a developer's .env decides what a test sees."""
    for name, field in FloorSettings.model_fields.items():
        aliases = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else [name]
        for alias in aliases:
            monkeypatch.delenv(str(alias).upper(), raising=False)
    for settings in SETTINGS_CLASSES:
        monkeypatch.setitem(settings.model_config, "env_file", None)


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was just made, to be copied: making one takes ten times as long."""
    path = tmp_path_factory.mktemp("template") / "accounts.db"
    Store(path, NewRun("replay", 1, "0" * 64, "a tape of the test", START)).close()
    return path


@pytest.fixture
def store(new_store: Path, tmp_path: Path) -> Iterator[Store]:
    """A replay's store: its market time is START until the test moves it with `store.anchor`."""
    path = tmp_path / "accounts.db"
    shutil.copy(new_store, path)
    opened = Store(path)
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
