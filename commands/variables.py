"""The variables that the owner may set: which there are, which are secret, and where each is set now.

The settings classes say what there is. A value is read from where the classes read it: the environment, then `.env`.
Nothing here shows a secret; a variable that no class knows counts as one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from values.settings import StoreSettings


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


def known_variables() -> list[Variable]:
    """Every setting of the settings classes that are imported, each once, in the order of their definition."""
    found: dict[tuple[str, ...], Variable] = {}
    for settings in _classes(StoreSettings):
        for name, field in settings.model_fields.items():
            names = _names(name, field)
            found.setdefault(names, Variable(names, "Secret" in str(field.annotation), field.description or ""))
    return list(found.values())


def given_variables() -> Given:
    """What the owner has set; what is set to nothing is not set."""
    path = StoreSettings.model_config.get("env_file")
    file: Mapping[str, str | None] = dotenv_values(path) if isinstance(path, Path) else {}
    return Given(_set(os.environ), _set(file))


def _set(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name.upper(): value for name, value in values.items() if value}


def _classes(settings: type[StoreSettings]) -> Iterator[type[StoreSettings]]:
    yield settings
    for each in settings.__subclasses__():
        yield from _classes(each)


def _names(name: str, field: FieldInfo) -> tuple[str, ...]:
    alias: Any = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
    return tuple(str(choice).upper() for choice in choices)
