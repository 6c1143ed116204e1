"""The floor's command line, which also writes down what every child process is started with: one line of JSON each.

python -m tests.chaos.watched_floor FILE run ...
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import desks.nursery
from desks.launch import Launch
from trading_floor import main


def watch(file: Path) -> None:
    fork_request, spawn = desks.nursery._request, asyncio.create_subprocess_exec

    def write(what: str, environment: Mapping[str, str] | None) -> None:
        with file.open("a") as lines:
            lines.write(json.dumps({"what": what, "environment": dict(environment or {})}) + "\n")

    def requested(launch: Launch, arguments: Sequence[str] | None) -> bytes:
        asked = fork_request(launch, arguments)
        write(str(launch.module), json.loads(asked)["environment"])
        return asked

    async def spawned(*command: str, **given: Any) -> asyncio.subprocess.Process:
        write(" ".join(command), given.get("env"))
        return await spawn(*command, **given)

    desks.nursery._request = requested
    asyncio.create_subprocess_exec = spawned  # type: ignore[assignment]


if __name__ == "__main__":
    watch(Path(sys.argv.pop(1)))
    main()
