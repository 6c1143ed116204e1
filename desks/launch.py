"""How a server is reached: how its process starts and all that it sees of the environment, or its address."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LINE_BYTES_MAX = 16 * 1024 * 1024
"""The longest line, which is one message, that a server may write."""

GUEST_BYTES_MAX = 4 * 1024 * 1024
"""The longest message of a server that the owner added."""

_ALWAYS_SEEN = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Launch:
    """A Python module, or with `module` None any command; and what it sees beside what every program needs.

    `is_one_of_many`: others start with all of it but the arguments, which say for whom. `is_guest`: the owner added the
    server, and nothing that it writes is believed; `secrets` are what it was given and must not show.
    """

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    module: str | None = None
    is_one_of_many: bool = False
    is_guest: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def command(self) -> tuple[str, ...]:
        return self.arguments if self.module is None else (sys.executable, "-m", self.module, *self.arguments)

    @property
    def line_bytes_max(self) -> int:
        return GUEST_BYTES_MAX if self.is_guest else LINE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Remote:
    """A server at an address, which is always a guest; `headers` go to that address and nowhere else."""

    name: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    is_guest: bool = True


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    return text


def seen(launch: Launch | None) -> dict[str, str]:
    """The whole environment of the process; of the nursery itself for None."""
    always = {key: os.environ[key] for key in _ALWAYS_SEEN if key in os.environ}
    return always if launch is None else always | dict(launch.environment)
