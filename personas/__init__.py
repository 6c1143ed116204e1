"""Who trades here: one TOML file per trader, data and not code, with what it may not do and what its model is told."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from values.errors import BadSetting

FOLDER = Path(__file__).resolve().parent
"""Where this floor's own personas are."""


ROLES = ("trader", "researcher")
"""Who may be given servers of `mcp.json`."""


@dataclass(frozen=True, slots=True)
class Persona:
    """Who a trader is, how it begins and what it may not do."""

    name: str
    first_name: str
    last_name: str
    style: str
    rulebook: str
    prompt: str
    strategy: str
    limits: Mapping[str, str]
    model: str = ""
    """Its own with USE_MANY_MODELS: `provider/NAME` or a tier; empty for the floor's."""
    servers: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """By role (`trader`, `researcher`), then by server of `mcp.json`: the globs of the tools that it may use."""

    @property
    def title(self) -> str:
        return f"{self.first_name} {self.last_name}"


def load_personas(folder: Path = FOLDER) -> list[Persona]:
    """Every persona of a folder, in the order of their names. Raises BadSetting for a file that is none."""
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            persona = Persona(**tomllib.loads(path.read_text()))
            _check_servers(persona.servers)
            found.append(persona)
        except (TypeError, tomllib.TOMLDecodeError) as error:
            raise BadSetting(
                f"personas/{path.name}", str(error), "the keys of the other files in that folder"
            ) from None
    return found


def _check_servers(servers: Any) -> None:
    """Raises TypeError."""
    if not isinstance(servers, dict) or not servers.keys() <= set(ROLES):
        raise TypeError(f"[servers.ROLE] takes the roles {' and '.join(ROLES)}")
    for role, granted in servers.items():
        if not isinstance(granted, dict):
            raise TypeError(f'[servers.{role}] takes lines such as SERVER = ["tool_*"]')
        for server, globs in granted.items():
            if not isinstance(globs, list) or not all(isinstance(each, str) and each for each in globs):
                raise TypeError(f'{server} in [servers.{role}] takes a list of tools such as ["tool_*"]')
