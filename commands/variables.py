"""The variables that the owner may set: which there are, which are secret, and where each is set now.

`FloorSettings` says what there is; values come from the environment, then from the project's `.env`. Nothing here shows
a secret; a variable that is not known counts as one, and so does an address with a password in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from values.settings import FloorSettings


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting. `names` are the variables that set it, the first of them that is set wins."""

    names: tuple[str, ...]
    is_secret: bool
    description: str


@dataclass(frozen=True, slots=True)
class Given:
    """What is set, by upper-case name: in the environment of this command, and in the project's `.env`."""

    environment: Mapping[str, str]
    file: Mapping[str, str]

    def value(self, name: str) -> str | None:
        return self.environment.get(name) or self.file.get(name)

    def public_values(self) -> dict[str, str]:
        """What may be shown of it."""
        names = [name for each in known_variables() if not each.is_secret for name in each.names]
        values = {name: self.value(name) for name in names}
        return {name: value for name, value in values.items() if value is not None and not _has_password(value)}


def known_variables() -> list[Variable]:
    """Every setting of the house, in the order of the README's table."""
    return [
        Variable(_names(name, field), "Secret" in str(field.annotation), field.description or "")
        for name, field in FloorSettings.model_fields.items()
    ]


def given_variables() -> Given:
    """What the owner has set; what is set to nothing is not set."""
    path = FloorSettings.model_config.get("env_file")
    file: Mapping[str, str | None] = dotenv_values(path) if isinstance(path, Path) else {}
    return Given(_set(os.environ), _set(file))


def _set(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name.upper(): value for name, value in values.items() if value}


def _has_password(value: str) -> bool:
    try:
        return urlsplit(value).password is not None
    except ValueError:
        return True


def _names(name: str, field: FieldInfo) -> tuple[str, ...]:
    alias: Any = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    return tuple(str(choice).upper() for choice in choices)
