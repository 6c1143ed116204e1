"""`make bench`: every benchmark, a table on the terminal and `build/bench.json`. Name some to run those alone."""

from __future__ import annotations

import sys

from benchmarks import (
    cycle,
    dashboard_load,
    dashboard_reader,
    first_fill,
    readiness,
    record,
    session_turn,
    tool_call,
    tracing,
    writers,
)
from benchmarks.figure import publish

BENCHMARKS = (
    first_fill, tool_call, session_turn, cycle, readiness, tracing, record, writers, dashboard_reader,
    dashboard_load,
)  # fmt: skip


def main() -> None:
    named = sys.argv[1:]
    chosen = [each for each in BENCHMARKS if not named or each.__name__.rpartition(".")[2] in named]
    publish([figure for benchmark in chosen for figure in benchmark.measure()], "bench.json")


if __name__ == "__main__":
    main()
