"""How settings are read: the environment first, then the project's `.env`, then the default.

Each process declares its own class and sees only those names; nothing is loaded into the process environment. A wrong
value raises BadSetting with the variable, what it was and what is allowed (a secret's value is never repeated).
Relative paths mean the project's folder, because desktop clients start servers anywhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from values.errors import BadSetting

PROJECT = Path(__file__).resolve().parent.parent


def _checked_key(key: SecretStr) -> SecretStr:
    """Raises ValueError for what can't stand in a header."""
    if not re.fullmatch(r"[!-~]{8,400}", key.get_secret_value()):
        raise ValueError("8 to 400 letters, digits and signs without blanks")
    return key


Key = Annotated[SecretStr, AfterValidator(_checked_key)]


def _checked_address(url: str) -> str:
    """Raises ValueError for what is no http address, or has a query or a fragment."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("an address that starts with http:// or https://")
    return url.rstrip("/")


Address = Annotated[str, AfterValidator(_checked_address)]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=PROJECT / ".env",
        env_ignore_empty=True,
        extra="ignore",
        case_sensitive=False,
        hide_input_in_errors=True,
    )


S = TypeVar("S", bound=Settings)


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
