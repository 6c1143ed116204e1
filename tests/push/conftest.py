"""A store with an account, a loopback server, and what a program that logs everything would have logged."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest

from database import NewRun, Store, write_account
from tests.push.desk import PASSWORD, TOKEN, USER, VARIABLES
from tests.push_loopback import PushLoopback
from values.settings import PushSettings


@pytest.fixture(autouse=True)
def no_push_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PushSettings.model_config, "env_file", None)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as it is made, for a copy each test."""
    path = tmp_path_factory.mktemp("push") / "accounts.db"
    with closing(Store(path, NewRun("simulated", 7))) as store:
        write_account(store, "warren", strategy="", actor="operator")
    return path


@pytest.fixture
def store(new_store: Path, tmp_path: Path) -> Iterator[Store]:
    with closing(Store(Path(shutil.copy(new_store, tmp_path)))) as opened:
        yield opened


@pytest.fixture
def loopback() -> Iterator[PushLoopback]:
    with PushLoopback(TOKEN, USER, PASSWORD) as server:
        yield server


@pytest.fixture
def heard() -> Iterator[StringIO]:
    """What a program that logs everything would have logged."""
    told = StringIO()
    handler, root = logging.StreamHandler(told), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield told
    root.setLevel(before)
    root.removeHandler(handler)
