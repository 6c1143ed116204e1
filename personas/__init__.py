"""Who trades here: one TOML file per trader, data and not code, with what it may not do and what its model is told."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from values.errors import BadSetting

FOLDER = Path(__file__).resolve().parent
"""Where this floor's own personas are."""


@dataclass(frozen=True, slots=True)
class Persona:
    """Who a trader is, how it begins and what it may not do."""

    name: str
    first_name: str
    last_name: str
    style: str
    rulebook: str
    model: str
    """Its own with USE_MANY_MODELS: `provider/NAME` or a tier."""
    prompt: str
    strategy: str
    limits: Mapping[str, str]

    @property
    def title(self) -> str:
        return f"{self.first_name} {self.last_name}"


def load_personas(folder: Path = FOLDER) -> list[Persona]:
    """Every persona of a folder, in the order of their names. Raises BadSetting for a file that is none."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            found.append(Persona(**tomllib.loads(path.read_text())))
        except (TypeError, tomllib.TOMLDecodeError) as error:
            raise BadSetting(
                f"personas/{path.name}", str(error), "the keys of the other files in that folder"
            ) from None
    return found
