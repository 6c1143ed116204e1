"""A figure's ratio and goal, and the JSON file that `make bench` and `make chaos` write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import figure
from benchmarks.figure import Figure, publish


@pytest.mark.parametrize(
    ("given", "met"),
    [
        (Figure("a", 2.0, "ms"), None),
        (Figure("a", 2.0, "ms", goal=2.0), True),
        (Figure("a", 2.1, "ms", goal=2.0), False),
        (Figure("a", 2.0, "ms", goal=2.0, at_least=True), True),
        (Figure("a", 1.9, "ms", goal=2.0, at_least=True), False),
        (Figure("a", 3.0, "ms", 2.0, goal=1.5, goal_of="ratio"), True),
        (Figure("a", 3.2, "ms", 2.0, goal=1.5, goal_of="ratio"), False),
        (Figure("a", 3.0, "ms", 2.0, goal=1.5), False),
        (Figure("a", 1.0, "ms", goal=1.5, goal_of="ratio"), None),
        (Figure("a", 0.0, "", goal=0), True),
    ],
)
def test_a_figure_says_whether_its_goal_is_met(given: Figure, met: bool | None) -> None:
    assert given.met is met


def test_a_ratio_needs_a_baseline() -> None:
    assert Figure("a", 3.0, "ms", 2.0).ratio == 1.5
    assert Figure("a", 3.0, "ms").ratio is None
    assert Figure("a", 3.0, "ms", 0.0).ratio is None


def test_figures_are_printed_and_written_with_the_keys_that_readers_rely_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figure, "PROJECT", tmp_path)
    publish([Figure("a call", 3.0, "ms", 2.0, goal=1.2, goal_of="ratio"), Figure("lost", 0, "", goal=0)], "some.json")
    assert json.loads((tmp_path / "build" / "some.json").read_text()) == [
        {"name": "a call", "value": 3.0, "unit": "ms", "baseline": 2.0, "ratio": 1.5, "goal": 1.2, "met": False},
        {"name": "lost", "value": 0, "unit": "", "baseline": None, "ratio": None, "goal": 0, "met": True},
    ]
    _, call, lost, written = capsys.readouterr().out.splitlines()
    assert call.split() == ["a", "call", "3.000", "ms", "2.00", "1.50", "≤", "1.2×", "NO"]
    assert lost.split() == ["lost", "0.000", "≤", "0", "yes"]
    assert written == "written to build/some.json"
