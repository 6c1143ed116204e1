"""A torn log opens at the last whole commit, a backup of a store in use is whole, doctor finds raw copies that are not.

The small form of `tests/chaos/torn.py` and `tests/chaos/copies.py`.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from commands.checks import StoreExamination
from database import Store
from tests.chaos.copies import Copies, Truth, copy_at_random, truth
from tests.chaos.rooms import PAGE
from tests.chaos.state import Activity
from tests.chaos.torn import RUN, open_images
from values.address import StoreAddress

SEED = 20


def test_a_store_whose_log_was_cut_scrambled_or_zeroed_opens_at_the_last_commit_before_the_damage(
    tmp_path: Path,
) -> None:
    opened = open_images(tmp_path, 60, SEED)
    assert opened.images == 60
    assert {kind.partition(",")[0] for kind in opened.kinds} == {"cut", "scrambled", "overwritten", "zeroed"}
    assert opened.commits_lost > 60, "the damage took commits"
    assert (opened.not_opened, opened.not_at_the_commit, opened.not_whole, opened.trading_stopped) == (0, 0, 0, 0)


def test_copies_taken_while_a_floor_trades_are_whole_or_found_not_to_be(tmp_path: Path) -> None:
    """Of raw copies doctor can't know that one is an older state: nothing in the file says that there was a log."""
    copies = Copies()
    copy_at_random(tmp_path, 4, 12, SEED, copies)
    assert copies.backups == 4
    assert (copies.backups_not_whole, copies.trades_missing, copies.not_a_beginning) == (0, 0, 0)
    assert copies.raw.total() == 12
    assert copies.raw["books differ", False] == 0
    assert (copies.raw["older", True], copies.raw["complete", True]) == (0, 0), "what is whole is not called damaged"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Counter[tuple[Truth, bool]]:
    """Of two states of a file, every copy that has one page of the earlier; what it is, and whether doctor found it."""
    folder = tmp_path_factory.mktemp("pages")
    path, copy, states = folder / "accounts.db", folder / "copy.db", []
    with closing(Store(path, RUN)) as store:
        activity = Activity(store, random.Random(SEED))
        for _ in range(2):
            for _ in range(20):
                activity.order(next(activity.numbers))()
            with closing(sqlite3.connect(path)) as raw:
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            states.append(path.read_bytes())
    early, late = states
    found: Counter[tuple[Truth, bool]] = Counter()
    for at in range(0, len(early), PAGE):
        if early[at : at + PAGE] != late[at : at + PAGE]:
            copy.write_bytes(late[:at] + early[at : at + PAGE] + late[at + PAGE :])
            is_told = any(each.state == "FAIL" for each in StoreExamination(StoreAddress.of_file(copy)).findings())
            found[truth(copy, path, []), is_told] += 1
    return found


@pytest.mark.parametrize("kind", ["damaged", "books differ"])
def test_doctor_finds_every_page_that_is_of_another_moment_than_the_rest(
    judged: Counter[tuple[Truth, bool]], kind: Truth
) -> None:
    assert judged[kind, True] > 0
    assert judged[kind, False] == 0
