"""`make bench`: every benchmark, a table on the terminal and `build/bench.json`."""

from __future__ import annotations

import json
from dataclasses import asdict

from benchmarks import first_fill, model_turn
from values.settings import PROJECT

BENCHMARKS = (first_fill, model_turn)


def main() -> None:
    figures = [figure for benchmark in BENCHMARKS for figure in benchmark.measure()]
    heading = f"{'figure':<58}{'value':>10} {'unit':<6}{'baseline':>10}{'ratio':>8}{'goal':>8}  met"
    print(heading)
    for figure in figures:
        goal = "" if figure.goal is None else f"{figure.goal:g}"
        met = {True: "yes", False: "no", None: ""}[figure.met]
        print(
            f"{figure.name:<58}{figure.value:>10.3f} {figure.unit:<6}{figure.baseline:>10.3f}"
            f"{figure.ratio:>8.2f}{goal:>8}  {met}"
        )
    target = PROJECT / "build" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps([asdict(figure) | {"ratio": figure.ratio, "met": figure.met} for figure in figures]))
    print(f"written to {target.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
