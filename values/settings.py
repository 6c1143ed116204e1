"""The settings of the floor and the dashboard, and every settings class under one name; how they are read is in
`values/environment.py`."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator

from values.environment import PROJECT, Address, load
from values.market_settings import MarketKind, MarketSettings, StoreSettings
from values.model_settings import PROVIDER_NAMES, ModelSettings
from values.push_settings import Event, Level, PushSettings
from values.research_settings import SearchSettings

__all__ = [
    "PROJECT", "PROVIDER_NAMES", "SETTINGS_CLASSES", "DashboardSettings", "Event", "FloorSettings", "Level",
    "MarketKind", "MarketSettings", "ModelSettings", "PushSettings", "ScheduleSettings", "SearchSettings",
    "StoreSettings", "is_loopback", "load", "settings_table",
]  # fmt: skip


class ScheduleSettings(MarketSettings):
    """When sessions run and what one may cost: the floor's to keep, and the dashboard's to show."""

    run_every_n_minutes: Annotated[int, Field(ge=1, le=1440)] = Field(
        60, description="market minutes between two cycles, 1 to 1440"
    )
    session_cents: Annotated[int, Field(ge=0, le=100_000)] = Field(
        50, description="US cents of model use that a session may take, 0 to 100000"
    )
    trader_day_cents: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        200, description="US cents of model use that a trader may take on a wall day (UTC), 0 to 1000000"
    )
    floor_day_cents: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        500, description="US cents of model use that all traders together may take on a wall day (UTC), 0 to 1000000"
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
    session_searches: Annotated[int, Field(ge=0, le=500)] = Field(
        20, description="searches and pages that a trader's researcher may ask for in a session, 0 to 500"
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
