"""Settings, read in one place: the environment first, then the project's `.env`, then the default.

Each process declares its own class and sees only those names; nothing is loaded into the process environment. A wrong
value raises BadSetting with the variable, what it was and what is allowed (a secret's value is never repeated).
Relative paths mean the project's folder, because desktop clients start servers anywhere.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from values.errors import BadSetting

PROJECT = Path(__file__).resolve().parent.parent

MarketKind = Literal["simulated", "replay", "live"]


OPENAI_URL = "https://api.openai.com/v1"


def _checked_key(key: SecretStr) -> SecretStr:
    """Raises ValueError for what can't stand in a header."""
    if not re.fullmatch(r"[!-~]{8,400}", key.get_secret_value()):
        raise ValueError("8 to 400 letters, digits and signs without blanks")
    return key


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


def _checked_address(url: str) -> str:
    """Raises ValueError for what is no http address, or has a query or a fragment."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an address that starts with http:// or https://")
    return url.rstrip("/")


Address = Annotated[str, AfterValidator(_checked_address)]


class SearchSettings(MarketSettings):
    """What the search server needs."""

    search_provider: Literal["brave", "ddgs", "simulated", "none"] | None = Field(
        None,
        description="who answers searches: `brave`, `ddgs`, `simulated` or `none`; unset, `simulated` on a simulated "
        "market, `none` on a replay, and on a live market `brave` with its key, else `none`",
    )
    brave_api_key: Annotated[SecretStr, AfterValidator(_checked_key)] | None = Field(
        None, description="a key of Brave Search, which makes live searches real"
    )
    brave_base_url: Address = Field(
        "https://api.search.brave.com", description="where Brave Search, or what stands in for it, is reached"
    )
    allow_live_research: bool = Field(
        False,
        description="`true` allows live searches and pages on simulated and replay markets: they may leak the future",
    )


class PushSettings(StoreSettings):
    """What a process that sends messages needs."""

    pushover_user: SecretStr | None = Field(
        None, description="your Pushover user key; with `PUSHOVER_TOKEN`, messages go to your devices"
    )
    pushover_token: SecretStr | None = Field(None, description="the token of your Pushover application")
    pushover_base_url: Address = Field(
        "https://api.pushover.net", description="where Pushover's API is, should a proxy or a gateway stand in for it"
    )
    push_urls: SecretStr | None = Field(
        None, description="other targets of messages: Apprise URLs such as `ntfy://host/topic`, with commas or spaces"
    )

    @property
    def is_pushing(self) -> bool:
        return self.push_urls is not None or self.pushover_token is not None


class ModelSettings(StoreSettings):
    """What a process that asks language models needs."""

    model: str = Field("house", description="the model that every trader uses: `house`, `openai/NAME` or `ollama/NAME`")

    @field_validator("model")
    @classmethod
    def _is_a_model(cls, model: str) -> str:
        if model != "house" and not re.fullmatch(r"[a-z]+/\S+", model):
            raise ValueError("house, openai/NAME or ollama/NAME")
        return model

    openai_api_key: Annotated[SecretStr, AfterValidator(_checked_key)] | None = Field(
        None, description="the key for `openai/NAME`"
    )
    openai_base_url: Address = Field(
        OPENAI_URL,
        description="where `openai/NAME` is asked: any server of that format; with another, the key is optional",
    )
    ollama_base_url: Address = Field("http://127.0.0.1:11434/v1", description="where `ollama/NAME` is asked")
    model_input_usd: Annotated[Decimal, Field(ge=0, le=10_000)] | None = Field(
        None, description="USD for a million tokens that the model reads; unset counts 0, and the floor says so"
    )
    model_output_usd: Annotated[Decimal, Field(ge=0, le=10_000)] | None = Field(
        None, description="USD for a million tokens that the model writes; unset counts 0, and the floor says so"
    )


class FloorSettings(ModelSettings, PushSettings, SearchSettings):
    """What the floor itself needs."""

    run_every_n_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        60, description="market minutes between two cycles, 1 to 1440"
    )
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
    otel_exporter_otlp_endpoint: Address | None = Field(
        None, description="an OpenTelemetry collector (OTLP over HTTP) that gets every span too"
    )

    @property
    def secrets(self) -> list[str]:
        """Every secret that is set, so that a tracer can take them out of what it writes."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


SETTINGS_CLASSES = (StoreSettings, MarketSettings, SearchSettings, PushSettings, ModelSettings, FloorSettings)

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
