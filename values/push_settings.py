"""Where messages to the owner go."""

from __future__ import annotations

from pydantic import Field, SecretStr

from values.environment import Address
from values.market_settings import StoreSettings


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
