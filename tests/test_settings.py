"""Settings: where a value comes from, and what a wrong one says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import AliasChoices, Field, SecretStr, field_validator

from values.errors import BadSetting
from values.settings import PROJECT, FloorSettings, MarketSettings, StoreSettings, load, settings_table


class SecretiveSettings(StoreSettings):
    """A process with a secret that can be wrong, under either of two names."""

    pushover_token: SecretStr = Field(SecretStr("a default of over twenty"), description="the token")
    other_key: SecretStr | None = Field(None, validation_alias=AliasChoices("other_key", "older_key"))

    @field_validator("pushover_token", "other_key")
    @classmethod
    def _is_long(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and len(secret.get_secret_value()) < 20:
            raise ValueError("twenty characters or more")
        return secret


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's `.env`, as far as the settings know."""
    file = tmp_path / ".env"
    for each in (StoreSettings, MarketSettings, FloorSettings, SecretiveSettings):
        monkeypatch.setitem(each.model_config, "env_file", file)
    return file


def test_without_anything_set_the_floor_has_its_defaults() -> None:
    settings = load(FloorSettings)
    assert settings.store_address.path == PROJECT / "accounts.db"
    assert settings.run_every_n_minutes == 60
    assert settings.market is None
    assert settings.history_path is None
    assert settings.market_seed is None
    assert settings.polygon_api_key is None
    assert settings.run_even_when_market_is_closed is False


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv.write_text("RUN_EVERY_N_MINUTES=5\nSESSION_TURNS=6\nSESSION_CENTS=7\n")
    monkeypatch.setenv("SESSION_TURNS", "8")
    monkeypatch.setenv("SESSION_CENTS", "9")
    settings = load(FloorSettings, session_cents=10, session_seconds=None)
    assert (settings.run_every_n_minutes, settings.session_turns, settings.session_cents) == (5, 8, 10)
    assert settings.session_seconds == 240


def test_the_file_is_read_and_never_put_into_the_environment(dotenv: Path) -> None:
    dotenv.write_text("POLYGON_API_KEY=from-the-file\nOPENAI_API_KEY=of-another-process\nMARKET_SEED=7\n")
    before = dict(os.environ)
    settings = load(FloorSettings)
    assert settings.polygon_api_key is not None
    assert settings.polygon_api_key.get_secret_value() == "from-the-file"
    assert settings.market_seed == 7
    assert dict(os.environ) == before
    assert "of-another-process" not in repr(settings.model_dump())


def test_each_process_keeps_only_the_names_it_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not for the accounts server")
    assert "openai_api_key" not in load(MarketSettings).model_dump()


def test_a_key_may_come_under_its_vendor_s_newer_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASSIVE_API_KEY", "newer-name")
    key = load(FloorSettings).polygon_api_key
    assert key is not None
    assert key.get_secret_value() == "newer-name"


@pytest.mark.parametrize(
    "name",
    ["DATABASE_URL", "MARKET", "REPLAY_HISTORY", "MARKET_SEED", "RUN_EVERY_N_MINUTES", "MODEL", "POLYGON_API_KEY",
     "RUN_EVEN_WHEN_MARKET_IS_CLOSED", "OTEL_EXPORTER_OTLP_ENDPOINT"],
)  # fmt: skip
def test_an_empty_value_is_an_unset_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unset = load(FloorSettings)
    monkeypatch.setenv(name, "")
    assert load(FloorSettings) == unset


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("RUN_EVERY_N_MINUTES", "0", "1 to 1440"),
        ("RUN_EVERY_N_MINUTES", "often", "1 to 1440"),
        ("RUN_EVERY_N_MINUTES", "1441", "1 to 1440"),
        ("RUN_EVERY_N_MINUTES", "2.5", "1 to 1440"),
        ("MARKET", "casino", "`simulated`, `replay` or `live`"),
        ("MARKET_SEED", "-1", "0 to 4294967295"),
        ("MARKET_SEED", "4294967296", "0 to 4294967295"),
        ("RUN_EVEN_WHEN_MARKET_IS_CLOSED", "perhaps", "`true`"),
        ("MODEL", "gpt-9", "house"),
        ("SESSION_TURNS", "101", "1 to 100"),
        ("SESSION_SECONDS", "0", "1 to 3600"),
        ("SESSION_CENTS", "-1", "0 to 100000"),
        ("DATABASE_URL", "accounts.db", "sqlite:///accounts.db"),
        ("DATABASE_URL", "sqlite:///", "sqlite:///accounts.db"),
        ("DATABASE_URL", "sqlite:///:memory:", "sqlite:///accounts.db"),
        ("DATABASE_URL", "mysql://root@host/x", "sqlite:///accounts.db"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://collector", "http://"),
    ],
)
def test_a_wrong_value_names_its_variable_what_it_was_and_what_is_allowed(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting) as caught:
        load(FloorSettings)
    assert caught.value.code == "bad_setting"
    assert caught.value.sentence.startswith(f"{name} is '{value}'; allowed: ")
    assert allowed in caught.value.sentence


@pytest.mark.parametrize("name", ["PUSHOVER_TOKEN", "OTHER_KEY", "OLDER_KEY"])
def test_a_secret_s_value_is_never_shown_not_even_a_wrong_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "hunter2")
    with pytest.raises(BadSetting) as caught:
        load(SecretiveSettings)
    said = str(caught.value)
    assert name in said or "OTHER_KEY" in said
    assert "twenty characters" in said
    assert "hunter2" not in said
    assert "hunter2" not in repr(caught.value.__cause__)
    assert caught.value.__suppress_context__


def test_a_good_secret_is_hidden_where_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSHOVER_TOKEN", "hunter2" * 3)
    settings = load(SecretiveSettings)
    assert "hunter2" not in repr(settings) + str(settings.model_dump())


def test_a_wrong_value_of_great_length_is_not_repeated_in_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET", "x" * 10_000)
    with pytest.raises(BadSetting) as caught:
        load(FloorSettings)
    assert len(caught.value.sentence) < 500


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///accounts.db", PROJECT / "accounts.db"), ("sqlite:///a/b.db", PROJECT / "a" / "b.db"),
     ("sqlite:////var/x.db", Path("/var/x.db"))],
)  # fmt: skip
def test_a_relative_path_means_the_project_s_folder(url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert load(StoreSettings, database_url=url).store_address.path == path
    assert load(MarketSettings, replay_history=Path("prices.csv")).history_path == PROJECT / "prices.csv"


def test_the_project_s_own_file_is_the_one_that_processes_read(tmp_path: Path) -> None:
    code = "from values.settings import *; print(StoreSettings.model_config['env_file'])"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True
    )
    assert told.stdout.strip() == str(PROJECT / ".env")


def test_the_readme_s_table_has_a_line_for_every_setting_and_no_value_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///mine.db")
    table = settings_table()
    assert len(table.splitlines()) == 2 + len(FloorSettings.model_fields)
    assert "`POLYGON_API_KEY`, `MASSIVE_API_KEY`" in table
    assert "mine.db" not in table
