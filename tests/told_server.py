"""No MCP server: prints what it was told as one line of JSON, then waits for the end of its input."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def main() -> None:
    told = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": str(Path.cwd()), "pid": os.getpid()}
    print(json.dumps(told), flush=True)
    sys.stdin.read()
    print("its input ended", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
