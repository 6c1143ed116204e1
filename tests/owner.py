"""The owner's short commands in the tests' own process: one of their own takes a second to import what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typer.testing import CliRunner

from commands.main import app


@dataclass(frozen=True, slots=True)
class Told:
    """How a command ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


def ask(environment: Mapping[str, str], *arguments: str, said: str = "") -> Told:
    """Not for a command that runs a floor: that takes the whole process."""
    done = CliRunner().invoke(app, arguments, input=said, env=environment, catch_exceptions=False)
    return Told(done.exit_code, done.stdout, done.stderr)
