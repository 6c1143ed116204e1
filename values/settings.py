"""Settings, read in one place: the environment first, then the project's `.env`, then the default.

Each process declares its own class and sees only those names; nothing is loaded into the process environment. A wrong
value raises BadSetting with the variable, what it was and what is allowed (a secret's value is never repeated).
Relative paths mean the project's folder, because desktop clients start servers anywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from values.errors import BadSetting

PROJECT = Path(__file__).resolve().parent.parent

MarketKind = Literal["simulated", "replay", "live"]


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=PROJECT / ".env",
        env_ignore_empty=True,
        extra="ignore",
        case_sensitive=False,
        hide_input_in_errors=True,
    )


class StoreSettings(_Settings):
    """What every process that opens the store needs."""

    database_url: str = Field(
        "sqlite:///accounts.db",
        description="where the store is: an SQLite URL; a relative path is in the project's folder",
    )

    @field_validator("database_url")
    @classmethod
    def _is_sqlite(cls, url: str) -> str:
        if not url.startswith("sqlite:///") or len(url) <= len("sqlite:///") or ":memory:" in url:
            raise ValueError("an SQLite file such as sqlite:///accounts.db")
        return url

    @property
    def store_path(self) -> Path:
        return PROJECT / self.database_url.removeprefix("sqlite:///")


class MarketSettings(StoreSettings):
    """What a process that prices things needs: which market a new store is made for."""

    market: MarketKind | None = Field(
        None, description="the market of a new store: `simulated`, `replay` or `live`; unset, an existing store decides"
    )
    replay_history: Path | None = Field(
        None, description="the price file of a replay: CSV or CSV.gz with symbol,time,open,high,low,close,volume"
    )
    market_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        None, description="the seed of a new simulated market, 0 to 4294967295; unset, one is drawn and recorded"
    )
    run_even_when_market_is_closed: bool = Field(
        False, description="`true` runs sessions and fills orders while the market is closed"
    )

    @property
    def history_path(self) -> Path | None:
        return None if self.replay_history is None else PROJECT / self.replay_history


class FloorSettings(MarketSettings):
    """What the floor itself needs."""

    run_every_n_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        60, description="market minutes between two cycles, 1 to 1440"
    )
    model: str = Field("house", description="the model that every trader uses; `house` is the rule-based one")
    session_turns: Annotated[int, Field(ge=1, le=100)] = Field(
        30, description="model turns a session may take, 1 to 100"
    )
    session_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        240, description="wall seconds a session may take, 1 to 3600"
    )
    session_cents: Annotated[int, Field(ge=0, le=100_000)] = Field(
        50, description="US cents of model use that a session may take, 0 to 100000"
    )
    polygon_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("polygon_api_key", "massive_api_key"),
        description="reserved for live prices, which this version does not have; the floor says so in one line",
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="an OpenTelemetry collector (OTLP over HTTP) that gets every span too"
    )

    @field_validator("model")
    @classmethod
    def _is_known(cls, model: str) -> str:
        if model != "house":
            raise ValueError("house (language models come with a later version)")
        return model

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("an address that starts with http:// or https://")
        return url


S = TypeVar("S", bound=_Settings)


def load(settings: type[S], **given: Any) -> S:
    """The settings of a process. `given` (from its command line) goes before the environment.

    Raises BadSetting for the first value that can't be used.
    """
    try:
        return settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        field = settings.model_fields.get(name)
        secret = field is not None and "Secret" in str(field.annotation)
        allowed = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ").partition(", unable")[0]
        if field is not None and field.description:
            allowed += f" ({field.description})"
        was = "[secret]" if secret else first.get("input")
        raise BadSetting(name.upper(), was, allowed) from None


def settings_table() -> str:
    """Every setting as a Markdown table, for the README."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in FloorSettings.model_fields.items():
        default = "unset" if field.default is None else str(field.default).lower()
        names = [name]
        if isinstance(field.validation_alias, AliasChoices):
            names = [str(choice) for choice in field.validation_alias.choices]
        shown_names = ", ".join(f"`{each.upper()}`" for each in names)
        lines.append(f"| {shown_names} | `{default}` | {field.description} |")
    return "\n".join(lines)
