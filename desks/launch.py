"""How a server's process starts, and all that it sees of the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LINE_BYTES_MAX = 16 * 1024 * 1024
"""The longest line, which is one message, that a server may write."""

_ALWAYS_SEEN = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Launch:
    """A Python module, or with `module` None any command; and what it sees beside what every program needs.

    `is_one_of_many`: others start with all of it but the arguments, which say for whom.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    module: str | None = None
    is_one_of_many: bool = False

    @property
    def command(self) -> tuple[str, ...]:
        return self.arguments if self.module is None else (sys.executable, "-m", self.module, *self.arguments)


def seen(launch: Launch | None) -> dict[str, str]:
    """The whole environment of the process; of the nursery itself for None."""
    always = {key: os.environ[key] for key in _ALWAYS_SEEN if key in os.environ}
    return always if launch is None else always | dict(launch.environment)
