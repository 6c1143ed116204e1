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
from tests.postgresql import Template, schema
from tests.shelf import ShelfVenue
from values.address import StoreAddress
from values.settings import SETTINGS_CLASSES, FloorSettings

START = datetime(2026, 3, 2, 15, 0, tzinfo=UTC)
TAPE = NewRun("replay", 1, "0" * 64, "a tape of the test", START)

LONGEST = (
    "test_dashboard_page", "test_command_line", "test_other_clients", "test_crash", "test_accounts_server",
    "test_dashboard_guard", "test_model_faults", "test_stdio_attacks", "test_postgresql", "test_doctor",
    "test_injections", "test_bad_inputs", "test_disk", "test_torn", "test_simulated_market", "test_clock_faults",
    "test_canaries", "test_whole_floor", "test_many_processes", "test_sessions", "test_dashboard_reader",
    "test_store", "test_accounts", "test_account_limits", "test_simulator",
)  # fmt: skip
"""Files that take longest, in that order: a worker that takes one of them last leaves the other one idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the environment nor a developer's .env decides what a test sees."""
    for name, field in FloorSettings.model_fields.items():
        aliases = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else [name]
        for alias in aliases:
            monkeypatch.delenv(str(alias).upper(), raising=False)
    for settings in SETTINGS_CLASSES:
        monkeypatch.setitem(settings.model_config, "env_file", None)
    monkeypatch.setattr("desks.server_file.FILE", Path("/nowhere/mcp.json"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module marked `both_databases` runs on each, but for tests marked `sqlite_only`: those look into the file."""
    if "database_kind" not in metafunc.fixturenames:
        return
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    if "both_databases" in marks and "sqlite_only" not in marks:
        metafunc.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was just made, to be copied: making one takes ten times as long."""
    path = tmp_path_factory.mktemp("template") / "accounts.db"
    Store(path, TAPE).close()
    return path


@pytest.fixture(scope="session")
def postgresql_template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    with schema(f"floor_test_{os.getpid()}", tmp_path_factory.mktemp("postgresql")) as address:
        Store(address, TAPE).close()
        template = Template(address)
        yield template
        template.close()


@pytest.fixture
def address(database_kind: str, tmp_path: Path) -> Iterator[StoreAddress]:
    """Where a store may be made, and none is."""
    if database_kind == "sqlite":
        yield StoreAddress.of_file(tmp_path / "accounts.db")
        return
    with schema(f"floor_test_new_{os.getpid()}", tmp_path) as address:
        yield address


@pytest.fixture
def store(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A replay's store: its market time is START until the test moves it with `store.anchor`."""
    if database_kind == "sqlite":
        path = tmp_path / "accounts.db"
        shutil.copy(request.getfixturevalue("new_store"), path)
        opened = Store(path)
    else:
        template: Template = request.getfixturevalue("postgresql_template")
        template.renew()
        opened = Store(StoreAddress(template.address.url, tmp_path / "accounts.db"))
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
