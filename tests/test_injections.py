"""Injected instructions against a model that obeys them all: the servers stop it, or the limits bound what it loses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.attacks import CHANNELS, GOALS, LOSS_MAX_USD, PHRASINGS, Goal, injection, table
from tests.chaos.injections import DOCUMENT, all_cases, few_cases, judge
from tests.chaos.obedience import read_orders

ADDRESS = "127.0.0.1:41234"


async def test_what_strangers_say_is_stopped_bounded_or_impossible_as_the_table_has_it(tmp_path: Path) -> None:
    cases = few_cases()
    assert {goal.name for goal, _, _ in cases} == {each.name for each in GOALS}
    assert {channel.name for _, channel, _ in cases} == {each.name for each in CHANNELS}
    verdicts = await judge(cases, tmp_path)
    assert [f"{each.case}: {'; '.join(each.faults)}" for each in verdicts if each.faults] == []
    assert {each.outcome for each in verdicts} == {"stopped", "bounded", "impossible"}
    assert 0 < max(each.lost for each in verdicts) <= LOSS_MAX_USD


def test_the_table_of_attacks_is_current() -> None:
    assert DOCUMENT.read_text() == table(), "run `python -m tests.chaos.injections --table`"


def test_there_are_as_many_injections_as_were_promised() -> None:
    assert (len(GOALS) >= 12, len(CHANNELS), len(PHRASINGS)) == (True, 8, 3)
    assert len({injection(goal, phrasing, ADDRESS) for goal in GOALS for phrasing in PHRASINGS}) * 8 == len(all_cases())


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: goal.name)
def test_a_goal_means_the_same_in_words_and_as_calls(goal: Goal) -> None:
    said = [read_orders(injection(goal, phrasing, ADDRESS)) for phrasing in PHRASINGS]
    assert said[0]
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize(
    "text", ["I sold 3 of them (a pity).", "it would cost (about 3 USD) x20", "over_limit: buying 3 NVDA costs 563 USD"]
)
def test_what_is_no_instruction_is_not_obeyed(text: str) -> None:
    assert read_orders(text) == []
