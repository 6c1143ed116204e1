"""Where messages to the owner go, what the floor tells by itself, and when a phone stays quiet."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, SecretStr, field_validator

from values.environment import Address
from values.market_settings import StoreSettings

Event = Literal["trade", "session", "refusal", "halt", "budget", "error", "digest"]
Level = Literal["on", "silent", "off"]
EVENTS: tuple[Event, ...] = get_args(Event)
LEVELS: tuple[Level, ...] = get_args(Level)
DEFAULT_LEVELS: dict[Event, Level] = {
    "trade": "silent", "session": "silent", "refusal": "off", "halt": "on", "budget": "on", "error": "on",
    "digest": "on",
}  # fmt: skip
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d"


def _checked_events(text: str) -> str:
    """Raises ValueError for what is no list of EVENT=LEVEL."""
    for entry in filter(None, (each.strip().lower() for each in text.split(","))):
        event, _, level = (each.strip() for each in entry.partition("="))
        if event not in EVENTS or level not in LEVELS:
            raise ValueError(f"{', '.join(EVENTS)}, each =on, =silent or =off, with commas between")
    return text


def _checked_hours(text: str) -> str:
    """Raises ValueError for what is not HH:MM-HH:MM, or begins where it ends."""
    begin, _, end = text.partition("-")
    if not re.fullmatch(f"{_TIME}-{_TIME}", text) or begin == end:
        raise ValueError("two times of day such as 22:00-07:00")
    return text


def _checked_time(text: str) -> str:
    """Raises ValueError for what is no HH:MM."""
    if not re.fullmatch(_TIME, text):
        raise ValueError("a time of day such as 21:30")
    return text


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
    push_events: Annotated[str, AfterValidator(_checked_events)] = Field(
        ",".join(f"{event}={level}" for event, level in DEFAULT_LEVELS.items()),
        description="what the floor tells by itself, each event `on`, `silent` or `off`; one that is left out keeps "
        "its default",
    )
    push_quiet_hours: Annotated[str, AfterValidator(_checked_hours)] | None = Field(
        None, description="such as `22:00-07:00`: messages wait until they end, but for halts and errors"
    )
    push_time_zone: str = Field("UTC", description="the zone of quiet hours and of the digest, such as `Europe/Berlin`")
    push_digest_at: Annotated[str, AfterValidator(_checked_time)] = Field(
        "21:30", description="when the day's digest goes out: each account's value, change, trades and spending"
    )

    @field_validator("push_time_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("a name such as Europe/Berlin, America/New_York or UTC") from None
        return name

    @property
    def is_pushing(self) -> bool:
        return self.push_urls is not None or self.pushover_token is not None

    @property
    def event_levels(self) -> dict[Event, Level]:
        """Every event's level: what PUSH_EVENTS says, else the default."""
        levels = dict(DEFAULT_LEVELS)
        for entry in filter(None, (each.strip().lower() for each in self.push_events.split(","))):
            event, _, level = (each.strip() for each in entry.partition("="))
            levels[event] = level  # type: ignore[index,assignment]
        return levels
