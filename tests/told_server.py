"""No MCP server: prints what it was told as one line of JSON, then waits for the end of its input.

Where it is one of many it tells as well which process prepared it, and what that one saw.
"""

from __future__ import annotations

import json
import os
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace


def _answer(_transport: str) -> None:
    """A server's life in rehearsal: a line for each line."""
    with (
        open(0, encoding="utf-8", closefd=False) as questions,
        open(1, "w", encoding="utf-8", closefd=False) as answers,
    ):
        for question in iter(questions.readline, ""):
            print(json.loads(question)["method"], file=answers, flush=True)


@cache
def prepare(_is_bound: bool) -> SimpleNamespace:
    return SimpleNamespace(server=SimpleNamespace(run=_answer), pid=os.getpid(), environment=dict(os.environ))


def main() -> None:
    told = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": str(Path.cwd()), "pid": os.getpid()}
    prepared = prepare(True)
    told |= {"prepared_by": prepared.pid, "prepared_with": prepared.environment}
    print(json.dumps(told), flush=True)
    sys.stdin.read()
    print("its input ended", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
