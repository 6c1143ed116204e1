"""One measured figure beside its baseline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`baseline` was measured in the same run, in the same unit; `goal` is the most that `value` may be."""

    name: str
    value: float
    unit: str
    baseline: float
    goal: float | None = None

    @property
    def ratio(self) -> float:
        return self.value / self.baseline

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.value <= self.goal
