"""`make chaos` and `make chaos-long`: every proof, a table on the terminal and `build/chaos.json`.

    python -m tests.chaos [--scale N] [--seed N] [NAME ...]

The seed is printed and repeats the run. Ends with 1 when a promise was broken or a goal not met.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module

from benchmarks.figure import Figure, publish

PROOFS: tuple[str, ...] = (
    "disk",
    "torn",
    "copies",
    "models",
    "spending",
    "injections",
    "live",
    "canaries",
    "bad_inputs",
    "stdio",
    "kills",
    "hangs",
    "recovery",
    "outage",
    "clocks",
    "simulator",
)
"""Modules of this package with `prove(scale: int, seed: int) -> list[Figure]`, in the order in which they run."""

Proof = Callable[[int, int], list[Figure]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--scale", type=int, default=1, help="how many times the named form")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("names", nargs="*", choices=[*PROOFS, []], help="proofs to run; all when none is named")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # each restart of a server that was killed on purpose is one
    names = given.names or list(PROOFS)
    print(f"seed {given.seed}; repeat with: python -m tests.chaos --scale {given.scale} --seed {given.seed}")
    figures: list[Figure] = []
    for name in names:
        began = time.monotonic()
        proof: Proof = import_module(f"tests.chaos.{name}").prove
        try:
            figures += proof(given.scale, given.seed)
            broken = 0
        except Exception:  # noqa: BLE001 - one broken promise must not hide the others
            traceback.print_exc()
            broken = 1
        figures.append(Figure(f"{name}: promises broken", broken, "", goal=0))
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    publish(figures, "chaos.json")
    return int(any(each.met is False for each in figures))


if __name__ == "__main__":
    sys.exit(main())
