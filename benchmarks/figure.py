"""One measured figure beside its baseline and its goal, and a table and a JSON file of many."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from values.settings import PROJECT


@dataclass(frozen=True, slots=True)
class Figure:
    """`baseline` was measured in the same run, in the same unit; `goal` is the most that `goal_of` may be.

    With `at_least`, `goal` is the least. A figure without a goal is there to be read.
    """

    name: str
    value: float
    unit: str
    baseline: float | None = None
    goal: float | None = None
    goal_of: Literal["value", "ratio"] = "value"
    at_least: bool = False

    @property
    def ratio(self) -> float | None:
        return self.value / self.baseline if self.baseline else None

    @property
    def met(self) -> bool | None:
        measured = self.value if self.goal_of == "value" else self.ratio
        if self.goal is None or measured is None:
            return None
        return measured >= self.goal if self.at_least else measured <= self.goal


def publish(figures: Sequence[Figure], file_name: str) -> None:
    """Print the table and write `build/<file_name>`."""
    print(f"{'figure':<72}{'value':>12} {'unit':<8}{'baseline':>11}{'ratio':>8}  {'goal':<10}met")
    for each in figures:
        met = {True: "yes", False: "NO", None: ""}[each.met]
        print(
            f"{each.name:<72}{each.value:>12,.3f} {each.unit:<8}{_number(each.baseline):>11}{_number(each.ratio):>8}  "
            f"{_goal(each):<10}{met}"
        )
    target = PROJECT / "build" / file_name
    target.parent.mkdir(exist_ok=True)
    rows = [
        {
            "name": each.name, "value": each.value, "unit": each.unit, "baseline": each.baseline, "ratio": each.ratio,
            "goal": each.goal, "met": each.met,
        }
        for each in figures
    ]  # fmt: skip
    target.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"written to {target.relative_to(PROJECT)}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    sign, times = ("≥" if figure.at_least else "≤"), ("×" if figure.goal_of == "ratio" else "")
    return f"{sign} {figure.goal:g}{times}"
