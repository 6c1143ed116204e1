"""Settings, read in one place: the environment first, then the project's `.env`, then the default.

Each process declares its own class and sees only those names; nothing is loaded into the process environment. A wrong
value raises BadSetting with the variable, what it was and what is allowed (a secret's value is never repeated).
Relative paths mean the project's folder, because desktop clients start servers anywhere.
"""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from values.address import StoreAddress
from values.errors import BadSetting

PROJECT = Path(__file__).resolve().parent.parent

MarketKind = Literal["simulated", "replay", "live"]


OPENAI_URL = "https://api.openai.com/v1"


def _checked_key(key: SecretStr) -> SecretStr:
    """Raises ValueError for what can't stand in a header."""
    if not re.fullmatch(r"[!-~]{8,400}", key.get_secret_value()):
        raise ValueError("8 to 400 letters, digits and signs without blanks")
    return key


def _checked_store(url: str) -> str:
    """Raises ValueError for what is no store's address."""
    StoreAddress.parse(url, PROJECT)
    return url


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

    database_url: Annotated[str, AfterValidator(_checked_store)] = Field(
        "sqlite:///accounts.db",
        description="where the store is: an SQLite file (a relative path is in the project's folder), or a PostgreSQL "
        "database as `postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`",
    )

    @property
    def store_address(self) -> StoreAddress:
        return StoreAddress.parse(self.database_url, PROJECT)


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


class ScheduleSettings(MarketSettings):
    """When sessions run and what one may cost: the floor's to keep, and the dashboard's to show."""

    run_every_n_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        60, description="market minutes between two cycles, 1 to 1440"
    )
    session_cents: Annotated[int, Field(ge=0, le=100_000)] = Field(
        50, description="US cents of model use that a session may take, 0 to 100000"
    )


PASSWORD_CHARS_MIN = 8
PASSWORD_CHARS_MAX = 200


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return host.lower() == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class DashboardSettings(ScheduleSettings):
    """What the dashboard needs. No server process sees its password."""

    dashboard_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        7860, description="the dashboard's port, 0 to 65535; 0 takes any that is free"
    )
    dashboard_password: SecretStr | None = Field(
        None, description="8 to 200 characters; with it, nothing of the dashboard is shown before it is given"
    )
    dashboard_host: str = Field(
        "127.0.0.1",
        description="the address that the dashboard listens on; beyond this machine (`0.0.0.0`) only with "
        "`DASHBOARD_PASSWORD`",
    )
    dashboard_controls: bool = Field(
        False,
        description="`true` lets the dashboard pause, resume, reduce, halt, run now and change strategies; each asks "
        "for `DASHBOARD_PASSWORD`, which has to be set",
    )

    @field_validator("dashboard_password")
    @classmethod
    def _is_long_enough(cls, password: SecretStr | None) -> SecretStr | None:
        if password and not PASSWORD_CHARS_MIN <= len(password.get_secret_value()) <= PASSWORD_CHARS_MAX:
            raise ValueError(f"{PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")
        return password

    @field_validator("dashboard_host")
    @classmethod
    def _is_guarded(cls, host: str, info: ValidationInfo) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._:-]{1,253}", host):
            raise ValueError("an address or a host's name, without a port")
        if not is_loopback(host) and info.data.get("dashboard_password") is None:
            raise ValueError("127.0.0.1, or any address once DASHBOARD_PASSWORD is set")
        return host

    @field_validator("dashboard_controls")
    @classmethod
    def _has_a_password(cls, is_enabled: bool, info: ValidationInfo) -> bool:
        if is_enabled and info.data.get("dashboard_password") is None:
            raise ValueError("false, or true once DASHBOARD_PASSWORD is set")
        return is_enabled


class FloorSettings(DashboardSettings, ModelSettings, PushSettings, SearchSettings):
    """What the floor itself needs, and passes on to the dashboard that it starts."""

    session_turns: Annotated[int, Field(ge=1, le=100)] = Field(
        30, description="model turns a session may take, 1 to 100"
    )
    session_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        240, description="wall seconds a session may take, 1 to 3600"
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
        found = [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
        password = self.store_address.password
        return found if password is None else [*found, password]


SETTINGS_CLASSES = (
    StoreSettings, MarketSettings, SearchSettings, PushSettings, ModelSettings, ScheduleSettings, DashboardSettings,
    FloorSettings,
)  # fmt: skip

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
        if isinstance(was, str):
            was = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", was)
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
